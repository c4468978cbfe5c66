"""The transports under test behind one face, and the event loops they are tested on."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import uvloop

import rudp


class LeakTellingLoop(uvloop.Loop):
    """uvloop, which never ends its `close()` when a warning about a leaked handle is an error."""

    def close(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            super().close()
        for warning in caught:
            warnings.warn(str(warning.message), warning.category, stacklevel=2)


LOOP_FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": LeakTellingLoop,
}
LOOPBACK = "127.0.0.1"
# TEST-NET-1 (RFC 5737): never the address of a local interface.
FOREIGN_HOST = "192.0.2.1"


@dataclass(frozen=True)
class Stack:
    """One way to have connections: asyncio's four functions, and what the tests must know of it."""

    name: str
    open_connection: Callable[..., Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
    start_server: Callable[..., Awaitable[asyncio.Server]]
    create_connection: Callable[..., Awaitable[tuple[asyncio.Transport, asyncio.BaseProtocol]]]
    create_server: Callable[..., Awaitable[asyncio.Server]]
    socket_type: socket.SocketKind
    foreign_socket_type: socket.SocketKind
    # asyncio's TCP abort() closes the socket: with nothing unread the kernel sends a FIN then.
    abort_resets: bool
    # Keyword arguments for connections that tests fill to the brim: so that this takes no second.
    small_buffers: Mapping[str, Any]

    def __str__(self) -> str:
        return self.name

    def reset(self, transport: asyncio.BaseTransport) -> None:
        """Abort so that the peer gets a reset, which kernel TCP sends only without lingering."""
        if not self.abort_resets:
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()  # type: ignore[attr-defined]

    def bound_socket(self, host: str = LOOPBACK) -> socket.socket:
        """Return a socket of this stack's type, bound to a free port."""
        sock = socket.socket(socket.AF_INET, self.socket_type)
        sock.bind((host, 0))
        return sock

    def connected_socket(self, address: tuple[str, int]) -> socket.socket:
        """Return a socket of this stack's type, connected to `address`."""
        sock = socket.socket(socket.AF_INET, self.socket_type)
        sock.connect(address)
        return sock

    def unused_port(self) -> int:
        """Return a port on which nothing listens."""
        with self.bound_socket() as sock:
            return int(sock.getsockname()[1])

    @contextlib.contextmanager
    def silent_address(self) -> Iterator[tuple[str, int]]:
        """Yield an address that neither accepts nor refuses, so that connecting to it waits.

        A bound UDP socket is silent by itself. A TCP listener with a full queue drops a SYN.
        """
        with contextlib.ExitStack() as sockets:
            sock = sockets.enter_context(self.bound_socket())
            if self.socket_type == socket.SOCK_STREAM:
                sock.listen(0)
                for _ in range(4):
                    filler = sockets.enter_context(socket.socket())
                    filler.setblocking(False)
                    filler.connect_ex(sock.getsockname())
            yield sock.getsockname()


async def _tcp_create_connection(*args: Any, **kwargs: Any) -> Any:
    return await asyncio.get_running_loop().create_connection(*args, **kwargs)


async def _tcp_create_server(*args: Any, **kwargs: Any) -> Any:
    return await asyncio.get_running_loop().create_server(*args, **kwargs)


TCP = Stack(
    name="tcp",
    open_connection=asyncio.open_connection,
    start_server=asyncio.start_server,
    create_connection=_tcp_create_connection,
    create_server=_tcp_create_server,
    socket_type=socket.SOCK_STREAM,
    foreign_socket_type=socket.SOCK_DGRAM,
    abort_resets=False,
    small_buffers={},
)


def _rudp(name: str, config: rudp.Config) -> Stack:
    """rudp with these settings, where a test names none."""
    return Stack(
        name=name,
        open_connection=functools.partial(rudp.open_connection, config=config),
        start_server=functools.partial(rudp.start_server, config=config),
        create_connection=functools.partial(rudp.create_connection, config=config),
        create_server=functools.partial(rudp.create_server, config=config),
        socket_type=socket.SOCK_DGRAM,
        foreign_socket_type=socket.SOCK_STREAM,
        abort_resets=True,
        small_buffers={"config": config.replace(send_buffer=1 << 18, receive_buffer=1 << 18)},
    )


# By default datagrams move in batches where the platform can; the loop's own way works everywhere.
RUDP = _rudp("rudp", rudp.Config())
RUDP_STOCK = _rudp("rudp-stock", rudp.Config(io="stock"))
STACKS = [TCP, RUDP, RUDP_STOCK]
# For the time it takes: uvloop's own way is gone through by the tests of `aio` and `integration`.
NEVER = frozenset({"rudp-stock-uvloop"})
