"""The hosts of a simulated network, and the UDP sockets bound on them."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NamedTuple, Protocol

from rudp.sim.address import socket_address, version, wildcard

if TYPE_CHECKING:
    import random

    from rudp.sim.address import Address
    from rudp.sim.directory import HostDirectory
    from rudp.sim.link import Link
    from rudp.sim.nat import Nat
    from rudp.sim.network import Network

__all__ = ["Host", "Receiver", "SimSocket"]

# Linux's default net.ipv4.ip_local_port_range.
_EPHEMERAL = range(32768, 61000)


def os_error(number: int) -> OSError:
    """Return the built-in exception that a system call failing with this errno would raise."""
    return OSError(number, os.strerror(number))


class Receiver(Protocol):
    """What a simulated socket gives its datagrams and errors to (an `asyncio.DatagramProtocol`)."""

    def datagram_received(self, data: bytes, addr: Address, /) -> None:
        """Take a datagram that came from `addr`."""

    def error_received(self, exc: OSError, /) -> None:
        """Take an error that an earlier datagram caused."""


class Route(NamedTuple):
    """How datagrams get from a socket to an address."""

    link: Link
    source: Address
    ip: str  # the canonical destination
    hop: str  # where the link ends: there, or at the NAT that the host is behind
    realm: Nat | None  # the NAT that the source is behind
    local: Host | None  # set when the datagram does not leave the host


class SimSocket:
    """A bound UDP socket; made by `Network.bind`.

    Attributes:
        host: The host that it is bound on.
        ip: Its address, or a wildcard. Follows `Network.change_address`.
        port: Its port.
        peer: The only address that it hears, if it is connected.
        receiver: What is called with the datagrams that arrive.
        closed: Whether `close` was called.
    """

    __slots__ = ("_network", "closed", "host", "ip", "peer", "port", "receiver", "routes")

    def __init__(
        self,
        network: Network,
        host: Host,
        ip: str,
        port: int,
        receiver: Receiver,
        peer: Address | None,
    ) -> None:
        self._network = network
        self.host = host
        self.ip = ip
        self.port = port
        self.receiver = receiver
        self.peer = peer
        self.closed = False
        self.routes: dict[str, Route] = {}

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        peer = f" -> {self.peer[:2]}" if self.peer else ""
        return f"<SimSocket {self.address[:2]} on {self.host.label}{peer}{state}>"

    @property
    def address(self) -> Address:
        """The local address, as ``getsockname`` would give it."""
        return socket_address(self.ip, self.port)

    def send(self, data: bytes, address: Address) -> None:
        """Send a datagram to (ip, port); see `Network.send`."""
        self._network.send(self, data, address)

    def close(self) -> None:
        """Give the port back; what is on its way to it finds it closed. May be called twice."""
        if not self.closed:
            self.closed = True
            self.routes.clear()
            del self.host.sockets[self.ip, self.port]


class Host:
    """A host of a `Network`; made by `Network.add_host`.

    Attributes:
        network: The network that it is in.
        name: Its name, or None.
        label: The name, or the address that a host without one had at first.
        addresses: Its addresses, in the order in which a name lookup returns them.
        sockets: Its open sockets by (ip, port).
        behind: The NAT that it is behind, or None.
        nat: The NAT that it is, or None; such a host has no sockets.
    """

    __slots__ = (
        "_next_port",
        "addresses",
        "behind",
        "label",
        "name",
        "nat",
        "network",
        "sockets",
    )

    def __init__(
        self,
        network: HostDirectory,
        name: str | None,
        addresses: tuple[str, ...],
        rng: random.Random,
    ) -> None:
        self.network = network
        self.name = name
        self.label = name or addresses[0]
        self.addresses = addresses
        self.sockets: dict[tuple[str, int], SimSocket] = {}
        self.behind: Nat | None = None
        self.nat: Nat | None = None
        self._next_port = rng.randrange(len(_EPHEMERAL))

    def __repr__(self) -> str:
        return f"<Host {self.label} {', '.join(self.addresses)}>"

    def address_for(self, ip: str) -> str:
        """Return the address from which datagrams to the canonical address `ip` are sent.

        Raises:
            OSError: ENETUNREACH, because the host has no address of that family.
        """
        for own in self.addresses:
            if version(own) == version(ip):
                return own
        raise os_error(errno.ENETUNREACH)

    def find(self, ip: str, port: int, source: Address) -> SimSocket | None:
        """Return the open socket that hears datagrams from `source` to this address and port."""
        found = self.sockets.get((ip, port)) or self.sockets.get((wildcard(ip), port))
        if found is not None and found.peer is not None and found.peer != source:
            return None
        return found

    def is_free(self, ip: str, port: int) -> bool:
        """Say whether a socket may be bound here: a wildcard clashes with every address."""
        if ip != wildcard(ip):
            return (ip, port) not in self.sockets and (wildcard(ip), port) not in self.sockets
        return not any(
            used == port and version(other) == version(ip) for other, used in self.sockets
        )

    def free_port(self, ip: str) -> int:
        """Return an ephemeral port that is free on `ip`.

        Raises:
            OSError: EADDRINUSE, because all of them are taken.
        """
        for _ in _EPHEMERAL:
            port = _EPHEMERAL[self._next_port]
            self._next_port = (self._next_port + 1) % len(_EPHEMERAL)
            if self.is_free(ip, port):
                return port
        raise os_error(errno.EADDRINUSE)
