"""Sockets for endpoints: binding them, their options, what the network reports back."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import socket
import sys
from typing import Any, cast

Address = tuple[Any, ...]
AddressInfo = tuple[int, int, int, str, Address]

SOCKET_BUFFER_BYTES = 4 << 20
_LINUX = sys.platform == "linux"
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33  # <asm-generic/socket.h>; not in the socket module
_BUFFERS = (
    (socket.SO_RCVBUF, _SO_RCVBUFFORCE, "net.core.rmem_max"),
    (socket.SO_SNDBUF, _SO_SNDBUFFORCE, "net.core.wmem_max"),
)
logger = logging.getLogger("rudp")
_IP_RECVERR, _IPV6_RECVERR = 11, 25  # <linux/in.h>, <linux/in6.h>; not in the socket module


def has_own_network(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop brings a network of its own instead of the system's (`rudp.sim`)."""
    return hasattr(loop, "datagram_origin")


def origin_of(loop: asyncio.AbstractEventLoop) -> object:
    """What tells apart the hosts of a loop with a network of its own; None elsewhere."""
    origin = getattr(loop, "datagram_origin", None)
    return origin() if origin is not None else None


async def resolve(
    host: str | None,
    port: int | str | None,
    *,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> list[AddressInfo]:
    """Addresses of a name; to dial "any address" is to dial the loopback, as for kernel TCP.

    Raises `socket.gaierror`, or `OSError` if there are none.
    """
    infos = await asyncio.get_running_loop().getaddrinfo(
        host, port, family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags
    )
    if not infos:
        raise OSError("getaddrinfo() returned empty list")
    if flags & socket.AI_PASSIVE:
        return [(*info[:4], tuple(info[4])) for info in infos]
    return [
        (*info[:4], (ANY_ADDRESS.get(str(info[4][0]), info[4][0]), *info[4][1:])) for info in infos
    ]


class StoppableProtocol(asyncio.DatagramProtocol):
    """A datagram protocol that closes its transport when told to, now or once it has one."""

    def stop(self) -> None:
        """Close the transport."""
        raise NotImplementedError


async def open_datagram(
    loop: asyncio.AbstractEventLoop,
    protocol: StoppableProtocol,
    address: Address | None,
    *,
    family: int,
    sock: socket.socket | None = None,
    reuse_port: bool | None = None,
    io: str = "auto",
) -> asyncio.DatagramTransport:
    """Bind a UDP socket (or take `sock`) and attach `protocol` to it.

    With `io` "stock" by the loop's own `create_datagram_endpoint`, which works everywhere; with
    "auto" and "batched" by `rudp.aio.batched` where the platform has what that needs.

    Raises `OSError` if the address cannot be bound. Cancellation closes the socket, `sock` too.
    """
    if sock is None and has_own_network(loop):
        transport, _ = await loop.create_datagram_endpoint(
            lambda: protocol, local_addr=address[:2] if address else None, family=family
        )
        return transport
    own = sock if sock is not None else bind(family, address, reuse_port=reuse_port)
    try:
        own.setblocking(False)
        enlarge_buffers(own)
        if io != "stock" and (batched := await _batched(loop, own, protocol)) is not None:
            return batched
        transport, _ = await loop.create_datagram_endpoint(lambda: protocol, sock=own)
    except BaseException:
        # The loop may have made the transport all the same: uvloop tells the protocol later.
        protocol.stop()
        own.close()
        raise
    return transport


async def _batched(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: StoppableProtocol
) -> asyncio.DatagramTransport | None:
    """The batched transport, if the platform, the socket and the loop have what it needs."""
    from rudp.aio import batched, capabilities  # it builds on this module

    if not capabilities.usable(sock):
        return None
    try:  # a loop without readers (Windows' proactor) says so
        loop.remove_reader(sock.fileno())
    except NotImplementedError:
        return None
    transport = batched.BatchedTransport(loop, sock, cast("batched.TrainProtocol", protocol))
    try:
        await asyncio.sleep(0)  # connection_made() is called meanwhile
    except BaseException:
        transport.abort()
        raise
    return transport


def bind(family: int, address: Address | None, *, reuse_port: bool | None) -> socket.socket:
    """A UDP socket bound to `address`, or to any port of any address.

    Raises `OSError`, with the address in its text, if that fails.
    """
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if reuse_port:
            if not hasattr(socket, "SO_REUSEPORT"):
                raise ValueError("reuse_port is not supported on this platform")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # So that [::] and 0.0.0.0 can be bound to one port, as asyncio's servers have it.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if address is not None:
            try:
                sock.bind(address)
            except OSError as error:
                text = f"error while attempting to bind on address {address!r}: {error.strerror}"
                raise OSError(error.errno, text) from None
        else:
            sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))  # noqa: S104
    except BaseException:
        sock.close()
        raise
    return sock


def enlarge_buffers(sock: socket.socket) -> None:
    """Ask for room for bursts: the default holds some 270 small datagrams. Privileged processes
    get it whatever `net.core.rmem_max` says; others are told of that, once."""
    for option, force, sysctl in _BUFFERS:
        with contextlib.suppress(OSError):
            if sock.getsockopt(socket.SOL_SOCKET, option) >= SOCKET_BUFFER_BYTES:
                continue
            if _LINUX:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, force, SOCKET_BUFFER_BYTES)
                    continue
            sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
            granted = sock.getsockopt(socket.SOL_SOCKET, option)
            if granted < SOCKET_BUFFER_BYTES:
                _tell_of_small_buffer(sysctl, granted)


@functools.cache
def _tell_of_small_buffer(sysctl: str, granted: int) -> None:
    logger.warning(
        "the system grants UDP sockets %d bytes of buffer, not the %d that fast paths fill: "
        "raise %s to %d",
        granted,
        SOCKET_BUFFER_BYTES,
        sysctl,
        SOCKET_BUFFER_BYTES,
    )


def connected_peer(transport: asyncio.DatagramTransport) -> Address | None:
    """The one peer of a connected socket, whose address it does not take again."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return None
    try:
        peer: Address = sock.getpeername()
    except OSError:
        return None
    return peer


def local_address(sockname: Address, peer: Address) -> Address:
    """Where packets to `peer` leave from, for a socket bound to any address; sends nothing."""
    family = socket.AF_INET6 if len(sockname) == 4 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(peer)
            return (probe.getsockname()[0], *sockname[1:])
    except OSError:
        return sockname


def check_datagram_socket(sock: object) -> socket.socket:
    """Raises `ValueError` or `TypeError`, naming `sock`, for anything but a UDP socket."""
    if not isinstance(sock, socket.socket):
        raise TypeError(f"sock must be a socket, not {sock!r}")
    if sock.type != socket.SOCK_DGRAM:
        raise ValueError(f"sock must be a datagram socket (SOCK_DGRAM), not {sock!r}")
    return sock


class IcmpErrors:
    """Which peers the network reported as unreachable (Linux: the socket's error queue).

    An unconnected socket learns of ICMP errors only where IP_RECVERR is set; elsewhere an
    opener whose peer has no socket at all waits for its SYN to time out.
    """

    def __init__(self, transport: asyncio.DatagramTransport) -> None:
        self._sock: socket.socket | None = None
        shown = transport.get_extra_info("socket")
        if not _LINUX or shown is None:
            return
        with contextlib.suppress(OSError):
            own = socket.socket(fileno=socket.dup(shown.fileno()))
            own.setblocking(False)
            self._sock = own
            own.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            if own.family == socket.AF_INET6:
                own.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)

    def drain(self) -> list[Address]:
        """Destinations of datagrams that came back as unreachable since the last call."""
        found: list[Address] = []
        if self._sock is None:
            return found
        for _ in range(_ERRORS_A_TURN):
            try:
                _, ancillary, _, address = self._sock.recvmsg(0, 512, socket.MSG_ERRQUEUE)
            except (BlockingIOError, InterruptedError):
                return found
            except OSError:
                continue  # the pending error itself; the queue follows
            for _, kind, data in ancillary:
                code = int.from_bytes(data[:4], sys.byteorder)
                if kind in (_IP_RECVERR, _IPV6_RECVERR) and code in UNREACHABLE:
                    found.append(address)
        return found

    def close(self) -> None:
        """Give the duplicate of the socket back."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""The wildcard addresses, and the loopback that dialling them reaches."""
_ERRORS_A_TURN = 64
UNREACHABLE = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES)
"""No way to the peer, or nobody there."""
