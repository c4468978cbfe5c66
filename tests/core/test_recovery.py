"""Retransmission: RFC 6298 (timer), RFC 5681, 6582 (fast retransmit), RFC 8985, 2018 (SACK)."""

from __future__ import annotations

import pytest

from rudp.config import Config

from .script import Script

NO_SACK = "win=65535 mss=1000 ws=0"
TEN = "0 send 10000\n> A seq=1 len=1000 x9\n> PA seq=9001 len=1000"
FIVE = "0 send 5000\n> A seq=1 len=1000 x4\n> PA seq=4001 len=1000"


# -- the timer -----------------------------------------------------------------------------


def test_first_timeout_comes_from_the_handshake() -> None:
    """RFC 6298 §2.2: RTO = SRTT + 4 RTTVAR = 3 RTT after the first measurement."""
    script = Script().established(rtt_ms=100)
    script.play("0 send 10\n> PA seq=1 len=10\n300 > PA seq=1 len=10")


def test_timeout_has_a_floor() -> None:
    """RFC 6298 §2.4 asks for 1 s; the floor is one of the variance's share, as Linux has it, so
    that a queue may build up within a round trip: SRTT + min_rto."""
    for min_rto in (0.3, 0.05):
        script = Script(Config(min_rto=min_rto)).established(rtt_ms=1)
        script.play(f"0 send 10\n> PA seq=1 len=10\n{1 + min_rto * 1e3} > PA seq=1 len=10")


def test_backoff_doubles_up_to_the_ceiling() -> None:
    """RFC 6298 §5.5 and §2.5."""
    script = Script(Config(max_rto=1.0)).established()
    script.play("0 send 10\n> PA seq=1 len=10")
    for at_ms in (200, 600, 1400, 2400, 3400, 4400):
        script.play(f"{at_ms} > PA seq=1 len=10")


def test_acknowledgement_restarts_the_timer() -> None:
    """RFC 6298 §5.3: what is still outstanding gets a full RTO from the last news on."""
    script = Script().established()
    script.play("""
        0    send 2000
        0    > A seq=1 len=1000
        0    > PA seq=1001 len=1000
        150  < A seq=1 ack=1001
        367.5 > PA seq=1001 len=1000
    """)


def rto_after(*rtts_ms: float) -> float:
    """The RTO in milliseconds after these measurements, by RFC 6298 §2."""
    srtt, var = rtts_ms[0], rtts_ms[0] / 2
    for rtt in rtts_ms[1:]:
        var = 0.75 * var + 0.25 * abs(srtt - rtt)
        srtt = 0.875 * srtt + 0.125 * rtt
    return srtt + max(190.0, 4 * var)


def test_smoothing() -> None:
    """RFC 6298 §2.3: RTTVAR with the old SRTT, then SRTT."""
    script = Script().established(rtt_ms=100)
    rtts = [100.0, 250.0, 50.0, 300.0]
    for index, rtt in enumerate(rtts[1:]):
        script.play(f"+100 send 1\n> PA seq={1 + index} len=1\n+{rtt} < A seq=1 ack={2 + index}")
    assert script.conn.sender.rtt.rto_s * 1e3 == pytest.approx(rto_after(*rtts), abs=0.1)
    info = script.conn.info(script.now_s)
    assert info.srtt_s is not None
    assert info.min_rtt_s == pytest.approx(0.05)


def test_all_acknowledged_stops_the_timer() -> None:
    """RFC 6298 §5.2."""
    script = Script().established()
    script.play("0 send 10\n> PA seq=1 len=10\n10 < A seq=1 ack=11\n999999 quiet")


def test_timeout_sends_one_segment_and_slow_start_the_rest() -> None:
    """RFC 6298 §5.4, RFC 5681 §3.1: the loss window is one segment; then it doubles."""
    script = Script().established()
    script.play(f"""
        {TEN}
        200  > A seq=1 len=1000
        210  < A seq=1 ack=1001
        210  > A seq=1001 len=1000 x2
        220  < A seq=1 ack=3001
        220  > A seq=3001 len=1000 x4
        230  < A seq=1 ack=7001
        230  > A seq=7001 len=1000 x2
        230  > PA seq=9001 len=1000
        240  < A seq=1 ack=10001
        9999 quiet
    """)
    assert script.conn.sender.cc.ssthresh == 5000


def test_repeated_timeouts_halve_once() -> None:
    """RFC 5681 §3.1: ssthresh is set by the first timeout of a segment, not by its repetitions."""
    script = Script().established()
    script.play(f"{TEN}\n200 > A seq=1 len=1000\n600 > A seq=1 len=1000\n1400 > A seq=1 len=1000")
    assert script.conn.sender.cc.ssthresh == 5000


def test_timeout_reopens_every_question_once() -> None:
    """RFC 6675 §5.1: blocks that come after it do not condemn what it has just sent again."""
    script = Script().established()
    script.play(f"""
        {FIVE}
        200  > A seq=1 len=1000
        205  < A seq=1 ack=1 sack=1001-4001
        205  > PA seq=4001 len=1000
        210  < A seq=1 ack=4001
        215  < A seq=1 ack=5001
        9999 quiet
    """)


def test_timestamps_measure_retransmissions() -> None:
    """RFC 7323 §4.1 (in place of Karn): the echo tells which transmission came through."""
    script = Script().established(rtt_ms=100)
    script.play("0 send 10\n> PA seq=1 len=10")
    first = script.last_tsval
    script.play(f"300 > PA seq=1 len=10\n320 < A seq=1 ack=11 ecr={first}")
    rtt = script.conn.sender.rtt
    assert rtt.latest_s == pytest.approx(0.32, abs=1e-5)
    again_ms = 400 + rto_after(100, 320)
    script.play(f"400 send 10\n> PA seq=11 len=10\n{again_ms} > PA seq=11 len=10")
    script.play("+20 < A seq=1 ack=21")
    assert rtt.latest_s == pytest.approx(0.02, abs=1e-5)
    assert rtt.backoff == 0


def test_repeated_segment_is_echoed_by_its_own_timestamp() -> None:
    """RFC 7323 §4.3, (2): SEG.SEQ <= Last.ACK.sent and a newer TSval, so it is echoed.

    The ACK of the first copy was lost. An echo of the first copy's time would make the sender
    measure its own timeout as a round trip, and back off until it gives up.
    """
    script = Script().established()
    script.play("""
        0    < A seq=1 ack=1 len=2000 ts=100010000
        25   > A ack=2001 ecr=100010000
        400  < A seq=1 ack=1 len=2000 ts=100410000
        400  > A ack=2001 ecr=100410000 sack=1-2001
    """)


@pytest.mark.parametrize("echo", ["0", "5", str(1 << 31)])
def test_echo_that_was_never_sent_measures_nothing(echo: str) -> None:
    """RFC 7323 §4.1: a round trip longer than the connection's life is no round trip."""
    script = Script().established()
    before = script.conn.sender.rtt.srtt_s
    script.play(f"0 send 10\n> PA seq=1 len=10\n10 < A seq=1 ack=11 ecr={echo}")
    assert script.conn.sender.rtt.srtt_s == before
    assert script.conn.sender.outstanding == 0


def test_selectively_acknowledged_data_is_not_sent_again() -> None:
    """RFC 6675 §5.1: the timeout keeps what SACK blocks told. What RACK had sent again after a
    quarter of a round trip is lost, too."""
    script = Script().established()
    script.play(f"""
        {FIVE}
        10   < A seq=1 ack=1 sack=1001-2001,3001-4001
        12.5 > A seq=1 len=1000
        12.5 quiet
        212.5 > A seq=1 len=1000
        220  < A seq=1 ack=2001 sack=3001-4001
        220  > A seq=2001 len=1000
        220  > PA seq=4001 len=1000
        230  < A seq=1 ack=5001
        9999 quiet
    """)


def test_reneging_receiver() -> None:
    """RFC 2018 §8: after a timeout SACK blocks that the left edge contradicts are forgotten."""
    script = Script().established()
    script.play(f"""
        {FIVE}
        10   < A seq=1 ack=1 sack=1001-3001
        12.5 > A seq=1 len=1000
        20   < A seq=1 ack=1001
        219.6875 > A seq=1001 len=1000
        230  < A seq=1 ack=2001
        230  > A seq=2001 len=1000 x2
        240  < A seq=1 ack=4001
        240  > PA seq=4001 len=1000
        250  < A seq=1 ack=5001
        9999 quiet
    """)


# -- fast retransmit with SACK -------------------------------------------------------------


def test_fast_retransmit_at_the_third_sacked_segment() -> None:
    """RFC 8985 §6.2, step 4: not yet at two, at three; once; the window is halved."""
    script = Script().established()
    script.play(f"""
        {TEN}
        10  < A seq=1 ack=1 sack=1001-2001
        11  < A seq=1 ack=1 sack=1001-3001
        11  quiet
        12  < A seq=1 ack=1 sack=1001-4001
        12  > A seq=1 len=1000
        13  < A seq=1 ack=1 sack=1001-5001
        14  < A seq=1 ack=1 sack=1001-6001
        20  < A seq=1 ack=10001
        20  quiet
    """)
    assert script.conn.sender.cc.ssthresh == 5000  # half of FlightSize (RFC 5681 §3.2, equation 4)
    assert script.conn.stats.fast_recoveries == 1


def test_three_separate_blocks_are_three_duplicates() -> None:
    """RFC 8985 §6.2, step 4: DupThresh segments are selectively acknowledged, small as they may
    be, and order was never seen broken: what was sent before them is lost without waiting."""
    script = Script().established()
    for index in range(8):
        script.play(f"0 send 10\n> PA seq={1 + 10 * index} len=10")
    script.play("""
        10  < A seq=1 ack=1 sack=11-21
        11  < A seq=1 ack=1 sack=31-41,11-21
        12  < A seq=1 ack=1 sack=51-61,31-41,11-21
        12  > A seq=1 len=10
        12  > A seq=21 len=10
        12  > A seq=41 len=10
    """)


def test_no_second_halving_in_one_window() -> None:
    """RFC 6582 §3.2, RFC 6675 §5: several losses of one window are one congestion event."""
    script = Script().established()
    script.play(f"""
        {TEN}
        10  < A seq=1 ack=1 sack=1001-4001
        10  > A seq=1 len=1000
        11  < A seq=1 ack=1 sack=5001-8001,1001-4001
        11  > A seq=4001 len=1000
        20  < A seq=1 ack=10001
    """)
    assert script.conn.stats.fast_recoveries == 1
    assert script.conn.sender.cc.ssthresh == 5000


def test_next_window_may_halve_again() -> None:
    """RFC 6582 §3.2: a loss of what was sent after the recovery began is a new event."""
    script = Script().established()
    script.play(f"""
        {TEN}
        10  < A seq=1 ack=1 sack=1001-4001
        10  > A seq=1 len=1000
        20  < A seq=1 ack=10001
        20  send 4000
        20  > A seq=10001 len=1000 x3
        20  > PA seq=13001 len=1000
        30  < A seq=1 ack=10001 sack=11001-14001
        30  > A seq=10001 len=1000
    """)
    assert script.conn.stats.fast_recoveries == 2


def test_lost_retransmission_waits_for_the_timer_if_nothing_was_sent_behind_it() -> None:
    """RFC 8985 §6.2: only what was sent after it could show that it is lost; then it is the
    RTO's, which counts from the last sign of life: while data arrives, time tells."""
    script = Script().established()
    script.play(f"""
        {FIVE}
        10   < A seq=1 ack=1 sack=1001-4001
        10   > A seq=1 len=1000
        12   < A seq=1 ack=1 sack=1001-5001
        12   quiet
        212.25 > A seq=1 len=1000
    """)


@pytest.mark.parametrize(
    "blocks", ["10001-11001", "9001-10002", "-999-1", "3001-2001", "1-1", "1-2001", "0-99"]
)
def test_blocks_that_cannot_be_are_ignored(blocks: str) -> None:
    """RFC 2018 §5 and RFC 5961 §5: beyond SND.NXT, below SND.UNA, empty, inverted."""
    script = Script().established()
    script.play(TEN)
    left, right = blocks.rsplit("-", 1)
    iss = script.iss
    pair = ((int(left) + iss) & 0xFFFF_FFFF, (int(right) + iss) & 0xFFFF_FFFF)
    segment = script.segment("A", seq="1", ack="1", sack="1-2")
    options = segment.options._replace(sack=(pair,) * 3)
    script.conn.arrive(segment._replace(options=options), script.now_s)
    assert not script.conn.sender.ledger.sacked
    script.play("150 quiet")


# -- fast retransmit without SACK ----------------------------------------------------------


def test_three_duplicate_acks() -> None:
    """RFC 5681 §3.2: not at two, at three; the fourth sends nothing old again."""
    script = Script().established(options=NO_SACK)
    script.play(f"""
        {TEN}
        10  < A seq=1 ack=1
        11  < A seq=1 ack=1
        11  quiet
        12  < A seq=1 ack=1
        12  > A seq=1 len=1000
        13  < A seq=1 ack=1
        20  < A seq=1 ack=10001
        20  quiet
    """)
    assert script.conn.stats.fast_recoveries == 1


def test_partial_acknowledgements_show_the_next_hole() -> None:
    """RFC 6582 §3.2, step 3: one retransmission a round trip, no further halving."""
    script = Script().established(options=NO_SACK)
    script.play(f"""
        {TEN}
        10  < A seq=1 ack=1
        10  < A seq=1 ack=1
        10  < A seq=1 ack=1
        10  > A seq=1 len=1000
        20  < A seq=1 ack=3001
        20  > A seq=3001 len=1000
        30  < A seq=1 ack=6001
        30  > A seq=6001 len=1000
        40  < A seq=1 ack=10001
        40  quiet
    """)
    assert script.conn.stats.fast_recoveries == 1
    assert not script.conn.sender.in_recovery


def test_duplicates_let_new_data_out() -> None:
    """RFC 6582 §3.2, step 2: each duplicate stands for a segment that has left the network."""
    script = Script().established(options=NO_SACK)
    script.play(f"{TEN}\n0 send 3000\n10 < A seq=1 ack=1\n> A seq=10001 len=1000")
    script.play("10 < A seq=1 ack=1\n> A seq=11001 len=1000")
    script.play("10 < A seq=1 ack=1\n> A seq=1 len=1000")


@pytest.mark.parametrize("line", ["A seq=1 ack=1 win=60000", "PA seq=1 ack=1 len=1"])
def test_what_is_no_duplicate(line: str) -> None:
    """RFC 5681 §2: a window update or a segment with data is no duplicate ACK."""
    script = Script().established(options=NO_SACK)
    script.play(TEN)
    script.play("10 < A seq=1 ack=1\n< A seq=1 ack=1")
    script.play(f"11 < {line}\nquiet")
    assert script.conn.stats.fast_recoveries == 0


def test_duplicates_with_nothing_outstanding_mean_nothing() -> None:
    """RFC 5681 §2 (a): a duplicate ACK needs outstanding data."""
    script = Script().established(options=NO_SACK)
    script.play("0 < A seq=1 ack=1\n< A seq=1 ack=1\n< A seq=1 ack=1\n< A seq=1 ack=1\nquiet")
    script.play(TEN)
    assert script.conn.sender.dup_acks.count == 0


def test_no_fast_retransmit_of_what_a_timeout_sent_again() -> None:
    """RFC 6582 §4.1: duplicates caused by the go-back after a timeout do not halve again."""
    script = Script().established(options=NO_SACK)
    script.play(f"{FIVE}\n200 > A seq=1 len=1000")
    script.play("210 < A seq=1 ack=1\n< A seq=1 ack=1\n< A seq=1 ack=1\n< A seq=1 ack=1\nquiet")
    assert script.conn.stats.fast_recoveries == 0
