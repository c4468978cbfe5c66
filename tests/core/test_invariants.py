"""What whoever drives a connection rests on: `may_send`, `next_s`, and the endpoint's heap."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.config import Config
from rudp.core.connection import Connection
from rudp.core.states import State
from rudp.core.timers import NEVER, Timer, Timers
from rudp.sim.link import LinkConfig
from rudp.sim.pair import CorePair, Node

LINK = LinkConfig(
    delay_s=0.02,
    jitter_s=0.01,
    loss=0.05,
    reorder=0.05,
    duplicate=0.02,
    rate_bytes_per_s=400_000,
    queue_bytes=20_000,
)
_CALLS = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(Timer), st.integers(0, 100)),
    st.tuples(st.just("stop"), st.sampled_from(Timer), st.just(0)),
    st.tuples(st.just("put off"), st.sampled_from(Timer), st.integers(0, 100)),
    st.tuples(st.just("expire"), st.booleans(), st.integers(0, 100)),
    st.tuples(st.just("recovered"), st.just(0), st.just(0)),
)


@given(st.lists(_CALLS, max_size=40))
def test_no_deadline_lies_before_the_next(calls: list[tuple[str, Timer | bool, int]]) -> None:
    """In any order of calls, deadlines that are stored directly included."""
    timers = Timers()
    for call, which, value in calls:
        if isinstance(which, Timer):
            if call == "set":
                timers.set(which, value)
                assert timers[which] == value
            elif call == "stop":
                timers.stop(which)
                assert not timers.is_set(which)
            else:  # as those do who store directly: later, or never
                before = timers.deadlines[which]
                timers.deadlines[which] = max(before, value) if before != NEVER else NEVER
        elif call == "expire":
            due = timers.expired(value, acks_only=bool(which))
            left = [timer for timer in Timer if timers[timer] <= value]
            assert not set(due) & set(left)
            assert which or not left
            assert timers.next_s == min(timers.deadlines)
        else:
            timers.stop_recovery()
        assert timers.next_s <= min(timers.deadlines)


class _Checked(CorePair):
    """Looks at every connection before and after it is flushed."""

    silent = 0
    """How often `may_send` denied and `poll()` was asked all the same."""

    def flush(self, node: Node, conn: Connection | None = None) -> None:
        conns = [conn] if conn is not None else list(node.endpoint.connections.values())
        for one in conns:
            self._check(one)
        super().flush(node, conn)
        for one in conns:
            self._check(one)
            live = one.state not in (State.CLOSED, State.TIME_WAIT)
            if live and one.next_s < one.armed_s:
                raise AssertionError(f"{one.next_s} is not in the heap, {one.armed_s} is")

    def _check(self, conn: Connection) -> None:
        timers = conn.timers
        if timers.next_s > min(timers.deadlines):
            late = [timer.name for timer in Timer if timers[timer] < timers.next_s]
            raise AssertionError(f"{late} will be late")
        if not conn.may_send:
            self.silent += 1
            if conn.poll(self.now_s) is not None:
                raise AssertionError(f"may_send denied what poll() gave in {conn.state.name}")


@pytest.mark.parametrize("congestion", ["newreno", "cubic", "bbr", "resilient"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whole_lives_on_a_bad_path(congestion: str, seed: int) -> None:
    """Streams both ways, messages, readers that pause, moves, a half-close and the end: `may_send`
    denies nothing that `poll()` would give, and no timer is late."""
    rng = random.Random(seed)
    config = Config(congestion=congestion, receive_buffer=100_000)
    pair = _Checked(seed, LINK, config=config)
    ends = pair.connect()
    sides = list(zip((pair.a, pair.b), ends, strict=True))
    written = [0, 0]
    for _ in range(40):
        which = rng.randrange(2)
        node, conn = sides[which]
        action = rng.random()
        if action < 0.7:
            size = rng.choice((1, 50, 800, 20_000))
            conn.send(bytes(size))
            written[which] += size
        elif action < 0.85:
            node.reading = not node.reading
        elif action < 0.9:
            conn.sender.forget_path(config, pair.now_s)
        pair.flush(node, conn)
        pair.run(rng.choice((0.0, 0.001, 0.05, 0.4)))
    for node, conn in sides:
        node.reading = True
        conn.shutdown()
        pair.flush(node, conn)
    pair.run_until(lambda: all(conn.state is State.CLOSED for conn in ends), 600.0)
    assert [conn.stats.bytes_received for conn in reversed(ends)] == written, f"seed {seed}"
    assert [conn.state for conn in ends] == [State.CLOSED] * 2, f"seed {seed}"
    assert pair.silent > 100
