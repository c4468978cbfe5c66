"""Which packet carried which sequence numbers: what qlog needs and TCP's wire does not tell."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from rudp.wire.seq import from_wire

__all__ = ["Flight", "runs"]

_MOST, _DROPPED = 1 << 16, 1 << 10


class Flight:
    """The packets of one direction that are not acknowledged, by their sequence numbers.

    A packet number is that of the last transmission. Of what is beyond a bound the oldest is
    forgotten.

    Attributes:
        first: The sequence number of the SYN; None before it.
        una: All before it is acknowledged.
        high: Beyond the highest number seen.
    """

    __slots__ = ("_ends", "_numbers", "_starts", "first", "high", "una")

    def __init__(self) -> None:
        self.first: int | None = None
        self.una = self.high = 0
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._numbers: list[int] = []

    def offset(self, seq: int) -> int:
        """The place in the byte stream of the 32 bits `seq`: the first byte after the SYN is 0."""
        return from_wire(seq, self.high) - (self.first or 0) - 1

    def add(self, seq: int, length: int, number: int) -> bool:
        """Packet `number` carries `length` sequence numbers from the 32 bits `seq` on; returns
        whether any of them came before."""
        if self.first is None:
            self.first = self.una = self.high = seq
        start = from_wire(seq, self.high)
        if not length or start < self.una:
            return start < self.high and length > 0
        again = start < self.high
        at = bisect_left(self._starts, start) if again else len(self._starts)
        if again and at < len(self._starts) and self._starts[at] == start:
            self._numbers[at] = number
        else:
            self._starts.insert(at, start)
            self._ends.insert(at, start + length)
            self._numbers.insert(at, number)
            if len(self._starts) > _MOST:
                self._take(0, _DROPPED)
        self.high = max(self.high, start + length)
        return again

    def acknowledge(self, ack: int, blocks: Iterable[tuple[int, int]]) -> list[int]:
        """The packets that an acknowledgement, all of it 32 bits, newly covers; in order."""
        ack = from_wire(ack, self.una)
        found: list[int] = []
        if self.una < ack <= self.high:
            self.una = ack
            found += self._take(0, self._covered(0, ack))
        for left, right in blocks:
            low, high = from_wire(left, self.una), from_wire(right, self.una)
            if self.una <= low < high <= self.high:
                at = bisect_left(self._starts, low)
                found += self._take(at, self._covered(at, high))
        return sorted(found)

    def within(self, start: int, end: int) -> list[int]:
        """The packets that carry any of the unbounded numbers [start, end)."""
        low = max(0, bisect_right(self._starts, start) - 1)
        high = bisect_left(self._starts, end)
        return [self._numbers[at] for at in range(low, high) if self._ends[at] > start]

    def _covered(self, at: int, end: int) -> int:
        """The index after the last packet from `at` on that ends by `end`."""
        ends = self._ends
        while at < len(ends) and ends[at] <= end:
            at += 1
        return at

    def _take(self, start: int, end: int) -> list[int]:
        taken = self._numbers[start:end]
        del self._starts[start:end], self._ends[start:end], self._numbers[start:end]
        return taken


def runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges, both ends included, as qlog writes `acked_ranges`."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(number, found[-1][1]))
        else:
            found.append((number, number))
    return found
