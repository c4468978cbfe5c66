"""A connection's table of deadlines: set on every train, asked on every wake-up."""

from __future__ import annotations

import itertools

from pytest_benchmark.fixture import BenchmarkFixture

from rudp.core.timers import Timer, Timers


def test_moving_a_deadline(benchmark: BenchmarkFixture) -> None:
    timers = Timers()
    clock = itertools.count(1)
    benchmark(lambda: timers.set(Timer.RETRANSMIT, next(clock)))
    assert timers.is_set(Timer.RETRANSMIT)


def test_a_wake_up_with_nothing_due(benchmark: BenchmarkFixture) -> None:
    timers = Timers()
    for timer in Timer:
        timers.set(timer, 1e9)
    assert benchmark(timers.expired, 1.0) == []


def test_a_wake_up_with_one_due(benchmark: BenchmarkFixture) -> None:
    timers = Timers()

    def turn() -> list[Timer]:
        timers.set(Timer.DELAYED_ACK, 1.0)
        timers.set(Timer.RETRANSMIT, 1e9)
        return timers.expired(1.0)

    assert benchmark(turn) == [Timer.DELAYED_ACK]
