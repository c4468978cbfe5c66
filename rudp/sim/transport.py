"""The asyncio side of a simulated UDP socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rudp.sim.address import WILDCARDS, is_loopback

if TYPE_CHECKING:
    from rudp.sim.address import Address
    from rudp.sim.loop import SimLoop

__all__ = ["SimDatagramTransport"]


class SimDatagramTransport(asyncio.DatagramTransport):
    """A UDP socket on the simulated network; made by `SimLoop.create_datagram_endpoint`.

    Nothing is ever buffered, so that the protocol is never told to pause writing.
    """

    __slots__ = ("_closing", "_context", "_loop", "_protocol", "_socket")

    def __init__(self, loop: SimLoop, local: Address, peer: Address | None) -> None:
        super().__init__()
        self._loop = loop
        self._protocol: Any = None
        self._closing = False
        network = loop.network
        ip = local[0]
        if peer is not None and ip in WILDCARDS:
            ip = peer[0] if is_loopback(peer[0]) else network.current_host.address_for(peer[0])
        self._socket = network.bind(ip, local[1], self, peer=peer)
        self._context = network.context_on(self._socket.host)

    def __repr__(self) -> str:
        return f"<SimDatagramTransport {self._socket!r}>"

    async def start(self, protocol: Any) -> None:
        """Give the transport its protocol, and wait until `connection_made` has been called."""
        started = self._loop.create_future()
        self._loop.call_soon(self._start, protocol, started, context=self._context)
        await started

    def _start(self, protocol: Any, started: asyncio.Future[None]) -> None:
        self._protocol = protocol
        if not started.done():
            started.set_result(None)
        protocol.connection_made(self)

    # --- from the network ----------------------------------------------------------------------

    def datagram_received(self, data: bytes, addr: Address, /) -> None:
        """Hand a datagram to the protocol, in the socket's own context."""
        if self._protocol is None:
            if not self._closing:
                self._loop.call_soon(self.datagram_received, data, addr)
            return
        self._context.run(self._protocol.datagram_received, data, addr)

    def error_received(self, exc: OSError, /) -> None:
        """Hand an error to the protocol, in the socket's own context."""
        if self._protocol is not None:
            self._context.run(self._protocol.error_received, exc)

    # --- asyncio.DatagramTransport -------------------------------------------------------------

    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None:
        """Send a datagram; a closed transport ignores it.

        An address that cannot be reached, and a datagram that is too big for UDP, are told to the
        protocol's `error_received`, as asyncio does.

        Raises:
            TypeError: `data` is not bytes-like, or `addr` not an address tuple.
            ValueError: `addr` is not the peer of a connected socket.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data must be a bytes-like object, not {type(data).__name__!r}")
        peer = self._socket.peer
        if peer is not None:
            if addr is not None and addr != peer:
                raise ValueError(f"addr must be None or the peer's, {peer}, got {addr!r}")
            addr = peer
        elif not isinstance(addr, tuple):
            raise TypeError(f"addr must be an address tuple, got {addr!r}")
        if self._closing:
            return
        try:
            self._socket.send(bytes(data), addr)
        except OSError as error:
            # Not through error_received: the caller may be in the socket's context already.
            if self._protocol is not None:
                self._protocol.error_received(error)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return "sockname" or "peername"; there is no "socket"."""
        if name == "sockname":
            return self._socket.address
        if name == "peername" and self._socket.peer is not None:
            return self._socket.peer
        return default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the datagrams to another protocol from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol that gets the datagrams."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def get_write_buffer_size(self) -> int:
        """Return 0: datagrams go to their link at once."""
        return 0

    def is_closing(self) -> bool:
        """Say whether `close` or `abort` was called."""
        return self._closing

    def close(self) -> None:
        """Give the port back; `connection_lost(None)` follows soon. May be called twice."""
        if not self._closing:
            self._closing = True
            self._socket.close()
            self._loop.call_soon(self._lose, context=self._context)

    def abort(self) -> None:
        """Close: nothing is ever buffered."""
        self.close()

    def _lose(self) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(None)
