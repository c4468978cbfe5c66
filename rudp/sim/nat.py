"""A NAT's table: which outside port stands for which inside socket, and who is let in.

The words are those of RFC 4787. Nothing here knows a network or reads a clock: the caller says
which datagram comes from where at what time, and is told what its address becomes.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from rudp.sim.address import socket_address
from rudp.sim.link import LinkConfig

if TYPE_CHECKING:
    import random

    from rudp.sim.address import Address
    from rudp.sim.host import Host

__all__ = [
    "FULL_CONE",
    "PORT_RESTRICTED_CONE",
    "RESTRICTED_CONE",
    "SYMMETRIC",
    "Dependence",
    "Nat",
    "NatConfig",
    "NatStats",
]

_PORTS = range(1024, 65536)
_PERFECT = LinkConfig()

Where: TypeAlias = tuple[str, int]
"""Address and port, without what IPv6 sockets add."""


class Dependence(enum.Enum):
    """What a mapping or a filter looks at (RFC 4787 §4.1 and §5)."""

    ENDPOINT_INDEPENDENT = "nothing of the peer"
    ADDRESS_DEPENDENT = "the peer's address"
    ADDRESS_AND_PORT_DEPENDENT = "the peer's address and port"

    def key(self, peer: Where) -> tuple[object, ...]:
        """What it sees of a peer."""
        if self is Dependence.ENDPOINT_INDEPENDENT:
            return ()
        return peer[:1] if self is Dependence.ADDRESS_DEPENDENT else peer


@dataclass(frozen=True, slots=True, kw_only=True)
class NatConfig:
    """How a NAT behaves. The default keeps to RFC 4787, and filters as most home routers do.

    Args:
        mapping: Which peers of an inside socket see it at the same outside port.
        filtering: Who may send to an outside port: anybody, whoever has an address that was sent
            to from it, or only an address and port that was sent to.
        ports: "preserved" gives a socket its own port outside if that is free, else a random one;
            "random" never minds the inside port.
        timeout_s: Seconds after which a mapping that nothing used is forgotten (RFC 4787 §4.3:
            at least 120, 300 recommended; 30 is common).
        refresh_inbound: Whether what comes in keeps a mapping alive too, not only what goes out.
        hairpin: Whether two inside sockets reach each other at their outside addresses (§6).
        refuses: Whether what is not let in is answered with "port unreachable", as by a machine
            that forwards for others without a firewall of its own; otherwise it just vanishes.
            (Linux also keeps such a peer from the port then; that is not simulated.)
        lan: The link between the NAT and each host behind it, in each direction.

    Raises:
        TypeError: An argument is of the wrong type; the message names it.
        ValueError: An argument is out of range; the message names it.
    """

    mapping: Dependence = Dependence.ENDPOINT_INDEPENDENT
    filtering: Dependence = Dependence.ADDRESS_AND_PORT_DEPENDENT
    ports: Literal["preserved", "random"] = "preserved"
    timeout_s: float = 300.0
    refresh_inbound: bool = True
    hairpin: bool = True
    refuses: bool = False
    lan: LinkConfig = _PERFECT

    def __post_init__(self) -> None:
        for name, wanted in _TYPES.items():
            if not isinstance(getattr(self, name), wanted):
                found = type(getattr(self, name)).__name__
                raise TypeError(f"{name} must be a {wanted.__name__}, not {found}")
        if self.ports not in ("preserved", "random"):
            raise ValueError(f"ports must be 'preserved' or 'random', not {self.ports!r}")
        if isinstance(self.timeout_s, bool) or not isinstance(self.timeout_s, (int, float)):
            raise TypeError(f"timeout_s must be a number, not {type(self.timeout_s).__name__}")
        if not self.timeout_s > 0:
            raise ValueError(f"timeout_s must be more than 0 seconds, not {self.timeout_s!r}")

    def replace(self, **changes: Any) -> NatConfig:
        """A copy with `changes`, validated again."""
        return dataclasses.replace(self, **changes)


_TYPES: dict[str, type] = {
    "mapping": Dependence,
    "filtering": Dependence,
    "refresh_inbound": bool,
    "hairpin": bool,
    "refuses": bool,
    "lan": LinkConfig,
}

FULL_CONE = NatConfig(filtering=Dependence.ENDPOINT_INDEPENDENT)
"""One port a socket, open to everybody once it is used (the four kinds are RFC 3489's, §5)."""
RESTRICTED_CONE = NatConfig(filtering=Dependence.ADDRESS_DEPENDENT)
"""One port a socket, open to the addresses that were sent to."""
PORT_RESTRICTED_CONE = NatConfig(filtering=Dependence.ADDRESS_AND_PORT_DEPENDENT)
"""One port a socket, open to the addresses and ports that were sent to."""
SYMMETRIC = NatConfig(
    mapping=Dependence.ADDRESS_AND_PORT_DEPENDENT,
    filtering=Dependence.ADDRESS_AND_PORT_DEPENDENT,
    ports="random",
)
"""Another port for every address and port that a socket sends to, open to that one."""


@dataclass(slots=True)
class NatStats:
    """What a NAT did, as counts.

    Attributes:
        mapped: Mappings made.
        expired: Mappings forgotten because nothing used them.
        outbound: Datagrams let out.
        inbound: Datagrams let in.
        filtered: Datagrams for a mapping from somebody who may not send there.
        unmapped: Datagrams for a port that stands for nothing.
        exhausted: Datagrams that found no free port.
        not_hairpinned: Datagrams from inside to the outside address, where that is not supported.
    """

    mapped: int = 0
    expired: int = 0
    outbound: int = 0
    inbound: int = 0
    filtered: int = 0
    unmapped: int = 0
    exhausted: int = 0
    not_hairpinned: int = 0


@dataclass(slots=True, eq=False)
class _Mapping:
    """An outside port, the inside socket that it stands for, and whom it has sent to, by every key
    that a filter may have for them."""

    key: tuple[object, ...]
    inner: Where
    port: int
    used_s: float
    sent_to: set[tuple[object, ...]] = field(default_factory=set)


class Nat:
    """A NAT of a `Network`; made by `Network.add_nat`.

    Attributes:
        config: How it behaves; may be replaced at any time, mappings stay.
        behind: The NAT that it is itself behind, or None.
        stats: Counters.
    """

    __slots__ = ("_by_key", "_by_port", "_retired", "_rng", "behind", "box", "config", "stats")

    def __init__(
        self, box: Host, config: NatConfig, rng: random.Random, behind: Nat | None
    ) -> None:
        self.box = box
        self.config = config
        self.behind = behind
        self.stats = NatStats()
        self._rng = rng
        self._by_key: dict[tuple[object, ...], _Mapping] = {}
        self._by_port: dict[int, _Mapping] = {}
        self._retired: set[int] = set()

    def __repr__(self) -> str:
        return f"<Nat {self.box.label} {self.address} {len(self._by_port)} mappings>"

    @property
    def address(self) -> str:
        """Its outside address."""
        return self.box.addresses[0]

    @property
    def mappings(self) -> dict[int, Address]:
        """The inside sockets by the outside port that stands for them, expired ones included."""
        return {port: socket_address(*one.inner) for port, one in self._by_port.items()}

    def rebind(self) -> None:
        """Forget every mapping, as when the router is restarted: what is sent next appears at
        another port, and what comes to the old ones is not let in.

        To do so at a given time, let a loop's `call_at` call it; for another outside address, see
        `Network.change_address`.
        """
        self._retired = set(self._by_port)
        self.restart()

    def restart(self) -> None:
        """Forget every mapping, and let ports be used again: the network begins anew."""
        self._by_key.clear()
        self._by_port.clear()

    # --- what passes -------------------------------------------------------------------------

    def outbound(self, source: Address, destination: Address, now_s: float) -> Address | None:
        """Let a datagram out: the address that it appears from, or None if no port is free."""
        inner, peer = _where(source), _where(destination)
        key = (inner, *self.config.mapping.key(peer))
        mapping = self._live(self._by_key.get(key), now_s)
        if mapping is None:
            port = self._free_port(inner[1], now_s)
            if port is None:
                self.stats.exhausted += 1
                return None
            mapping = self._by_key[key] = self._by_port[port] = _Mapping(key, inner, port, now_s)
            self.stats.mapped += 1
        mapping.used_s = now_s
        mapping.sent_to.update(((), peer[:1], peer))
        self.stats.outbound += 1
        return socket_address(self.address, mapping.port)

    def inbound(self, source: Address, port: int, now_s: float) -> Address | None:
        """Let a datagram in to an outside port: the inside socket's address, or None."""
        mapping = self._live(self._by_port.get(port), now_s)
        if mapping is None:
            self.stats.unmapped += 1
            return None
        if self.config.filtering.key(_where(source)) not in mapping.sent_to:
            self.stats.filtered += 1
            return None
        if self.config.refresh_inbound:
            mapping.used_s = now_s
        self.stats.inbound += 1
        return socket_address(*mapping.inner)

    def _live(self, mapping: _Mapping | None, now_s: float) -> _Mapping | None:
        if mapping is None or now_s - mapping.used_s < self.config.timeout_s:
            return mapping
        self.stats.expired += 1
        del self._by_key[mapping.key], self._by_port[mapping.port]
        return None

    def _free_port(self, inner: int, now_s: float) -> int | None:
        """A port that stands for nothing: RFC 4787 §4.2.1 allows no port to stand for two."""

        def is_free(port: int) -> bool:
            return port not in self._retired and (
                port not in self._by_port or self._live(self._by_port[port], now_s) is None
            )

        if self.config.ports == "preserved" and inner in _PORTS and is_free(inner):
            return inner
        start = self._rng.randrange(len(_PORTS))
        candidates = (_PORTS[(start + step) % len(_PORTS)] for step in range(len(_PORTS)))
        return next(filter(is_free, candidates), None)


def _where(address: Address) -> Where:
    return address[0], address[1]
