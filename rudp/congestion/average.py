"""A delivery rate over a span of time, for paths on which acknowledgements come in bursts."""

from __future__ import annotations

from collections import deque


class AverageRate:
    """Bytes a second over the last `span_s` seconds at least."""

    __slots__ = ("_points",)

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def update(self, now_s: float, delivered_total: int, span_s: float) -> float | None:
        """The rate up to now; None before there is a span to look back on."""
        points = self._points
        points.append((now_s, delivered_total))
        since_s = now_s - span_s
        while len(points) > 1 and points[1][0] <= since_s:
            points.popleft()
        start_s, delivered = points[0]
        if start_s > since_s or now_s <= start_s:
            return None
        return (delivered_total - delivered) / (now_s - start_s)

    def restart(self) -> None:
        """What was delivered until now was not sent as fast as it could have been."""
        self._points.clear()
