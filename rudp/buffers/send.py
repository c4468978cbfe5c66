"""What the application wrote: kept until acknowledged, cut into payloads without copying."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Callable
from operator import itemgetter
from typing import Any

Buffer = bytes | memoryview

_JOIN_BELOW = 4096
_JOIN_UP_TO = 65_536


@functools.lru_cache(maxsize=128)
def _cutter(size: int, count: int) -> Callable[[Buffer], tuple[Buffer, ...]]:
    """Cuts `count` payloads, two at least, of `size` bytes; the last one may be shorter."""
    ends = range(size, size * (count + 1), size)
    cut: Any = itemgetter(*[slice(end - size, end) for end in ends])
    return cut  # type: ignore[no-any-return]


class SendBuffer:
    """Bytes from `start` (the oldest unacknowledged) to `end`, at unbounded stream offsets.

    Large writes are kept as they came and sliced as `memoryview`; small ones that nobody asked
    for yet are joined.
    """

    __slots__ = ("_chunks", "_pending", "_pending_size", "_starts", "end", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self._starts: list[int] = []
        self._chunks: list[Buffer] = []
        self._pending: list[bytes] = []
        self._pending_size = 0

    def __len__(self) -> int:
        return self.end - self.start

    def append(self, data: bytes) -> None:
        """Add `data`; it must not be empty nor change afterwards."""
        if len(data) < _JOIN_BELOW:
            self._pending.append(data)
            self._pending_size += len(data)
            self.end += len(data)
            if self._pending_size > _JOIN_UP_TO:
                self._seal()
        else:
            if self._pending:
                self._seal()
            self._starts.append(self.end)
            self._chunks.append(memoryview(data))
            self.end += len(data)

    def release(self, offset: int) -> None:
        """Forget everything below `offset`: the peer has it."""
        if offset <= self.start:
            return
        if self._pending and offset > self.end - self._pending_size:
            self._seal()
        self.start = offset
        if offset == self.end:
            self._starts.clear()
            self._chunks.clear()
            return
        done = bisect_right(self._starts, offset) - 1
        if done > 0:
            del self._starts[:done], self._chunks[:done]

    def payloads(self, start: int, end: int, size: int) -> list[Buffer]:
        """[start, end) cut into payloads of `size` bytes, the last one maybe shorter."""
        if self._pending and end > self.end - self._pending_size:
            self._seal()
        index = bisect_right(self._starts, start) - 1
        chunk = self._chunks[index]
        base = self._starts[index]
        if end <= base + len(chunk):
            low, high = start - base, end - base
            if low == 0 and high == len(chunk) and high <= size:
                return [chunk]
            if high - low <= size:
                return [chunk[low:high]]
            cut = _cutter(size, -(-(high - low) // size))
            return list(cut(chunk[low:high]))
        return self._across(index, start, end, size)

    def _across(self, index: int, start: int, end: int, size: int) -> list[Buffer]:
        """The payloads of a range that lies in several chunks; one that straddles is joined."""
        payloads: list[Buffer] = []
        parts: list[Buffer] = []
        missing = size
        while start < end:
            chunk, base = self._chunks[index], self._starts[index]
            low = start - base
            high = min(len(chunk), end - base)
            if parts:
                cut = min(low + missing, high)
                parts.append(chunk[low:cut])
                missing -= cut - low
                low = cut
                if not missing:
                    payloads.append(b"".join(parts))
                    parts, missing = [], size
            whole = low + (high - low) // size * size
            payloads += [chunk[at : at + size] for at in range(low, whole, size)]
            if whole < high:
                parts.append(chunk[whole:high])
                missing -= high - whole
            start = base + high
            index += 1
        if parts:
            payloads.append(b"".join(parts))
        return payloads

    def _seal(self) -> None:
        self._starts.append(self.end - self._pending_size)
        pending = self._pending
        self._chunks.append(pending[0] if len(pending) == 1 else b"".join(pending))
        self._pending = []
        self._pending_size = 0
