"""rudp.congestion.cubic against RFC 9438, rule by rule; test_equations.py has whole curves."""

from __future__ import annotations

import math

import pytest

from rudp.congestion import Cubic

from .support import MSS, RTT_S, ack, round_trip

C = 0.4
BETA = 0.7
ALPHA = 3 * 0.3 / 1.7


def with_window(cwnd: int) -> Cubic:
    """A controller in slow start that has come to a window of `cwnd` bytes."""
    controller = Cubic(MSS)
    controller.cwnd = cwnd
    return controller


def after_loss(cwnd: int, now_s: float = 0.0) -> Cubic:
    """A controller that has lost something, for the first time, at a window of `cwnd` bytes."""
    controller = with_window(cwnd)
    controller.on_congestion(now_s, cwnd)
    controller.on_recovered(now_s)
    return controller


def play(
    controller: Cubic, seconds: float, *, start_s: float = 0.0, srtt_s: float = RTT_S
) -> float:
    """Round trips of a sender that uses its window, for `seconds`; when they ended."""
    now_s = start_s
    while now_s < start_s + seconds - 1e-9:
        round_trip(controller, 8 * MSS, now_s=now_s, srtt_s=srtt_s)
        now_s += srtt_s
    return now_s


# -- slow start ----------------------------------------------------------------------------------


def test_slow_start_doubles() -> None:
    """§4.10, RFC 5681 §3.1."""
    controller = Cubic(MSS)
    for doubling in range(1, 6):
        round_trip(controller)
        assert controller.cwnd == 10 * MSS << doubling
    assert controller.ssthresh == math.inf


def test_slow_start_ends_at_ssthresh() -> None:
    """RFC 5681 §3.1: no ACK carries the window across."""
    controller = with_window(100 * MSS)
    controller.on_timeout(0.0, 100 * MSS, first=True)
    for _ in range(7):
        round_trip(controller, MSS)
    assert controller.ssthresh == 70 * MSS
    assert 70 * MSS <= controller.cwnd < 71 * MSS, "the rest of the round is avoidance"


def test_an_unused_window_does_not_grow() -> None:
    """§5.8: CUBIC does not increase its window if a flow is application-limited."""
    controller = Cubic(MSS)
    for _ in range(20):
        round_trip(controller, flight=5 * MSS)
    assert controller.cwnd == 10 * MSS
    controller = after_loss(100 * MSS)
    for second in range(20):
        round_trip(controller, flight=10 * MSS, now_s=float(second))
    assert controller.cwnd == 70 * MSS


def test_one_ack_of_everything_after_a_timeout_opens_no_burst() -> None:
    """RFC 3465 §2.3: what was in flight bounds the growth, not what an ACK covers."""
    controller = with_window(100 * MSS)
    controller.on_timeout(0.0, 100 * MSS, first=True)
    controller.on_ack(ack(100 * MSS, MSS))
    assert controller.cwnd == 2 * MSS


# -- the window increase function ----------------------------------------------------------------


def test_k_is_when_the_window_is_back() -> None:
    """§4.2, equation 2: K = cbrt((W_max - cwnd_epoch) / C); the plateau is there."""
    controller = after_loss(1000 * MSS)
    assert controller.cwnd == 700 * MSS
    k_s = (300 / C) ** (1 / 3)
    # target is W_cubic(t + RTT): the window is a round trip ahead of the curve at most.
    play(controller, k_s)
    assert controller.cwnd / MSS == pytest.approx(1000, abs=1)
    play(controller, 1.0, start_s=math.ceil(k_s / RTT_S) * RTT_S)
    assert controller.cwnd / MSS == pytest.approx(1000 + C, abs=1), "a second after the plateau"


def test_growth_does_not_depend_on_the_round_trip_time() -> None:
    """§3.3: a function of the time. 200 ms or 100 ms, three seconds later it is the same."""
    windows = []
    for srtt_s in (0.05, 0.1, 0.2):
        controller = after_loss(1000 * MSS)
        play(controller, 3.0, srtt_s=srtt_s)
        windows.append(controller.cwnd / MSS)
    k_s = (300 / C) ** (1 / 3)
    for window in windows:
        assert window == pytest.approx(1000 - C * (k_s - 3) ** 3, abs=8)


@pytest.mark.parametrize("per_ack", [777, 2 * MSS, 64 * MSS])
def test_acks_of_trains_count_for_all_their_segments(per_ack: int) -> None:
    """§4.4: (target - cwnd) / cwnd for an ACK, which answered one segment, or two; by bytes it
    is the same for every train."""
    controller = after_loss(1000 * MSS)
    for number in range(20):
        round_trip(controller, per_ack, now_s=number * RTT_S)
    k_s = (300 / C) ** (1 / 3)
    assert controller.cwnd / MSS == pytest.approx(1000 - C * (k_s - 2) ** 3, abs=5)


def test_growth_is_slower_than_in_slow_start() -> None:
    """§4.2: target is no more than 1.5 * cwnd, however far the curve has run away."""
    controller = after_loss(100 * MSS)
    round_trip(controller)
    before = controller.cwnd
    controller.on_ack(ack(before, before, now_s=1000.0))
    assert controller.cwnd == pytest.approx(1.5 * before, abs=2)


def test_the_curve_never_makes_the_window_smaller() -> None:
    """§4.2: target is no less than cwnd. A smaller RTT leaves the curve behind the window."""
    controller = after_loss(1000 * MSS)
    play(controller, 1.0, srtt_s=1.0)
    before = controller.cwnd
    controller.on_ack(ack(MSS, before, now_s=1.0, srtt_s=0.001))
    assert controller.cwnd >= before


# -- the Reno-friendly region --------------------------------------------------------------------


def test_the_reno_friendly_region() -> None:
    """§4.3, equation 4: at 10 segments and 10 ms the cubic is slower than AIMD(alpha, 0.7)."""
    controller = after_loss(20 * MSS)
    for number in range(8):
        round_trip(controller, MSS, now_s=number * 0.01, srtt_s=0.01)
    # Eight rounds of alpha segments each, less what the window grows within a round.
    assert controller.cwnd / MSS == pytest.approx(14 + 8 * ALPHA, abs=0.3)


def test_alpha_is_one_beyond_the_window_of_the_loss() -> None:
    """§4.3: once W_est >= cwnd_prior, as fast as Reno. Before that alpha is 0.53."""
    controller = after_loss(20 * MSS)
    rounds = 0
    while controller.cwnd < 20 * MSS:
        round_trip(controller, MSS, now_s=rounds * 0.001, srtt_s=0.001)
        rounds += 1
    assert rounds == pytest.approx(6 / ALPHA, abs=1)
    before = controller.cwnd
    for number in range(rounds, rounds + 10):
        round_trip(controller, MSS, now_s=number * 0.001, srtt_s=0.001)
    assert (controller.cwnd - before) / MSS == pytest.approx(10, abs=0.3)


# -- multiplicative decrease ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cwnd", "flight", "ssthresh"),
    [
        (100 * MSS, 100 * MSS, 70 * MSS),
        (100 * MSS, 50 * MSS, 35 * MSS),  # flight_size, where the sender did not use its window
        (100 * MSS, 140 * MSS, 70 * MSS),  # limited transmit does not count (RFC 5681 §3.2)
        (9_999, 9_999, 6_999),
        (2 * MSS, 2 * MSS, 2 * MSS),
        (MSS, MSS, 2 * MSS),
    ],
)
def test_multiplicative_decrease(cwnd: int, flight: int, ssthresh: int) -> None:
    """§4.6: ssthresh = flight_size * 0.7; after a loss cwnd is at least two segments."""
    controller = with_window(cwnd)
    controller.on_congestion(1.0, flight)
    assert controller.ssthresh == controller.cwnd == ssthresh
    assert type(controller.cwnd) is int


@pytest.mark.parametrize(
    ("window", "cwnd", "ssthresh"),
    [(20, 14, 14), (3, 2.1, 2.1), (2, 1.4, 2), (1, 1, 2)],
)
def test_marks_bring_the_window_down_to_one_segment(
    window: int, cwnd: float, ssthresh: float
) -> None:
    """§4.6: on ECE cwnd is at least one segment, ssthresh two."""
    controller = with_window(window * MSS)
    controller.on_congestion(1.0, window * MSS, marked=True)
    assert controller.cwnd == pytest.approx(cwnd * MSS, abs=1)
    assert controller.ssthresh == pytest.approx(ssthresh * MSS, abs=1)


def test_the_window_stands_still_during_recovery() -> None:
    """§4.2, RFC 6675 §5: growth is congestion avoidance's. Its stage begins after recovery."""
    controller = with_window(1000 * MSS)
    controller.on_congestion(0.0, 1000 * MSS)
    for number in range(1000):
        controller.on_ack(ack(MSS, 700 * MSS, now_s=number / 100, in_recovery=True))
    assert controller.cwnd == 700 * MSS
    controller.on_recovered(10.0)
    play(controller, 3.0, start_s=10.0)
    k_s = (300 / C) ** (1 / 3)
    assert controller.cwnd / MSS == pytest.approx(1000 - C * (k_s - 3) ** 3, abs=5)


def test_fast_convergence() -> None:
    """§4.7: a loss below the last W_max sets it to cwnd * (1 + 0.7) / 2: the plateau is there,
    and the flow that joined has time to catch up."""
    controller = after_loss(1000 * MSS)
    now_s = play(controller, 2.0)
    lost_at = controller.cwnd / MSS
    assert lost_at < 1000
    controller.on_congestion(now_s, controller.cwnd)
    w_max = lost_at * 1.7 / 2
    k_s = ((w_max - lost_at * BETA) / C) ** (1 / 3)
    play(controller, k_s, start_s=now_s)
    assert controller.cwnd / MSS == pytest.approx(w_max, abs=1)


def test_no_fast_convergence_at_or_above_the_last_maximum() -> None:
    """§4.7: otherwise W_max is cwnd."""
    controller = after_loss(100 * MSS)
    now_s = play(controller, 8.0)
    lost_at = controller.cwnd / MSS
    assert lost_at > 101
    controller.on_congestion(now_s, controller.cwnd)
    k_s = (lost_at * 0.3 / C) ** (1 / 3)
    play(controller, k_s, start_s=now_s)
    assert controller.cwnd / MSS == pytest.approx(lost_at, abs=1)


# -- timeouts ------------------------------------------------------------------------------------


def test_a_timeout() -> None:
    """§4.8: cwnd as Reno, one segment; ssthresh by 0.7. Repeated ones hold it (RFC 5681 §3.1)."""
    controller = with_window(100 * MSS)
    controller.on_timeout(1.0, 100 * MSS, first=True)
    assert (controller.cwnd, controller.ssthresh) == (MSS, 70 * MSS)
    controller.on_timeout(2.0, MSS, first=False)
    assert (controller.cwnd, controller.ssthresh) == (MSS, 70 * MSS)


def test_the_first_stage_after_a_timeout() -> None:
    """§4.8: K is 0 and W_max is cwnd at its beginning: convex from there. With K and W_max of
    the loss it would climb 90 segments in the first second."""
    controller = with_window(1000 * MSS)
    controller.on_timeout(0.0, 1000 * MSS, first=True)
    controller.cwnd = 700 * MSS
    play(controller, 4.0, srtt_s=0.5)
    reno = 8 * ALPHA
    assert controller.cwnd / MSS == pytest.approx(700 + max(C * 4**3, reno), abs=12)
    controller = with_window(1000 * MSS)
    controller.on_timeout(0.0, 1000 * MSS, first=True)
    controller.cwnd = 700 * MSS
    play(controller, 1.0, srtt_s=0.5)
    assert controller.cwnd / MSS < 703


# -- spurious congestion -------------------------------------------------------------------------


def test_a_loss_that_was_none_is_undone() -> None:
    """§4.9.2: cwnd, cwnd_prior, ssthresh, W_max, K, t_epoch and W_est: it goes on as if nothing
    had been, the time that passed included."""
    controller, twin = after_loss(1000 * MSS), after_loss(1000 * MSS)
    now_s = play(controller, 2.0)
    play(twin, 2.0)
    controller.on_congestion(now_s, controller.cwnd)
    controller.on_ack(ack(MSS, MSS, now_s=now_s, in_recovery=True))
    controller.on_spurious(now_s + 0.01)
    assert (controller.cwnd, controller.ssthresh) == (twin.cwnd, twin.ssthresh)
    play(controller, 8.0, start_s=now_s)
    play(twin, 8.0, start_s=now_s)
    assert controller.cwnd == pytest.approx(twin.cwnd, abs=2)
    controller.on_congestion(20.0, controller.cwnd)
    twin.on_congestion(20.0, twin.cwnd)
    play(controller, 5.0, start_s=20.0)
    play(twin, 5.0, start_s=20.0)
    assert controller.cwnd == pytest.approx(twin.cwnd, abs=4)


def test_without_an_undo_it_is_far_behind() -> None:
    """The counter-example to the test before."""
    controller, twin = after_loss(1000 * MSS), after_loss(1000 * MSS)
    now_s = play(controller, 2.0)
    play(twin, 2.0)
    controller.on_congestion(now_s, controller.cwnd)
    play(controller, 3.0, start_s=now_s)
    play(twin, 3.0, start_s=now_s)
    assert controller.cwnd < twin.cwnd - 100 * MSS


def test_a_timeout_that_was_none_is_undone() -> None:
    """§4.9.1: the state before the first of them."""
    controller = after_loss(1000 * MSS)
    now_s = play(controller, 2.0)
    before = (controller.cwnd, controller.ssthresh)
    controller.on_timeout(now_s, controller.cwnd, first=True)
    controller.on_timeout(now_s + 1, MSS, first=False)
    controller.on_spurious(now_s + 2)
    assert (controller.cwnd, controller.ssthresh) == before


def test_a_window_that_has_grown_again_is_not_taken_back() -> None:
    """§4.9.2: if cwnd < cwnd_prior; in rare cases it is not any more."""
    controller = after_loss(100 * MSS)
    now_s = play(controller, 8.0)
    before = (controller.cwnd, controller.ssthresh)
    assert before[0] > 100 * MSS
    controller.on_spurious(now_s)
    assert (controller.cwnd, controller.ssthresh) == before


def test_an_undo_happens_once() -> None:
    controller = with_window(100 * MSS)
    controller.on_congestion(1.0, 100 * MSS)
    controller.on_spurious(1.1)
    assert controller.cwnd == 100 * MSS
    controller.on_congestion(2.0, 100 * MSS, marked=True)
    controller.on_spurious(2.1)
    assert controller.cwnd == 70 * MSS, "a mark is never spurious, and the loss was undone"


# -- idle and application-limited ----------------------------------------------------------------


def test_time_without_use_of_the_window_does_not_count() -> None:
    """§4.2: t MUST NOT include periods in which cwnd has not been updated because the flow was
    application-limited; §5.8: otherwise W_cubic(t) might be very high afterwards."""
    controller, twin = after_loss(1000 * MSS), after_loss(1000 * MSS)
    play(controller, 2.0)
    play(twin, 2.0)
    for number in range(20, 620):
        round_trip(controller, flight=10 * MSS, now_s=number * RTT_S)
    assert controller.cwnd == twin.cwnd
    play(controller, 2.0, start_s=62.0)
    play(twin, 2.0, start_s=2.0)
    assert controller.cwnd == pytest.approx(twin.cwnd, abs=2 * MSS)


def test_a_pause_does_not_count() -> None:
    """§5.8: idle periods are such periods; the ACK that ends one comes with the window in use.
    Asked to send, the connection may tell of the same pause more than once."""
    controller, twin = after_loss(1000 * MSS), after_loss(1000 * MSS)
    play(controller, 2.0)
    play(twin, 2.0)
    for idle_s in (5.0, 10.0, 15.0):
        controller.on_idle(idle_s, 20.0)
    play(controller, 2.0, start_s=17.0)
    play(twin, 2.0, start_s=2.0)
    assert controller.cwnd == pytest.approx(twin.cwnd, abs=8 * MSS)


def test_a_pause_that_nobody_told_of_counts() -> None:
    """The counter-example to the test before: fifteen seconds are nearly a plateau away."""
    controller, twin = after_loss(1000 * MSS), after_loss(1000 * MSS)
    play(controller, 2.0)
    play(twin, 2.0)
    play(controller, 2.0, start_s=17.0)
    play(twin, 2.0, start_s=2.0)
    assert controller.cwnd > twin.cwnd + 100 * MSS


def test_after_idling_the_restart_window() -> None:
    """RFC 5681 §4.1: min(IW, cwnd) after more than an RTO, slow start up to ssthresh, and from
    there a stage that begins with the last W_max."""
    controller = after_loss(100 * MSS)
    now_s = play(controller, 1.0)
    before = controller.cwnd
    controller.on_idle(0.3, 0.3)
    assert controller.cwnd == before
    controller.on_idle(0.301, 0.3)
    assert (controller.cwnd, controller.ssthresh) == (10 * MSS, 70 * MSS)
    now_s = play(controller, 3 * RTT_S, start_s=now_s + 0.3)
    assert 70 * MSS <= controller.cwnd < 71 * MSS
    k_s = (30 / C) ** (1 / 3)
    play(controller, k_s, start_s=now_s)
    assert controller.cwnd / MSS == pytest.approx(100, abs=1)


def test_an_undo_after_idling_does_not_bring_the_old_window_back() -> None:
    """RFC 5681 §4.1 limits the window after an idle period, whatever it was before."""
    controller = after_loss(100 * MSS)
    controller.on_idle(10.0, 1.0)
    controller.on_spurious(11.0)
    assert controller.cwnd == 10 * MSS


# -- segment size, pacing ------------------------------------------------------------------------


def test_another_segment_size() -> None:
    """Windows keep their bytes, and the plateau of the last loss with them; K is of the new
    unit (§4.2). Never below one segment."""
    controller = after_loss(1000 * MSS)
    now_s = play(controller, 1.0)
    before = controller.cwnd
    controller.on_mss(1400)
    assert (controller.mss, controller.cwnd) == (1400, before)
    k_s = ((1000 * MSS - before) / 1400 / C) ** (1 / 3)
    play(controller, k_s, start_s=now_s)
    assert controller.cwnd / MSS == pytest.approx(1000, abs=2)
    controller.on_timeout(50.0, 0, first=True)
    controller.on_mss(9000)
    assert controller.cwnd == 9000


def test_pacing_follows_the_window() -> None:
    """Twice the window a round trip in slow start, 1.2 times from half of ssthresh on."""
    controller = Cubic(MSS)
    assert controller.pacing_rate is None
    controller.on_ack(ack(MSS, 10 * MSS, rtt_s=None, srtt_s=0.0))
    assert controller.pacing_rate is None
    controller.on_ack(ack(MSS, 10 * MSS, srtt_s=0.1))
    assert controller.pacing_rate == pytest.approx(2 * 12 * MSS / 0.1)
    controller.on_congestion(1.0, 12 * MSS)
    assert controller.pacing_rate == pytest.approx(1.2 * controller.cwnd / 0.1)
    controller.on_timeout(2.0, 8 * MSS, first=True)
    assert controller.pacing_rate == pytest.approx(2 * MSS / 0.1)
    controller.on_spurious(2.0)
    assert controller.pacing_rate == pytest.approx(1.2 * controller.cwnd / 0.1)
