"""Every controller under every stream of events: what a connection relies on always holds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rudp.congestion import CONTROLLERS, AckEvent, CongestionController

BYTES = st.integers(0, 1 << 31) | st.integers(0, 100_000)
SECONDS = st.floats(0.0, 1e6)

ACKS = st.builds(
    AckEvent,
    now_s=SECONDS,
    delivered=BYTES,
    delivered_total=st.integers(0, 1 << 60),
    prior_in_flight=BYTES,
    in_flight=BYTES,
    rtt_s=st.none() | st.floats(1e-6, 1e4),
    min_rtt_s=st.floats(1e-6, 1e4) | st.just(math.inf),
    rate=st.floats(0.0, 1e12),
    rate_app_limited=st.booleans(),
    in_recovery=st.booleans(),
)
EVENTS = st.one_of(
    ACKS.map(lambda event: ("on_ack", (event,), {})),
    st.tuples(SECONDS, BYTES, BYTES).map(lambda args: ("on_sent", args, {})),
    st.tuples(SECONDS, BYTES).map(lambda args: ("on_congestion", args, {})),
    st.tuples(SECONDS).map(lambda args: ("on_recovered", args, {})),
    st.tuples(SECONDS, BYTES, st.booleans()).map(
        lambda args: ("on_timeout", args[:2], {"first": args[2]})
    ),
    st.tuples(SECONDS, SECONDS).map(lambda args: ("on_idle", args, {})),
    st.integers(1, 65_483).map(lambda mss: ("on_mss", (mss,), {})),
)

each_controller = pytest.mark.parametrize("controller", sorted(CONTROLLERS))


def check(controller: CongestionController) -> None:
    """The interface's promises."""
    assert type(controller.cwnd) is int
    assert controller.cwnd >= controller.mss >= 1, "never below one segment"
    assert controller.ssthresh > 0
    assert not math.isnan(controller.ssthresh)
    rate = controller.pacing_rate
    assert rate is None or (rate > 0 and math.isfinite(rate))


@each_controller
@given(mss=st.integers(1, 65_483), events=st.lists(EVENTS, max_size=60))
@settings(deadline=None)
def test_any_stream_of_events(
    controller: str, mss: int, events: list[tuple[str, tuple[object, ...], dict[str, bool]]]
) -> None:
    """cwnd is a whole number of bytes, at least a segment, whatever happens."""
    instance = CONTROLLERS[controller](mss)
    check(instance)
    for name, args, kwargs in events:
        before = instance.cwnd
        getattr(instance, name)(*args, **kwargs)
        check(instance)
        if name == "on_ack":
            event = args[0]
            assert isinstance(event, AckEvent)
            assert instance.cwnd <= before + max(event.delivered, instance.mss)


@each_controller
@given(
    mss=st.integers(100, 9000),
    losses=st.lists(st.integers(0, 40), min_size=1, max_size=40),
)
@settings(deadline=None)
def test_an_honest_path(controller: str, mss: int, losses: list[int]) -> None:
    """Acknowledgements of what was in flight, and a loss now and then: the window neither
    collapses nor runs away, and a loss never widens it."""
    instance = CONTROLLERS[controller](mss)
    now_s = delivered_total = 0
    for rounds in losses:
        for _ in range(rounds):
            now_s += 1
            flight = min(instance.cwnd, 1000 * mss)
            delivered_total += flight
            instance.on_sent(float(now_s), flight, flight)
            rate = flight / 0.1
            instance.on_ack(
                AckEvent(
                    float(now_s), flight, delivered_total, flight, 0, 0.1, 0.1, rate, False, False
                )
            )
            check(instance)
        flight = min(instance.cwnd, 1000 * mss)
        before = max(instance.cwnd, 2 * mss)
        instance.on_congestion(float(now_s), flight)
        check(instance)
        assert instance.cwnd <= before
        instance.on_recovered(now_s + 0.1)
        check(instance)
        assert instance.cwnd <= 2200 * mss
