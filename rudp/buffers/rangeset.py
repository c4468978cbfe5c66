"""A set of integers as sorted, disjoint, half-open ranges: the SACK scoreboard's arithmetic."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence


class RangeSet:
    """Sorted disjoint ranges [start, end), never adjacent; `size` is the numbers they cover.

    Every operation costs O(log n) plus the ranges that it changes.
    """

    __slots__ = ("_ends", "_starts", "size")

    def __init__(self) -> None:
        # Most sets are empty for ever: no list is made for those.
        self._starts: Sequence[int] = ()
        self._ends: Sequence[int] = ()
        self.size = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __len__(self) -> int:
        return len(self._starts)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self._starts, number) - 1
        return index >= 0 and number < self._ends[index]

    def covers(self, start: int, end: int) -> bool:
        """Whether all of [start, end) is in the set."""
        index = bisect_right(self._starts, start) - 1
        return index >= 0 and end <= self._ends[index]

    def __repr__(self) -> str:
        return f"RangeSet({list(self)})"

    def first(self) -> tuple[int, int]:
        """The lowest range. Raises `IndexError` if the set is empty."""
        return self._starts[0], self._ends[0]

    def last(self) -> tuple[int, int]:
        """The highest range. Raises `IndexError` if the set is empty."""
        return self._starts[-1], self._ends[-1]

    def range_at(self, index: int) -> tuple[int, int]:
        """The range at `index` in ascending order, as a list would give it."""
        return self._starts[index], self._ends[index]

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of [start, end) that are not in the set, ascending."""
        gaps = []
        index = bisect_right(self._ends, start)
        starts, ends = self._starts, self._ends
        while start < end:
            if index == len(starts) or starts[index] >= end:
                gaps.append((start, end))
                break
            if starts[index] > start:
                gaps.append((start, starts[index]))
            start = ends[index]
            index += 1
        return gaps

    def add(self, start: int, end: int) -> list[tuple[int, int]]:
        """Add [start, end); returns the parts of it that were not in the set before."""
        new = self.gaps(start, end)
        if new:
            low = bisect_left(self._ends, start)
            high = bisect_right(self._starts, end)
            if low < high:
                start = min(start, self._starts[low])
                end = max(end, self._ends[high - 1])
            self._replace(low, high, [start], [end])
            for left, right in new:
                self.size += right - left
        return new

    def discard(self, start: int, end: int) -> int:
        """Remove [start, end); returns how many numbers that took out."""
        if start >= end:
            return 0
        low = bisect_right(self._ends, start)
        high = bisect_left(self._starts, end)
        if low >= high:
            return 0
        starts, ends = [], []
        covered = sum(self._ends[low:high]) - sum(self._starts[low:high])
        if self._starts[low] < start:
            starts.append(self._starts[low])
            ends.append(start)
        if self._ends[high - 1] > end:
            starts.append(end)
            ends.append(self._ends[high - 1])
        removed = covered - (sum(ends) - sum(starts))
        self._replace(low, high, starts, ends)
        self.size -= removed
        return removed

    def discard_below(self, end: int) -> int:
        """Remove everything below `end`; returns how many numbers that took out."""
        if not self._starts or self._starts[0] >= end:
            return 0
        return self.discard(self._starts[0], end)

    def clear(self) -> None:
        """Remove everything."""
        self._starts = self._ends = ()
        self.size = 0

    def _replace(self, low: int, high: int, starts: list[int], ends: list[int]) -> None:
        if isinstance(self._starts, list) and isinstance(self._ends, list):
            self._starts[low:high] = starts
            self._ends[low:high] = ends
        else:
            self._starts, self._ends = starts, ends
