"""Out-of-order data, the range set below the scoreboard, and what the sender holds."""

from __future__ import annotations

import random

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from rudp.buffers.rangeset import RangeSet
from rudp.buffers.reassembly import Reassembly

SEGMENT = bytes(1176)
STEP = len(SEGMENT)


def test_reassembly_of_a_shuffled_window(benchmark: BenchmarkFixture) -> None:
    """A thousand segments in no order, then taken out as one run."""
    order = list(range(1000))
    random.Random(1).shuffle(order)

    def turn() -> int:
        held = Reassembly(4096)
        for index in order:
            held.insert(index * STEP, SEGMENT)
        run = held.pop(0)
        return run.size if run is not None else 0

    assert benchmark(turn) == 1000 * STEP


@pytest.mark.parametrize("holes", [10, 4000])
def test_reassembly_behind_holes(benchmark: BenchmarkFixture, holes: int) -> None:
    """The next expected segment arrives below many holes and is taken out at once."""
    held = Reassembly(2 * holes)
    for index in range(1, holes):
        held.insert(2 * index * STEP, SEGMENT)

    def turn() -> None:
        held.insert(0, SEGMENT)
        held.touch(0)
        held.ranges(8)
        held.pop(0)

    benchmark(turn)
    assert len(held) == holes - 1


@pytest.mark.parametrize("ranges", [10, 10_000])
def test_range_set_add_and_discard(benchmark: BenchmarkFixture, ranges: int) -> None:
    """A range in the middle of many."""
    held = RangeSet()
    for index in range(ranges):
        held.add(10 * index, 10 * index + 5)
    at = ranges // 2 * 10 + 6

    def turn() -> None:
        held.add(at, at + 2)
        held.discard(at, at + 2)

    benchmark(turn)
    assert len(held) == ranges


@pytest.mark.parametrize("ranges", [10, 10_000])
def test_range_set_gaps(benchmark: BenchmarkFixture, ranges: int) -> None:
    """The gaps of a small part, whatever lies beside it."""
    held = RangeSet()
    for index in range(ranges):
        held.add(10 * index, 10 * index + 5)
    low = ranges // 2 * 10
    assert len(benchmark(held.gaps, low, low + 40)) == 4
