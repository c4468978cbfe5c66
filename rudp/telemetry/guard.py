"""Several observers of one connection, none of which can harm it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any

from rudp.telemetry.events import get_logger
from rudp.telemetry.observer import Metrics, Observer, Ranges
from rudp.wire.segment import Segment
from rudp.wire.train import Train

__all__ = ["Guarded"]


class Guarded(Observer):
    """Hands a connection's events on to its observers.

    One that raises is told no more, and the error is logged: whoever watches a connection must
    not be able to break it.
    """

    __slots__ = ("_observers", "wants_metrics")

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = list(observers)
        self.wants_metrics = any(observer.wants_metrics for observer in self._observers)

    def state_changed(self, before: enum.IntEnum, after: enum.IntEnum, event: enum.Enum) -> None:
        """As `Observer` has it, and so are the others."""
        self._tell(lambda observer: observer.state_changed(before, after, event))

    def segment_received(self, segment: Segment, size: int, ecn: int, now_s: float) -> None:
        self._tell(lambda observer: observer.segment_received(segment, size, ecn, now_s))

    def train_sent(self, train: Train, ecn: int, now_s: float) -> None:
        self._tell(lambda observer: observer.train_sent(train, ecn, now_s))

    def lost(self, ranges: Ranges, trigger: str, now_s: float) -> None:
        self._tell(lambda observer: observer.lost(ranges, trigger, now_s))

    def metrics_updated(self, metrics: Metrics, now_s: float) -> None:
        self._tell(lambda observer: observer.metrics_updated(metrics, now_s))

    def closed(self, reason: enum.Enum | None) -> None:
        self._tell(lambda observer: observer.closed(reason))

    def _tell(self, call: Callable[[Observer], Any]) -> None:
        for observer in tuple(self._observers):
            try:
                call(observer)
            except Exception as exc:  # noqa: BLE001 - whatever a stranger's observer may raise
                self._observers.remove(observer)
                get_logger().error("observer failed", observer=repr(observer), error=repr(exc))
