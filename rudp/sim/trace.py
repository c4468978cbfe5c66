"""A record of the segments that two nodes exchanged, and its sequence diagram."""

from __future__ import annotations

from typing import NamedTuple

from rudp.wire.segment import ACK, FIN, PSH, RST, SYN, Malformed, Segment

__all__ = ["Trace", "TraceLine"]

_NAMES = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"))


class TraceLine(NamedTuple):
    """One segment: when it was sent, by whom."""

    sent_s: float
    sender: str
    segment: Segment

    def describe(self) -> str:
        """The segment in the words of RFC 9293's figures."""
        segment = self.segment
        parts = [",".join(name for bit, name in _NAMES if segment.flags & bit)]
        parts.append(f"seq {segment.seq}")
        if segment.flags & ACK:
            parts.append(f"ack {segment.ack}")
        if segment.payload:
            last = segment.seq + len(segment.payload) - 1
            parts.append(f"data {segment.seq}-{last} ({len(segment.payload)} bytes)")
        if segment.options.mss is not None:
            parts.append(f"mss {segment.options.mss}")
        return "  ".join(parts)


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
        rows = [f"{'ms':>8}   {left}{right:>{width + 2 - len(left)}}"]
        for line in self.lines:
            text = f" {line.describe()} "
            arrow = f"{text:-^{width}}"
            shaft = f"{arrow[:-1]}>" if line.sender == "a" else f"<{arrow[1:]}"
            rows.append(f"{line.sent_s * 1000:8.1f}   |{shaft}|")
        return "\n".join(rows)
