"""`asyncio.AbstractServer` over endpoints."""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rudp.aio.endpoint import Endpoint
    from rudp.aio.transport import ConnectionTransport


class Server(asyncio.AbstractServer):
    """Accepts connections on one UDP socket or several, as asyncio's own servers do.

    `close()` refuses new connections and keeps serving those that are open; their sockets are
    closed with the last of them.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        endpoints: Sequence[Endpoint],
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        backlog: int,
    ) -> None:
        self._loop = loop
        self._endpoints: list[Endpoint] | None = list(endpoints)
        self._former: list[Endpoint] = []
        self._protocol_factory = protocol_factory
        self._backlog = backlog
        self._clients: weakref.WeakSet[ConnectionTransport] = weakref.WeakSet()
        self._active = 0
        self._serving = False
        self._waiters: list[asyncio.Future[None]] = []
        self._forever: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} sockets={self.sockets!r}>"

    @property
    def sockets(self) -> tuple[Any, ...]:
        """The UDP sockets; empty once the server is closed.

        On `rudp.sim`, which has none, they are stand-ins that know what programs look for here:
        the port that they got.
        """
        if self._endpoints is None:
            return ()
        return tuple(endpoint.shown_socket() for endpoint in self._endpoints)

    @property
    def sockaddrs(self) -> tuple[Any, ...]:
        """The addresses served, also where there are no system sockets (`rudp.sim`)."""
        if self._endpoints is None:
            return ()
        return tuple(endpoint.get_extra_info("sockname") for endpoint in self._endpoints)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop."""
        return self._loop

    def is_serving(self) -> bool:
        """Whether new connections are accepted."""
        return self._serving

    async def start_serving(self) -> None:
        """Accept connections; no effect if that is so already.

        Raises `RuntimeError` once the server is closed.
        """
        if self._start():
            await asyncio.sleep(0)

    def _start(self) -> bool:
        """Accept connections; whether that is new."""
        if self._endpoints is None:
            raise RuntimeError(f"server {self!r} is closed")
        if self._serving:
            return False
        self._serving = True
        for endpoint in self._endpoints:
            endpoint.listen(self, self._protocol_factory, self._backlog)
        return True

    async def serve_forever(self) -> None:
        """Accept connections until cancelled, which closes the server.

        Raises `RuntimeError` if it is being served already or closed.
        """
        if self._forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        self._start()
        self._forever = self._loop.create_future()
        try:
            await self._forever
        except asyncio.CancelledError:
            try:
                self.close()
                await self.wait_closed()
            finally:
                raise
        finally:
            self._forever = None

    def close(self) -> None:
        """Refuse new connections from now on; those that are open go on."""
        endpoints, self._endpoints = self._endpoints, None
        if endpoints is None:
            return
        self._serving = False
        self._former = endpoints
        for endpoint in endpoints:
            endpoint.stop_listening(self)
            endpoint.became_idle()
        if self._forever is not None and not self._forever.done():
            self._forever.cancel()
        self._wake_if_over()

    def close_clients(self) -> None:
        """Close the transports of all connections (asyncio has this from Python 3.13 on); TLS
        is ended in order."""
        for transport in list(self._clients):
            transport.wind_down()

    def abort_clients(self) -> None:
        """Abort the transports of all connections (asyncio has this from Python 3.13 on)."""
        for transport in list(self._clients):
            transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the server is closed and its last connection has ended.

        Before Python 3.12, as asyncio's servers there, it does not wait once `close()` was
        called. Cancellation changes nothing.
        """
        if self._endpoints is not None or (sys.version_info >= (3, 12) and self._active):
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter
        for endpoint in self._former:
            if endpoint.is_closing():
                await endpoint.wait_closed()

    def _attach(self, transport: ConnectionTransport) -> None:
        self._clients.add(transport)
        self._active += 1

    def _detach(self, transport: ConnectionTransport) -> None:
        self._clients.discard(transport)
        self._active -= 1
        self._wake_if_over()

    def _wake_if_over(self) -> None:
        if self._endpoints is not None or self._active:
            return
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
