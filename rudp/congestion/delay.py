"""The round-trip time and the queueing delay of a path, seen through jitter and reordering."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

_WINDOW = 16
_SPACING = 1 / 32
_LEAST_S, _MOST_S, _SHARE = 0.003, 0.016, 1 / 8
"""What counts as a queue: an eighth of the round trip within bounds, as HyStart++ (RFC 9406 §4.2)
has it."""


class TypicalRtt:
    """The median of the latest round-trip samples, in seconds.

    A packet that overtakes others tells of a round trip that no queue-free path has; one that
    is held up tells of no queue. The median of a window follows neither.
    """

    __slots__ = ("_next_s", "_recent", "_sorted", "deviation_s")

    def __init__(self) -> None:
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []
        self._next_s = -math.inf
        self.deviation_s = 0.0
        """Mean deviation of the samples from their median."""

    def sample(self, rtt_s: float, now_s: float) -> bool:
        """Take one round-trip time; true when the window has just become full.

        What comes sooner than a 32nd of a round trip after the last one is left out: sixteen
        acknowledgements in a row may all have been overtaken by the same one.
        """
        if now_s < self._next_s:
            return False
        self._next_s = now_s + rtt_s * _SPACING
        self._recent.append(rtt_s)
        insort(self._sorted, rtt_s)
        if len(self._recent) > _WINDOW:
            oldest_s = self._recent.popleft()
            del self._sorted[bisect_left(self._sorted, oldest_s)]
            deviation_s = abs(rtt_s - self._sorted[_WINDOW // 2])
            self.deviation_s += (deviation_s - self.deviation_s) / _WINDOW
            return False
        return len(self._recent) == _WINDOW

    @property
    def median_s(self) -> float | None:
        """The median; None before the window is full."""
        if len(self._sorted) < _WINDOW:
            return None
        return self._sorted[_WINDOW // 2]

    def queue_s(self, min_rtt_s: float) -> float:
        """The queueing delay, given the round trip without one; 0 before enough samples."""
        median_s = self.median_s
        if median_s is None or min_rtt_s == math.inf:
            return 0.0
        return max(0.0, median_s - min_rtt_s)


def queue_threshold_s(min_rtt_s: float) -> float:
    """The delay from which on there is a queue, and not only noise."""
    return min(max(min_rtt_s * _SHARE, _LEAST_S), _MOST_S)
