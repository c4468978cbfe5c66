"""The asyncio endpoint: one UDP socket, any number of connections, both directions."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator
from ssl import SSLContext
from typing import Any

from rudp.aio import registry, tls, udp, writer
from rudp.aio.opening import Opening
from rudp.aio.pump import Pump
from rudp.aio.server import Server
from rudp.aio.standin import SimulatedSocket
from rudp.aio.tls import Connected, ProtocolFactory
from rudp.aio.tracing import Observing
from rudp.aio.transport import ConnectionTransport
from rudp.aio.udp import Address
from rudp.config import Config
from rudp.core.connection import Connection
from rudp.core.endpoint import Endpoint as Core
from rudp.core.states import State
from rudp.core.stats import EndpointStats
from rudp.errors import ConnectionAborted, Reason


class Endpoint(Pump):
    """Connections over one UDP socket: it dials, it listens, or both.

    Made by `Endpoint.bind()`; used as an `asyncio.DatagramProtocol` by the event loop.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        known: registry.LoopEndpoints,
        config: Config,
    ) -> None:
        self._observing = Observing(known.traces)
        super().__init__(loop, config, self._observing)
        self._known = known
        self._server: Server | None = None
        self._accept_factory: ProtocolFactory | None = None
        self._delivered: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] = loop.create_future()
        self.closes_when_idle = False
        """Set for endpoints that nobody holds: the socket goes with the last connection."""

    def __repr__(self) -> str:
        name = self.get_extra_info("sockname")
        return f"<rudp.Endpoint {name} {len(self._core.connections)} connections>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop has attached the socket."""
        self._observing.bound(transport)
        self._core.strays = self._observing.strays_of(self.config)
        super().connection_made(transport)

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
        known.traces.open(config)
        endpoint = cls(loop, known, config)
        await udp.open_datagram(
            loop,
            endpoint,
            address,
            family=family,
            sock=sock,
            reuse_port=reuse_port,
            io=config.io,
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
        ssl: SSLContext | bool | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        rendezvous: bytes | None = None,
        config: Config | None = None,
    ) -> Connected:
        """Dial `host` from this socket; the addresses of a name are tried in turn.

        With `rendezvous` the peer is to dial us at the same time, with the same bytes: the two
        dials become one connection (RFC 9293 §3.5), through NATs too, if each dials where a server
        saw the other's *endpoint* (docs/nat.md). SYNs go out every `config.punch_interval` seconds;
        refusals are no errors, the peer may turn out to be at another address than was dialled, and
        no server of this endpoint takes such a dial. Neither peer is TLS's server then: TLS begins
        with `start_tls()`.

        Args: those of `rudp.create_connection()`, and
            rendezvous: 1 to 16 bytes that both peers know and nobody can guess: as much as 8
                random ones.
            config: Settings; `connect_timeout` ends an attempt that nothing comes of.

        Raises: what `rudp.create_connection()` raises, and
            TimeoutError: Nobody answered within `config.connect_timeout` seconds; with
                `rendezvous` also that there is no way through the NATs.
            OSError: No address could be resolved or reached; this endpoint dials with this
                rendezvous already.
            TypeError, ValueError: `rendezvous` is not 1 to 16 bytes, or comes with `ssl`.

        Cancellation aborts the attempt.
        """
        if ssl and rendezvous is not None:
            raise ValueError("ssl and rendezvous can not be specified at the same time")
        secure = tls.for_client(
            ssl, host, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout
        )
        dial = functools.partial(
            self._dial_name, host=host, port=port, rendezvous=rendezvous, config=config
        )
        if secure is None:
            return await dial(protocol_factory)
        return await secure.connect(dial, protocol_factory)

    async def _dial_name(
        self,
        protocol_factory: ProtocolFactory,
        *,
        host: str,
        port: int,
        rendezvous: bytes | None,
        config: Config | None,
    ) -> Connected:
        error: OSError | None = None
        for *_, address in await udp.resolve(host, port, family=self.family):
            try:
                return await self.dial(protocol_factory, address, config, rendezvous)
            except OSError as exc:
                error = exc
        raise error or OSError(f"no address for {host!r} in the endpoint's family")

    async def open_connection(
        self,
        host: str,
        port: int,
        *,
        limit: int = 2**16,
        ssl: SSLContext | bool | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        rendezvous: bytes | None = None,
        config: Config | None = None,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """`create_connection()` with a reader and a writer, as `asyncio.open_connection()`."""
        connect = functools.partial(
            self.create_connection,
            host=host,
            port=port,
            ssl=ssl,
            server_hostname=server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
            rendezvous=rendezvous,
            config=config,
        )
        return await writer.open_streams(connect, limit)

    async def create_server(
        self,
        protocol_factory: ProtocolFactory,
        *,
        backlog: int = 100,
        ssl: SSLContext | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server:
        """Accept connections on this socket; one server at a time.

        The arguments are those of `rudp.create_server()`. Raises `OSError` if the endpoint has a
        server already.
        """
        secure = tls.for_server(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        if self._server is not None:
            raise OSError("this endpoint has a server already")
        factory = protocol_factory if secure is None else secure.over(protocol_factory)
        server = Server(self._loop, [self], factory, backlog)
        if start_serving:
            await server.start_serving()
        return server

    async def start_server(
        self,
        client_connected_cb: writer.ClientConnected,
        *,
        limit: int = 2**16,
        backlog: int = 100,
        ssl: SSLContext | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server:
        """`create_server()` whose callback gets a reader and a writer a connection."""
        return await self.create_server(
            writer.accepting_streams(client_connected_cb, limit),
            backlog=backlog,
            ssl=ssl,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
            start_serving=start_serving,
        )

    async def dial(
        self,
        protocol_factory: ProtocolFactory,
        address: Address,
        config: Config | None = None,
        rendezvous: bytes | None = None,
    ) -> tuple[ConnectionTransport, asyncio.BaseProtocol]:
        """Connect to a resolved address. Cancellation aborts the attempt."""
        if self._stopped or self._transport is None:
            raise ConnectionAborted(Reason.ENDPOINT_CLOSED)
        if config is not None:
            self._known.traces.open(config)
        self.watch_icmp()
        conn = self._core.connect(address, self._loop.time(), config, rendezvous)
        opened: asyncio.Future[None] = self._loop.create_future()
        conn.owner = Opening(conn, opened)
        try:
            self.flush(conn)
            await opened
            protocol = protocol_factory()
        except BaseException:
            conn.owner = None
            conn.abort(self._loop.time())
            self.flush(conn)
            raise
        transport = ConnectionTransport(self._loop, self, conn, protocol)
        transport.start()
        self.flush(conn)  # the peer is to know before the application runs, which may take long
        return transport, protocol

    # -- information -------------------------------------------------------------------------

    @property
    def stats(self) -> EndpointStats:
        """Counters; live."""
        return self._core.stats

    @property
    def core(self) -> Core:
        """What is below, for metrics: to be read, not called."""
        return self._core

    @property
    def connection_count(self) -> int:
        """Connections in any state but TIME-WAIT."""
        return len(self._core.connections)

    @property
    def is_vacant(self) -> bool:
        """Whether a server once listened here and none does now."""
        once = self._accept_factory is not None and self.closes_when_idle
        return once and self._server is None and not self._stopped

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

    def shown_socket(self) -> Any:
        """The UDP socket, a stand-in on a simulated network, None once closed."""
        sock = self.get_extra_info("socket")
        simulated = sock is None and self.get_extra_info("sockname") is not None
        return SimulatedSocket(self) if simulated else sock

    def is_closing(self) -> bool:
        """Whether the endpoint was closed."""
        return self._stopped

    # -- closing -----------------------------------------------------------------------------

    def close(self) -> None:
        """Close the socket now. Connections that are open end with `ConnectionAbortedError`,
        their peers are reset; those that have delivered everything just end."""
        if self._stopped:
            return
        now_s = self._loop.time()
        self.closes_when_idle = False
        for conn in list(self._core.connections.values()):
            if conn.is_delivered:
                conn.finish()  # the peer may still be reading what it has: no reset
            else:
                conn.abort(now_s, Reason.ENDPOINT_CLOSED)
            self.flush(conn)
        self.stop()
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
            if isinstance(conn.owner, ConnectionTransport):
                conn.owner.wind_down()
            else:
                if conn.state is State.SYN_RECEIVED:
                    conn.abort(loop.time())  # nobody has it: there is nothing to deliver
                else:
                    conn.close(loop.time())
                self.flush(conn)
        if self._undelivered() and not self._stopped:
            self._delivered = loop.create_future()
            self._lingering = True
            await asyncio.wait([self._delivered], timeout=self.config.linger)

    def _undelivered(self) -> bool:
        return any(not conn.finished for conn in self._core.connections.values())

    async def wait_closed(self) -> None:
        """Wait until the socket is closed. Cancellation changes nothing."""
        await asyncio.shield(self._closed)

    def connection_lost(self, exc: Exception | None) -> None:
        """The loop has closed the socket."""
        self._transport = None
        self._can_send = False
        self.close()
        if not self._closed.done():
            self._closed.set_result(None)

    # -- what the pump asks for ----------------------------------------------------------------

    def note_finished(self) -> None:
        """End the lingering when all arrived."""
        delivered = self._delivered
        if delivered is not None and not delivered.done() and not self._undelivered():
            delivered.set_result(None)

    def accepted(self, conn: Connection) -> None:
        """Make the transport of a connection that the peer opened."""
        server, factory = self._server, self._accept_factory
        if server is None or factory is None:
            conn.abort(self._loop.time())
            return
        try:
            protocol = factory()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # noqa: BLE001 - as asyncio treats a failing factory
            context = {"message": "protocol factory failed", "exception": exc}
            self._loop.call_exception_handler(context)
            conn.abort(self._loop.time())
            return
        ConnectionTransport(self._loop, self, conn, protocol, server).start()

    def became_idle(self) -> None:
        """Close the socket that nobody holds and nobody needs any more."""
        core = self._core
        if (
            self.closes_when_idle
            and self._server is None
            and not core.connections
            and (self.is_vacant or not core.time_wait)
        ):
            self.close()

    # -- the server's side -----------------------------------------------------------------------

    def listen(self, server: Server, factory: ProtocolFactory, backlog: int) -> None:
        """Let `server` accept what is dialled to this socket."""
        self._core.listen(backlog)
        self._server = server
        self._accept_factory = factory

    def configure(self, config: Config) -> None:
        """Settings for connections from now on. Raises `OSError` where a trace cannot be opened."""
        self._known.traces.open(config)
        self.config = self._core.config = config
        self._core.strays = self._observing.strays_of(config)

    def stop_listening(self, server: Server) -> None:
        """Refuse new connections; those that exist go on."""
        if self._server is server:
            self._core.stop_listening()
            self._server = None
