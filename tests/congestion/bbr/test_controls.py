"""BBR's control parameters: pacing rate, quantum, window (draft-ietf-ccwg-bbr §5.6)."""

from __future__ import annotations

import math

import pytest

from rudp.congestion import CONTROLLERS
from rudp.congestion.bbr import Bbr, Phase

from .hand import BDP, MSS, RATE, RTT_S, Hand, in_cruise, in_drain, in_refill, in_startup, in_up


def test_it_is_known_by_name() -> None:
    assert CONTROLLERS["bbr"] is Bbr
    assert not Bbr.uses_prr
    assert not hasattr(Bbr(MSS), "__dict__")


def test_the_initial_pacing_rate() -> None:
    """§5.6.2: 2.77 initial windows a millisecond, and a round trip once that is known."""
    controller = Bbr(MSS)
    assert controller.pacing_rate == pytest.approx(2.77 * 10 * MSS / 0.001)
    hand = Hand(controller)
    hand.ack(0, rate=0.0, in_flight=0)
    assert controller.pacing_rate == pytest.approx(2.77 * 10 * MSS / RTT_S)
    assert controller.cwnd == 10 * MSS


def test_in_startup_the_pacing_rate_only_rises() -> None:
    """§5.6.2: samples of an application that sends little do not slow it down."""
    hand = Hand()
    hand.ack(0, rate=0.0, in_flight=0)
    rate = hand.cc.pacing_rate
    hand.round(2, rate=1000.0, app_limited=True)
    assert hand.cc.pacing_rate == rate
    hand.round(1, rate=RATE)
    assert hand.cc.pacing_rate == pytest.approx(2.77 * 0.99 * RATE)


@pytest.mark.parametrize(
    ("state", "phase", "pacing_gain", "cwnd_gain"),
    [
        (in_startup, Phase.STARTUP, 2.77, 2.0),
        (in_drain, Phase.DRAIN, 0.5, 2.0),
        (in_cruise, Phase.CRUISE, 1.0, 2.0),
        (in_refill, Phase.REFILL, 1.0, 2.0),
        (in_up, Phase.UP, 1.25, 2.25),
    ],
)
def test_the_gains(state, phase: Phase, pacing_gain: float, cwnd_gain: float) -> None:  # type: ignore[no-untyped-def]
    """§5.6.1's table, and 1 % below the bandwidth (§5.6.2)."""
    cc = state().cc
    assert cc.phase is phase
    assert (cc.pacing_gain, cc.cwnd_gain) == (pacing_gain, cwnd_gain)
    assert cc.pacing_rate == pytest.approx(pacing_gain * 0.99 * RATE)


def test_the_quantum() -> None:
    """§5.6.3: a millisecond's worth, between two segments and 64 KB."""
    hand = in_cruise()
    for rate, quantum in ((10.0, 2 * MSS), (5e6, 5000), (1e9, 65_536)):
        hand.cc.pacing_rate = rate
        hand.cc.set_send_quantum()
        assert hand.cc.send_quantum == quantum


def test_the_window_grows_by_what_was_acknowledged_and_falls_at_once() -> None:
    """§5.6.4.6."""
    hand = in_cruise()
    hand.round(12)
    limit = int(hand.cc.max_inflight())
    hand.cc.cwnd = BDP
    hand.ack(3 * MSS, in_flight=BDP // 2)
    assert hand.cc.cwnd == BDP + 3 * MSS
    hand.cc.cwnd = 10 * limit
    hand.ack(MSS, in_flight=BDP // 2)
    assert hand.cc.cwnd == int(hand.cc.max_inflight())
    assert hand.cc.max_inflight() == pytest.approx(2 * BDP + hand.model.extra_acked)


def test_in_startup_the_window_grows_past_no_reason_to_stop() -> None:
    """§5.6.4.6: below max_inflight, or while less than the initial window was delivered."""
    hand = in_startup()
    hand.cc.cwnd = 50 * MSS
    hand.ack(7 * MSS)
    assert hand.cc.cwnd == 57 * MSS
    hand.cc.cwnd = 1000 * MSS
    hand.ack(7 * MSS)
    assert hand.cc.cwnd == 1000 * MSS


def test_four_segments_at_least() -> None:
    """§5.6.4.3, and the appendix's sub-packet BDPs."""
    hand = in_cruise()
    hand.model.inflight_longterm = hand.model.inflight_shortterm = 1.0
    hand.ack()
    assert hand.cc.cwnd == 4 * MSS


@pytest.mark.parametrize(
    ("state", "share"), [(in_cruise, 0.85), (in_refill, 1.0), (in_up, 1.0), (in_startup, math.inf)]
)
def test_the_volume_caps(state, share: float) -> None:  # type: ignore[no-untyped-def]
    """§5.6.1, §5.6.4.7: the long-term bound, with headroom while cruising."""
    hand = state()
    hand.model.inflight_longterm = 80_000.0
    assert hand.cc.cwnd_bound() == pytest.approx(80_000 * share)
    hand.model.inflight_shortterm = 60_000.0
    assert hand.cc.cwnd_bound() == 60_000


def test_headroom_is_a_segment_at_least() -> None:
    """§5.3.3.9, InflightWithHeadroom."""
    hand = in_cruise()
    assert hand.cc.inflight_with_headroom() == math.inf
    hand.model.inflight_longterm = 100_000.0
    assert hand.cc.inflight_with_headroom() == 85_000
    hand.model.inflight_longterm = 6000.0
    assert hand.cc.inflight_with_headroom() == 5000
    hand.model.inflight_longterm = 4500.0
    assert hand.cc.inflight_with_headroom() == 4000


def test_while_probing_two_segments_more() -> None:
    """§5.6.4.2, QuantizationBudget."""
    assert in_up().cc.inflight() == BDP + 2 * MSS
    assert in_cruise().cc.inflight() == BDP


def test_the_offload_budget() -> None:
    """§5.5.8.1: room for three trains, however short the path."""
    hand = in_cruise()
    hand.cc.send_quantum = 65_536
    assert hand.cc.inflight() == 3 * 65_536


def test_pacing_never_stops() -> None:
    """A path of no measurable bandwidth still gets a segment a second: pacers divide by it."""
    hand = in_cruise()
    hand.model.bw = 1e-300
    hand.cc.set_pacing_rate(0.5)
    assert hand.cc.pacing_rate == MSS


def test_after_idling_pace_at_the_bandwidth() -> None:
    """§5.4.1: gain 1, the window as it was."""
    hand = in_up()
    cwnd = hand.cc.cwnd
    hand.cc.on_idle(1.0, 0.3)
    assert hand.cc.pacing_rate == pytest.approx(0.99 * RATE)
    assert hand.cc.cwnd == cwnd
    hand.ack()
    assert not hand.cc.idle_restart


def test_idling_restarts_the_count_of_aggregation() -> None:
    """§5.4.1: the silence is no credit."""
    hand = in_cruise()
    hand.round(12)
    hand.cc.on_sent(hand.now_s, MSS, BDP)
    hand.cc.on_idle(1.0, 0.3)
    hand.now_s += 1.0
    hand.ack(2 * MSS, after_s=0.1)
    assert hand.model.extra_acked <= 2 * MSS


def test_idling_before_the_first_event() -> None:
    """A connection asks before it sends anything at all."""
    controller = Bbr(MSS)
    controller.on_idle(5.0, 1.0)
    assert (controller.cwnd, controller.phase) == (10 * MSS, Phase.STARTUP)
    hand = Hand(controller)
    hand.ack()
    assert math.isfinite(hand.model.extra_acked)


def test_the_default_generator_replays_and_differs() -> None:
    """§5.3.3.8.2 wants flows to probe at different times; a simulation wants the same twice."""

    def wait(rtt_s: float) -> float:
        hand = Hand(Bbr(MSS))
        hand.ack(0, rate=0.0, in_flight=0, rtt_s=rtt_s)
        hand.cc.pick_probe_wait()
        return hand.cc.bw_probe_wait_s

    assert wait(0.1) == wait(0.1)
    waits = [wait(0.1 + 1e-6 * n) for n in range(50)]
    assert len(set(waits)) == 50
    assert all(2 <= drawn <= 3 for drawn in waits)
    assert min(waits) < 2.2 < 2.8 < max(waits)
