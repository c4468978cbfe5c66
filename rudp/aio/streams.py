"""A `StreamReader` that hands large chunks on instead of copying them into a buffer and out."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

_SMALL = 4096
"""Chunks below this are joined: they cost more as objects than as bytes."""
_LARGE = 32_768
"""A chunk of this size is handed out alone, though more may be there than that."""

Chunk = bytes | bytearray | memoryview


class StreamReader(asyncio.StreamReader):
    """`asyncio.StreamReader` with the same contract, without two copies of bulk data.

    asyncio's own appends what arrives to a `bytearray`, and cuts what is read off its front. Here
    a large chunk stays what it was, and `read()` returns it. Methods that search the buffer are
    asyncio's: for them the chunks are put into it first.

    Args:
        limit: As for `asyncio.StreamReader`: reading pauses beyond twice so many bytes.
        loop: The event loop.
    """

    if TYPE_CHECKING:
        # What asyncio's class has and typeshed leaves out.
        _limit: int
        _eof: bool
        _exception: BaseException | None
        _paused: bool
        _transport: Any
        _waiter: asyncio.Future[None] | None

        async def _wait_for_data(self, func_name: str) -> None: ...
        def _wakeup_waiter(self) -> None: ...

    def __init__(self, limit: int = 2**16, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._head = bytearray()
        """What comes first, as asyncio's reader keeps it."""
        self._chunks: deque[Chunk] | None = None
        """What follows it, if anything."""
        self._chunk_bytes = 0
        super().__init__(limit, loop)

    @property
    def _buffer(self) -> bytearray:
        """All there is, as asyncio's methods and some programs expect it."""
        if self._chunks:
            self._head += b"".join(self._chunks)
            self._chunks = None
            self._chunk_bytes = 0
        return self._head

    @_buffer.setter
    def _buffer(self, value: bytearray) -> None:
        self._head = value
        self._chunks = None
        self._chunk_bytes = 0

    def at_eof(self) -> bool:
        """Whether everything was read and no more will come."""
        return self._eof and not self._head and not self._chunks

    def feed_data(self, data: Chunk) -> None:  # type: ignore[override]
        """Take what the transport received; bytes are kept as they are, not copied."""
        if self._eof:
            raise AssertionError("feed_data after feed_eof")
        size = len(data)
        if not size:
            return
        if size < _SMALL and not self._chunks:
            self._head += data
        else:
            self._append(data)
        if self._waiter is not None:
            self._wakeup_waiter()
        if (
            not self._paused
            and self._transport is not None
            and len(self._head) + self._chunk_bytes > 2 * self._limit
        ):
            self._pause()

    async def read(self, n: int = -1) -> bytes:
        """As `asyncio.StreamReader.read()`: at most `n` bytes, at least one before the end."""
        if self._exception is not None:
            raise self._exception
        if n <= 0:
            return await super().read(n)
        if not self._head and not self._chunks and not self._eof:
            await self._wait_for_data("read")
        head = self._head
        if head:
            data = bytes(head) if len(head) <= n else bytes(memoryview(head)[:n])
            del head[:n]
        elif self._chunks:
            first = len(self._chunks[0])
            data = self._take(min(n, first if first >= _LARGE else self._chunk_bytes))
        else:
            data = b""
        self._maybe_resume_transport()
        return data

    async def readexactly(self, n: int) -> bytes:
        """As `asyncio.StreamReader.readexactly()`."""
        if n > 0 and self._exception is None:
            while len(self._head) + self._chunk_bytes < n and not self._eof:
                await self._wait_for_data("readexactly")
            head = self._head
            if len(head) >= n:
                data = bytes(head) if len(head) == n else bytes(memoryview(head)[:n])
                del head[:n]
                self._maybe_resume_transport()
                return data
            if not head and self._chunk_bytes >= n:
                data = self._take(n)
                self._maybe_resume_transport()
                return data
        return await super().readexactly(n)

    def _append(self, data: Chunk) -> None:
        if self._chunks is None:
            self._chunks = deque()
        self._chunk_bytes += len(data)
        last = self._chunks[-1] if self._chunks else b""
        if type(last) is bytearray and len(last) + len(data) < _SMALL:
            last += data
        elif len(data) < _SMALL:
            self._chunks.append(bytearray(data))
        else:
            self._chunks.append(bytes(data))

    def _take(self, size: int) -> bytes:
        """The first `size` bytes of the chunks, which are that many at least."""
        chunks = self._chunks
        if chunks is None:
            return b""
        self._chunk_bytes -= size
        first = chunks[0]
        if len(first) == size:
            chunks.popleft()
            return bytes(first)
        parts: list[Chunk] = []
        while size:
            first = chunks.popleft()
            if len(first) > size:
                view = memoryview(first)
                chunks.appendleft(view[size:])
                first = view[:size]
            parts.append(first)
            size -= len(first)
        return b"".join(parts)

    def _pause(self) -> None:
        try:
            self._transport.pause_reading()
        except NotImplementedError:
            self._transport = None  # as asyncio: never try again
        else:
            self._paused = True

    def _maybe_resume_transport(self) -> None:
        if self._paused and len(self._head) + self._chunk_bytes <= self._limit:
            self._paused = False
            self._transport.resume_reading()
