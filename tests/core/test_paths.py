"""A peer whose address changes: docs/protocol.md, "Changing addresses"; RFC 9000 §8.2 and §9."""

from __future__ import annotations

import pytest

from rudp.core.states import State
from rudp.sim.link import LinkConfig
from rudp.wire.segment import ACK

from .pairs import exchange, watched_pair
from .reach import reach
from .script import PEER_ID, Script


def challenged(script: Script, to: str = "elsewhere") -> str:
    """Take the challenge that was just sent to an address; returns its token."""
    sent = script.sent.popleft()
    token = sent.segment.options.path_challenge
    assert (sent.to, sent.segment.flags, sent.segment.cid) == (to, ACK, PEER_ID)
    assert token is not None
    assert not sent.segment.payload
    return token.hex()


def at_another_address(script: Script, line: str = "PA seq=1 ack=1 len=10") -> str:
    script.inject_line([*line.split(), "from=elsewhere"])
    return challenged(script)


def test_address_is_validated_and_followed() -> None:
    """RFC 9000 §9.3: data counts at once, but answers go there only after the proof."""
    script = Script().established()
    token = at_another_address(script)
    script.play("0 received 10\n25 > A ack=11 to=peer")
    script.play(f"30 < A seq=11 ack=1 response={token} from=elsewhere")
    script.play("""
        30  stat path_changes 1
        40  send 10
        40  > PA seq=1 len=10 to=elsewhere
        50  < A seq=11 ack=11 from=elsewhere
    """)
    script.play("60 < R seq=11 from=peer\nquiet\nstate ESTABLISHED")
    script.play(f"60 < R seq=11 cid=0 unknown={PEER_ID}\nquiet\nstate ESTABLISHED")
    script.play(f"60 < R seq=11 cid=0 unknown={PEER_ID} from=elsewhere\nstate CLOSED")


def test_what_was_in_flight_is_sent_again_and_the_path_is_new() -> None:
    """RFC 9000 §9.4: congestion window and RTT belong to the old path."""
    script = Script().established(rtt_ms=300)
    script.play(
        "0 send 20000\n> A seq=1 len=1000 x10\n100 < A seq=1 ack=10001\n> A seq=10001 len=1000 x9\n"
        "> PA seq=19001 len=1000"
    )
    token = at_another_address(script, "A seq=1 ack=10001")
    script.play(f"""
        110  < A seq=1 ack=10001 response={token} from=elsewhere
        110  > A seq=10001 len=1000 to=elsewhere x9
        110  > PA seq=19001 len=1000 to=elsewhere
    """)
    assert script.conn.sender.rtt.srtt_s is None


@pytest.mark.parametrize("wrong", ["response=0011223344556677 from=elsewhere", "from=elsewhere"])
def test_wrong_token_moves_nothing(wrong: str) -> None:
    """RFC 9000 §8.2.3: only the same eight bytes prove that the address receives."""
    script = Script().established()
    at_another_address(script)
    script.inject_line(f"A seq=11 ack=1 {wrong}".split())
    assert script.conn.peer == "peer"


def test_right_token_from_a_third_address_moves_nothing() -> None:
    """RFC 9000 §8.2.3: the answer has to come from the address that was asked."""
    script = Script().established()
    token = at_another_address(script)
    script.advance(300)
    script.sent.clear()
    script.inject_line(f"A seq=11 ack=1 response={token} from=third".split())
    assert script.conn.peer == "peer"
    challenged(script, "third")


def test_challenges_are_few() -> None:
    """docs/protocol.md: one in 250 ms, whoever claims the connection meanwhile."""
    script = Script().established()
    at_another_address(script, "A seq=1 ack=1")
    script.play("""
        0    < A seq=1 ack=1 from=elsewhere
        100  < A seq=1 ack=1 from=third
        249  < A seq=1 ack=1 from=elsewhere
        249  quiet
    """)
    script.advance(250)
    at_another_address(script, "A seq=1 ack=1")


def test_overtaken_segments_from_the_old_address_ask_nothing() -> None:
    """RFC 9000 §9.3: only the newest segment tells where the peer is now."""
    script = Script().established()
    script.play("0 < PA seq=1 ack=1 len=10\n25 > A ack=11")
    script.play("30 < A seq=11 ack=1 ts+=-100000 from=elsewhere\nquiet")


@pytest.mark.parametrize("line", ["R seq=1", "RA seq=1 ack=1", "S seq=1", "SA seq=1 ack=1"])
def test_resets_and_syns_from_elsewhere_are_dropped(line: str) -> None:
    """docs/protocol.md: they would cost a connection, or a challenge, to who may be anybody."""
    script = reach(State.ESTABLISHED)
    script.play(f"0 < {line} cid=168430090 from=elsewhere\nquiet\nstate ESTABLISHED")
    script.play("0 counted wrong_address 1")


@pytest.mark.parametrize(
    "line", ["A seq=-9 ack=1", "A seq=1 ack=99", "PA seq=-9000000 ack=1 len=5", "A seq=-1 ack=1"]
)
def test_who_does_not_know_the_numbers_is_not_asked(line: str) -> None:
    """docs/protocol.md: an id may be hit by chance; the challenge would tell the rest."""
    script = Script().established()
    script.play(f"0 < {line} from=elsewhere\nquiet\ncounted wrong_address 1")


def test_keepalive_probe_from_elsewhere_is_enough() -> None:
    """docs/protocol.md: the side that moves has to send something; a probe will do."""
    script = Script().established()
    script.inject_line(["A", "seq=0", "ack=1", "from=elsewhere"])
    assert script.sent.popleft().to == "peer"  # the answer to the probe
    challenged(script)


def test_nothing_from_elsewhere_in_syn_received() -> None:
    """docs/protocol.md: a handshake stays where it began."""
    script = reach(State.SYN_RECEIVED)
    script.play("0 < A seq=1 ack=1 from=elsewhere\nquiet\nstate SYN_RECEIVED")


def test_syn_ack_from_another_address() -> None:
    """docs/protocol.md: a server with several addresses; id, SEQ and all prove that it is him."""
    script = reach(State.SYN_SENT)
    script.play("""
        10  < SA seq=0 ack=2 from=elsewhere          # not our SYN's
        10  < SA seq=0 ack=0 from=elsewhere
        10  < RA seq=0 ack=1 from=elsewhere
        10  < A seq=0 ack=1 from=elsewhere
        10  quiet
        10  counted wrong_address 4
        20  < SA seq=0 ack=1 win=65535 mss=1000 ws=0 from=elsewhere
        20  > A seq=1 ack=1 to=elsewhere
        20  state ESTABLISHED
        30  unreachable
        30  state ESTABLISHED
        40  < R seq=1 cid=0 unknown=185273099 from=elsewhere
        40  state CLOSED
    """)
    assert not script.endpoint.connections


@pytest.mark.parametrize("state", [State.ESTABLISHED, State.FIN_WAIT_2, State.CLOSE_WAIT])
def test_challenges_are_returned(state: State) -> None:
    """RFC 9000 §8.2.2: at once, to where the peer is believed to be; every one."""
    script = reach(state)
    seq = 2 if state is State.CLOSE_WAIT else 1
    for token in ("0102030405060708", "1112131415161718"):
        script.inject_line(f"A seq={seq} ack=1 challenge={token}".split())
        segment = script.sent.popleft().segment
        assert segment.options.path_response == bytes.fromhex(token)
        assert not script.sent


def test_challenge_with_data() -> None:
    """docs/protocol.md: the data on it counts as any other."""
    script = Script().established()
    script.play(
        "0 < PA seq=1 ack=1 len=9 challenge=0102030405060708\n> A ack=10 response=0102030405060708"
    )
    script.play("0 received 9\n999 quiet")


@pytest.mark.parametrize("seed", range(3))
def test_connection_moves_and_goes_on(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/protocol.md: two real cores; one changes its address in mid-transfer, both ways."""
    pair = watched_pair(seed, LinkConfig(delay_s=0.01, jitter_s=0.005, loss=0.02))
    left, right = pair.connect()
    deliver = pair._deliver
    address = {"a": "a", "b": "b"}
    monkeypatch.setattr(
        pair, "_deliver", lambda node, sender, data: deliver(node, address[str(sender)], data)
    )
    pair.at(pair.now_s + 0.1, lambda: address.update(a="another place"))
    exchange(pair, [(pair.a, left, pair.b, right), (pair.b, right, pair.a, left)], 300_000, 600)
    for _ in range(10):  # a challenge may be lost; the next segment draws another
        pair.run(0.5)
        exchange(pair, [(pair.a, left, pair.b, right)], 100, 60)
    assert right.peer == "another place"
    assert right.stats.path_changes == 1
    assert left.stats.path_changes == 0
    assert left.state is right.state is State.ESTABLISHED
