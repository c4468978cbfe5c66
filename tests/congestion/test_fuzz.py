"""Every controller under every stream of events: what a connection relies on always holds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rudp.congestion import CONTROLLERS, AckEvent, CongestionController, LossEvent
from rudp.congestion.resilient import Resilient
from rudp.congestion.window import WindowController

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
    srtt_s=st.just(0.0) | st.floats(0.0, 1e4),
    round_start=st.booleans(),
    cwnd_limited=st.booleans(),
    lost=BYTES,
    lost_total=st.integers(0, 1 << 60),
    prior_delivered=st.integers(0, 1 << 60),
    tx_in_flight=BYTES,
    lost_since_sent=BYTES,
    marked=BYTES,
)
LOSSES = st.builds(
    LossEvent,
    now_s=SECONDS,
    size=BYTES,
    tx_in_flight=BYTES,
    lost_since_sent=BYTES,
    app_limited=st.booleans(),
)
EVENTS = st.one_of(
    ACKS.map(lambda event: ("on_ack", (event,), {})),
    st.tuples(SECONDS, BYTES, BYTES).map(lambda args: ("on_sent", args, {})),
    LOSSES.map(lambda event: ("on_lost", (event,), {})),
    st.tuples(SECONDS, BYTES, st.booleans()).map(
        lambda args: ("on_congestion", args[:2], {"marked": args[2]})
    ),
    st.tuples(SECONDS).map(lambda args: ("on_recovered", args, {})),
    st.tuples(SECONDS).map(lambda args: ("on_spurious", args, {})),
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


def check_step(
    controller: CongestionController, name: str, args: tuple[object, ...], before: int, most: int
) -> None:
    """What one event may do to a window of `before` bytes that was never above `most`.

    Those whose window is their state never grow faster than slow start, and a reduction leaves
    no more than there was (or the floor of two segments). A model of the path may come back at
    once to a window that it had before, and take what is in flight as given, but not more: then
    slow start bounds it as well.
    """
    cwnd, mss = controller.cwnd, controller.mss
    if name == "on_ack":
        event = args[0]
        assert isinstance(event, AckEvent)
        if isinstance(controller, WindowController):
            base = before
        else:
            base = max(most, event.in_flight, 4 * mss)
        gain = controller.startup_cwnd_gain if isinstance(controller, Resilient) else 2.0
        assert cwnd <= base + max((gain - 1) * event.delivered + 1, mss)
    elif name == "on_spurious":
        assert before <= cwnd <= most, "an undo goes back, and not below what there is"
    elif name == "on_timeout" and isinstance(controller, WindowController):
        assert cwnd == mss
    elif name == "on_congestion" and isinstance(controller, WindowController):
        assert cwnd <= max(before, 2 * mss)
    elif name in {"on_sent", "on_lost", "on_recovered", "on_idle"} and isinstance(
        controller, WindowController
    ):
        assert cwnd <= before


@each_controller
@given(mss=st.integers(1, 65_483), events=st.lists(EVENTS, max_size=60))
@settings(deadline=None)
def test_any_stream_of_events(
    controller: str, mss: int, events: list[tuple[str, tuple[object, ...], dict[str, bool]]]
) -> None:
    """cwnd is a whole number of bytes, at least a segment, and moves within bounds, whatever
    happens; the rate is a positive number."""
    instance = CONTROLLERS[controller](mss)
    check(instance)
    most = instance.cwnd
    for name, args, kwargs in events:
        before = instance.cwnd
        getattr(instance, name)(*args, **kwargs)
        check(instance)
        check_step(instance, name, args, before, most)
        most = max(most, instance.cwnd)


@each_controller
@given(
    mss=st.integers(100, 9000),
    losses=st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=40),
)
@settings(deadline=None)
def test_an_honest_path(controller: str, mss: int, losses: list[tuple[int, bool]]) -> None:
    """Acknowledgements of what was in flight, and a loss or a mark now and then: the window
    neither collapses nor runs away, a loss never widens it, and there is a rate."""
    instance = CONTROLLERS[controller](mss)
    # What is used is doubled at most; a model of the path may add what acknowledgements bring in
    # one go (the draft's extra_acked), here the whole flight again, and a part for its gains.
    # Startup of `resilient` allows its gain twice over: its estimate is a round trip old.
    widest: float = (2200 if isinstance(instance, WindowController) else 4000) * mss
    if isinstance(instance, Resilient):
        widest *= 5 / 2
    now_s = delivered_total = 0
    for rounds, marked in losses:
        for _ in range(rounds):
            now_s += 1
            flight = min(instance.cwnd, 1000 * mss)
            limited = flight == instance.cwnd
            instance.on_sent(float(now_s), flight, flight)
            instance.on_ack(
                AckEvent(
                    now_s=float(now_s),
                    delivered=flight,
                    delivered_total=delivered_total + flight,
                    prior_in_flight=flight,
                    in_flight=0,
                    rtt_s=0.1,
                    min_rtt_s=0.1,
                    rate=flight / 0.1,
                    rate_app_limited=not limited,
                    in_recovery=False,
                    srtt_s=0.1,
                    round_start=True,
                    cwnd_limited=limited,
                    prior_delivered=delivered_total,
                    tx_in_flight=flight,
                )
            )
            delivered_total += flight
            check(instance)
            assert instance.pacing_rate is not None
            assert instance.pacing_rate > instance.mss
        flight = min(instance.cwnd, 1000 * mss)
        before = max(instance.cwnd, 2 * mss)
        if not marked:
            instance.on_lost(LossEvent(float(now_s), mss, flight, mss, app_limited=False))
        instance.on_congestion(float(now_s), flight, marked=marked)
        check(instance)
        assert instance.cwnd <= before
        instance.on_recovered(now_s + 0.1)
        check(instance)
        assert instance.cwnd <= widest
