"""rudp.congestion.bbr.model: rounds, bandwidth, round-trip time, aggregation.

Sections are of draft-ietf-ccwg-bbr.
"""

from __future__ import annotations

import math

import pytest

from rudp.congestion.bbr import Bbr, Phase

from .hand import (
    BDP,
    MSS,
    RATE,
    RTT_S,
    Fixed,
    Hand,
    in_cruise,
    in_drain,
    in_refill,
    in_startup,
    in_up,
)


def test_a_round_ends_when_what_was_sent_after_its_start_arrives() -> None:
    """§5.5.1: packet-timed, so that silence and acknowledgements' rhythm do not count."""
    hand = in_startup()
    model = hand.model
    count = model.round_count
    end = model.next_round_delivered
    hand.ack(prior_delivered=end - 1, after_s=100.0)
    assert (model.round_count, model.round_start) == (count, False)
    hand.ack(prior_delivered=end)
    assert (model.round_count, model.round_start) == (count + 1, True)
    assert model.next_round_delivered == hand.delivered


def test_an_acknowledgement_without_data_is_no_round_and_no_sample() -> None:
    """§5.3.1.2, §5.5.5: both are about acknowledgements of new data."""
    hand = in_startup()
    count, bandwidth, cwnd = hand.model.round_count, hand.model.max_bw, hand.cc.cwnd
    hand.ack(0, rate=9 * RATE, prior_delivered=hand.delivered)
    assert (hand.model.round_count, hand.model.max_bw) == (count, bandwidth)
    assert hand.cc.cwnd == cwnd


# -- bandwidth -----------------------------------------------------------------------------------


def test_bandwidth_is_the_maximum_of_two_probing_cycles() -> None:
    """§5.5.3, §5.5.6: the filter's clock ticks a round after each probe."""
    hand = in_cruise()
    hand.round()
    assert hand.model.max_bw == RATE
    cycle = []
    for _ in range(3):
        hand.ack(after_s=3.0, rate=RATE / 2)
        hand.round(6, rate=RATE / 2, in_flight=BDP // 2)
        cycle.append(hand.model.max_bw)
        assert hand.cc.phase is Phase.CRUISE
    assert cycle == [RATE, RATE / 2, RATE / 2]


def test_application_limited_samples_only_raise_the_estimate() -> None:
    """§5.5.4."""
    hand = in_cruise()
    hand.round(5, rate=RATE / 10, app_limited=True)
    assert hand.model.max_bw == RATE
    hand.round(1, rate=RATE * 1.5, app_limited=True)
    assert hand.model.max_bw == RATE * 1.5


def test_application_limited_probes_do_not_age_the_filter() -> None:
    """§5.3.3.9, AdaptLongTermModel: the cycle is counted only when the sample is not limited."""
    hand = in_cruise()
    for _ in range(4):
        hand.ack(after_s=3.0, rate=RATE / 2, app_limited=True)
        hand.round(6, rate=RATE / 2, app_limited=True)
    assert hand.model.max_bw == RATE


def test_an_invalid_sample_is_no_sample() -> None:
    """§4.1.2.3: a rate of 0 stands for an interval shorter than the shortest round trip."""
    hand = in_startup()
    before = hand.model.full_bw_count
    hand.round(5, rate=0.0)
    assert hand.model.max_bw == RATE
    assert hand.model.full_bw_count == before
    assert hand.cc.phase is Phase.STARTUP


def test_an_acknowledgement_without_a_sample_delivers_nothing_in_a_round() -> None:
    """§4.1.2.3: RS.delivered is not set; all that was ever delivered is not a round's volume."""
    hand = in_cruise()
    latest = hand.model.inflight_latest
    hand.ack(rate=0.0, tx_in_flight=0, prior_delivered=0)
    assert hand.model.inflight_latest == latest


# -- the short-term model ------------------------------------------------------------------------


def test_a_round_with_loss_lowers_the_short_term_model() -> None:
    """§5.5.10.3: towards what the round delivered, at most to 0.7 times."""
    hand = in_cruise()
    model = hand.model
    hand.cc.cwnd = 2 * BDP
    hand.round(rate=RATE)
    cwnd = hand.cc.cwnd
    hand.lose(lost_since_sent=1)
    hand.ack(rate=0.9 * RATE, prior_delivered=hand.delivered - BDP // 2)
    assert model.bw_shortterm == math.inf, "not before the round's end"
    model.bw_latest = 0.0
    delivered = hand.delivered
    hand.round(rate=0.9 * RATE, prior_delivered=delivered)
    assert model.bw_shortterm == 0.9 * RATE
    assert model.inflight_shortterm == pytest.approx(0.7 * cwnd, abs=MSS)
    assert model.bw == 0.9 * RATE
    assert model.max_bw == RATE, "the long-term model keeps what it knew"
    hand.lose(lost_since_sent=1)
    hand.ack(rate=0.1 * RATE)
    model.bw_latest = 0.0
    hand.round(rate=0.1 * RATE)
    assert model.bw_shortterm == pytest.approx(0.7 * 0.9 * RATE), "at most by beta a round"


def test_a_round_without_loss_leaves_the_short_term_model() -> None:
    """§5.5.10.3: a lower rate alone is no congestion."""
    hand = in_cruise()
    hand.round(5, rate=RATE / 2)
    assert hand.model.bw_shortterm == math.inf
    assert hand.model.inflight_shortterm == math.inf


@pytest.mark.parametrize("state", [in_startup, in_refill, in_up])
def test_while_probing_losses_do_not_lower_the_short_term_model(state) -> None:  # type: ignore[no-untyped-def]
    """§5.5.10.3, IsProbingBW: Startup, ProbeBW_REFILL and ProbeBW_UP."""
    hand = state()
    phase = hand.cc.phase
    hand.lose(lost_since_sent=1)
    hand.ack(in_recovery=True)
    hand.ack(in_recovery=True, prior_delivered=hand.delivered, in_flight=BDP // 2)
    assert hand.model.bw_shortterm == math.inf
    assert hand.cc.phase in (phase, Phase.UP)


def test_a_refill_forgets_the_short_term() -> None:
    """§5.3.3.3."""
    hand = in_cruise()
    hand.lossy_rounds(2, rate=RATE / 2)
    assert hand.model.bw < RATE
    hand.ack(after_s=3.0)
    assert hand.cc.phase is Phase.REFILL
    assert hand.model.bw_shortterm == hand.model.inflight_shortterm == math.inf
    assert hand.model.bw == RATE


def test_the_loss_round_counts_from_the_acknowledgement_that_revealed_the_loss() -> None:
    """§5.5.10.2, NoteLoss: C.delivered includes it, although the loss is told before it."""
    hand = in_cruise()
    before = hand.delivered
    hand.lose(lost_since_sent=1)
    hand.ack(5 * MSS)
    assert hand.model.loss_round_delivered == before + 5 * MSS
    hand.ack(prior_delivered=before)
    assert hand.model.is_loss_in_round, "sent before the loss was known"
    hand.ack(prior_delivered=before + 5 * MSS)
    assert not hand.model.is_loss_in_round


# -- round-trip time -----------------------------------------------------------------------------


def test_min_rtt_is_the_least_of_ten_seconds() -> None:
    """§5.3.4.3, §5.5.7.2: raised only after its ten seconds, to the least of the last five."""
    hand = in_cruise(Bbr(MSS, rng=Fixed()))
    hand.ack(rtt_s=0.08)
    assert hand.model.min_rtt_s == 0.08
    start_s = hand.now_s
    while hand.now_s < start_s + 9.9:
        hand.ack(after_s=0.1, rtt_s=0.12, in_flight=BDP // 4)
        assert hand.model.min_rtt_s == 0.08
    hand.ack(after_s=0.2, rtt_s=0.12)
    assert hand.model.min_rtt_s == 0.12


def test_without_a_sample_the_initial_window_stands_for_the_bdp() -> None:
    """§5.6.4.2, BDPMultiple."""
    hand = Hand()
    hand.ack(rtt_s=None)
    assert hand.model.min_rtt_s == math.inf
    assert hand.cc.bdp(2.0) == hand.cc.initial_window(MSS)


# -- aggregation ---------------------------------------------------------------------------------


def test_extra_acked_is_what_arrives_beyond_the_bandwidth() -> None:
    """§5.5.9: a burst of 30 segments in a millisecond, of which the bandwidth explains one."""
    hand = in_cruise()
    hand.round(12)
    hand.ack(after_s=0.01)
    hand.ack(30 * MSS, after_s=0.001)
    assert hand.model.extra_acked == pytest.approx(31 * MSS - RATE * 0.001)
    assert hand.cc.max_inflight() == pytest.approx(2 * BDP + hand.model.extra_acked)


def test_extra_acked_is_remembered_for_ten_rounds() -> None:
    """§5.5.9, ExtraAckedFilterLen."""
    hand = in_cruise()
    hand.round(12)
    hand.ack(30 * MSS, after_s=0.001)
    extra = hand.model.extra_acked
    assert extra > 25 * MSS
    hand.round(9, in_flight=BDP // 2)
    assert hand.model.extra_acked == extra
    hand.round(1, in_flight=BDP // 2)
    assert hand.model.extra_acked < extra


def test_extra_acked_is_remembered_for_a_round_in_startup() -> None:
    """§5.5.9: until the pipe was full."""
    hand = in_startup()
    hand.ack(30 * MSS, after_s=0.001)
    assert hand.model.extra_acked > 25 * MSS
    hand.round(1, after_s=1.0)
    assert hand.model.extra_acked == MSS


def test_extra_acked_is_never_more_than_the_window() -> None:
    """§5.5.9."""
    hand = in_cruise()
    hand.round(12)
    hand.cc.cwnd = 8 * MSS
    hand.ack(500 * MSS, after_s=0.001)
    assert hand.model.extra_acked == 8 * MSS


# -- a full pipe ---------------------------------------------------------------------------------


def test_three_rounds_without_a_quarter_more_fill_the_pipe() -> None:
    """§5.3.1.2."""
    hand = in_startup()
    hand.round(2, rate=1.24 * RATE, in_flight=2 * BDP)
    assert hand.model.full_bw_count == 2
    hand.round(1, rate=1.25 * RATE, in_flight=2 * BDP)
    assert (hand.model.full_bw, hand.model.full_bw_count) == (1.25 * RATE, 0), "still growing"
    hand.round(2, rate=1.25 * RATE, in_flight=2 * BDP)
    assert not hand.model.full_bw_reached
    hand.round(1, rate=1.25 * RATE, in_flight=2 * BDP)
    assert hand.model.full_bw_reached
    assert hand.model.full_bw_now
    assert hand.cc.phase is Phase.DRAIN


def test_only_a_rounds_first_sample_is_looked_at() -> None:
    """§5.3.1.2: !BBR.round_start."""
    hand = in_startup()
    for _ in range(20):
        hand.ack(rate=RATE)
    assert hand.model.full_bw_count == 0


def test_application_limited_rounds_never_fill_the_pipe() -> None:
    """§5.3.1.2, and the appendix's "Never Exiting PROBE_UP (or STARTUP)"."""
    hand = in_startup()
    hand.round(30, app_limited=True, in_flight=BDP // 2)
    assert hand.cc.phase is Phase.STARTUP
    hand = in_up()
    hand.round(30, app_limited=True, in_flight=BDP // 2)
    assert hand.cc.phase is Phase.UP


def test_states_are_reached_by_hand() -> None:
    """What the other tests start from."""
    assert in_drain().model.full_bw_reached
    assert in_up().cc.is_bw_probe_sample
    assert RTT_S * RATE == BDP
