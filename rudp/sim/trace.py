"""A record of the segments that two nodes exchanged, and its sequence diagram."""

from __future__ import annotations

from typing import NamedTuple

from rudp.telemetry.diagram import Arrow, describe, draw
from rudp.wire.segment import Malformed, Segment

__all__ = ["Trace", "TraceLine"]


class TraceLine(NamedTuple):
    """One segment: when it was sent, by whom."""

    sent_s: float
    sender: str
    segment: Segment

    def describe(self) -> str:
        """The segment in the words of RFC 9293's figures."""
        _, seq, ack, flags, *_ = self.segment
        payload, options = self.segment.payload, self.segment.options
        return describe(flags, seq, ack, len(payload), mss=options.mss)


class Trace:
    """Collects segments; give `record` to `CorePair(tap=…)`."""

    def __init__(self) -> None:
        self.lines: list[TraceLine] = []

    def record(self, sent_s: float, sender: str, segment: Segment | Malformed) -> None:
        """Note one segment."""
        if isinstance(segment, Segment):
            self.lines.append(TraceLine(sent_s, sender, segment))

    def diagram(self, left: str, right: str, *, width: int = 62) -> str:
        """A sequence diagram: `left` is node a, `right` node b, time in milliseconds."""
        arrows = (Arrow(one.sent_s, one.sender == "a", one.describe()) for one in self.lines)
        return draw(arrows, left, right, width=width)
