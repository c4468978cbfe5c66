"""The `StreamWriter` of rudp's streams, and how readers and writers are made."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from rudp.aio.streams import StreamReader
from rudp.aio.tls import ProtocolFactory, start_tls
from rudp.aio.transport import ConnectionTransport
from rudp.errors import ConnectionReset, Reason

ClientConnected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]
Connect = Callable[[ProtocolFactory], Awaitable[tuple[asyncio.Transport, asyncio.BaseProtocol]]]


class _StreamProtocol(asyncio.StreamReaderProtocol):
    """asyncio's, without a deque of 760 bytes in every connection for the few that wait in
    `drain()` at a time; a list does all that is asked of it."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        connected: ClientConnected | None = None,
        *,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(reader, connected, loop=loop)
        self._drain_waiters: list[asyncio.Future[None]] = []


class StreamWriter(asyncio.StreamWriter):
    """asyncio's writer; `start_tls()` works on every loop, errors of `drain()` have a `reason`."""

    if TYPE_CHECKING:
        # The base class's, which typeshed leaves out.
        _transport: asyncio.WriteTransport
        _protocol: Any  # asyncio.StreamReaderProtocol and its mixin
        _reader: asyncio.StreamReader

    async def drain(self) -> None:
        """Wait until there is room to write more.

        Raises the connection's error (`rudp.errors`), or `ConnectionReset` with the reason CLOSED
        if the writer is closed and keeps nothing back. Cancellation changes nothing.
        """
        transport = self._transport
        closing = transport.is_closing()
        if not closing and not self._protocol._paused and self._reader.exception() is None:
            return  # nearly always: what follows would find the same, more slowly
        try:
            await super().drain()
        except ConnectionResetError as exc:
            if type(exc) is not ConnectionResetError:
                raise
            raise ConnectionReset(Reason.CLOSED) from None
        if (
            closing
            and isinstance(transport, ConnectionTransport)
            and not transport.get_write_buffer_size()
        ):
            # Kernel TCP's transport would be gone by now. This one waits for the peer to
            # acknowledge what it has taken, and takes no more.
            raise ConnectionReset(Reason.CLOSED)

    async def start_tls(
        self,
        sslcontext: ssl.SSLContext,
        *,
        server_side: bool | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        """Go on with TLS; `asyncio.StreamWriter.start_tls()`.

        The side that accepted the connection is TLS's server, unless `server_side` says otherwise;
        of a rendezvous one has to say so. Arguments, errors and cancellation are those of
        `rudp.start_tls()`.
        """
        protocol = self._protocol
        if server_side is None:
            server_side = protocol._client_connected_cb is not None
        await self.drain()
        transport = await start_tls(
            self.transport,
            protocol,
            sslcontext,
            server_side=server_side,
            server_hostname=server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        self._transport = transport
        protocol._transport = transport
        protocol._over_ssl = True
        reader = protocol._stream_reader
        if reader is not None:
            reader._transport = transport  # it pauses what feeds it


async def open_streams(
    connect: Connect, limit: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that `connect` opens, as a reader, which buffers `limit` bytes, and a writer."""
    loop = asyncio.get_running_loop()
    reader = StreamReader(limit=limit, loop=loop)
    protocol = _StreamProtocol(reader, loop=loop)
    transport, _ = await connect(lambda: protocol)
    return reader, StreamWriter(transport, protocol, reader, loop)


def accepting_streams(client_connected_cb: ClientConnected, limit: int) -> ProtocolFactory:
    """A factory of protocols that call `client_connected_cb` with a reader and a writer."""
    loop = asyncio.get_running_loop()

    def connected(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Awaitable[None] | None:
        # asyncio's protocol makes the writer itself, and lets nobody choose the class.
        writer.__class__ = StreamWriter
        return client_connected_cb(reader, writer)

    def factory() -> asyncio.BaseProtocol:
        reader = StreamReader(limit=limit, loop=loop)
        return _StreamProtocol(reader, connected, loop=loop)

    return factory
