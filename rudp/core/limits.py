"""What held the sender back, and for how long: the shares of time in the connection's info."""

from __future__ import annotations

import enum


class Limit(enum.IntEnum):
    """Why nothing more was sent."""

    APPLICATION = 0
    """All that was written has been sent."""
    CWND = 1
    """The congestion window is full."""
    RECEIVE_WINDOW = 2
    """The peer's window is full."""
    PACING = 3
    """The next train's time has not come."""


_LIMITS = len(Limit)


class LimitedTimes:
    """Seconds spent under each limit (Linux: tcpi_busy_time, tcpi_rwnd_limited, …)."""

    __slots__ = ("_now", "_since_s", "_spent_s")

    def __init__(self, now_s: float) -> None:
        self._spent_s = [0.0] * _LIMITS
        self._now = Limit.APPLICATION
        self._since_s = now_s

    def note(self, limit: Limit, now_s: float) -> None:
        """`limit` holds the sender back from now on."""
        if limit is not self._now:
            self._spent_s[self._now] += now_s - self._since_s
            self._now = limit
            self._since_s = now_s

    def shares_s(self, now_s: float) -> dict[str, float]:
        """Seconds under each limit until now, by its name in lower case."""
        spent_s = list(self._spent_s)
        spent_s[self._now] += now_s - self._since_s
        return {limit.name.lower(): spent_s[limit] for limit in Limit}
