"""32-bit sequence and timestamp numbers to unbounded integers and back.

Wrap-around (RFC 9293 §3.4) exists in this file alone: everything above the wire compares
sequence numbers as ordinary integers.
"""

from __future__ import annotations

MASK = 0xFFFF_FFFF
_HALF = 0x8000_0000


def to_wire(number: int) -> int:
    """The 32 bits of an unbounded number that travel."""
    return number & MASK


def from_wire(value: int, near: int) -> int:
    """The unbounded number with the 32 bits `value` that lies nearest to `near`.

    The result is in [near - 2^31, near + 2^31).
    """
    return near + ((value - near + _HALF) & MASK) - _HALF
