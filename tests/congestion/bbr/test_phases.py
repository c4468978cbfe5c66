"""BBR's state machine by hand (draft-ietf-ccwg-bbr §5.3)."""

from __future__ import annotations

import math

import pytest

from rudp.congestion.bbr import AckPhase, Bbr, Phase

from .hand import BDP, MSS, RATE, Fixed, Hand, in_cruise, in_drain, in_refill, in_startup, in_up

# -- Startup and Drain ---------------------------------------------------------------------------


def lossy_round(hand: Hand, ranges: int, lost: int, *, in_recovery: bool = True) -> None:
    """A round whose losses are told in `ranges`, `lost` bytes of a flight of BDP."""
    for _ in range(ranges):
        hand.lose(lost_since_sent=1)
    hand.ack(in_recovery=in_recovery)
    hand.ack(
        prior_delivered=hand.delivered,
        lost_since_sent=lost,
        in_recovery=in_recovery,
        in_flight=2 * BDP,
    )


def test_startup_ends_by_loss() -> None:
    """§5.3.1.3: a round in recovery, more than 2 % of it lost, in six ranges."""
    hand = in_startup()
    hand.cc.on_congestion(hand.now_s, BDP)
    lossy_round(hand, 6, 2001)
    assert hand.cc.phase is Phase.DRAIN
    assert hand.model.full_bw_reached
    assert hand.model.full_bw_now
    assert hand.cc.undo_phase is Phase.STARTUP
    assert hand.model.inflight_longterm == max(BDP, hand.model.inflight_latest)


@pytest.mark.parametrize(
    ("ranges", "lost", "in_recovery"),
    [(5, 10_000, True), (6, 2000, True), (6, 10_000, False)],
)
def test_startup_does_not_end_by_less_loss(ranges: int, lost: int, in_recovery: bool) -> None:
    """§5.3.1.3: all three criteria."""
    hand = in_startup()
    lossy_round(hand, ranges, lost, in_recovery=in_recovery)
    assert hand.cc.phase is Phase.STARTUP
    assert hand.model.inflight_longterm == math.inf


def test_startup_counts_ranges_by_the_round() -> None:
    """§5.3.1.3: "in that round trip"."""
    hand = in_startup()
    lossy_round(hand, 3, 10_000)
    lossy_round(hand, 3, 10_000)
    assert hand.cc.phase is Phase.STARTUP


def test_loss_ends_an_application_limited_startup() -> None:
    """Appendix, "Exiting STARTUP on Loss When Application-Limited"."""
    hand = in_startup()
    for _ in range(6):
        hand.lose(lost_since_sent=1)
    hand.ack(in_recovery=True, app_limited=True)
    hand.ack(
        prior_delivered=hand.delivered,
        lost_since_sent=5000,
        in_recovery=True,
        app_limited=True,
        in_flight=2 * BDP,
    )
    assert hand.cc.phase is Phase.DRAIN


def test_drain_ends_when_the_flight_is_the_bdp() -> None:
    """§5.3.2."""
    hand = in_drain()
    hand.ack(in_flight=BDP + 1)
    assert hand.cc.phase is Phase.DRAIN
    hand.ack(in_flight=BDP)
    assert hand.cc.in_probe_bw


def test_drain_ends_after_three_rounds() -> None:
    """§5.3.2: if the bandwidth was overestimated."""
    hand = in_drain()
    hand.round(3, in_flight=2 * BDP)
    assert hand.cc.phase is Phase.DRAIN
    hand.round(1, in_flight=2 * BDP)
    assert hand.cc.phase is Phase.DOWN


# -- ProbeBW -------------------------------------------------------------------------------------


def test_the_cycle() -> None:
    """§5.3.3: CRUISE, after 2 to 3 s REFILL for a round, UP until the rate stands, DOWN until
    drained, CRUISE."""
    hand = in_cruise()
    hand.ack(after_s=2.2)
    assert hand.cc.phase is Phase.CRUISE, "2.5 s were drawn"
    hand.ack(after_s=0.3)
    assert hand.cc.phase is Phase.REFILL
    hand.ack()
    assert hand.cc.phase is Phase.REFILL
    hand.round()
    assert hand.cc.phase is Phase.UP
    hand.round(2, in_flight=BDP * 5 // 4)
    assert hand.cc.phase is Phase.UP
    hand.round(1, in_flight=BDP * 5 // 4)
    assert hand.cc.phase is Phase.DOWN
    assert (hand.cc.pacing_gain, hand.cc.cwnd_gain) == (0.9, 2.0)
    hand.ack(in_flight=BDP + 1)
    assert hand.cc.phase is Phase.DOWN
    hand.ack(in_flight=BDP)
    assert hand.cc.phase is Phase.CRUISE


def test_down_leaves_headroom() -> None:
    """§5.3.3.1: at most 0.85 of the long-term bound in flight before it cruises."""
    hand = in_up()
    hand.round(3, in_flight=BDP * 5 // 4)
    hand.model.inflight_longterm = 100_000.0
    hand.ack(in_flight=85_001)
    assert hand.cc.phase is Phase.DOWN
    hand.ack(in_flight=85_000)
    assert hand.cc.phase is Phase.CRUISE


def test_down_ends_by_the_clock() -> None:
    """Appendix, "Exiting PROBE_DOWN After Max Time": straight to REFILL."""
    hand = in_up()
    hand.round(3, in_flight=BDP * 5 // 4)
    assert hand.cc.phase is Phase.DOWN
    hand.ack(in_flight=2 * BDP, after_s=2.51)
    assert hand.cc.phase is Phase.REFILL


def test_probing_after_as_many_rounds_as_reno_would_need() -> None:
    """§5.3.3.8.3: a round a segment of the BDP, 63 at most."""
    hand = in_cruise()
    hand.model.rounds_since_probe_up = 61
    hand.round(after_s=0.001)
    assert hand.cc.phase is Phase.CRUISE
    hand.round(after_s=0.001)
    assert hand.cc.phase is Phase.REFILL
    hand = in_cruise()
    hand.cc.cwnd = 20 * MSS
    hand.model.rounds_since_probe_up = 19
    hand.round(after_s=0.001, delivered=1)
    assert hand.cc.phase is Phase.REFILL, "congestion has cut the window to 20 segments"


def test_the_probes_feedback() -> None:
    """§2.14, §5.3.3.9: what acknowledgements tell of."""
    hand = in_refill()
    assert hand.cc.ack_phase is AckPhase.REFILLING
    hand.round()
    assert hand.cc.ack_phase is AckPhase.PROBE_STARTING
    hand.round(in_flight=BDP * 5 // 4)
    assert hand.cc.ack_phase is AckPhase.PROBE_FEEDBACK
    hand.round(2, in_flight=BDP * 5 // 4)
    assert hand.cc.ack_phase is AckPhase.PROBE_STOPPING
    assert hand.cc.is_bw_probe_sample
    hand.round(in_flight=BDP * 5 // 4)
    assert hand.cc.ack_phase is AckPhase.INIT
    assert not hand.cc.is_bw_probe_sample


def test_the_long_term_bound_grows_by_1_2_4_segments_a_round() -> None:
    """§5.3.3.5: while the window is used up and limited by it, spread over the round."""
    hand = in_up()
    hand.model.inflight_longterm = 100_000.0
    hand.cc.cwnd = 100_000
    hand.cc.bw_probe_up_rounds = 0
    hand.cc._raise_longterm_slope()
    grown = []
    for _ in range(4):
        before = hand.model.inflight_longterm
        for step in range(100):
            cwnd = hand.cc.cwnd
            hand.ack(
                delivered=cwnd // 100,
                prior_delivered=hand.delivered if step == 99 else 0,
                in_flight=cwnd,
                tx_in_flight=0,
                rate=RATE * 1.3,
            )
        grown.append(round((hand.model.inflight_longterm - before) / MSS))
    assert hand.cc.phase is Phase.UP
    assert grown == [1, 2, 4, 8]


def test_an_unused_window_does_not_raise_the_bound() -> None:
    """§5.3.3.9, ProbeInflightLongtermUpward: C.is_cwnd_limited."""
    hand = in_up()
    hand.model.inflight_longterm = 100_000.0
    hand.cc.cwnd = 100_000
    hand.cc._limited_now = hand.cc._limited_before = False
    for _ in range(300):
        hand.ack(in_flight=50_000, tx_in_flight=0)
    assert hand.model.inflight_longterm == 100_000


def test_what_flew_without_loss_is_safe() -> None:
    """§5.3.3.9, AdaptLongTermModel: the bound is at least that, in any state."""
    hand = in_cruise()
    hand.model.inflight_longterm = 50_000.0
    hand.ack(tx_in_flight=70_000, lost_since_sent=1401)
    assert hand.model.inflight_longterm == 50_000, "more than 2 % were lost"
    hand.ack(tx_in_flight=70_000, lost_since_sent=1400)
    assert hand.model.inflight_longterm == 70_000


def test_limited_by_the_bound_it_keeps_probing() -> None:
    """§5.3.3.7: the plateau is then the bound's, not the path's."""
    hand = in_up()
    hand.model.inflight_longterm = float(hand.cc.cwnd)
    hand.round(6, in_flight=hand.cc.cwnd - MSS // 2, delivered=1, tx_in_flight=0)
    assert hand.cc.phase is Phase.UP
    assert hand.model.full_bw_count == 0


def test_a_cautious_probe_after_one_that_went_too_far() -> None:
    """§5.3.3.6: it ends where the last one had lost; if that was safe, the next goes on."""
    hand = in_up()
    hand.model.inflight_longterm = 110_000.0
    hand.cc.prev_probe_too_high = True
    hand.ack(in_flight=100_000)
    assert hand.cc.phase is Phase.UP
    hand.ack(in_flight=109_500, prior_in_flight=110_000)
    assert hand.cc.phase is Phase.DOWN
    assert hand.cc.prev_probe_precautionary
    assert not hand.cc.prev_probe_too_high
    hand.round()
    assert hand.cc.phase is Phase.REFILL, "no cruise in between"
    assert not hand.cc.prev_probe_precautionary


def test_a_cautious_probe_that_loses_again() -> None:
    """§5.3.3.6: cruise first."""
    hand = in_up()
    hand.model.inflight_longterm = 110_000.0
    hand.cc.prev_probe_too_high = True
    hand.ack(in_flight=109_500, prior_in_flight=110_000)
    assert hand.cc.phase is Phase.DOWN
    hand.lose(tx_in_flight=110_000, lost_since_sent=11_000)
    hand.ack(in_flight=110_000)
    hand.round(in_flight=110_000)
    assert hand.cc.phase is Phase.DOWN
    assert hand.cc.prev_probe_too_high


# -- ProbeRTT ------------------------------------------------------------------------------------


def due_for_probe_rtt() -> Hand:
    """Five seconds without a shorter round trip, cruising."""
    hand = in_cruise(Bbr(MSS, rng=Fixed()))
    hand.cc.bw_probe_wait_s = 100.0
    hand.round(12, after_s=0.1)
    until_s = hand.model.probe_rtt_min_stamp_s + 5.0
    hand.ack(after_s=until_s - hand.now_s - 0.001, rtt_s=0.11)
    assert hand.cc.phase is Phase.CRUISE
    return hand


def test_probe_rtt() -> None:
    """§5.3.4: after 5 s, half a BDP for 200 ms and a round, then CRUISE with the old window."""
    hand = due_for_probe_rtt()
    cwnd = hand.cc.cwnd
    hand.ack(after_s=0.002, rtt_s=0.11)
    assert hand.cc.phase is Phase.PROBE_RTT
    assert (hand.cc.pacing_gain, hand.cc.cwnd_gain) == (1.0, 0.5)
    assert hand.cc.cwnd == BDP // 2
    hand.ack(in_flight=BDP // 2 + 1, after_s=1.0)
    assert hand.cc.probe_rtt_done_stamp_s is None, "counted from when the flight is that small"
    hand.ack(in_flight=BDP // 2, after_s=0.01)
    hand.round(in_flight=BDP // 2, after_s=0.19)
    assert hand.cc.phase is Phase.PROBE_RTT, "not yet 200 ms"
    hand.ack(in_flight=BDP // 2, after_s=0.011)
    assert hand.cc.phase is Phase.CRUISE
    assert hand.cc.cwnd == pytest.approx(cwnd, abs=2 * MSS)
    assert hand.model.probe_rtt_min_stamp_s == hand.now_s


def test_probe_rtt_lasts_a_round() -> None:
    """§5.3.4.3: on a long path longer than 200 ms."""
    hand = due_for_probe_rtt()
    hand.ack(after_s=0.002, rtt_s=0.11, in_flight=BDP // 2)
    hand.ack(in_flight=BDP // 2, after_s=0.5)
    assert hand.cc.phase is Phase.PROBE_RTT
    hand.round(in_flight=BDP // 2)
    assert hand.cc.phase is Phase.CRUISE


def test_samples_of_probe_rtt_count_as_application_limited() -> None:
    """§5.3.4.3, MarkConnectionAppLimited: what was sent in it does not age the filter."""
    hand = due_for_probe_rtt()
    hand.ack(after_s=0.002, rtt_s=0.11, in_flight=BDP // 2)
    hand.model.max_bw = 1.0
    hand.round(rate=0.5, in_flight=BDP // 2, after_s=0.01)
    assert hand.model.max_bw == 1.0, "a limited sample only raises it"
    hand.round(rate=0.5, in_flight=BDP // 2, after_s=0.3)
    assert hand.cc.phase is Phase.CRUISE
    hand.round(rate=0.6, in_flight=BDP // 2)
    assert hand.model.max_bw == 1.0, "sent before the end of it"


def test_a_shorter_round_trip_postpones_probe_rtt() -> None:
    """§5.3.4.1: on an as-needed basis."""
    hand = due_for_probe_rtt()
    hand.ack(after_s=0.0005, rtt_s=0.09)
    hand.ack(after_s=4.9, rtt_s=0.11)
    assert hand.cc.phase is Phase.CRUISE
    hand.ack(after_s=0.2, rtt_s=0.11)
    assert hand.cc.phase is Phase.PROBE_RTT


def test_idleness_excuses_from_probe_rtt() -> None:
    """§5.4.1 and the appendix: the queue is drained already."""
    hand = due_for_probe_rtt()
    hand.cc.on_idle(5.0, 0.3)
    hand.ack(after_s=5.0, rtt_s=0.12, in_flight=MSS)
    assert hand.cc.phase is not Phase.PROBE_RTT
    assert hand.model.probe_rtt_min_delay_s == 0.12


def test_probe_rtt_ends_in_idleness() -> None:
    """§5.4.1: a connection that fell silent in ProbeRTT restarts with its full window."""
    hand = due_for_probe_rtt()
    cwnd = hand.cc.cwnd
    hand.ack(after_s=0.002, rtt_s=0.11, in_flight=BDP // 2)
    hand.cc.on_sent(hand.now_s, MSS, MSS)
    hand.cc.on_idle(0.19, 0.3)
    assert hand.cc.phase is Phase.PROBE_RTT
    hand.cc.on_idle(0.21, 0.3)
    assert hand.cc.phase is Phase.CRUISE
    assert hand.cc.cwnd >= cwnd


def test_probe_rtt_in_startup_returns_to_startup() -> None:
    """§5.3.4.4 and the appendix."""
    hand = in_startup(Bbr(MSS, rng=Fixed()))
    hand.ack(after_s=5.1, rtt_s=0.12, app_limited=True)
    assert hand.cc.phase is Phase.PROBE_RTT
    hand.ack(in_flight=4 * MSS, app_limited=True)
    hand.round(in_flight=4 * MSS, after_s=0.3, app_limited=True)
    assert hand.cc.phase is Phase.STARTUP
    assert hand.cc.pacing_gain == 2.77
