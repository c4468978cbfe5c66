"""Sequence diagrams as text: who sent what to whom, one segment a line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rudp.wire.segment import ACK, FIN, PSH, RST, SYN

__all__ = ["Arrow", "describe", "draw"]

_NAMES = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"))


class Arrow(NamedTuple):
    """A line of a diagram: when, which way, and what stands on it."""

    time_s: float
    rightward: bool
    text: str


def describe(
    flags: int, seq: int, ack: int, length: int, *, segments: int = 1, mss: int | None = None
) -> str:
    """A segment, or a run of `segments`, in the words of RFC 9293's figures; `length` is the
    payload in bytes."""
    parts = [",".join(name for bit, name in _NAMES if flags & bit)]
    parts.append(f"seq {seq}")
    if flags & ACK:
        parts.append(f"ack {ack}")
    if length:
        run = f", {segments} segments" if segments > 1 else ""
        parts.append(f"data {seq}-{seq + length - 1} ({length} bytes{run})")
    if mss is not None:
        parts.append(f"mss {mss}")
    return "  ".join(parts)


def draw(arrows: Iterable[Arrow], left: str, right: str, *, width: int = 62) -> str:
    """The diagram, time in milliseconds; `width` is the arrows' in characters, at least."""
    shown = list(arrows)
    width = max([width, len(left) + len(right), *(len(arrow.text) + 4 for arrow in shown)])
    rows = [f"{'ms':>8}   {left}{right:>{width + 2 - len(left)}}"]
    for arrow in shown:
        shaft = f"{f' {arrow.text} ':-^{width}}"
        shaft = f"{shaft[:-1]}>" if arrow.rightward else f"<{shaft[1:]}"
        rows.append(f"{arrow.time_s * 1000:8.1f}   |{shaft}|")
    return "\n".join(rows)
