"""A connection as a session sees it: pieces as they came, buffers out, pressure both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import cast

_READ_HIGH_BYTES = 4 << 20
_WRITE_HIGH_BYTES = 8 << 20
_CLOSE_TIMEOUT_S = 5.0


class Channel(asyncio.Protocol):
    """Collects what arrives until it is taken; reading pauses while too much waits.

    Pieces are handed on as the transport gave them, several at a time: whoever works in a thread
    pays for the way there once for many of them. `connected` is called at the beginning.
    """

    def __init__(self, connected: Callable[[Channel], None] | None = None) -> None:
        self.transport: asyncio.Transport
        self._connected = connected
        self._pieces: list[bytes] = []
        self._size = 0
        self._reading_paused = False
        self._writing_paused = False
        self._eof = False
        self._error: BaseException | None = None
        self._lost = False
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = asyncio.Event()
        self.heard_s = asyncio.get_running_loop().time()
        """When something came last, by the loop's clock."""

    # -- the transport's side ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        if self._connected is not None:
            self._connected(self)

    def data_received(self, data: bytes) -> None:
        """Keep a piece."""
        self.heard_s = asyncio.get_running_loop().time()
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _READ_HIGH_BYTES and not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()
        self._news.set()

    def eof_received(self) -> bool:
        """The peer has no more; our direction stays open."""
        self._eof = True
        self._news.set()
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is over."""
        self._error = exc
        self._lost = self._eof = True
        for event in (self._news, self._writable, self._gone):
            event.set()

    def pause_writing(self) -> None:
        """The transport has enough."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The transport takes more."""
        self._writable.set()

    # -- the session's side --------------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        """Whether `take()` would give something."""
        return bool(self._pieces) or self._eof

    def take(self) -> list[bytes]:
        """The pieces that have come; empty if none has.

        Raises:
            OSError: The peer has ended the stream, or the connection broke.
        """
        if not self._pieces and self._eof:
            if self._error is not None:
                raise self._error
            raise ConnectionAbortedError("the connection ended early")
        pieces, self._pieces, self._size = self._pieces, [], 0
        if not self._eof:
            self._news.clear()
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()
        return pieces

    async def news(self) -> None:
        """Wait for something to take. Cancellation loses nothing."""
        await self._news.wait()

    def write(self, buffers: Iterable[bytes]) -> None:
        """Send buffers; `drain()` afterwards."""
        self.transport.writelines(buffers)

    async def drain(self) -> None:
        """Wait until the transport takes more, or the connection is gone."""
        await self._writable.wait()

    async def end(self) -> None:
        """Close in order, and wait until that is done; abort if it takes too long, or if
        cancelled."""
        try:
            self.transport.close()
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._gone.wait()
        except TimeoutError:
            self.transport.abort()
        except asyncio.CancelledError:
            self.transport.abort()
            raise
