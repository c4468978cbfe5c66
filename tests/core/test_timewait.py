"""TIME-WAIT: RFC 9293 §3.6.1 and §3.10.7.4, RFC 1337."""

from __future__ import annotations

import pytest

from rudp.config import Config
from rudp.core.states import State
from rudp.wire.segment import encode

from .held import items_held
from .reach import reach
from .script import LOCAL_ID, PEER_ID, Script

FIVE_S = Config(time_wait=5.0)


def waiting(script: Script) -> bool:
    return LOCAL_ID in script.endpoint.time_wait


def test_repeated_fin_is_acknowledged_and_restarts_the_wait() -> None:
    """RFC 9293 §3.10.7.4, eighth: our last ACK was lost."""
    script = reach(State.TIME_WAIT, FIVE_S)
    script.play(f"""
        4000  < FA seq=1 ack=2
        4000  > A seq=2 ack=2 cid={PEER_ID}
        4000  counted time_wait_acks 1
        8999  quiet
    """)
    assert waiting(script)
    script.advance(9000)
    assert not waiting(script)


def test_expiry() -> None:
    """RFC 9293 §3.10.8: after 2 MSL nothing is left, and who comes then is a stranger."""
    script = reach(State.TIME_WAIT, FIVE_S)
    script.advance(4999)
    assert waiting(script)
    assert script.endpoint.next_s == pytest.approx(script.zero_s + 5.0)
    script.advance(5000)
    assert not waiting(script)
    assert script.endpoint.next_s == float("inf")
    script.play(f"5001 < FA seq=1 ack=2\n> R seq=2 cid=0 unknown={LOCAL_ID}")


def test_reset_does_not_end_it() -> None:
    """RFC 1337 §3, fix F1: a reset would let the successor meet old segments."""
    script = reach(State.TIME_WAIT, FIVE_S)
    for seq in (1, 2, 3):
        script.play(f"10 < R seq={seq}\n< RA seq={seq} ack=2\nquiet")
    script.play(f"10 < R seq=2 cid=0 unknown={PEER_ID}\nquiet")
    assert waiting(script)


def test_empty_segments_are_not_answered() -> None:
    """RFC 9293 §3.10.7.4: an ACK for an ACK would go on for ever between two that wait."""
    script = reach(State.TIME_WAIT, FIVE_S)
    script.play("10 < A seq=2 ack=2\n< A seq=1 ack=1\nquiet")


def test_old_data_is_acknowledged_and_restarts_it() -> None:
    """RFC 9293 §3.10.7.4, first: what is not acceptable is answered with an ACK. A peer that
    still repeats data will repeat its FIN, after a timer that has doubled: it must not meet a
    reset then."""
    script = reach(State.TIME_WAIT, FIVE_S)
    script.play("4000 < PA seq=1 ack=2 len=5\n> A seq=2 ack=2")
    script.advance(8999)
    assert waiting(script)
    script.advance(9000)
    assert not waiting(script)


def test_only_the_peer_is_answered() -> None:
    """Design, section 1: a forger at another address learns nothing."""
    script = reach(State.TIME_WAIT, FIVE_S)
    script.play(
        f"10 < FA seq=1 ack=2 from=elsewhere\n> R to=elsewhere seq=2 cid=0 unknown={LOCAL_ID}"
    )
    assert waiting(script)


def test_it_is_a_small_tuple() -> None:
    """Design, section 5: no connection, no timer of its own, no buffers stay behind."""
    script = reach(State.TIME_WAIT, FIVE_S)
    assert not script.endpoint.connections
    assert script.conn.state is State.CLOSED
    assert isinstance(script.endpoint.time_wait[LOCAL_ID], tuple)


def test_duration_is_configurable() -> None:
    """RFC 9293 §3.4.2: 2 MSL is the operator's to say."""
    script = reach(State.TIME_WAIT, Config(time_wait=60.0))
    script.advance(59_999)
    assert waiting(script)
    script.advance(60_000)
    assert not waiting(script)


def test_repeated_fins_do_not_pile_up() -> None:
    """Issue, item 5: no peer, however it behaves, makes the endpoint hold more and more."""
    script = reach(State.TIME_WAIT, FIVE_S)
    fin = encode(script.segment("FA", seq="1", ack="2"))
    held = []
    for at_ms in range(2000):
        script.advance(at_ms)
        script.inject(fin)
        held.append(items_held(script.endpoint))
    script.sent.clear()
    assert max(held[1000:]) <= max(held[:1000])
    script.advance(99_999)
    assert not waiting(script)


def test_many_expire_in_their_order() -> None:
    """RFC 9293 §3.10.8: each for itself, and one wake-up for all that are due."""
    script = Script(Config(time_wait=1.0))
    endpoint = script.endpoint
    script.play("0 listen 10")
    for index in range(5):
        peer_id = 50 + index
        at_ms = 100 * index
        script.play(f"{at_ms} < S seq=0 id={peer_id} win=999\n> SA cid={peer_id}")
        conn = endpoint.connections[script_cid(script)]
        for flags, seq, ack in (("A", 1, 1), ("FA", 1, 2)):
            bases = {"ack": str(conn.sender.iss - script.iss + ack)}
            segment = script.segment(flags, seq=str(seq), cid=str(conn.local_cid), **bases)
            script.inject(encode(segment))
            if flags == "A":
                conn.shutdown()
                script.flush(conn)
        script.sent.clear()
    assert len(endpoint.time_wait) == 5
    for left, at_ms in ((5, 999), (4, 1000), (3, 1150), (0, 1400)):
        script.advance(at_ms)
        assert len(endpoint.time_wait) == left


def script_cid(script: Script) -> int:
    return max(
        script.endpoint.connections, key=lambda cid: script.endpoint.connections[cid].opened_s
    )
