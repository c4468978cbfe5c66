"""Networks behind NATs: who is behind which, and how datagrams get from one side to the other.

Addresses live in realms: the public one, and one behind each NAT. A datagram crosses a link to the
next box, host or NAT; a NAT translates it, and it goes on from there over the next link. Addresses
are unique all the same, so that every link has one name and a test cannot mistake two hosts.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from rudp.sim.address import version
from rudp.sim.directory import HostDirectory
from rudp.sim.nat import Nat, NatConfig

if TYPE_CHECKING:
    from rudp.sim.address import Address
    from rudp.sim.host import Host, Route
    from rudp.sim.link import Link

__all__ = ["NatRouter", "Transit"]


class Transit(NamedTuple):
    """A datagram on its way, as the last NAT left it."""

    route: Route
    """Of the socket that sent it."""
    dialled: Address
    """What it was sent to."""
    source: Address
    destination: Address
    way_back: tuple[Link, ...]
    """The links by which an ICMP error would return."""


class NatRouter(HostDirectory):
    """Hosts that may be behind NATs."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._nats: list[Nat] = []

    # --- for the network to fill in ------------------------------------------------------------

    def _link(self, source: str, destination: str, host: Host | None = None) -> Link:
        raise NotImplementedError

    def _configure_lan(self, nat: Nat, inside: str) -> None:
        """Give the way between a NAT and an address behind it its link."""
        raise NotImplementedError

    def _now_s(self) -> float:
        raise NotImplementedError

    def _transmit(self, link: Link, box: Host, transit: Transit, data: bytes) -> None:
        """Send over a link; `_reach()` is called with what arrives, for each that does."""
        raise NotImplementedError

    def _deliver(self, host: Host, transit: Transit, data: bytes) -> None:
        """A datagram has arrived at the host that its destination belongs to."""
        raise NotImplementedError

    def _no_such_address(self) -> None:
        """A datagram's destination is nobody's."""
        raise NotImplementedError

    def _refuse(self, transit: Transit) -> None:
        """Let the sender know that nobody is there, if the network has ICMP."""
        raise NotImplementedError

    # --- who is behind whom --------------------------------------------------------------------

    @property
    def nats(self) -> tuple[Nat, ...]:
        """The NATs, in the order in which they were added."""
        return tuple(self._nats)

    def add_nat(
        self,
        address: str,
        config: NatConfig | None = None,
        *,
        name: str | None = None,
        behind: Nat | None = None,
    ) -> Nat:
        """Add a NAT; hosts get behind it with ``add_host(..., behind=nat)``.

        Its name and its address stand for it in `set_link`, `partition` and `link`: between it and
        a host behind it they mean the inside link, else the outside one, which all hosts behind it
        share. IPv6 addresses of hosts behind an IPv4 NAT are not behind it.

        Args:
            address: The outside address, a literal.
            config: How it behaves; see `NatConfig`, whose defaults are meant if it is None.
            name: A name, as for `add_host`.
            behind: Another NAT of the same family that this one is behind, as at a provider's.

        Raises:
            ValueError: As for `add_host`; `behind` is of another network or address family.
            TypeError: `config` or `behind` is of another type.
        """
        config = NatConfig() if config is None else config
        if not isinstance(config, NatConfig):
            raise TypeError(f"config must be a NatConfig, not {type(config).__name__}")
        if behind is not None:
            self._check_nat(behind)
            if not _same_family(address, behind):
                raise ValueError(f"behind is of another family than {address!r}: {behind!r}")
        box = self._register((address,), name)
        rng = random.Random(f"{self.seed}/{box.addresses[0]}/nat")
        nat = box.nat = Nat(box, config, rng, behind)
        self._nats.append(nat)
        if behind is not None:
            self._move_behind(box, behind)
        return nat

    def add_host(self, *addresses: str, name: str | None = None, behind: Nat | None = None) -> Host:
        """Add a host.

        Args:
            addresses: One or more IPv4 or IPv6 literals. Datagrams to a family are sent from the
                first address of that family. No two hosts have the same, not even behind two NATs.
            name: A name that `getaddrinfo` resolves to the addresses, in their order, and that
                stands for the host wherever the network takes an address.
            behind: The NAT that its addresses of the NAT's family are behind.

        Raises:
            ValueError: No address; an address that is no literal, is taken, a wildcard or a
                loopback address (those every host has); a name that is taken or looks like an
                address; `behind` is of another network, or no address is of its family.
            TypeError: `behind` is not a NAT.
        """
        if behind is not None:
            self._check_nat(behind)
            if addresses and not any(_same_family(one, behind) for one in addresses):
                raise ValueError(f"no address is of the family of behind, {behind!r}")
        host = super().add_host(*addresses, name=name)
        if behind is not None:
            self._move_behind(host, behind)
        return host

    def _check_nat(self, nat: object) -> None:
        if not isinstance(nat, Nat):
            raise TypeError(f"behind must be a Nat of add_nat(), not {type(nat).__name__}")
        if nat not in self._nats:
            raise ValueError(f"behind is of another network: {nat!r}")

    def _move_behind(self, host: Host, nat: Nat) -> None:
        host.behind = nat
        for ip in host.addresses:
            if version(ip) == version(nat.address):
                self._configure_lan(nat, ip)
        for other in self._hosts:
            for socket in other.sockets.values():
                socket.routes.clear()

    def _realm(self, host: Host, ip: str) -> Nat | None:
        """The NAT that an address of the host is behind; None is the public realm."""
        nat = host.behind
        return nat if nat is not None and version(nat.address) == version(ip) else None

    def _faces(self, ip: str) -> dict[Nat | None, str]:
        """An address, and those it appears at, by the realm in which it does."""
        host = self._by_address.get(ip)
        faces: dict[Nat | None, str] = {}
        if host is not None and host.nat is not None:
            faces[host.nat] = ip
        while host is not None and (nat := self._realm(host, ip)) is not None:
            faces[nat] = ip
            host, ip = nat.box, nat.address
        faces[None] = ip
        return faces

    def _meeting(self, a: str, b: str) -> tuple[str, str]:
        """The addresses at which two see each other: their own, or those of NATs between them."""
        faces, others = self._faces(a), self._faces(b)
        realm = next(realm for realm in faces if realm in others)
        return faces[realm], others[realm]

    # --- on the way ----------------------------------------------------------------------------

    def _next_box(self, realm: Nat | None, ip: str) -> Host | None:
        """Where a datagram for `ip` goes next, if it is in this realm."""
        host = self._by_address.get(ip)
        if host is not None and (host.nat is realm is not None or self._realm(host, ip) is realm):
            return host
        return realm.box if realm is not None else None

    def _reach(self, box: Host, transit: Transit, data: bytes) -> None:
        """A datagram has come over a link to a host or a NAT."""
        nat = box.nat
        if nat is None:
            self._deliver(box, transit, data)
            return
        source, destination = transit.source, transit.destination
        if self._comes_from_inside(nat, source[0]):
            if destination[0] == nat.address and not nat.config.hairpin:
                nat.stats.not_hairpinned += 1
                return
            mapped = nat.outbound(source, destination, self._now_s())
            if mapped is None:
                return
            source = mapped
        elif destination[0] != nat.address:
            self._no_such_address()  # whoever sent it has another address by now
            return
        realm = nat.behind
        if destination[0] == nat.address:
            inner = nat.inbound(source, destination[1], self._now_s())
            if inner is None:
                if nat.config.refuses:
                    self._refuse(transit)
                return
            destination, realm = inner, nat
        self._pass_on(nat, realm, transit._replace(source=source, destination=destination), data)

    def _comes_from_inside(self, nat: Nat, ip: str) -> bool:
        host = self._by_address.get(ip)
        return host is not None and self._realm(host, ip) is nat

    def _pass_on(self, nat: Nat, realm: Nat | None, transit: Transit, data: bytes) -> None:
        """Send a datagram from a NAT on into one of its two realms."""
        ip = transit.destination[0]
        box = self._next_box(realm, ip)
        if box is None or box is nat.box:
            self._no_such_address()
            return
        hop = ip if box.nat is None or box.nat.address == ip else box.nat.address
        back = self._link(hop, nat.address)
        onward = transit._replace(way_back=(*transit.way_back, back))
        self._transmit(self._link(nat.address, hop), box, onward, data)

    def _first_hop(self, realm: Nat | None, destination: str) -> str:
        """Where a datagram goes first: to the destination, or to the NAT that its source is
        behind."""
        if realm is not None and self._next_box(realm, destination) is realm.box:
            return realm.address
        return destination


def _same_family(address: str, nat: Nat) -> bool:
    """Whether an address, which may yet be none, is of the family of the NAT's."""
    return (":" in address) == (":" in nat.address)
