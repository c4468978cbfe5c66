"""rudp.buffers.rangeset against a plain set of integers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rudp.buffers.rangeset import RangeSet

TOP = 60
EDGES = st.integers(0, TOP)


def numbers(ranges: list[tuple[int, int]]) -> list[int]:
    """All that the ranges cover, in their order."""
    return [number for start, end in ranges for number in range(start, end)]


def filled(*ranges: tuple[int, int]) -> RangeSet:
    ranges_ = RangeSet()
    for start, end in ranges:
        ranges_.add(start, end)
    return ranges_


class RangeSetModel(RuleBasedStateMachine):
    """Every operation in any order; the model is a set of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges = RangeSet()
        self.model: set[int] = set()

    @rule(start=EDGES, end=EDGES)
    def add(self, start: int, end: int) -> None:
        wanted = set(range(start, end))
        new = self.ranges.add(start, end)
        assert numbers(new) == sorted(wanted - self.model)
        assert all(low < high for low, high in new)
        self.model |= wanted

    @rule(start=EDGES, end=EDGES)
    def discard(self, start: int, end: int) -> None:
        gone = self.model & set(range(start, end))
        assert self.ranges.discard(start, end) == len(gone)
        self.model -= gone

    @rule(end=EDGES)
    def discard_below(self, end: int) -> None:
        gone = {number for number in self.model if number < end}
        assert self.ranges.discard_below(end) == len(gone)
        self.model -= gone

    @rule(start=EDGES, end=EDGES)
    def gaps(self, start: int, end: int) -> None:
        gaps = self.ranges.gaps(start, end)
        assert numbers(gaps) == sorted(set(range(start, end)) - self.model)
        assert all(low < high for low, high in gaps)
        assert all(left < right for (_, left), (right, _) in pairwise(gaps)), "gaps are maximal"

    @rule()
    def clear(self) -> None:
        self.ranges.clear()
        self.model.clear()

    @invariant()
    def same(self) -> None:
        ranges = list(self.ranges)
        assert numbers(ranges) == sorted(self.model)
        assert self.ranges.size == len(self.model)
        assert len(self.ranges) == len(ranges)
        assert bool(self.ranges) is bool(self.model)
        assert [self.ranges.range_at(index) for index in range(len(ranges))] == ranges
        if ranges:
            assert self.ranges.first() == ranges[0]
            assert self.ranges.last() == ranges[-1] == self.ranges.range_at(-1)

    @invariant()
    def disjoint_and_never_adjacent(self) -> None:
        ranges = list(self.ranges)
        assert all(start < end for start, end in ranges)
        assert all(end < start for (_, end), (start, _) in pairwise(ranges))

    @invariant()
    def contains(self) -> None:
        for number in range(-1, TOP + 2):
            assert (number in self.ranges) is (number in self.model)


TestRangeSetModel = RangeSetModel.TestCase
TestRangeSetModel.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)


def test_empty() -> None:
    empty = RangeSet()
    assert not empty
    assert list(empty) == []
    assert 0 not in empty
    assert empty.gaps(3, 9) == [(3, 9)]
    assert empty.discard(3, 9) == empty.discard_below(9) == 0
    with pytest.raises(IndexError):
        empty.first()
    with pytest.raises(IndexError):
        empty.last()


@pytest.mark.parametrize(
    ("start", "end", "new", "ranges"),
    [
        (0, 5, [(0, 5)], [(0, 5), (10, 20), (30, 40)]),
        (0, 10, [(0, 10)], [(0, 20), (30, 40)]),
        (20, 30, [(20, 30)], [(10, 40)]),
        (12, 18, [], [(10, 20), (30, 40)]),
        (10, 20, [], [(10, 20), (30, 40)]),
        (5, 15, [(5, 10)], [(5, 20), (30, 40)]),
        (15, 35, [(20, 30)], [(10, 40)]),
        (0, 50, [(0, 10), (20, 30), (40, 50)], [(0, 50)]),
        (40, 41, [(40, 41)], [(10, 20), (30, 41)]),
        (41, 42, [(41, 42)], [(10, 20), (30, 40), (41, 42)]),
        (25, 25, [], [(10, 20), (30, 40)]),
        (26, 24, [], [(10, 20), (30, 40)]),
    ],
)
def test_add_joins_what_touches(
    start: int, end: int, new: list[tuple[int, int]], ranges: list[tuple[int, int]]
) -> None:
    ranges_ = filled((10, 20), (30, 40))
    assert ranges_.add(start, end) == new
    assert list(ranges_) == ranges


@pytest.mark.parametrize(
    ("start", "end", "removed", "ranges"),
    [
        (0, 10, 0, [(10, 20), (30, 40)]),
        (20, 30, 0, [(10, 20), (30, 40)]),
        (40, 90, 0, [(10, 20), (30, 40)]),
        (10, 20, 10, [(30, 40)]),
        (12, 15, 3, [(10, 12), (15, 20), (30, 40)]),
        (0, 11, 1, [(11, 20), (30, 40)]),
        (15, 35, 10, [(10, 15), (35, 40)]),
        (0, 90, 20, []),
        (15, 15, 0, [(10, 20), (30, 40)]),
        (16, 14, 0, [(10, 20), (30, 40)]),
    ],
)
def test_discard_splits(start: int, end: int, removed: int, ranges: list[tuple[int, int]]) -> None:
    ranges_ = filled((10, 20), (30, 40))
    assert ranges_.discard(start, end) == removed
    assert list(ranges_) == ranges


def test_numbers_are_unbounded() -> None:
    """Above the wire a sequence number is any integer: no wrap-around at 2^32."""
    base = 1 << 80
    ranges = filled((base, base + 10), (base + 20, base + 30))
    assert base + 5 in ranges
    assert ranges.gaps(base, base + 30) == [(base + 10, base + 20)]
    assert ranges.discard_below(base + 25) == 15
    assert list(ranges) == [(base + 25, base + 30)]


def test_repr_shows_the_ranges() -> None:
    assert repr(filled((1, 2), (5, 9))) == "RangeSet([(1, 2), (5, 9)])"


@given(st.permutations(range(30)))
@settings(deadline=None)
def test_numbers_one_by_one_in_any_order_end_as_one_range(order: list[int]) -> None:
    ranges = RangeSet()
    for count, number in enumerate(order, 1):
        assert ranges.add(number, number + 1) == [(number, number + 1)]
        assert ranges.size == count
    assert list(ranges) == [(0, 30)]
