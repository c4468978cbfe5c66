"""BBR under any stream of events, losses included, and under consistent ones."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from rudp.congestion import AckEvent, LossEvent
from rudp.congestion.bbr import Bbr, Phase

from .path import MSS, Path

BYTES = st.integers(0, 100_000) | st.integers(0, 1 << 40)
SECONDS = st.floats(0.0, 1e6)
ACKS = st.builds(
    AckEvent,
    now_s=SECONDS,
    delivered=BYTES,
    delivered_total=BYTES,
    prior_in_flight=BYTES,
    in_flight=BYTES,
    rtt_s=st.none() | st.floats(0.0, 1e4),
    min_rtt_s=st.floats(1e-6, 1e4) | st.just(math.inf),
    rate=st.floats(0.0, 1e12) | st.just(5e-324) | st.just(math.inf) | st.just(math.nan),
    rate_app_limited=st.booleans(),
    in_recovery=st.booleans(),
    srtt_s=st.floats(0.0, 1e4) | st.just(math.inf),
    round_start=st.booleans(),
    cwnd_limited=st.booleans(),
    lost=BYTES,
    lost_total=BYTES,
    prior_delivered=BYTES,
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
    LOSSES.map(lambda event: ("on_lost", (event,), {})),
    st.tuples(SECONDS, BYTES, BYTES).map(lambda args: ("on_sent", args, {})),
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


def check(controller: Bbr) -> None:
    """What a connection relies on, and what the model may never become."""
    assert type(controller.cwnd) is int
    assert controller.cwnd >= controller.mss >= 1
    assert controller.pacing_rate is not None
    assert 0 < controller.pacing_rate < math.inf
    model = controller.model
    assert 0 <= model.bw <= model.max_bw < math.inf
    for bound in (model.bw_shortterm, model.inflight_shortterm, model.inflight_longterm):
        assert bound >= 0
    assert controller.send_quantum >= 2


@given(mss=st.integers(1, 65_483), events=st.lists(EVENTS, max_size=40))
@settings(deadline=None, max_examples=150)
def test_any_stream_of_events(
    mss: int, events: list[tuple[str, tuple[object, ...], dict[str, bool]]]
) -> None:
    """§5.6.4.6: nothing but a saved window, the four segments of the floor, and what was
    acknowledged makes the window grow."""
    controller = Bbr(mss)
    check(controller)
    for name, args, kwargs in events:
        before = controller.cwnd
        getattr(controller, name)(*args, **kwargs)
        check(controller)
        if name == "on_ack":
            event = args[0]
            assert isinstance(event, AckEvent)
            base = max(before, controller.prior_cwnd)
            assert controller.cwnd <= max(base + event.delivered, controller.min_pipe_cwnd)
            if event.delivered:
                assert controller.cwnd >= controller.min_pipe_cwnd


@given(
    mbit=st.floats(0.5, 20),
    rtt_ms=st.floats(1, 200),
    queue_bdp=st.floats(0.1, 5),
    loss=st.sampled_from([0.0, 0.0, 0.01, 0.2, 0.9]),
    seed=st.integers(0, 1 << 32),
    outage=st.booleans(),
)
@settings(deadline=None, max_examples=30)
def test_any_path(
    mbit: float, rtt_ms: float, queue_bdp: float, loss: float, seed: int, outage: bool
) -> None:
    """Over any path, lossy or interrupted, data keeps arriving and the model stays sane."""
    rate, rtt_s = mbit * 1e6 / 8, rtt_ms / 1e3
    link = Path(
        Bbr(MSS),
        rate=rate,
        rtt_s=rtt_s,
        queue=max(queue_bdp * rate * rtt_s, 4 * MSS),
        loss=loss,
        seed=seed,
    )
    link.on_step = lambda event: check(link.cc)
    link.run(1.0)
    if outage:
        link.loss = 1.0
        link.run(1.2)
    link.loss = 0.0
    before = link.delivered
    link.run(1.5)
    assert link.delivered > before
    assert link.cc.model.max_bw <= 1.01 * rate
    assert link.cc.phase in set(Phase)
