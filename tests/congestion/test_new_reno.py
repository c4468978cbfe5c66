"""rudp.congestion.new_reno against RFC 5681, 6582, 3465 and 6928."""

from __future__ import annotations

import math

import pytest

from rudp.congestion import NewReno

from .support import MSS, ack, round_trip


def in_avoidance(cwnd: int) -> NewReno:
    """A controller in congestion avoidance with a window of `cwnd` bytes."""
    controller = with_window(2 * cwnd)
    controller.on_congestion(0.0, 2 * cwnd)
    controller.on_recovered(0.1)
    assert controller.cwnd == controller.ssthresh == cwnd
    return controller


def with_window(cwnd: int) -> NewReno:
    """A controller in slow start that has come to a window of `cwnd` bytes."""
    controller = NewReno(MSS)
    controller.cwnd = cwnd
    return controller


# -- the initial window --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mss", "window"),
    [
        (104, 1040),  # ten segments
        (536, 5360),
        (1176, 11_760),
        (1460, 14_600),  # ten segments are exactly 14,600 bytes
        (1461, 14_600),  # 14,600 bytes, which are less than ten segments
        (4312, 14_600),
        (7300, 14_600),  # two segments are exactly 14,600 bytes
        (7301, 14_602),  # two segments
        (8936, 17_872),
        (65_483, 130_966),
    ],
)
def test_initial_window(mss: int, window: int) -> None:
    """RFC 6928 §2: min(10 * MSS, max(2 * MSS, 14600))."""
    controller = NewReno(mss)
    assert NewReno.initial_window(mss) == controller.cwnd == window
    assert controller.ssthresh == math.inf, "RFC 5681 §3.1: arbitrarily high"
    assert controller.pacing_rate is None
    assert controller.mss == mss


# -- slow start ----------------------------------------------------------------------------------


@pytest.mark.parametrize("per_ack", [MSS, 2 * MSS, 777, 64 * MSS])
def test_slow_start_doubles_the_window_each_round_trip(per_ack: int) -> None:
    """RFC 5681 §3.1, RFC 3465 §2.2: by the bytes acknowledged, however many a train's ACK has."""
    controller = NewReno(MSS)
    windows = [controller.cwnd]
    for _ in range(6):
        round_trip(controller, per_ack)
        windows.append(controller.cwnd)
    assert windows == [10 * MSS << doubling for doubling in range(7)]


def test_slow_start_ends_at_ssthresh() -> None:
    """RFC 5681 §3.1: slow start while cwnd < ssthresh; no ACK carries it across."""
    controller = with_window(41 * MSS)
    controller.on_timeout(0.0, 41 * MSS, first=True)
    assert (controller.cwnd, controller.ssthresh) == (MSS, 20_500)
    for _ in range(5):
        round_trip(controller, MSS)
    assert controller.cwnd == 20_500, "1, 2, 4, 8, 16, and then not 32 but ssthresh"
    round_trip(controller)
    assert controller.cwnd == 21_500, "congestion avoidance from there"


def test_an_unused_window_does_not_grow_in_slow_start() -> None:
    """RFC 7661 (and RFC 2861): what was not used says nothing about the path."""
    controller = NewReno(MSS)
    for _ in range(100):
        round_trip(controller, flight=4 * MSS)
    assert controller.cwnd == 10 * MSS
    round_trip(controller)
    assert controller.cwnd == 20 * MSS


def test_few_bytes_in_flight_are_no_sign_of_an_unused_window() -> None:
    """RFC 7661 asks whether the window was used in the last round. At the last of a few
    bunched acknowledgements little is in flight, though it was."""
    controller = in_avoidance(10 * MSS)
    controller.on_ack(ack(9 * MSS, 10 * MSS))
    controller.on_ack(ack(MSS, MSS))
    assert controller.cwnd == 11 * MSS
    controller = NewReno(MSS)
    controller.on_ack(ack(9 * MSS, 10 * MSS))
    controller.on_ack(ack(MSS, MSS))
    assert controller.cwnd == 20 * MSS


@pytest.mark.parametrize("first", [True, False])
def test_one_ack_of_everything_after_a_timeout_opens_no_burst(first: bool) -> None:
    """RFC 3465 §2.3, where L is one segment after a timeout: one segment is in flight then, and
    its ACK may cover a whole window that had arrived all along."""
    controller = with_window(100 * MSS)
    controller.on_timeout(0.0, 100 * MSS, first=True)
    if not first:
        controller.on_timeout(1.0, MSS, first=False)
    controller.on_ack(ack(100 * MSS, MSS))
    assert controller.cwnd <= 2 * MSS


# -- congestion avoidance ------------------------------------------------------------------------


@pytest.mark.parametrize("per_ack", [MSS, 2 * MSS, 777])
@pytest.mark.parametrize("cwnd", [10 * MSS, 25_500, 333 * MSS])
def test_avoidance_grows_by_one_segment_each_round_trip(cwnd: int, per_ack: int) -> None:
    """RFC 5681 §3.1, RFC 3465 §2.1: one SMSS for each window of bytes acknowledged."""
    controller = in_avoidance(cwnd)
    acked = 0
    for round_ in range(1, 8):
        round_trip(controller, per_ack)
        assert controller.cwnd == cwnd + round_ * MSS
        acked += controller.cwnd
    assert controller.ssthresh == cwnd


def test_avoidance_counts_bytes_not_acknowledgements() -> None:
    """RFC 3465 §2.1: ACK division, a thousand ACKs of a byte each, is worth 1,000 bytes."""
    controller = in_avoidance(10 * MSS)
    for _ in range(9_999):
        controller.on_ack(ack(1, 10 * MSS))
    assert controller.cwnd == 10 * MSS
    controller.on_ack(ack(1, 10 * MSS))
    assert controller.cwnd == 11 * MSS


def test_an_unused_window_does_not_grow_in_avoidance() -> None:
    """RFC 7661: application-limited, so the window stays."""
    controller = in_avoidance(20 * MSS)
    for _ in range(100):
        round_trip(controller, flight=10 * MSS)
    assert controller.cwnd == 20 * MSS
    round_trip(controller)
    assert controller.cwnd == 21 * MSS


def test_an_ack_that_delivers_nothing_changes_nothing() -> None:
    controller = NewReno(MSS)
    before = (controller.cwnd, controller.ssthresh)
    controller.on_ack(ack(0, 10 * MSS))
    assert (controller.cwnd, controller.ssthresh) == before


# -- loss ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flight", "ssthresh"),
    [(100 * MSS, 50 * MSS), (9_999, 4_999), (5 * MSS, 2_500), (4 * MSS, 2_000), (MSS, 2_000)],
)
def test_a_loss_halves_the_window(flight: int, ssthresh: int) -> None:
    """RFC 5681 §3.1, equation (4): ssthresh = max(FlightSize / 2, 2 * SMSS); RFC 6675 §5 (4.2)
    sets cwnd to it, without the inflation of RFC 5681 §3.2."""
    controller = with_window(100 * MSS)
    controller.on_congestion(1.0, flight)
    assert controller.ssthresh == ssthresh
    assert controller.cwnd == ssthresh
    assert isinstance(controller.cwnd, int)


def test_limited_transmit_does_not_count() -> None:
    """RFC 5681 §3.2, step 2: what duplicate ACKs let out beyond the window is not in (4)."""
    controller = with_window(20 * MSS)
    controller.on_congestion(1.0, 25 * MSS)
    assert controller.cwnd == controller.ssthresh == 10 * MSS


@pytest.mark.parametrize(
    ("window", "cwnd", "ssthresh"), [(20, 10, 10), (4, 2, 2), (3, 1.5, 2), (2, 1, 2), (1, 1, 2)]
)
def test_marks_bring_the_window_down_to_one_segment(
    window: int, cwnd: float, ssthresh: float
) -> None:
    """RFC 3168 §5: a mark is answered as a loss is; §6.1.2: until the window is one segment."""
    controller = with_window(window * MSS)
    controller.on_congestion(1.0, window * MSS, marked=True)
    assert controller.cwnd == cwnd * MSS
    assert controller.ssthresh == ssthresh * MSS


def test_the_window_stands_still_during_recovery() -> None:
    """RFC 6582 §3.2, RFC 6675 §5: partial ACKs and SACKs do not grow it; the end of recovery
    leaves it at ssthresh."""
    controller = with_window(40 * MSS)
    controller.on_congestion(1.0, 40 * MSS)
    for _ in range(100):
        controller.on_ack(ack(2 * MSS, 20 * MSS, in_recovery=True))
    assert controller.cwnd == 20 * MSS
    controller.on_recovered(1.2)
    assert controller.cwnd == controller.ssthresh == 20 * MSS


def test_growth_before_a_loss_does_not_count_after_it() -> None:
    """RFC 3465 §2.1: bytes_acked begins anew with the new window."""
    controller = in_avoidance(10 * MSS)
    controller.on_ack(ack(4_999, 10 * MSS))
    controller.on_congestion(1.0, 10 * MSS)
    controller.on_recovered(1.1)
    controller.on_ack(ack(4_999, 5 * MSS))
    assert controller.cwnd == 5 * MSS
    controller.on_ack(ack(1, 5 * MSS))
    assert controller.cwnd == 6 * MSS


@pytest.mark.parametrize(
    ("flight", "ssthresh"), [(100 * MSS, 50 * MSS), (3 * MSS, 2 * MSS), (0, 2 * MSS)]
)
def test_a_timeout_falls_back_to_the_loss_window(flight: int, ssthresh: int) -> None:
    """RFC 5681 §3.1: cwnd MUST be no more than LW, one full-sized segment; ssthresh by (4)."""
    controller = with_window(100 * MSS)
    controller.on_timeout(1.0, flight, first=True)
    assert controller.cwnd == MSS
    assert controller.ssthresh == ssthresh


def test_further_timeouts_hold_ssthresh() -> None:
    """RFC 5681 §3.1: ssthresh is held constant when the same segment times out again."""
    controller = with_window(100 * MSS)
    controller.on_timeout(1.0, 100 * MSS, first=True)
    for _ in range(5):
        controller.on_timeout(2.0, MSS, first=False)
    assert controller.cwnd == MSS
    assert controller.ssthresh == 50 * MSS


def test_growth_before_a_timeout_does_not_count_after_it() -> None:
    controller = in_avoidance(10 * MSS)
    controller.on_ack(ack(9_999, 10 * MSS))
    controller.on_timeout(1.0, 4 * MSS, first=True)
    round_trip(controller, MSS)
    assert controller.cwnd == controller.ssthresh == 2 * MSS
    controller.on_ack(ack(MSS, 2 * MSS))
    assert controller.cwnd == 2 * MSS


# -- undo ----------------------------------------------------------------------------------------


def test_a_loss_that_was_none_is_undone() -> None:
    """RFC 3522, RFC 4015: cwnd and ssthresh are what they were before."""
    controller = in_avoidance(20 * MSS)
    round_trip(controller)
    controller.on_congestion(1.0, 21 * MSS)
    controller.on_spurious(1.1)
    assert (controller.cwnd, controller.ssthresh) == (21 * MSS, 20 * MSS)


def test_a_timeout_that_was_none_is_undone() -> None:
    """RFC 5682: also after it was repeated; slow start goes on without a threshold."""
    controller = with_window(40 * MSS)
    controller.on_timeout(1.0, 40 * MSS, first=True)
    controller.on_timeout(2.0, 40 * MSS, first=False)
    controller.on_spurious(3.0)
    assert (controller.cwnd, controller.ssthresh) == (40 * MSS, math.inf)


def test_only_the_last_reduction_is_undone() -> None:
    controller = with_window(40 * MSS)
    controller.on_congestion(1.0, 40 * MSS)
    controller.on_timeout(2.0, 20 * MSS, first=True)
    controller.on_spurious(3.0)
    assert (controller.cwnd, controller.ssthresh) == (20 * MSS, 20 * MSS)
    controller.on_spurious(3.0)
    assert (controller.cwnd, controller.ssthresh) == (20 * MSS, 20 * MSS)


def test_a_window_that_has_grown_again_is_not_taken_back() -> None:
    """RFC 9438 §4.9.2 says it for CUBIC; it is as true here: never narrower by an undo."""
    controller = with_window(4 * MSS)
    controller.on_congestion(1.0, 4 * MSS)
    for _ in range(3):
        round_trip(controller)
    assert controller.cwnd == 5 * MSS
    controller.on_spurious(2.0)
    assert (controller.cwnd, controller.ssthresh) == (5 * MSS, 2 * MSS)


def test_a_mark_is_never_spurious() -> None:
    """RFC 3168: a router said it. What is undone is a loss, and there was none since."""
    controller = with_window(40 * MSS)
    controller.on_congestion(1.0, 40 * MSS)
    controller.on_congestion(2.0, 20 * MSS, marked=True)
    controller.on_spurious(2.1)
    assert controller.cwnd == 10 * MSS


def test_an_undo_after_idling_does_not_bring_the_old_window_back() -> None:
    """RFC 5681 §4.1 limits the window after an idle period, whatever it was before."""
    controller = with_window(100 * MSS)
    controller.on_congestion(1.0, 100 * MSS)
    controller.on_idle(10.0, 1.0)
    controller.on_spurious(11.0)
    assert controller.cwnd == 10 * MSS


# -- pacing --------------------------------------------------------------------------------------


def test_no_pacing_before_the_first_round_trip_time() -> None:
    controller = NewReno(MSS)
    controller.on_ack(ack(MSS, 10 * MSS, rtt_s=None, srtt_s=0.0))
    assert controller.cwnd == 11 * MSS
    assert controller.pacing_rate is None


def test_pacing_follows_the_window() -> None:
    """Twice the window a round trip in slow start, 1.2 times from half of ssthresh on."""
    controller = NewReno(MSS)
    controller.on_ack(ack(MSS, 10 * MSS, srtt_s=0.1))
    assert controller.pacing_rate == pytest.approx(2 * 11 * MSS / 0.1)
    controller.on_ack(ack(MSS, 10 * MSS, srtt_s=0.05))
    assert controller.pacing_rate == pytest.approx(2 * 12 * MSS / 0.05)
    controller.on_congestion(1.0, 12 * MSS)
    assert controller.pacing_rate == pytest.approx(1.2 * 6 * MSS / 0.05)
    controller.on_spurious(1.0)
    assert controller.pacing_rate == pytest.approx(2 * 12 * MSS / 0.05)
    controller.on_timeout(1.0, 12 * MSS, first=True)
    assert controller.pacing_rate == pytest.approx(2 * MSS / 0.05)
    controller.on_mss(5 * MSS)
    assert controller.pacing_rate == pytest.approx(1.2 * 5 * MSS / 0.05)


def test_pacing_after_idling_follows_the_restart_window() -> None:
    controller = with_window(100 * MSS)
    controller.on_ack(ack(MSS, 100 * MSS, srtt_s=0.1))
    controller.on_idle(1.0, 0.3)
    assert controller.pacing_rate == pytest.approx(2 * 10 * MSS / 0.1)


def test_a_round_trip_too_short_to_be_true_is_no_infinite_rate() -> None:
    controller = NewReno(MSS)
    controller.on_ack(ack(MSS, 10 * MSS, srtt_s=5e-324))
    assert controller.pacing_rate == pytest.approx(2 * 11 * MSS / 1e-6)


# -- idle, segment size --------------------------------------------------------------------------


def test_after_idling_the_restart_window() -> None:
    """RFC 5681 §4.1: after more than an RTO without sending, cwnd <- min(IW, cwnd)."""
    controller = NewReno(MSS)
    for _ in range(3):
        round_trip(controller)
    assert controller.cwnd == 80 * MSS
    controller.on_idle(0.3, 0.3)
    assert controller.cwnd == 80 * MSS, "not more than an RTO"
    controller.on_idle(0.300_1, 0.3)
    assert controller.cwnd == 10 * MSS
    assert controller.ssthresh == math.inf


def test_idling_never_opens_a_smaller_window() -> None:
    """RFC 5681 §4.1: the minimum of the two."""
    controller = NewReno(MSS)
    controller.on_timeout(1.0, 10 * MSS, first=True)
    controller.on_idle(100.0, 0.3)
    assert controller.cwnd == MSS


def test_growth_before_idling_does_not_count_after_it() -> None:
    """RFC 3465 §2.1: what was acknowledged of the larger window would open the smaller one by a
    segment an ACK."""
    controller = in_avoidance(80 * MSS)
    controller.ssthresh = 5 * MSS
    controller.on_ack(ack(79 * MSS, 80 * MSS))
    controller.on_idle(10.0, 1.0)
    controller.on_ack(ack(9 * MSS, 10 * MSS))
    assert controller.cwnd == 10 * MSS
    controller.on_ack(ack(MSS, MSS))
    assert controller.cwnd == 11 * MSS


def test_another_segment_size() -> None:
    """Path MTU discovery: growth goes on in the new unit; never below one segment."""
    controller = in_avoidance(10 * MSS)
    controller.on_mss(1400)
    assert (controller.mss, controller.cwnd) == (1400, 10 * MSS)
    round_trip(controller)
    assert controller.cwnd == 10 * MSS + 1400
    controller.on_timeout(1.0, 0, first=True)
    controller.on_mss(9000)
    assert controller.cwnd == 9000


def test_sending_is_none_of_its_business() -> None:
    controller = NewReno(MSS)
    controller.on_sent(1.0, 5 * MSS, 5 * MSS)
    assert controller.cwnd == 10 * MSS


def test_the_textbook_sawtooth() -> None:
    """RFC 5681 §3.1 and §3.2 together: every 40 segments in flight one is lost."""
    controller = NewReno(MSS)
    peaks, rounds, since = [], 0, 0
    while len(peaks) < 4:
        round_trip(controller)
        rounds += 1
        since += 1
        if controller.cwnd >= 40 * MSS:
            peaks.append((since, controller.cwnd))
            controller.on_congestion(float(rounds), controller.cwnd)
            controller.on_recovered(rounds + 0.5)
            since = 0
    assert peaks == [(2, 40 * MSS), (20, 40 * MSS), (20, 40 * MSS), (20, 40 * MSS)]
