"""The asyncio endpoint: one UDP socket, any number of connections, both directions."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from rudp.aio import registry, udp
from rudp.aio.server import Server
from rudp.aio.transport import ConnectionTransport
from rudp.aio.udp import Address, IcmpErrors
from rudp.config import Config
from rudp.core.connection import Connection
from rudp.core.endpoint import Endpoint as Core
from rudp.core.states import State
from rudp.core.stats import EndpointStats
from rudp.errors import ConnectionAborted, Reason, error_for
from rudp.telemetry.events import observe
from rudp.wire.train import Train

ProtocolFactory = Callable[[], asyncio.BaseProtocol]

_STALL_S = 0.1
"""A timer this late shows that the loop was busy elsewhere."""
_STALL_ROUNDS = 1000


class Endpoint(asyncio.DatagramProtocol):
    """Connections over one UDP socket: it dials, it listens, or both.

    Made by `Endpoint.bind()`; used as an `asyncio.DatagramProtocol` by the event loop.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        known: registry.LoopEndpoints,
        config: Config,
    ) -> None:
        self._loop = loop
        self._known = known
        self.config = config
        self._core = Core(config, secrets.randbits, observe)
        self._transport: asyncio.DatagramTransport | None = None
        self._icmp: IcmpErrors | None = None
        self._server: Server | None = None
        self._accept_factory: ProtocolFactory | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = math.inf
        self._opening: dict[Connection, asyncio.Future[None]] = {}
        self._blocked: dict[Connection, None] = {}
        self._can_send = True
        self._delivered: asyncio.Future[None] | None = None
        self._closing = False
        self._closed = loop.create_future()
        self.closes_when_idle = False
        """Set for endpoints that nobody holds: the socket goes with the last connection."""

    def __repr__(self) -> str:
        name = self.get_extra_info("sockname")
        return f"<rudp.Endpoint {name} {len(self._core.connections)} connections>"

    # -- making one --------------------------------------------------------------------------

    @classmethod
    @contextlib.asynccontextmanager
    async def bind(
        cls,
        host: str | None = None,
        port: int = 0,
        *,
        family: int = 0,
        sock: socket.socket | None = None,
        reuse_port: bool | None = None,
        config: Config | None = None,
    ) -> AsyncIterator[Endpoint]:
        """An endpoint on a socket of its own, as an asynchronous context manager.

        Leaving the context closes the endpoint: connections that are still open are given
        `config.linger` seconds to deliver what was written.

        Args:
            host: Local address or name; None is any address.
            port: Local port; 0 lets the system choose.
            family: `socket.AF_INET` or `AF_INET6` to decide between addresses of a name.
            sock: A bound UDP socket to use instead; the endpoint closes it.
            reuse_port: Set SO_REUSEPORT.
            config: Settings.

        Raises:
            OSError: The address cannot be resolved or bound.
            ValueError: Both `sock` and an address were given.
        """
        endpoint = await cls._bind(host, port, family, sock, reuse_port, config or Config())
        try:
            yield endpoint
        finally:
            await endpoint.aclose()

    @classmethod
    async def open(
        cls,
        address: Address | None,
        *,
        family: int,
        config: Config,
        sock: socket.socket | None = None,
        reuse_port: bool | None = None,
    ) -> Endpoint:
        """An endpoint on a resolved address, or on `sock`. Raises `OSError`."""
        known = await registry.of_running_loop()
        loop = asyncio.get_running_loop()
        endpoint = cls(loop, known, config)
        await udp.open_datagram(
            loop, endpoint, address, family=family, sock=sock, reuse_port=reuse_port
        )
        known.endpoints.add(endpoint)
        return endpoint

    @classmethod
    async def _bind(
        cls,
        host: str | None,
        port: int,
        family: int,
        sock: socket.socket | None,
        reuse_port: bool | None,
        config: Config,
    ) -> Endpoint:
        if sock is not None:
            if host is not None or port:
                raise ValueError("host/port and sock can not be specified at the same time")
            udp.check_datagram_socket(sock)
            return await cls.open(None, family=sock.family, config=config, sock=sock)
        error: OSError | None = None
        infos = await udp.resolve(host, port, family=family, flags=socket.AI_PASSIVE)
        for found, *_, address in infos:
            try:
                return await cls.open(address, family=found, config=config, reuse_port=reuse_port)
            except OSError as exc:
                error = exc
        raise error or OSError(f"no address for {host!r}")

    # -- connections -------------------------------------------------------------------------

    async def create_connection(
        self,
        protocol_factory: ProtocolFactory,
        host: str,
        port: int,
        *,
        config: Config | None = None,
    ) -> tuple[ConnectionTransport, asyncio.BaseProtocol]:
        """Dial `host` from this socket; the addresses of a name are tried in turn.

        Cancellation aborts the attempt. Raises `OSError` (`ConnectionRefusedError`,
        `TimeoutError`, …) if none of them answers.
        """
        infos = await udp.resolve(host, port, family=self.family)
        error: OSError | None = None
        for *_, address in infos:
            try:
                return await self.dial(protocol_factory, address, config)
            except OSError as exc:
                error = exc
        raise error or OSError(f"no address for {host!r} in the endpoint's family")

    async def open_connection(
        self, host: str, port: int, *, limit: int = 2**16, config: Config | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """`create_connection()` with a reader and a writer, as `asyncio.open_connection()`."""
        reader = asyncio.StreamReader(limit=limit, loop=self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        transport, _ = await self.create_connection(lambda: protocol, host, port, config=config)
        return reader, asyncio.StreamWriter(transport, protocol, reader, self._loop)

    async def create_server(
        self,
        protocol_factory: ProtocolFactory,
        *,
        backlog: int = 100,
        start_serving: bool = True,
    ) -> Server:
        """Accept connections on this socket; one server at a time.

        Raises `OSError` if the endpoint has a server already.
        """
        if self._server is not None:
            raise OSError("this endpoint has a server already")
        server = Server(self._loop, [self], protocol_factory, backlog)
        if start_serving:
            await server.start_serving()
        return server

    async def start_server(
        self,
        client_connected_cb: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
        *,
        limit: int = 2**16,
        backlog: int = 100,
        start_serving: bool = True,
    ) -> Server:
        """`create_server()` whose callback gets a reader and a writer a connection."""
        loop = self._loop

        def factory() -> asyncio.BaseProtocol:
            reader = asyncio.StreamReader(limit=limit, loop=loop)
            return asyncio.StreamReaderProtocol(reader, client_connected_cb, loop=loop)

        return await self.create_server(factory, backlog=backlog, start_serving=start_serving)

    async def dial(
        self, protocol_factory: ProtocolFactory, address: Address, config: Config | None = None
    ) -> tuple[ConnectionTransport, asyncio.BaseProtocol]:
        """Connect to a resolved address. Cancellation aborts the attempt."""
        if self._closing or self._transport is None:
            raise ConnectionAborted(Reason.ENDPOINT_CLOSED)
        if self._icmp is None:
            self._icmp = IcmpErrors(self._transport)
        conn = self._core.connect(address, self._loop.time(), config)
        opened = self._opening[conn] = self._loop.create_future()
        try:
            self.flush(conn)
            await opened
        except BaseException:
            conn.abort(self._loop.time())
            self.flush(conn)
            raise
        finally:
            self._opening.pop(conn, None)
        protocol = protocol_factory()
        transport = ConnectionTransport(self._loop, self, conn, protocol)
        transport.start()
        return transport, protocol

    # -- information -------------------------------------------------------------------------

    @property
    def stats(self) -> EndpointStats:
        """Counters; live."""
        return self._core.stats

    @property
    def connection_count(self) -> int:
        """Connections in any state but TIME-WAIT."""
        return len(self._core.connections)

    @property
    def is_vacant(self) -> bool:
        """Whether a server once listened here and none does now."""
        return self._accept_factory is not None and self._server is None and not self._closing

    @property
    def family(self) -> int:
        """The socket's address family."""
        name = self.get_extra_info("sockname")
        return socket.AF_INET6 if name is not None and len(name) == 4 else socket.AF_INET

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The UDP transport's `sockname` and `socket`."""
        if self._transport is None:
            return default
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether the endpoint was closed."""
        return self._closing

    # -- closing -----------------------------------------------------------------------------

    def close(self) -> None:
        """Close the socket now. Connections that are open end with `ConnectionAbortedError`,
        their peers are reset."""
        if self._closing:
            return
        self._closing = True
        now_s = self._loop.time()
        for conn in list(self._core.connections.values()):
            conn.abort(now_s, Reason.ENDPOINT_CLOSED)
            self.flush(conn)
            self._report(conn)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._icmp is not None:
            self._icmp.close()
        if self._transport is not None:
            self._transport.close()
        self._known.forget(self)

    async def aclose(self) -> None:
        """Close every connection, wait up to `config.linger` seconds until what was written has
        arrived, then close the socket. Cancellation closes it at once."""
        try:
            await self._linger()
        finally:
            self.close()
            await asyncio.shield(self._closed)

    async def _linger(self) -> None:
        loop = self._loop
        for conn in list(self._core.connections.values()):
            conn.close(loop.time())
            self.flush(conn)
            self._report(conn)
        if self._undelivered() and not self._closing:
            self._delivered = loop.create_future()
            await asyncio.wait([self._delivered], timeout=self.config.linger)

    def _undelivered(self) -> bool:
        return any(not conn.sender.fin_acked for conn in self._core.connections.values())

    async def wait_closed(self) -> None:
        """Wait until the socket is closed. Cancellation changes nothing."""
        await asyncio.shield(self._closed)

    # -- asyncio.DatagramProtocol --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop has attached the socket."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """One datagram: a train of one."""
        self.train_received(data, len(data) or 1, addr)

    def train_received(self, data: bytes, stride: int, addr: Address) -> None:
        """A buffer of datagrams of `stride` bytes each, all from `addr`."""
        now_s = self._loop.time()
        core = self._core
        for conn in core.receive(data, stride, addr, now_s):
            if core.accepted:
                self._accept()
            self._report(conn)
            self.flush(conn)
        if core.outbox:
            self._send_outbox()

    def error_received(self, exc: Exception) -> None:
        """The network reported an error: hard for openers, soft for the rest (MUST-56)."""
        if self._icmp is not None:
            for address in self._icmp.drain():
                for conn in self._core.unreachable(address):
                    self._report(conn)
                    self.flush(conn)

    def pause_writing(self) -> None:
        """The socket's buffer is full: trains wait in their connections."""
        self._can_send = False

    def resume_writing(self) -> None:
        """The socket takes datagrams again."""
        self._can_send = True
        blocked, self._blocked = self._blocked, {}
        self._send_outbox()
        for conn in blocked:
            self.flush(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._transport = None
        self._can_send = False
        self.close()
        if not self._closed.done():
            self._closed.set_result(None)

    # -- the transports' and the server's side --------------------------------------------------

    def flush(self, conn: Connection) -> None:
        """Send whatever `conn` may send now, and note its timers."""
        now_s = self._loop.time()
        while self._can_send:
            train = conn.poll(now_s)
            if train is None:
                break
            self._send(train, conn.peer)
        else:
            self._blocked[conn] = None
        core = self._core
        core.settle(conn, now_s)
        if core.next_s < self._timer_s:
            self._arm()
        if conn.state is State.CLOSED:
            self._report(conn)
            if self.closes_when_idle and not core.connections:
                self._close_if_idle()

    def listen(self, server: Server, factory: ProtocolFactory, backlog: int) -> None:
        """Let `server` accept what is dialled to this socket."""
        self._core.listen(backlog)
        self._server = server
        self._accept_factory = factory

    def stop_listening(self, server: Server) -> None:
        """Refuse new connections; those that exist go on."""
        if self._server is server:
            self._core.stop_listening()
            self._server = None
            self._close_if_idle()

    def _accept(self) -> None:
        accepted = self._core.accepted
        while accepted:
            conn = accepted.popleft()
            conn.notices.clear()
            server, factory = self._server, self._accept_factory
            if server is None or factory is None:
                conn.abort(self._loop.time())
                continue
            try:
                protocol = factory()
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:  # noqa: BLE001 - as asyncio treats a failing factory
                context = {"message": "protocol factory failed", "exception": exc}
                self._loop.call_exception_handler(context)
                conn.abort(self._loop.time())
                continue
            ConnectionTransport(self._loop, self, conn, protocol, server).start()

    def _report(self, conn: Connection) -> None:
        """Let the connection's owner take what is new."""
        delivered = self._delivered
        if delivered is not None and not delivered.done() and not self._undelivered():
            delivered.set_result(None)
        owner = conn.owner
        if isinstance(owner, ConnectionTransport):
            owner.dispatch()
            return
        opened = self._opening.get(conn)
        if opened is None or opened.done():
            return
        if conn.state is State.CLOSED:
            opened.set_exception(error_for(conn.reason or Reason.ABORTED))
        elif conn.state >= State.ESTABLISHED:
            conn.notices.clear()
            opened.set_result(None)

    def _send(self, train: Train, peer: Any) -> None:
        transport = self._transport
        self._core.stats.segments_sent += train.segments
        if transport is not None:
            for datagram in train.datagrams():
                transport.sendto(datagram, peer)

    def _send_outbox(self) -> None:
        outbox = self._core.outbox
        while outbox and self._can_send:
            peer, train = outbox.popleft()
            self._send(train, peer)

    # -- timers ----------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_s = self._core.next_s
        if self._timer_s != math.inf and not self._closing:
            self._timer = self._loop.call_at(self._timer_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._loop.time() - self._timer_s > _STALL_S:
            # The loop did not run: acknowledgements may lie in the socket. Judge after those.
            self._timer_s = -math.inf
            self._after_stall(self._core.stats.datagrams_received - 1, _STALL_ROUNDS)
        else:
            self._handle_due()

    def _after_stall(self, seen: int, rounds: int) -> None:
        """Go round the loop, which reads the socket, until no datagram comes any more."""
        received = self._core.stats.datagrams_received
        if received != seen and rounds and not self._closing:
            self._loop.call_soon(self._after_stall, received, rounds - 1)
        else:
            self._handle_due()

    def _handle_due(self) -> None:
        self._timer_s = math.inf
        if self._closing:
            return
        for conn in self._core.due(self._loop.time()):
            self._report(conn)
            self.flush(conn)
        if self._core.next_s < self._timer_s:
            self._arm()
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        core = self._core
        if (
            self.closes_when_idle
            and self._server is None
            and not core.connections
            and not core.time_wait
        ):
            self.close()
