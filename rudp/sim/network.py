"""A seeded network of hosts: who can reach whom, over which links, with which addresses.

The network reads no clock and runs no loop. Whoever drives it attaches a scheduler and a clock
(`Network.attach`); `SimLoop` does so for asyncio programs.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rudp.sim.address import (
    WILDCARDS,
    canonical,
    is_literal,
    is_loopback,
    socket_address,
    version,
)
from rudp.sim.host import Route, SimSocket, os_error
from rudp.sim.link import LinkConfig
from rudp.sim.nat_router import NatRouter, Transit
from rudp.sim.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Callable

    from rudp.sim.address import Address
    from rudp.sim.host import Host, Receiver
    from rudp.sim.link import Link
    from rudp.sim.nat import Nat

__all__ = ["Network", "NetworkStats", "Tap"]

# What a UDP datagram can carry: 65,535 bytes less the UDP header, and less that of IPv4, whose
# length field counts itself.
_MAX_PAYLOAD = {4: 65507, 6: 65527}

_PERFECT = LinkConfig()


class Tap(Protocol):
    """What `Network.tap` is called with: a datagram as it leaves its socket."""

    def __call__(self, time_s: float, source: Address, destination: Address, data: bytes) -> None:
        """See a datagram before its link decides what becomes of it."""


class Scheduler(Protocol):
    """What drives a network: calls `callback(*args)` at a time on the network's clock."""

    def __call__(self, when_s: float, callback: Callable[..., None], *args: Any) -> object:
        """Call at `when_s`; calls for the same time run in the order in which they were made."""


class PortUnreachable(ConnectionRefusedError):
    """What ICMP's "port unreachable" tells, and whose datagram it was about: `peer`."""

    def __init__(self, peer: Address) -> None:
        super().__init__(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        self.peer = peer


@dataclass(slots=True)
class NetworkStats:
    """What became of datagrams that no link dropped, as counts.

    Attributes:
        arrived: Given to a socket.
        refused: Arrived at a host that has no socket there, or at a NAT that refuses them.
        unreachable: Arrived at an address that no host has.
    """

    arrived: int = 0
    refused: int = 0
    unreachable: int = 0


class Network(NatRouter):
    """Hosts, NATs, the links between their addresses, and the sockets bound on them.

    Everything random is drawn from generators made from the seed, one for each direction of each
    link, so that more traffic between two hosts does not change what happens between two others.

    Args:
        seed: Where all randomness begins. The same program on the same seed sees the same network.
        default: The link between two addresses for which `set_link` was not called. It applies to
            a host's traffic to itself and over the loopback addresses too, so that a program which
            runs both ends on one host is still tested over the link.
        loopback: The link over loopback addresses, if it shall be another than `default`.
        icmp: Whether a datagram to a closed port of a host makes a "port unreachable" come back,
            which reaches the sending socket as a ConnectionRefusedError.
        tap: Called with every datagram that is sent; see `Tap`.

    Attributes:
        seed: As given.
        icmp: As given; may be changed at any time.
        tap: As given; may be changed at any time.
        stats: Counters; those of the links are in `link(a, b).stats`.

    Raises:
        TypeError: `seed` is not an integer.
    """

    def __init__(
        self,
        seed: int,
        default: LinkConfig = _PERFECT,
        *,
        loopback: LinkConfig | None = None,
        icmp: bool = True,
        tap: Tap | None = None,
    ) -> None:
        if not isinstance(seed, int):
            raise TypeError(f"seed must be an integer, not {type(seed).__name__}")
        super().__init__(seed)
        self.icmp = icmp
        self.tap = tap
        self.stats = NetworkStats()
        self._paths = Paths(seed, default, loopback)
        self._call_at: Scheduler | None = None
        self._time: Callable[[], float] = float

    def __repr__(self) -> str:
        return f"<Network seed={self.seed} hosts={[host.label for host in self._hosts]}>"

    def change_address(self, old: Host | str, new: str) -> None:
        """Give a host another address, as when a phone leaves the house.

        Its open sockets go on with the new address; a NAT, given by its name or outside address,
        keeps its mappings. Datagrams that are on their way to the old address arrive nowhere. Links
        of the old address, partitions included, become those of the new one, except where
        `set_link` has been called for the new address already.

        Args:
            old: The address to replace; or a host, whose first address of the family of `new` is
                meant.
            new: An address that no host has.

        Raises:
            ValueError: No host has `old`; `new` is taken, cannot be a host's own, or is of another
                family than `old`.
        """
        host, old_ip, new_ip = self._replace_address(old, new)
        self._paths.rename(old_ip, new_ip)
        for (ip, port), socket in list(host.sockets.items()):
            if ip == old_ip:
                del host.sockets[ip, port]
                host.sockets[new_ip, port] = socket
                socket.ip = new_ip
        for socket in self.open_sockets():
            socket.routes.clear()

    # --- links -----------------------------------------------------------------------------

    @property
    def default(self) -> LinkConfig:
        """The link between addresses without one of their own; may be replaced at any time."""
        return self._paths.default

    @default.setter
    def default(self, config: LinkConfig) -> None:
        self._paths.default = config

    def set_link(
        self, a: Host | str, b: Host | str, config: LinkConfig, *, both: bool = True
    ) -> None:
        """Set what the path from `a` to `b` does, at any time.

        Args:
            a: A host, a name or an address; a host stands for all its addresses. An address that
                no host has yet may get its links already. Between two that are not behind the same
                NAT, it is the path between the NATs that they are behind.
            b: Likewise.
            config: The link in one direction.
            both: Whether the way back gets the same configuration (on a queue of its own).

        Raises:
            ValueError: A name is unknown, or the two have no address family in common.
        """
        for source, destination in self._pairs(a, b, both=both):
            self._paths.set(source, destination, config)

    def link(self, a: Host | str, b: Host | str) -> Link:
        """Return the link from `a` to `b`: its counters, its queue, its `up`.

        For hosts with more than one address it is that of the first pair of the same family. Over
        loopback addresses it is the current host's.

        Raises:
            ValueError: As for `set_link`.
        """
        source, destination = self._pairs(a, b, both=False)[0]
        return self._link(source, destination)

    def partition(self, a: Host | str, b: Host | str, *, both: bool = True) -> None:
        """Lose everything sent from `a` to `b`, and from `b` to `a` if `both`, until `heal`.

        What is already on its way arrives.

        Raises:
            ValueError: As for `set_link`.
        """
        for source, destination in self._pairs(a, b, both=both):
            self._link(source, destination).up = False

    def heal(self, a: Host | str, b: Host | str, *, both: bool = True) -> None:
        """End a `partition`.

        Raises:
            ValueError: As for `set_link`.
        """
        for source, destination in self._pairs(a, b, both=both):
            self._link(source, destination).up = True

    def _addresses(self, host: Host | str) -> tuple[str, ...]:
        if isinstance(host, str) and is_literal(host):
            return (canonical(host),)
        return self.get_host(host).addresses

    def _pairs(self, a: Host | str, b: Host | str, *, both: bool) -> list[tuple[str, str]]:
        pairs = [
            self._meeting(source, destination)
            for source in self._addresses(a)
            for destination in self._addresses(b)
            if version(source) == version(destination)
        ]
        if not pairs:
            raise ValueError(f"{a!r} and {b!r} have no address family in common")
        if both:
            pairs += [pair[::-1] for pair in pairs if pair[0] != pair[1]]
        return pairs

    def _link(self, source: str, destination: str, host: Host | None = None) -> Link:
        return self._paths.get(source, destination, (host or self.current_host).label)

    # --- sockets ---------------------------------------------------------------------------

    def bind(
        self,
        ip: str,
        port: int,
        receiver: Receiver,
        *,
        host: Host | str | None = None,
        peer: Address | None = None,
    ) -> SimSocket:
        """Bind a UDP socket.

        Args:
            ip: A literal: a host's address, a loopback address or a wildcard.
            port: 0 picks an ephemeral port.
            receiver: Gets what arrives.
            host: The host, where the address does not say it; default is the current host.
            peer: Connects the socket: it hears this address only.

        Raises:
            OSError: EADDRNOTAVAIL: no host has the address. EADDRINUSE: the port is taken.
            ValueError: `ip` is no literal, `port` not within 0 ... 65535, or `host` unknown.
        """
        if not 0 <= port <= 65535:
            raise ValueError(f"port must be within 0 ... 65535, got {port!r}")
        ip = canonical(ip)
        current = self.current_host
        owner = self._by_address.get(ip)
        if ip in WILDCARDS or is_loopback(ip):
            owner = current if host is None else self.get_host(host)
        if owner is None:
            raise os_error(errno.EADDRNOTAVAIL)
        if owner.nat is not None:
            raise os_error(errno.EADDRNOTAVAIL)
        port = port or owner.free_port(ip)
        if not owner.is_free(ip, port):
            raise os_error(errno.EADDRINUSE)
        socket = SimSocket(self, owner, ip, port, receiver, peer)
        owner.sockets[ip, port] = socket
        return socket

    def open_sockets(self) -> list[SimSocket]:
        """Return the sockets that are bound, host by host in the order in which they were bound."""
        return [socket for host in self._hosts for socket in host.sockets.values()]

    def _route(self, socket: SimSocket, destination: str) -> Route:
        try:
            ip = canonical(destination)
        except ValueError:
            raise os_error(errno.EINVAL) from None
        if version(ip) != version(socket.ip):
            raise os_error(errno.EAFNOSUPPORT)
        local = socket.host if is_loopback(ip) else None
        source = socket.ip
        if source in WILDCARDS:
            source = ip if local else socket.host.address_for(ip)
        elif is_loopback(source) and local is None and ip not in socket.host.addresses:
            raise os_error(errno.EINVAL)
        realm = None if local else self._realm(socket.host, source)
        hop = self._first_hop(realm, ip)
        link = self._link(source, hop, local)
        route = Route(link, socket_address(source, socket.port), ip, hop, realm, local)
        socket.routes[destination] = route
        return route

    def send(self, socket: SimSocket, data: bytes, address: Address) -> None:
        """Send a datagram from a socket to (ip, port).

        Raises:
            OSError: EBADF: the socket is closed. EMSGSIZE: more than UDP can carry. EAFNOSUPPORT,
                ENETUNREACH, EINVAL: the address cannot be reached from this socket's.
            RuntimeError: Nothing drives the network; see `attach`.
        """
        if self._call_at is None:
            raise RuntimeError("the network is not attached to a scheduler")
        if socket.closed:
            raise os_error(errno.EBADF)
        destination, port = address[:2]
        route = socket.routes.get(destination) or self._route(socket, destination)
        if len(data) > _MAX_PAYLOAD[version(route.ip)]:
            raise os_error(errno.EMSGSIZE)
        now_s = self._time()
        if self.tap is not None:
            self.tap(now_s, route.source, socket_address(route.ip, port), data)
        for due_s, arriving in route.link.transmit(data, now_s):
            self._call_at(due_s, self._arrive, route, port, arriving)

    def _arrive(self, route: Route, port: int, data: bytes) -> None:
        box = route.local or self._next_box(route.realm, route.hop)
        if box is None:
            self._no_such_address()
            return
        destination = socket_address(route.ip, port)
        self._reach(box, Transit(route, destination, route.source, destination, ()), data)

    # --- what the router asks for --------------------------------------------------------------

    def _configure_lan(self, nat: Nat, inside: str) -> None:
        for pair in ((nat.address, inside), (inside, nat.address)):
            self._paths.set(*pair, nat.config.lan)

    def _now_s(self) -> float:
        return self._time()

    def _transmit(self, link: Link, box: Host, transit: Transit, data: bytes) -> None:
        if self._call_at is not None:
            for due_s, arriving in link.transmit(data, self._time()):
                self._call_at(due_s, self._reach, box, transit, arriving)

    def _deliver(self, host: Host, transit: Transit, data: bytes) -> None:
        socket = host.find(*transit.destination[:2], transit.source)
        if socket is None:
            self._refuse(transit)
            return
        self.stats.arrived += 1
        socket.receiver.datagram_received(data, transit.source)

    def _no_such_address(self) -> None:
        self.stats.unreachable += 1

    def _refuse(self, transit: Transit) -> None:
        self.stats.refused += 1
        route = transit.route
        back = (self._link(route.hop, route.source[0], route.local), *transit.way_back)
        if self.icmp and self._call_at is not None and all(link.up for link in back):
            due_s = self._time() + sum(link.config.delay_s for link in back)
            self._call_at(due_s, self._report, route, transit.dialled)

    def _report(self, route: Route, refusing: Address) -> None:
        ip, port = route.source[:2]
        host = route.local or self._by_address.get(ip)
        socket = host.find(ip, port, refusing) if host else None
        if socket is not None:
            socket.receiver.error_received(PortUnreachable(refusing))

    # --- what drives it ----------------------------------------------------------------------

    def attach(self, call_at: Scheduler, time: Callable[[], float]) -> None:
        """Let a scheduler drive the network; its time begins anew, so that queues are empty.

        Args:
            call_at: Calls a function at a time; see `Scheduler`.
            time: Returns the current time in seconds.

        Raises:
            RuntimeError: Another scheduler drives it already.
        """
        if self._call_at is not None:
            raise RuntimeError("the network is attached already: one loop at a time")
        self._call_at = call_at
        self._time = time
        for link in self._paths:
            link.restart()
        for nat in self.nats:
            nat.restart()

    def detach(self) -> None:
        """Close all sockets and forget the scheduler; another may be attached then."""
        for socket in self.open_sockets():
            socket.close()
        self._call_at = None
        self._time = float
