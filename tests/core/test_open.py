"""Opening: RFC 9293 §3.5 and §3.10.7.2 to 4, RFC 6298 for what is repeated."""

from __future__ import annotations

import pytest

from rudp.config import Config
from rudp.core.states import State

from .reach import reach
from .script import LOCAL_ID, PEER_ID, Script

SYN = "S seq=0 win=65535 mss=1000 ws=0 sackok=1"
SYN_ACK = "SA seq=0 ack=1 win=65535 mss=1000 ws=0 sackok=1"


def test_active_open() -> None:
    """RFC 9293 §3.5, figure 6: SYN, SYN-ACK, ACK; the SYN carries every option once."""
    script = Script()
    script.play(f"""
        0   connect
        0   > S seq=0 cid=0 id={LOCAL_ID} version=1 mss=1176 ws=7 sackok=1 win=65535
        0   state SYN_SENT
        10  < {SYN_ACK}
        10  > A seq=1 ack=1 cid={PEER_ID}
        10  state ESTABLISHED
        10  notice CONNECTED
        2000 quiet
    """)


def test_passive_open() -> None:
    """RFC 9293 §3.5, figure 6, the other side: accepted when the third segment has come."""
    script = Script()
    script.play(f"""
        0   listen 10
        0   < {SYN}
        0   > SA seq=0 ack=1 cid={PEER_ID} id={LOCAL_ID} version=1 mss=1176 ws=7 sackok=1 win=65535
        0   state SYN_RECEIVED
        0   accepted 0
        10  < A seq=1 ack=1
        10  state ESTABLISHED
        10  notice CONNECTED
        10  accepted 1
        2000 quiet
    """)
    assert script.endpoint.half_open == 0


@pytest.mark.parametrize("passive", [False, True])
def test_timestamps_are_echoed_from_the_first_segment_on(passive: bool) -> None:
    """RFC 7323 §3.2 and §4.3: TSval is our clock in microseconds, TSecr the peer's last TSval."""
    script = Script(ts_offset=7, peer_ts_offset=55_000)
    ours, theirs = 100_000_007, 100_055_000
    if passive:
        script.play(f"""
            0    listen 10
            0    < {SYN}
            0    > SA ts={ours} ecr={theirs}
            10   < A seq=1 ack=1
            20   send 1
            20   > PA len=1 ts={ours + 20_000} ecr={theirs + 10_000}
        """)
    else:
        script.play(f"""
            0    connect
            0    > S ts={ours} ecr=0
            10   < {SYN_ACK}
            10   > A ts={ours + 10_000} ecr={theirs + 10_000}
            20   send 1
            20   > PA len=1 ts={ours + 20_000} ecr={theirs + 10_000}
        """)


# -- what is retransmitted -----------------------------------------------------------------


def test_syn_is_repeated_with_backoff_until_the_timeout() -> None:
    """RFC 9293 §3.8.3 (MUST-23) and RFC 6298 §5.5: 1 s doubling up to 60 s, for 3 minutes."""
    script = Script()
    script.play("0 connect\n> S seq=0")
    for at_ms in (1000, 3000, 7000, 15_000, 31_000, 63_000, 123_000):
        script.play(f"{at_ms} > S seq=0 ack= id={LOCAL_ID} mss=1176 ws=7 sackok=1")
    script.play("""
        179999 state SYN_SENT
        180000 state CLOSED
        180000 reason CONNECT_TIMEOUT
        180000 notice CLOSED
        999999 quiet
    """)
    assert not script.endpoint.connections


def test_syn_ack_is_repeated_with_backoff_until_the_timeout() -> None:
    """RFC 6298 §5.5: as the SYN, but for a minute: a forged SYN must not cost us three. Half of one
    is too little: a client whose acknowledgement was lost waits for ever once we have forgotten."""
    script = reach(State.SYN_RECEIVED)
    for at_ms in (1000, 3000, 7000, 15_000, 31_000):
        script.play(f"{at_ms} > SA seq=0 ack=1")
    script.play("63000 state CLOSED\nreason CONNECT_TIMEOUT\n999999 quiet")
    assert script.endpoint.half_open == 0
    assert not script.endpoint.connections


def test_connect_timeout_is_configurable() -> None:
    """RFC 9293 §3.8.3 (MUST-21): R2 can be set."""
    script = Script(Config(connect_timeout=2.5))
    script.play("0 connect\n> S\n1000 > S\n2499 state SYN_SENT\n2500 reason CONNECT_TIMEOUT")


def test_answer_to_a_repeated_syn() -> None:
    """RFC 7323 §4.1: the echo tells which SYN was answered; RFC 5681 §3.1: cwnd is one segment."""
    script = Script()
    script.play(f"""
        0     connect
        0     > S
        1000  > S
        1010  < {SYN_ACK}
        1010  > A seq=1 ack=1
        1010  send 5000
        1010  > A seq=1 len=1000
        1020  < A seq=1 ack=1001
        1020  > A seq=1001 len=1000 x2
    """)
    assert script.conn.sender.rtt.srtt_s == pytest.approx(0.01)


def test_syn_without_a_timestamp_sample_leaves_three_seconds() -> None:
    """RFC 6298 §5.7: data starts with an RTO of 3 s if the SYN was repeated and not measured."""
    script = Script()
    script.play(f"""
        0     connect
        0     > S
        1000  > S
        1010  < {SYN_ACK} ecr=1
        1010  > A seq=1 ack=1
        1010  send 10
        1010  > PA seq=1 len=10
        4010  > PA seq=1 len=10
    """)


def test_duplicate_syn_is_answered_by_the_same_syn_ack() -> None:
    """RFC 9293 §3.10.7.4: the SYN-ACK may be lost; it is one connection all the same."""
    script = reach(State.SYN_RECEIVED)
    script.play(f"""
        300  < {SYN}
        300  > SA seq=0 ack=1 cid={PEER_ID} id={LOCAL_ID} mss=1176 ws=7 sackok=1 win=65535
        310  < {SYN}
        310  > SA seq=0 ack=1 id={LOCAL_ID}
        320  < A seq=1 ack=1
        320  state ESTABLISHED
        320  accepted 1
        330  < {SYN}
        330  > A seq=1 ack=1
        330  state ESTABLISHED
    """)
    assert len(script.endpoint.connections) == 1


def test_repeated_syn_ack_is_acknowledged_again() -> None:
    """RFC 9293 §3.10.7.4, fourth: our third segment was lost."""
    script = reach(State.ESTABLISHED)
    script.play(f"500 < {SYN_ACK}\n> A seq=1 ack=1\nstate ESTABLISHED")


def test_third_segment_lost_and_data_instead() -> None:
    """RFC 9293 §3.10.7.4, fifth: the first data acknowledges the SYN as well."""
    script = reach(State.SYN_RECEIVED)
    script.play("""
        50  < PA seq=1 ack=1 len=100
        50  state ESTABLISHED
        50  accepted 1
        50  received 100
        75  > A seq=1 ack=101
    """)


def test_data_out_of_order_in_syn_received() -> None:
    """RFC 9293 §3.10.7.4: third segment and first data lost, the second data comes first."""
    script = reach(State.SYN_RECEIVED)
    script.play("""
        50  < PA seq=101 ack=1 len=100
        50  > A seq=1 ack=1 sack=101-201
        50  state ESTABLISHED
        60  < A seq=1 ack=1 len=100
        60  > A seq=1 ack=201
        60  received 200
    """)


def test_fin_in_syn_received() -> None:
    """RFC 9293 §3.10.7.4, eighth: data and FIN arrive with what completes the handshake."""
    script = reach(State.SYN_RECEIVED)
    script.play("""
        50  < FPA seq=1 ack=1 len=10
        50  > A seq=1 ack=12
        50  state CLOSE_WAIT
        50  accepted 1
        50  received 10
        50  notice CONNECTED EOF
    """)


def test_text_on_a_syn_is_delivered_once() -> None:
    """RFC 9293 §3.10.7.2, third: text on a SYN is not lost; here it waits for its repetition."""
    script = Script()
    script.play(f"""
        0   listen 10
        0   < {SYN} len=50
        0   > SA seq=0 ack=1
        10  < A seq=1 ack=1
        10  received 0
        20  < PA seq=1 ack=1 len=50
        45  > A seq=1 ack=51
        45  received 50
    """)


def test_text_on_a_syn_ack() -> None:
    """RFC 9293 §3.10.7.3, fifth: text on the SYN-ACK is taken and acknowledged."""
    script = Script()
    script.play(f"0 connect\n> S\n10 < {SYN_ACK} len=30\n> A seq=1 ack=31\nreceived 30")


# -- what is wrong -------------------------------------------------------------------------


def test_refused_at_once() -> None:
    """RFC 9293 §3.10.7.3, second: RST with an acceptable ACK."""
    script = reach(State.SYN_SENT)
    script.play("10 < RA seq=0 ack=1\nstate CLOSED\nreason REFUSED\nnotice CLOSED\n9999 quiet")
    assert not script.endpoint.connections


@pytest.mark.parametrize("reset", ["RA seq=0 ack=0", "RA seq=0 ack=2", "R seq=0"])
def test_resets_that_do_not_know_our_syn(reset: str) -> None:
    """RFC 9293 §3.10.7.3: RST without ACK, or with one of what was not sent, is dropped."""
    script = reach(State.SYN_SENT)
    script.play(f"10 < {reset}\nstate SYN_SENT\nquiet\n20 < {SYN_ACK}\n> A\nstate ESTABLISHED")


@pytest.mark.parametrize("ack", [0, 2, 5000, -5])
@pytest.mark.parametrize("flags", ["SA", "A", "FA"])
def test_wrong_ack_in_syn_sent(flags: str, ack: int) -> None:
    """RFC 9293 §3.10.7.3, first: reset of the old connection, ours stays."""
    script = reach(State.SYN_SENT)
    if flags == "SA":
        script.play(f"10 < SA seq=0 ack={ack} mss=1000\n> R seq={ack} cid={PEER_ID}")
    else:
        script.play(f"10 < {flags} seq=0 ack={ack}\nquiet")
    script.play(f"20 state SYN_SENT\n< {SYN_ACK}\n> A seq=1 ack=1\nstate ESTABLISHED")


@pytest.mark.parametrize("segment", ["A seq=5 ack=1", "PA seq=5 ack=1 len=5", "FA seq=5 ack=1"])
def test_no_syn_in_syn_sent(segment: str) -> None:
    """RFC 9293 §3.10.7.3, fifth: neither SYN nor RST: dropped."""
    reach(State.SYN_SENT).play(f"10 < {segment}\nquiet\nstate SYN_SENT\n20 < {SYN_ACK}\n> A")


@pytest.mark.parametrize("ack", [0, 2, 5000, -5])
def test_wrong_ack_in_syn_received(ack: int) -> None:
    """RFC 9293 §3.10.7.4, fifth (MUST-reset without a change of state)."""
    script = reach(State.SYN_RECEIVED)
    script.play(f"""
        10  < A seq=1 ack={ack}
        10  > R seq={ack} cid={PEER_ID}
        10  state SYN_RECEIVED
        20  < A seq=1 ack=1
        20  state ESTABLISHED
    """)


@pytest.mark.parametrize("broken", ["id=0", "version=2", "version=0"])
def test_syn_that_is_not_ours(broken: str) -> None:
    """Design, "The wire": a SYN names its sender's id and version 1, or is counted."""
    script = Script()
    script.play(f"0 listen 1\n< {SYN} {broken}\nquiet\ncounted bad_syn 1")
    reach(State.SYN_SENT).play(f"10 < {SYN_ACK} {broken}\nquiet\nstate SYN_SENT")


def test_reset_in_syn_received() -> None:
    """RFC 9293 §3.10.7.4, second: a passive open returns to LISTEN without a word."""
    script = reach(State.SYN_RECEIVED)
    script.play("""
        10  < RA seq=2 ack=1        # RFC 5961 §3.2: not exactly RCV.NXT
        10  > A seq=1 ack=1
        10  state SYN_RECEIVED
        20  < RA seq=1 ack=1
        20  state CLOSED
        20  reason REFUSED
        20  accepted 0
    """)
    assert script.endpoint.half_open == 0
    script.play(f"30 < {SYN} id=99\n> SA ack=1 cid=99")


def test_icmp_is_hard_while_opening() -> None:
    """RFC 9293 §3.9.2.2: unreachable ends the attempt at once."""
    script = reach(State.SYN_SENT)
    script.play("10 unreachable\nstate CLOSED\nreason UNREACHABLE\nnotice CLOSED\n9999 quiet")


@pytest.mark.parametrize("state", [s for s in State if s not in (State.CLOSED, State.SYN_SENT)])
def test_icmp_is_soft_later(state: State) -> None:
    """RFC 9293 §3.9.2.2 (MUST-56): a soft error must not abort the connection."""
    script = reach(state)
    before = script.conn.state
    script.play("10 unreachable\nquiet")
    assert script.conn.state is before


def test_close_and_abort_while_opening() -> None:
    """RFC 9293 §3.10.4 and §3.10.5: silent in SYN-SENT, a reset in SYN-RECEIVED."""
    reach(State.SYN_SENT).play("10 close\nstate CLOSED\nreason ABORTED\n9999 quiet")
    reach(State.SYN_SENT).play("10 abort\nstate CLOSED\nreason ABORTED\n9999 quiet")
    script = reach(State.SYN_RECEIVED)
    script.play("10 abort\n> RA seq=1 ack=1\nstate CLOSED\n9999 quiet")
    assert script.endpoint.half_open == 0
