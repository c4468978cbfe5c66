"""The windowed maximum filter of BBR's model."""

from __future__ import annotations

from collections import deque


class WindowedMax:
    """The largest value of the last few slots of a virtual clock (round trips, probe cycles).

    Exact, and of amortised constant cost: a value that a later one exceeds is never kept.
    """

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        self._samples: deque[tuple[int, float]] = deque()

    def update(self, value: float, slot: int, length: int) -> float:
        """Take in `value`, measured in `slot`; return the maximum of the last `length` slots.

        Slots never decrease; the current one counts, so a length of 1 looks at it alone.
        """
        samples = self._samples
        while samples and samples[-1][1] <= value:
            samples.pop()
        samples.append((slot, value))
        while samples[0][0] <= slot - length:
            samples.popleft()
        return samples[0][1]
