"""Whether what was written has arrived: `rudp.acknowledged()` and `rudp.unacknowledged()`."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from rudp.core.connection import Connection
from rudp.core.states import State
from rudp.errors import Reason, error_for

if TYPE_CHECKING:
    from rudp.aio.transport import ConnectionTransport

Stream = asyncio.StreamWriter | asyncio.BaseTransport

_RECORDS_BYTES = 1 << 16
"""Room for what TLS adds to bytes that it has not encrypted yet."""


class Delivery:
    """Those who wait until a connection's peer has acknowledged what was written.

    A transport has one from the first `rudp.acknowledged()` on.
    """

    __slots__ = ("_conn", "_error", "_turn", "_waiting")

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._error: BaseException | None = None
        self._turn: asyncio.Future[None] | None = None
        # By offset, since what is written later ends later.
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def written(self) -> int:
        """The offset behind the last byte written."""
        return self._conn.sender.buffer.end

    @property
    def acknowledged(self) -> int:
        """The offset behind the last byte that the peer has acknowledged."""
        return self._conn.sender.buffer.start - self._conn.undelivered

    async def reached(self, offset: int) -> None:
        """Wait until everything before `offset` is acknowledged.

        Raises why the connection ended, if it did before. Cancellation changes nothing.
        """
        if self.acknowledged >= offset:
            return
        if self._is_over:
            raise self._why(Reason.ABORTED)
        waiter = asyncio.get_running_loop().create_future()
        entry = (offset, waiter)
        self._waiting.append(entry)
        try:
            await waiter
        finally:
            if waiter.cancelled() and entry in self._waiting:
                self._waiting.remove(entry)

    async def turn(self) -> None:
        """Wait until the transport hears from the network again.

        Raises why the connection ended, if it has or does so. Cancellation changes nothing.
        """
        if not self._is_over:
            if self._turn is None:
                self._turn = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._turn)
        if self._is_over:
            raise self._why(Reason.CLOSED)

    def update(self) -> None:
        """The peer may have acknowledged more: wake those who waited for that."""
        acknowledged, waiting = self.acknowledged, self._waiting
        while waiting and waiting[0][0] <= acknowledged:
            _, waiter = waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
        if self._turn is not None:
            self._turn.set_result(None)
            self._turn = None

    def end(self, exc: BaseException | None) -> None:
        """The transport is lost: whoever still waits hears why."""
        self._error = exc
        self.update()
        while self._waiting:
            _, waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(self._why(Reason.ABORTED))

    @property
    def _is_over(self) -> bool:
        return self._conn.state is State.CLOSED

    def _why(self, otherwise: Reason) -> BaseException:
        return self._error or error_for(self._conn.reason or otherwise)


async def acknowledged(stream: Stream) -> None:
    """Wait until the peer has acknowledged everything that was written to `stream` so far.

    `drain()` waits until there is room to write more; this waits until the peer's system has the
    bytes, as Linux tells of TCP with `SIOCOUTQ`. It does not say that the peer's *program* has
    read them: only an answer of its own can. Under TLS it is the same for the encrypted bytes.

    Args:
        stream: A writer or a transport of rudp, with TLS over it or without.

    Raises:
        OSError: The connection ended before: the error that the reader gets, with its `reason`
            (`rudp.errors`); `ConnectionAborted` after `abort()`.
        TypeError: `stream` is not of a connection of rudp.

    Returns at once if nothing is unacknowledged, also after the end. Cancellation changes nothing.
    """
    upper = stream.transport if isinstance(stream, asyncio.StreamWriter) else stream
    delivery = _transport_of(stream).delivery
    if upper is not stream.get_extra_info("rudp_transport"):
        await _handed_over(cast("asyncio.WriteTransport", upper), delivery)
    await delivery.reached(delivery.written)


async def _handed_over(upper: asyncio.WriteTransport, delivery: Delivery) -> None:
    """Wait until TLS has passed on what it held back when this was called."""
    held = upper.get_write_buffer_size()
    # What another task writes meanwhile must not keep us waiting for ever.
    enough = delivery.written + 2 * held + _RECORDS_BYTES
    while upper.get_write_buffer_size() and delivery.written < enough:
        await delivery.turn()


def unacknowledged(stream: Stream) -> int:
    """Bytes written to `stream` that the peer has not acknowledged, as far as this side knows.

    It counts what is queued on this side, too; under TLS, encrypted bytes. Once the connection
    has ended it stays at what was then unacknowledged: 0 after an orderly end.

    Raises `TypeError` if `stream` is not of a connection of rudp.
    """
    upper = stream.transport if isinstance(stream, asyncio.StreamWriter) else stream
    lower = _transport_of(stream)
    held = 0
    if upper is not lower:
        held = cast("asyncio.WriteTransport", upper).get_write_buffer_size()
    delivery = lower.delivery
    return held + delivery.written - delivery.acknowledged


def _transport_of(stream: Stream) -> ConnectionTransport:
    found = stream.get_extra_info("rudp_transport")
    if found is None:
        raise TypeError(f"stream must be a writer or transport of rudp, not {stream!r}")
    return cast("ConnectionTransport", found)
