"""Bytes to send: cheap, and different everywhere, so that a misplaced piece shows."""

from __future__ import annotations

import random
from collections.abc import Iterator

PIECE_BYTES = 1 << 16


def pieces(seed: int, size: int) -> Iterator[bytes]:
    """`size` bytes that depend on `seed`, piece by piece."""
    rng = random.Random(seed)
    while size > 0:
        piece = rng.randbytes(min(PIECE_BYTES, size))
        size -= len(piece)
        yield piece
