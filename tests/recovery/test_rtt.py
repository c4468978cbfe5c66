"""rudp.recovery.rtt against RFC 6298, computed by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rudp.recovery.rtt import RttEstimator

GRANULARITY_S = 0.001
RTTS = st.floats(1e-6, 100.0)


def estimator(initial_s: float = 1.0, min_s: float = 0.001, max_s: float = 60.0) -> RttEstimator:
    return RttEstimator(initial_s, min_s, max_s)


def test_before_any_measurement() -> None:
    """RFC 6298 §2.1: RTO <- 1 second."""
    rtt = estimator()
    assert rtt.rto_s == 1.0
    assert rtt.srtt_s is None
    assert rtt.var_s == 0.0
    assert rtt.min_s == math.inf
    assert math.isnan(rtt.latest_s)
    assert rtt.backoff == 0


def test_the_first_measurement() -> None:
    """RFC 6298 §2.2: SRTT <- R, RTTVAR <- R/2, RTO <- SRTT + max(G, K * RTTVAR)."""
    rtt = estimator()
    rtt.sample(0.1)
    assert rtt.srtt_s == 0.1
    assert rtt.var_s == 0.05
    assert rtt.rto_s == pytest.approx(0.1 + 4 * 0.05)


def test_subsequent_measurements() -> None:
    """RFC 6298 §2.3, alpha = 1/8, beta = 1/4: RTTVAR takes the SRTT from before the update."""
    rtt = estimator()
    rtt.sample(0.1)
    rtt.sample(0.2)
    # RTTVAR = 3/4 * 0.05 + 1/4 * |0.1 - 0.2| = 0.0625; SRTT = 7/8 * 0.1 + 1/8 * 0.2 = 0.1125
    assert rtt.var_s == pytest.approx(0.0625)
    assert rtt.srtt_s == pytest.approx(0.1125)
    assert rtt.rto_s == pytest.approx(0.1125 + 0.25)
    rtt.sample(0.05)
    # RTTVAR = 3/4 * 0.0625 + 1/4 * |0.1125 - 0.05| = 0.0625; SRTT = 7/8 * 0.1125 + 1/8 * 0.05
    assert rtt.var_s == pytest.approx(0.0625)
    assert rtt.srtt_s == pytest.approx(0.1046875)
    assert rtt.rto_s == pytest.approx(0.1046875 + 0.25)
    assert rtt.latest_s == 0.05
    assert rtt.min_s == 0.05


@given(st.lists(RTTS, min_size=1, max_size=50))
@settings(deadline=None)
def test_the_formulas_for_any_measurements(samples: list[float]) -> None:
    """RFC 6298 §2.2 and §2.3 as they are written."""
    rtt = estimator()
    srtt_s, var_s = samples[0], samples[0] / 2
    rtt.sample(samples[0])
    for sample in samples[1:]:
        var_s = (1 - 1 / 4) * var_s + 1 / 4 * abs(srtt_s - sample)
        srtt_s = (1 - 1 / 8) * srtt_s + 1 / 8 * sample
        rtt.sample(sample)
    assert rtt.srtt_s == pytest.approx(srtt_s)
    assert rtt.var_s == pytest.approx(var_s)
    wanted = srtt_s + max(GRANULARITY_S, 4 * var_s)
    assert rtt.rto_s == pytest.approx(min(max(wanted, 0.001), 60.0))
    assert rtt.latest_s == samples[-1]
    assert rtt.min_s == min(samples)


def test_the_clock_granularity() -> None:
    """RFC 6298 §2 (4): where K * RTTVAR is zero, the variance is rounded to G."""
    rtt = estimator()
    for _ in range(200):
        rtt.sample(0.08)
    assert rtt.var_s < 1e-9
    assert rtt.rto_s == pytest.approx(0.08 + GRANULARITY_S)


def test_the_floor() -> None:
    """RFC 6298 §2.4: never less than the minimum (configured; not 1 s here), which counts from
    the smoothed round trip on, as Linux has it: a queue may build up within a round trip."""
    rtt = estimator(min_s=0.2)
    rtt.sample(0.000_1)
    assert rtt.rto_s == pytest.approx(0.200_1)
    for _ in range(200):
        rtt.sample(0.5)
    assert rtt.rto_s == pytest.approx(0.7)
    rtt.sample(3.0)
    assert rtt.srtt_s is not None
    assert rtt.rto_s == pytest.approx(rtt.srtt_s + 4 * rtt.var_s)


def test_the_ceiling() -> None:
    """RFC 6298 §2.5: a maximum may be placed on RTO."""
    rtt = estimator(max_s=2.0)
    rtt.sample(5.0)
    assert rtt.rto_s == 2.0
    rtt.on_timeout()
    assert rtt.rto_s == 2.0


@pytest.mark.parametrize("initial_s", [0.5, 60.0, 100.0])
def test_the_ceiling_holds_before_any_measurement(initial_s: float) -> None:
    """RFC 6298 §2.5, and the constructor's word: no RTO above the ceiling, and no expiry of the
    timer shortens it (§5.5)."""
    rtt = estimator(initial_s, max_s=60.0)
    previous_s = rtt.rto_s
    assert previous_s <= 60.0
    for _ in range(10):
        rtt.on_timeout()
        assert previous_s <= rtt.rto_s <= 60.0
        previous_s = rtt.rto_s


def test_backoff_doubles_up_to_the_ceiling() -> None:
    """RFC 6298 §5.5: RTO <- RTO * 2, bounded by the maximum of §2.5."""
    rtt = estimator()
    seen = [rtt.rto_s]
    for _ in range(8):
        rtt.on_timeout()
        seen.append(rtt.rto_s)
    assert seen == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert rtt.backoff == 8


def test_backoff_of_a_connection_that_hangs_for_years() -> None:
    rtt = estimator(max_s=math.inf)
    for _ in range(5000):
        rtt.on_timeout()
    assert math.isfinite(rtt.rto_s)
    assert rtt.rto_s >= 1 << 32


def test_new_data_acknowledged_ends_the_backoff() -> None:
    """RFC 6298 §5.3 restarts the timer with the RTO of §2, not the backed-off one."""
    rtt = estimator()
    rtt.sample(0.1)
    rtt.on_timeout()
    rtt.on_timeout()
    assert rtt.rto_s == pytest.approx(4 * 0.3)
    rtt.on_new_ack()
    assert rtt.backoff == 0
    assert rtt.rto_s == pytest.approx(0.3)


def test_a_measurement_alone_leaves_the_backoff() -> None:
    """RFC 6298 §5, Karn: the backed-off RTO stays until new data is acknowledged."""
    rtt = estimator()
    rtt.sample(0.1)
    rtt.on_timeout()
    rtt.sample(0.1)
    base_s = 0.1 + 4 * (0.75 * 0.05)
    assert rtt.rto_s == pytest.approx(2 * base_s)


def test_after_a_timeout_during_the_handshake() -> None:
    """RFC 6298 §5.7: the timer expired awaiting the ACK of a SYN and the RTO is less than 3 s:
    it MUST be 3 seconds when data transmission begins."""
    rtt = estimator()
    rtt.on_timeout()
    rtt.on_new_ack()
    rtt.on_handshake_timeout()
    assert rtt.rto_s == 3.0


def test_a_measured_handshake_needs_no_fallback() -> None:
    """Timestamps measure the repeated SYN, too (RFC 7323 §4.1): the sample is better than 3 s."""
    rtt = estimator()
    rtt.on_timeout()
    rtt.on_new_ack()
    rtt.sample(0.1)
    rtt.on_handshake_timeout()
    assert rtt.rto_s == pytest.approx(0.3)


def test_the_handshake_fallback_only_lengthens_and_keeps_the_ceiling() -> None:
    """RFC 6298 §5.7 is about an RTO of less than 3 seconds; §2.5 bounds it."""
    slow = estimator(initial_s=5.0)
    slow.on_handshake_timeout()
    assert slow.rto_s == 5.0
    capped = estimator(max_s=2.0)
    capped.on_handshake_timeout()
    assert capped.rto_s == 2.0
    chosen = estimator()
    chosen.on_handshake_timeout(fallback_rto_s=4.0)
    assert chosen.rto_s == 4.0


@given(
    st.lists(RTTS.map(lambda rtt_s: ("sample", rtt_s)) | st.sampled_from(["timeout", "ack"])),
    st.floats(0.001, 1.0),
    st.floats(1.0, 100.0),
)
@settings(deadline=None)
def test_the_rto_stays_within_its_bounds(
    events: list[tuple[str, float] | str], min_s: float, max_s: float
) -> None:
    """RFC 6298 §2.4 and §2.5, whatever happens."""
    rtt = RttEstimator(1.0, min_s, max_s)
    for event in events:
        if event == "timeout":
            before_s = rtt.rto_s
            rtt.on_timeout()
            assert rtt.rto_s == pytest.approx(min(2 * before_s, max_s))
        elif event == "ack":
            rtt.on_new_ack()
        else:
            rtt.sample(event[1])  # type: ignore[arg-type]
        assert min_s <= rtt.rto_s <= max_s
        if rtt.srtt_s is not None:
            assert rtt.min_s <= rtt.srtt_s * (1 + 1e-9)
