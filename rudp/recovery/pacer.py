"""Pacing: spread a window over its round trip, in trains that a timer of milliseconds can release.

A sender that may send `rate` bytes a second gets, each time it is looked at, what the time since
then is worth. The loop's timers tick in milliseconds and come late, so what a late tick missed is
made up for, within bounds; and a train is never smaller than a tick's worth, so that the loop is
woken once a tick and not once a segment.
"""

from __future__ import annotations

TICK_S = 0.001
"""What loops wake on: uvloop's timers, epoll's timeout."""
_CATCH_UP_S = 0.004
"""Of the time that a late wake-up lost so much is made up for; more would be a burst."""
_LEAST_SEGMENTS = 2


class Pacer:
    """When the next train may leave, and how large it may be. Bytes, seconds, bytes a second.

    What was sent ahead of time is kept as bytes, not as a time: the rate may change before they
    are worked off.
    """

    __slots__ = ("_at_s", "_debt", "next_s")

    def __init__(self) -> None:
        self._debt = 0.0
        """Bytes sent ahead of their time; below zero, bytes that may be made up for."""
        self._at_s = 0.0
        self.next_s = 0.0
        """When the next train may leave, as of the last `budget()`."""

    def budget(self, rate: float, mss: int, now_s: float) -> int:
        """Bytes that may leave now in one train; 0 before `next_s`."""
        self._debt = max(self._debt - rate * (now_s - self._at_s), -rate * _CATCH_UP_S)
        self._at_s = now_s
        if self._debt > 0:
            self.next_s = now_s + self._debt / rate
            if self.next_s > now_s:
                return 0
        quantum = int(rate * TICK_S - self._debt)
        return max(_LEAST_SEGMENTS * mss, quantum // mss * mss)

    def is_free(self, rate: float, now_s: float) -> bool:
        """Whether a single segment may leave now: nothing was sent ahead of its time."""
        debt = self._debt - rate * (now_s - self._at_s)
        if debt > 0:
            return False
        least = -rate * _CATCH_UP_S
        self._debt = debt if debt > least else least
        self._at_s = now_s
        return True

    def on_sent(self, size: int) -> None:
        """`size` bytes left."""
        self._debt += size
