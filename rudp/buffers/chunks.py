"""A run of received bytes as a list of chunks whose overhead is bounded."""

from __future__ import annotations

SMALL = 2048
"""Neighbours that together stay below this are joined: a peer that sends one byte a segment
cannot make its bytes cost fifty times their size."""


LARGE = 16_384
"""A chunk of this size is handed out alone: to join it with others costs more than a call."""


class ChunkRun:
    """Bytes in order, appended at either end, taken out as the chunks they came in.

    Of any two neighbouring chunks the sum exceeds `SMALL`, so a run of n bytes holds at most
    2 n / SMALL + 2 chunks.
    """

    __slots__ = ("_chunks", "size")

    def __init__(self) -> None:
        self._chunks: list[bytes | bytearray | memoryview] = []
        self.size = 0

    def append(self, data: bytes) -> None:
        """Add `data` behind the run."""
        self._join(data)
        self.size += len(data)

    def extend(self, other: ChunkRun) -> None:
        """Move the chunks of `other` behind this run; `other` must not be used afterwards."""
        if other._chunks:
            self._join(other._chunks[0])
            self._chunks += other._chunks[1:]
            self.size += other.size

    def take(self) -> list[bytes]:
        """Empty the run: its chunks in order."""
        chunks = [bytes(chunk) for chunk in self._chunks]
        self._chunks.clear()
        self.size = 0
        return chunks

    def take_some(self, most: int) -> bytes:
        """Remove and return bytes from the front, `most` at most, and no more than one large
        chunk. The run must not be empty."""
        chunks = self._chunks
        first = chunks[0]
        if len(first) > most:
            view = memoryview(first)
            chunks[0] = view[most:]
            taken = bytes(view[:most])
        elif len(chunks) == 1 or len(first) >= LARGE:
            del chunks[0]
            taken = bytes(first)
        else:
            count, size = 0, 0
            for chunk in chunks:
                size += len(chunk)
                if size > most or len(chunk) >= LARGE:
                    break
                count += 1
            taken = b"".join(chunks[:count])
            del chunks[:count]
        self.size -= len(taken)
        return taken

    def overhead(self) -> int:
        """How many chunks there are: what the run costs beyond its bytes."""
        return len(self._chunks)

    def _join(self, data: bytes | bytearray | memoryview) -> None:
        chunks = self._chunks
        if chunks and len(chunks[-1]) + len(data) <= SMALL:
            last = chunks[-1]
            if type(last) is bytearray:
                last += data
            else:
                chunks[-1] = bytearray(last) + data
        else:
            chunks.append(data)
