"""BBR's responses to losses, marks and timeouts.

Sections are of draft-ietf-ccwg-bbr.
"""

from __future__ import annotations

import math

import pytest

from rudp.congestion import LossEvent
from rudp.congestion.bbr import Phase

from .hand import BDP, MSS, RATE, in_cruise, in_refill, in_startup, in_up


def test_up_to_two_percent_are_tolerated() -> None:
    """§5.5.10.2, IsInflightTooHigh."""
    cc = in_up().cc
    assert not cc.is_inflight_too_high(2000, 100_000)
    assert cc.is_inflight_too_high(2001, 100_000)


def test_a_probe_that_loses_too_much_ends() -> None:
    """§5.5.10.2, HandleInflightTooHigh: the bound is set, and the queue drained."""
    hand = in_up()
    hand.lose(tx_in_flight=120_000, lost_since_sent=2400)
    assert hand.cc.phase is Phase.UP
    hand.lose(tx_in_flight=120_000, lost_since_sent=3400)
    assert hand.cc.phase is Phase.DOWN
    assert hand.cc.prev_probe_too_high
    assert hand.cc.undo_phase is Phase.UP
    assert hand.model.inflight_longterm == pytest.approx(119_000, abs=MSS)


def test_once_a_probe() -> None:
    """§5.5.10.2: "has not yet responded … from the most recent REFILL or UP phase"."""
    hand = in_up()
    hand.lose(tx_in_flight=120_000, lost_since_sent=5000)
    longterm = hand.model.inflight_longterm
    hand.lose(tx_in_flight=90_000, lost_since_sent=9000)
    assert hand.model.inflight_longterm == longterm


def test_never_below_beta_times_the_target() -> None:
    """§5.5.10.2: no more drastic than CUBIC."""
    hand = in_up()
    hand.lose(tx_in_flight=10_000, lost_since_sent=5000)
    assert hand.model.inflight_longterm == pytest.approx(0.7 * BDP)


def test_losses_of_what_was_sent_before_the_probe_do_not_count() -> None:
    """§5.5.10.2: BBR.is_bw_probe_sample."""
    for state in (in_cruise, in_refill):
        hand = state()
        hand.lose(lost_since_sent=50_000)
        assert hand.model.inflight_longterm == math.inf


def test_an_application_limited_loss_ends_the_probe_without_a_bound() -> None:
    """§5.5.10.2: !RS.is_app_limited."""
    hand = in_up()
    hand.lose(lost_since_sent=50_000, app_limited=True)
    assert hand.cc.phase is Phase.DOWN
    assert hand.model.inflight_longterm == math.inf


@pytest.mark.parametrize(
    ("tx_in_flight", "size", "lost", "expected"),
    [
        # 100 kB in flight before a train of 20 kB that was lost whole: 2 % of 102,041 B.
        (120_000, 20_000, 20_000, 100_000 + 2000 / 0.98),
        # 1 kB was lost before: half of that is left.
        (120_000, 20_000, 21_000, 100_000 + 1000 / 0.98),
        # 5 kB were lost before: it was too much already.
        (120_000, 20_000, 25_000, 100_000),
        # A train alone in the network: all of its beginning.
        (20_000, 20_000, 20_000, 0.0),
        # The whole of a short one fits.
        (101_000, 1000, 1000, 101_000),
    ],
)
def test_where_in_a_train_the_losses_crossed_the_threshold(
    tx_in_flight: int, size: int, lost: int, expected: float
) -> None:
    """§5.5.10.2, InflightAtLoss."""
    cc = in_up().cc
    event = LossEvent(1.0, size, tx_in_flight, lost, False)
    assert cc.inflight_at_loss(event) == pytest.approx(expected)


# -- recovery and timeouts -----------------------------------------------------------------------


def test_fast_recovery_leaves_the_window_to_the_model() -> None:
    """§5.6.4.4: nothing is cut at once; at the end the window is as before, within the model."""
    hand = in_cruise()
    hand.round(12)
    cwnd = hand.cc.cwnd
    hand.cc.on_congestion(hand.now_s, cwnd)
    assert hand.cc.cwnd == cwnd
    hand.cc.cwnd = 10 * MSS
    hand.cc.on_recovered(hand.now_s)
    assert hand.cc.cwnd == cwnd
    hand.ack()
    assert hand.cc.cwnd <= hand.cc.max_inflight()


def test_a_timeout_lets_one_segment_out() -> None:
    """§5.6.4.4: then the window grows by what arrives, from four segments (§5.6.4.6)."""
    hand = in_cruise()
    hand.cc.on_timeout(hand.now_s, BDP, first=True)
    assert hand.cc.cwnd == MSS
    hand.ack(MSS, in_flight=0, prior_in_flight=MSS)
    assert hand.cc.cwnd == 4 * MSS
    hand.ack(4 * MSS, in_flight=0)
    assert hand.cc.cwnd == 8 * MSS


def test_a_timeouts_recovery_ends_when_what_was_outstanding_has_arrived() -> None:
    """§5.6.4.4: then the window is the last good one, as far as the model allows."""
    hand = in_cruise()
    hand.round(12)
    cwnd = hand.cc.cwnd
    hand.cc.on_timeout(hand.now_s, 20 * MSS, first=True)
    hand.ack(19 * MSS, in_flight=MSS)
    assert hand.cc.in_timeout_recovery
    assert hand.cc.cwnd == 20 * MSS
    hand.ack(MSS, in_flight=MSS)
    assert not hand.cc.in_timeout_recovery
    assert hand.cc.cwnd == pytest.approx(cwnd, abs=2 * MSS)


def test_an_episode_that_no_loss_announced_is_a_loss() -> None:
    """§5.5.10.3: "TLP recovery"; the repaired segment was never deemed lost."""
    hand = in_cruise()
    hand.cc.on_congestion(hand.now_s + 0.001, MSS)
    hand.cc.on_recovered(hand.now_s + 0.001)
    hand.ack()
    assert hand.model.is_loss_in_round
    hand.round(rate=0.8 * RATE)
    assert hand.model.bw_shortterm < math.inf


def test_an_episode_is_not_counted_twice() -> None:
    """§5.5.10.2: what ended a probe is no loss of the round that the drain begins."""
    hand = in_up()
    hand.lose(tx_in_flight=120_000, lost_since_sent=5000)
    assert hand.cc.phase is Phase.DOWN
    hand.cc.on_congestion(hand.now_s + 0.001, BDP)
    assert not hand.model.is_loss_in_round


def test_a_repeated_timeout_keeps_the_window_to_return_to() -> None:
    """§5.6.4.4, SaveCwnd: the last-known good one."""
    hand = in_cruise()
    cwnd = hand.cc.cwnd
    hand.cc.on_timeout(hand.now_s, BDP, first=True)
    hand.cc.on_timeout(hand.now_s + 1, MSS, first=False)
    assert hand.cc.cwnd == MSS
    hand.cc.on_recovered(hand.now_s + 2)
    assert hand.cc.cwnd == cwnd


def test_a_timeout_in_recovery_keeps_the_window_to_return_to() -> None:
    """§5.6.4.4: InLossRecovery()."""
    hand = in_cruise()
    cwnd = hand.cc.cwnd
    hand.cc.on_congestion(hand.now_s, BDP)
    hand.cc.cwnd = 10 * MSS
    hand.cc.on_timeout(hand.now_s + 1, BDP, first=True)
    hand.cc.on_recovered(hand.now_s + 2)
    assert hand.cc.cwnd == cwnd


def test_a_timeout_is_a_loss_of_its_round() -> None:
    """§5.5.10.3: "whether in fast recovery, RTO recovery, TLP recovery"."""
    hand = in_cruise()
    hand.cc.on_timeout(hand.now_s, BDP, first=True)
    assert hand.model.is_loss_in_round


# -- undo ----------------------------------------------------------------------------------------


def test_a_window_that_a_timeout_has_cut_is_probed_out_of_soon() -> None:
    """§5.3.3.8.3, TargetInflight: as Reno would need few rounds at this window."""
    hand = in_cruise()
    hand.round(12)
    hand.cc.on_timeout(hand.now_s, BDP, first=True)
    hand.round(in_flight=0)
    assert hand.cc.phase is Phase.REFILL


def test_undoing_a_probes_end() -> None:
    """§5.5.11.2: the bounds as before, and the probe begins again with a refill."""
    hand = in_up()
    cwnd = hand.cc.cwnd
    hand.lose(tx_in_flight=120_000, lost_since_sent=5000)
    hand.cc.on_congestion(hand.now_s + 0.001, BDP)
    hand.ack(in_recovery=True, in_flight=120_000)
    assert hand.cc.phase is Phase.DOWN
    assert hand.model.inflight_longterm < math.inf
    hand.cc.on_spurious(hand.now_s)
    assert hand.cc.phase is Phase.REFILL
    assert hand.model.inflight_longterm == math.inf
    assert hand.cc.cwnd >= cwnd


def test_undoing_startups_end() -> None:
    """§5.5.11.2: back to Startup, as if the pipe had not been full."""
    hand = in_startup()
    for _ in range(6):
        hand.lose(lost_since_sent=1)
    hand.cc.on_congestion(hand.now_s + 0.001, BDP)
    hand.ack(in_recovery=True)
    hand.ack(
        prior_delivered=hand.delivered, lost_since_sent=5000, in_recovery=True, in_flight=2 * BDP
    )
    assert hand.cc.phase is Phase.DRAIN
    hand.cc.on_spurious(hand.now_s)
    assert hand.cc.phase is Phase.STARTUP
    assert not hand.model.full_bw_reached
    assert hand.model.inflight_longterm == math.inf
    hand.ack()
    assert hand.cc.phase is Phase.STARTUP


@pytest.mark.parametrize("timeout", [True, False])
def test_undoing_restores_the_short_term_model_of_before_the_episode(timeout: bool) -> None:
    """§5.5.11: also when losses went on for rounds; also after an RTO."""
    hand = in_cruise()
    hand.model.rounds_since_probe_up = -100  # a timeout's small window would be probed soon
    cwnd = hand.cc.cwnd
    hand.lose(lost_since_sent=1)
    if timeout:
        hand.cc.on_timeout(hand.now_s + 0.001, BDP, first=True)
    else:
        hand.cc.on_congestion(hand.now_s + 0.001, BDP)
    hand.ack(in_recovery=True)
    hand.lossy_rounds(3, rate=RATE / 2)
    assert hand.model.bw < 0.8 * RATE
    hand.cc.on_spurious(hand.now_s)
    assert hand.model.bw_shortterm == hand.model.inflight_shortterm == math.inf
    assert hand.cc.cwnd >= cwnd
    assert hand.cc.phase is Phase.CRUISE
    hand.ack()
    assert hand.model.bw == RATE


def test_undo_after_the_recovery_has_ended() -> None:
    """A duplicate SACK may tell so only afterwards (RFC 3708)."""
    hand = in_up()
    hand.lose(tx_in_flight=120_000, lost_since_sent=5000)
    hand.cc.on_congestion(hand.now_s + 0.001, BDP)
    hand.ack(in_recovery=True)
    hand.cc.on_recovered(hand.now_s)
    hand.cc.on_spurious(hand.now_s)
    assert hand.cc.phase is Phase.REFILL
    assert hand.model.inflight_longterm == math.inf


def test_nothing_to_undo() -> None:
    hand = in_cruise()
    hand.round(12)
    before = (hand.cc.phase, hand.cc.cwnd)
    hand.cc.on_spurious(hand.now_s)
    assert (hand.cc.phase, hand.cc.cwnd) == before
    hand.ack()
    assert hand.model.bw == RATE


def test_an_undo_in_probe_rtt_waits_for_its_end() -> None:
    """§5.5.11.2: "and the connection is not currently in ProbeRTT"."""
    hand = in_up()
    hand.lose(tx_in_flight=120_000, lost_since_sent=5000)
    hand.cc.on_congestion(hand.now_s + 0.001, BDP)
    hand.ack(in_recovery=True)
    hand.cc.enter_probe_rtt(hand.now_s)
    hand.cc.on_spurious(hand.now_s)
    assert hand.cc.phase is Phase.PROBE_RTT
    assert hand.model.inflight_longterm == math.inf


# -- marks ---------------------------------------------------------------------------------------


def test_marks_are_congestion() -> None:
    """§3.6, RFC 3168 §5: as losses, outside the probe …"""
    hand = in_cruise()
    hand.ack(marked=MSS)
    hand.round(rate=0.8 * RATE)
    assert hand.model.bw_shortterm < math.inf


def test_marks_end_a_probe() -> None:
    """… and in it, from more than 2 % of a round on."""
    hand = in_up()
    hand.ack(marked=2 * MSS)
    assert hand.cc.phase is Phase.UP
    hand.ack(marked=MSS)
    assert hand.cc.phase is Phase.DOWN
    assert hand.model.inflight_longterm == BDP


def test_marks_end_startup() -> None:
    """§5.3.1.3 with marks for losses."""
    hand = in_startup()
    for _ in range(6):
        hand.ack(marked=MSS, in_flight=2 * BDP)
    hand.ack(prior_delivered=hand.delivered, in_flight=2 * BDP)
    assert hand.cc.phase is Phase.DRAIN


def test_a_marked_episode_without_counts() -> None:
    """`on_congestion(marked=True)` alone, of a peer that tells of marks without their bytes."""
    hand = in_cruise()
    hand.cc.on_congestion(hand.now_s + 0.001, BDP, marked=True)
    hand.ack()
    hand.round(rate=0.8 * RATE)
    assert hand.model.bw_shortterm < math.inf
