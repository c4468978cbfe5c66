"""Sequence diagrams of exchanges, and the text of a segment as scripts write it."""

from __future__ import annotations

from collections import deque

from rudp.wire.segment import ACK, FIN, PSH, RST, SYN, Malformed, Segment
from rudp.wire.seq import MASK

_LETTERS = {"S": SYN, "F": FIN, "R": RST, "P": PSH, "A": ACK}
_ARROW = 84
_KEEP = 400

RECENT: list[Diagram] = []
"""The diagrams of the test that is running; conftest.py prints them if it fails."""


class Diagram:
    """Who sent what when; keeps the last events only.

    Args:
        left: Name of the left column.
        right: Name of the right column.
    """

    def __init__(self, left: str, right: str) -> None:
        self._head = f"{'ms':>11}  {left:<14}{right:>{_ARROW - 2}}"
        self._lines: deque[str] = deque(maxlen=_KEEP)
        self._skipped = 0
        RECENT.append(self)

    def arrow(self, now_ms: float, state: str, text: str, *, right: bool) -> None:
        """Draw a datagram."""
        dashes = "-" * max(2, _ARROW - 8 - len(text))
        self._add(now_ms, state, f"|-- {text} {dashes}>|" if right else f"|<{dashes} {text} --|")

    def note(self, now_ms: float, state: str, text: str) -> None:
        """Write something that is no datagram between the columns."""
        self._add(now_ms, state, f"*  {text}")

    def __str__(self) -> str:
        skipped = [f"({self._skipped} events before)"] if self._skipped else []
        return "\n".join([self._head, *skipped, *self._lines])

    def _add(self, now_ms: float, state: str, text: str) -> None:
        self._skipped += len(self._lines) == _KEEP
        self._lines.append(f"{now_ms:11.1f}  {state:<13} {text}")


def flag_bits(letters: str) -> int:
    """Control bits from letters such as "SA"."""
    return sum(_LETTERS[letter] for letter in letters)


def flag_letters(flags: int) -> str:
    """Letters of control bits, in the order that scripts use."""
    return "".join(letter for letter, bit in _LETTERS.items() if flags & bit)


def relative(number: int, base: int) -> int:
    """The signed distance of a 32-bit number from another."""
    return ((number - base + 0x8000_0000) & MASK) - 0x8000_0000


def fields(segment: Segment, seq_base: int, ack_base: int) -> dict[str, str]:
    """A segment's fields by the names that scripts have for them; absent ones are left out."""
    options = segment.options
    found: dict[str, object] = {
        "flags": flag_letters(segment.flags),
        "seq": relative(segment.seq, seq_base),
        "ack": relative(segment.ack, ack_base) if segment.flags & ACK else None,
        "len": len(segment.payload),
        "win": segment.window,
        "sack": ",".join(
            f"{relative(left, ack_base)}-{relative(right, ack_base)}"
            for left, right in options.sack
        ),
        "mss": options.mss,
        "ws": options.window_scale,
        "sackok": "1" if options.sack_permitted else None,
        "version": options.version,
        "id": options.connection_id,
        "unknown": options.unknown_id,
        "challenge": options.path_challenge.hex() if options.path_challenge else None,
        "response": options.path_response.hex() if options.path_response else None,
        "rdv": options.rendezvous.decode(errors="replace") if options.rendezvous else None,
        "cid": segment.cid,
        "ts": segment.tsval,
        "ecr": segment.tsecr,
    }
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def describe(
    segment: Segment | Malformed, seq_base: int, ack_base: int, skip: frozenset[str] = frozenset()
) -> str:
    """A segment in one line, in the syntax of scripts."""
    if isinstance(segment, Malformed):
        return f"malformed: {segment.value}"
    found = fields(segment, seq_base, ack_base)
    if found["len"] == "0":
        del found["len"]
    flags = found.pop("flags")
    hidden = {"cid", "ts", "ecr", "version", "id", *skip}
    return " ".join([flags, *(f"{k}={v}" for k, v in found.items() if k not in hidden)])
