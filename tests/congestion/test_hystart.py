"""rudp.congestion.hystart against RFC 9406."""

from __future__ import annotations

import math

import pytest

from rudp.congestion import Cubic
from rudp.congestion.hystart import HyStart

from .support import MSS, ack

ROUND = 16
"""Acknowledgements of two segments a round, enough to judge it."""


def play(
    hystart: HyStart, rtt_s: float | None, *, acks: int = ROUND, segments: int = 2
) -> list[bool]:
    """A round whose every acknowledgement covers `segments` and measures `rtt_s`."""
    return [
        hystart.on_ack(
            ack(segments * MSS, 100 * MSS, rtt_s=rtt_s, round_start=number == 0),
            MSS,
        )
        for number in range(acks)
    ]


def watching(rtt_s: float) -> HyStart:
    """One that has seen a round of `rtt_s`."""
    hystart = HyStart()
    assert not any(play(hystart, rtt_s))
    assert not hystart.in_css
    return hystart


@pytest.mark.parametrize(
    ("last_s", "thresh_s"),
    [
        (0.001, 0.004),
        (0.032, 0.004),  # an eighth is MIN_RTT_THRESH exactly
        (0.040, 0.005),
        (0.128, 0.016),  # an eighth is MAX_RTT_THRESH exactly
        (0.500, 0.016),
    ],
)
def test_the_threshold(last_s: float, thresh_s: float) -> None:
    """RFC 9406 §4.2: RttThresh = max(MIN_RTT_THRESH, min(lastRoundMinRTT / 8, MAX_RTT_THRESH))."""
    hystart = watching(last_s)
    play(hystart, last_s + thresh_s - 1e-6)
    assert not hystart.in_css
    hystart = watching(last_s)
    play(hystart, last_s + thresh_s + 1e-9)
    assert hystart.in_css


def test_the_shortest_of_the_round_counts() -> None:
    """§4.2: currentRoundMinRTT, not the latest sample: one undelayed segment clears the round."""
    hystart = watching(0.04)
    hystart.on_ack(ack(2 * MSS, 100 * MSS, rtt_s=0.04, round_start=True), MSS)
    for _ in range(ROUND):
        hystart.on_ack(ack(2 * MSS, 100 * MSS, rtt_s=0.09), MSS)
    assert not hystart.in_css


def test_one_round_is_compared_with_the_one_before() -> None:
    """§4.2: lastRoundMinRTT, not the smallest of the connection: what creeps is not seen."""
    hystart = watching(0.04)
    for rtt_s in (0.044, 0.048, 0.052):
        play(hystart, rtt_s)
        assert not hystart.in_css
    play(hystart, 0.06)
    assert hystart.in_css


def test_eight_samples_are_needed() -> None:
    """§4.2: rttSampleCount >= N_RTT_SAMPLE."""
    hystart = watching(0.04)
    play(hystart, 0.08, acks=7)
    assert not hystart.in_css
    hystart.on_ack(ack(2 * MSS, 100 * MSS, rtt_s=0.08), MSS)
    assert hystart.in_css


def test_a_round_of_too_few_samples_is_passed_over() -> None:
    """§4.2: it is not judged, but it is the last round of the next."""
    hystart = watching(0.04)
    play(hystart, 0.08, acks=7)
    play(hystart, 0.08)
    assert not hystart.in_css


def test_an_ack_of_a_train_stands_for_the_acks_that_a_tcp_would_have_sent() -> None:
    """RFC 5681 §4.2: an ACK for every second segment. One of 16 segments are eight samples, one
    of 15 are seven, and one of less than two is one."""
    hystart = watching(0.04)
    play(hystart, 0.08, acks=1, segments=15)
    assert not hystart.in_css
    hystart = watching(0.04)
    play(hystart, 0.08, acks=1, segments=16)
    assert hystart.in_css
    hystart = watching(0.04)
    play(hystart, 0.08, acks=8, segments=1)
    assert hystart.in_css


def test_acks_without_a_sample_do_not_count() -> None:
    """§4.2: for currRTT, the RTT sampled from the ACK."""
    hystart = watching(0.04)
    play(hystart, None, acks=100)
    assert not hystart.in_css
    play(hystart, 0.08)
    assert not hystart.in_css, "lastRoundMinRTT was infinite"


def test_the_first_round_has_nothing_to_be_compared_with() -> None:
    """§4.2: lastRoundMinRTT != infinity."""
    hystart = HyStart()
    play(hystart, 10.0, acks=100)
    assert not hystart.in_css


def test_growth() -> None:
    """§4.2, §4.3: N with L infinite, because of pacing, and N / CSS_GROWTH_DIVISOR in CSS."""
    hystart = watching(0.04)
    assert hystart.growth(100 * MSS) == 100 * MSS
    play(hystart, 0.08)
    assert hystart.growth(100 * MSS) == 25 * MSS


def test_css_ends_slow_start_after_five_rounds() -> None:
    """§4.2: CSS lasts at most CSS_ROUNDS; the partial round in which it begins is one."""
    hystart = watching(0.04)
    play(hystart, 0.08)
    assert hystart.in_css, "round 1 of it began here, at the eighth sample"
    for _ in range(4):
        assert not any(play(hystart, 0.08))
    assert play(hystart, 0.08, acks=1) == [True], "the fifth is complete when the next begins"


@pytest.mark.parametrize("round_", [1, 2, 3, 4])
def test_css_ends_if_the_delay_was_not_the_queue(round_: int) -> None:
    """§4.2: currentRoundMinRTT < cssBaselineMinRtt: resume slow start, including HyStart++."""
    hystart = watching(0.04)
    play(hystart, 0.08)
    for _ in range(round_):
        assert not any(play(hystart, 0.08))
    play(hystart, 0.0799)
    assert not hystart.in_css
    assert hystart.growth(MSS) == MSS
    # And again from the beginning, all five rounds of it.
    play(hystart, 0.12)
    assert hystart.in_css
    for _ in range(4):
        assert not any(play(hystart, 0.12))
    assert play(hystart, 0.12, acks=1) == [True]


def test_as_much_delay_as_at_the_beginning_keeps_css() -> None:
    """§4.2: only what is below the baseline resumes slow start, whatever the round before was."""
    hystart = watching(0.04)
    play(hystart, 0.08)
    play(hystart, 0.2)
    assert hystart.in_css
    play(hystart, 0.08)
    assert hystart.in_css


def test_an_undelayed_sample_ends_css_within_the_round() -> None:
    """§4.2 judges at each ACK: a train that was late alone costs a moment of slower growth."""
    hystart = watching(0.04)
    play(hystart, 0.08, acks=1, segments=16)
    assert hystart.in_css
    hystart.on_ack(ack(2 * MSS, 100 * MSS, rtt_s=0.04), MSS)
    assert not hystart.in_css


# -- in CUBIC ------------------------------------------------------------------------------------


def cubic_round(cubic: Cubic, rtt_s: float) -> None:
    """A window of acknowledgements of two segments."""
    left, first = cubic.cwnd, True
    while left > 0:
        size = min(2 * MSS, left)
        left -= size
        cubic.on_ack(ack(size, cubic.cwnd, rtt_s=rtt_s, srtt_s=rtt_s, round_start=first))
        first = False


def test_a_queue_that_grows_ends_slow_start_without_loss() -> None:
    """RFC 9406 §4.2: doubling, then 5/4 a round while in CSS, and then ssthresh is cwnd."""
    cubic = Cubic(MSS)
    windows = []
    for rtt_s in (0.04, 0.04, 0.04):
        cubic_round(cubic, rtt_s)
        windows.append(cubic.cwnd // MSS)
    assert windows == [20, 40, 80]
    cubic_round(cubic, 0.05)
    # The eighth sample begins CSS, so that seven ACKs of two segments still count in full.
    expected = 80 + 14 + 66 / 4
    assert cubic.cwnd / MSS == pytest.approx(expected, abs=0.1)
    for _ in range(4):
        cubic_round(cubic, 0.05)
        expected *= 1.25
        assert cubic.cwnd / MSS == pytest.approx(expected, abs=1)
        assert cubic.ssthresh == math.inf
    before = cubic.cwnd
    cubic_round(cubic, 0.05)
    assert cubic.ssthresh == before
    assert before < cubic.cwnd < before + 2 * MSS, "congestion avoidance"


def test_only_the_initial_slow_start_is_watched() -> None:
    """RFC 9406 §4.3: SHOULD use HyStart++ only while ssthresh is at its initial value."""
    cubic = Cubic(MSS)
    cubic.cwnd = 400 * MSS
    cubic.on_timeout(0.0, 400 * MSS, first=True)
    for rtt_s in (0.04, 0.04, 0.04, 0.04, 0.04, 0.08, 0.16, 0.3):
        cubic_round(cubic, rtt_s)
    assert cubic.cwnd == 256 * MSS, "eight times doubled: no CSS"
    assert cubic.ssthresh == 280 * MSS


def test_an_undone_loss_in_the_initial_slow_start_leaves_it_watched() -> None:
    """RFC 9406 §4.3: ssthresh is at its initial value again. Rounds are counted anew."""
    cubic = Cubic(MSS)
    cubic_round(cubic, 0.04)
    cubic.on_congestion(1.0, cubic.cwnd)
    cubic.on_spurious(1.1)
    assert (cubic.cwnd, cubic.ssthresh) == (20 * MSS, math.inf)
    cubic_round(cubic, 0.08)
    assert cubic.cwnd == 40 * MSS, "the round before the loss does not count"
    cubic_round(cubic, 0.12)
    assert cubic.cwnd == (40 + 14) * MSS + 26 * MSS // 4
