"""Resets and forged segments: RFC 9293 §3.5.2 and §3.10.7.4, RFC 5961."""

from __future__ import annotations

import pytest

from rudp.config import Config
from rudp.core.states import SYNCHRONIZED, State
from rudp.wire.segment import RST, Segment, encode

from .reach import reach
from .script import LOCAL_ID, PEER_ID, Script

LIVE = sorted(SYNCHRONIZED - {State.TIME_WAIT})
RCV_NXT = dict.fromkeys((State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK), 2)


@pytest.mark.parametrize("flags", ["R", "RA"])
@pytest.mark.parametrize("state", LIVE)
def test_reset_at_exactly_rcv_nxt(state: State, flags: str) -> None:
    """RFC 5961 §3.2, case 2: the connection is gone at once, whatever the ACK field says."""
    script = reach(state)
    nxt = RCV_NXT.get(state, 1)
    script.play(f"10 < {flags} seq={nxt} ack=77\nstate CLOSED\n999999 quiet")
    assert not script.endpoint.connections
    script.play(
        # The peer had all we wrote, and has forgotten us: nothing is lost (RFC 9293 §3.10.7.4).
        "reason none" if state in (State.CLOSING, State.LAST_ACK) else "reason RESET_BY_PEER"
    )


@pytest.mark.parametrize("acked", [1, 2])
def test_reset_of_an_orphan_whose_data_has_arrived(acked: int) -> None:
    """RFC 9293 §3.10.7.4, second: a peer that closes both ways at once; nothing is lost."""
    script = Script().established()
    script.play(f"0 close\n> FA seq=1\n5 < A seq=1 ack={acked}\n10 < R seq=1\nreason none")


def test_reset_of_last_ack_with_data_outstanding() -> None:
    """RFC 9293 §3.10.7.4, second: data that was not acknowledged is lost, and that is an error."""
    script = reach(State.CLOSE_WAIT)
    script.play(
        "0 send 9\n> PA seq=1 len=9\n0 close\n> FA seq=10\n5 < R seq=2\nreason RESET_BY_PEER"
    )


@pytest.mark.parametrize("distance", [1, 2, 1000, 32_000])
@pytest.mark.parametrize("state", LIVE)
def test_reset_in_the_window_is_challenged(state: State, distance: int) -> None:
    """RFC 5961 §3.2, case 3: an honest peer answers the ACK with a reset that fits."""
    script = reach(state)
    nxt = RCV_NXT.get(state, 1)
    script.play(f"10 < R seq={nxt + distance}\n> A ack={nxt}\nstate {state.name}")


@pytest.mark.parametrize("seq", [0, -1, -70_000, 1 + (8 << 20), 1 << 31])
@pytest.mark.parametrize("state", LIVE)
def test_reset_outside_the_window_is_dropped(state: State, seq: int) -> None:
    """RFC 5961 §3.2, case 1: in silence."""
    reach(state).play(f"10 < R seq={seq}\nquiet\nstate {state.name}\nstat challenge_acks 0")


def test_reset_at_rcv_nxt_with_a_closed_window() -> None:
    """RFC 9293 §3.10.7.4, first: RCV.NXT is acceptable though the window is zero."""
    script = Script(Config(receive_buffer=4096)).established()
    script.play("""
        0   pause
        0   < A seq=1 ack=1 len=4096
        25  > A ack=4097 win=0
        30  < R seq=4097
        30  reason RESET_BY_PEER
    """)


@pytest.mark.parametrize("seq", [0, 1, 2, 500, -100, 1 << 30])
@pytest.mark.parametrize("state", LIVE)
def test_syn_in_a_synchronized_state_is_challenged(state: State, seq: int) -> None:
    """RFC 5961 §4.2: whatever its number; a SYN that is believed would reset the connection."""
    script = reach(state)
    nxt = RCV_NXT.get(state, 1)
    script.play(f"10 < S seq={seq} cid={LOCAL_ID}\n> A ack={nxt}\nstate {state.name}")


def test_nothing_else_on_a_challenged_syn_counts() -> None:
    """RFC 5961 §4.2: neither its ACK, nor its window, nor its text."""
    script = Script().established()
    script.play("""
        0    send 10
        0    > PA seq=1 len=10
        10   < SA seq=1 ack=11 win=1 len=10
        10   > A seq=11 ack=1
        35   quiet
        35   received 0
        200  > PA seq=1 len=10
    """)
    assert script.conn.sender.snd_wnd == 65_535


def test_challenges_are_limited_and_come_back() -> None:
    """RFC 5961 §7: ten at once, ten a second, so that a forger gains no amplification."""
    script = Script().established()
    for _ in range(10):
        script.play("0 < R seq=100\n> A ack=1")
    script.play("0 < R seq=100\nquiet\n0 < S seq=100\nquiet\n0 < A seq=1 ack=99\nquiet")
    for index in range(10):
        script.play(f"{1000 + index} < R seq=100\n> A ack=1")
    script.play("1010 < R seq=100\nquiet\n99999 < R seq=100\n> A ack=1\nstate ESTABLISHED")


def test_challenges_do_not_stop_acknowledgements() -> None:
    """RFC 5961 §7: the limit is for challenges; data is acknowledged as ever."""
    script = Script().established()
    for _ in range(10):
        script.play("0 < R seq=100\n> A ack=1")
    script.play("0 < R seq=100\nquiet\n0 < A seq=1 ack=1 len=2000\n25 > A ack=2001")


# -- the ACK field -------------------------------------------------------------------------


@pytest.mark.parametrize("ack", [2, 3000, 1 << 30, -65_536, -(1 << 30)])
def test_ack_that_cannot_be_is_challenged(ack: int) -> None:
    """RFC 5961 §5.2: neither beyond SND.NXT nor older than the largest window."""
    script = Script().established()
    script.play(f"""
        0   < PA seq=1 ack={ack} len=10
        0   > A seq=1 ack=1
        0   received 0
        0   stat ack_drops 1
    """)


@pytest.mark.parametrize("ack", [2002, 4000, -65_536])
def test_forged_and_optimistic_acks_move_nothing(ack: int) -> None:
    """RFC 5961 §5.2: not the window, not the ledger, not the congestion window, no timer."""
    script = Script().established()
    script.play("0 send 2000\n> A seq=1 len=1000\n> PA seq=1001 len=1000")
    sender = script.conn.sender
    before = (sender.ledger.snd_una, sender.cc.cwnd, sender.snd_wnd, sender.rtt.srtt_s)
    script.play(f"10 < A seq=1 ack={ack} win=1\n> A seq=2001\n")
    assert before == (sender.ledger.snd_una, sender.cc.cwnd, sender.snd_wnd, sender.rtt.srtt_s)
    script.play("200 > A seq=1 len=1000")


def test_old_ack_that_can_be_is_harmless() -> None:
    """RFC 9293 §3.10.7.4, fifth: an ACK below SND.UNA is ignored, its data is taken."""
    script = Script().established()
    script.play("""
        0   send 2000
        0   > A seq=1 len=1000
        0   > PA seq=1001 len=1000
        10  < A seq=1 ack=2001
        20  < PA seq=1 ack=1 len=10 win=0
        45  > A seq=2001 ack=11
        45  send 10
        45  > PA seq=2001 ack=11 len=10
    """)


# -- resets of strangers -------------------------------------------------------------------


@pytest.mark.parametrize("state", LIVE)
def test_reset_of_a_stranger_by_the_unknown_id(state: State) -> None:
    """Option 131: who does not know our segment's id can only name it; RFC 5961 §3.2 applies."""
    script = reach(state)
    nxt = RCV_NXT.get(state, 1)
    script.play(f"10 < R seq={nxt} cid=0 unknown={PEER_ID}\nstate CLOSED")


@pytest.mark.parametrize(
    "forged",
    [
        "R seq=1 cid=0",
        "R seq=1 cid=0 unknown=0",
        f"R seq=1 cid=0 unknown={PEER_ID + 1}",
        f"R seq=1 cid=0 unknown={LOCAL_ID}",
        f"R seq=1 cid=0 unknown={PEER_ID} from=elsewhere",
    ],
)
def test_reset_of_a_stranger_with_the_wrong_id(forged: str) -> None:
    """Option 131: without the id of the connection, from its peer, it is nothing."""
    script = reach(State.ESTABLISHED)
    script.play(f"10 < {forged}\nquiet\nstate ESTABLISHED\ncounted resets_ignored 1")


@pytest.mark.parametrize("seq", [2, 0, -9])
def test_reset_of_a_stranger_elsewhere_in_the_window(seq: int) -> None:
    """RFC 5961 §3.2: the right id does not make up for the wrong sequence number."""
    script = reach(State.ESTABLISHED)
    answer = "> A ack=1" if seq > 1 else "quiet"
    script.play(f"10 < R seq={seq} cid=0 unknown={PEER_ID}\n{answer}\nstate ESTABLISHED")


def test_reset_of_a_stranger_in_syn_sent() -> None:
    """RFC 9293 §3.10.7.3: nobody knows an id of ours that we never sent under."""
    script = reach(State.SYN_SENT)
    script.play(f"10 < R seq=1 cid=0 unknown={PEER_ID}\nstate SYN_SENT\ncounted resets_ignored 1")


def test_segment_for_a_connection_that_nobody_has() -> None:
    """RFC 9293 §3.10.7.1: RST with SEQ from its ACK, or with an ACK of all it carried."""
    script = Script()
    script.play("""
        0  < PA seq=5 ack=77 len=10 cid=1234
        0  > R seq=77 cid=0 unknown=1234
        0  < P seq=5 len=10 cid=1234
        0  quiet                                # without ACK it is no segment at all
        0  < S seq=5 cid=1234
        0  > RA ack=6 cid=0 unknown=1234
        0  counted unknown_connection 2
    """)


def test_a_reset_is_never_answered_by_a_reset() -> None:
    """RFC 9293 §3.5.2: two endpoints that know nothing would go on for ever."""
    script = Script()
    for line in ("R seq=5 cid=1234", "RA seq=5 ack=1 cid=1234", "R seq=5 cid=0 unknown=99"):
        script.play(f"0 < {line}\nquiet")
    script.play("0 counted resets_sent 0")


def test_resets_are_limited() -> None:
    """RFC 9293 §3.5.2 with a bound: a thousand a second, the rest is counted."""
    script = Script()
    stray = encode(script.segment("A", seq="1", ack="1", cid="1234"))
    for _ in range(1500):
        script.inject(stray)
    assert len(script.sent) == 1000
    assert script.endpoint.stats.answers_suppressed == 500
    script.sent.clear()
    script.advance(100.5)
    for _ in range(200):
        script.inject(stray)
    assert len(script.sent) == 100


def test_reset_that_meets_its_end_before_it_is_flushed() -> None:
    """RFC 9293 §3.10.7.1: what comes for a connection in CLOSED changes nothing."""
    script = reach(State.ESTABLISHED)
    conn = script.conn
    conn.abort(script.now_s)
    conn.arrive(Segment(LOCAL_ID, 8001, 0, RST, 0, 0, 0), script.now_s)
    conn.on_timer(script.now_s + 1000)
    script.flush(conn)
    assert [sent.segment.flags & RST for sent in script.sent] == [RST]
    assert conn.reason is not None
    assert conn.reason.name == "ABORTED"
