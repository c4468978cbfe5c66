"""The hosts of a simulated network by name and address, and which of them code runs on."""

from __future__ import annotations

import contextlib
import contextvars
import random
from typing import TYPE_CHECKING

from rudp.sim.address import LOOPBACKS, WILDCARDS, canonical, is_literal, is_loopback, version
from rudp.sim.host import Host

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HostDirectory"]

DEFAULT_ADDRESS = "10.0.0.1"

_current_host: contextvars.ContextVar[Host | None] = contextvars.ContextVar(
    "rudp.sim.current_host", default=None
)


class HostDirectory:
    """Hosts by name and by address.

    Args:
        seed: Decides where each host's ephemeral ports begin.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._hosts: list[Host] = []
        self._by_address: dict[str, Host] = {}
        self._by_name: dict[str, Host] = {}

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The hosts, in the order in which they were added."""
        return tuple(self._hosts)

    def add_host(self, *addresses: str, name: str | None = None) -> Host:
        """Add a host.

        Args:
            addresses: One or more IPv4 or IPv6 literals. Datagrams to a family are sent from the
                first address of that family.
            name: A name that `getaddrinfo` resolves to the addresses, in their order, and that
                stands for the host wherever the network takes an address.

        Raises:
            ValueError: No address; an address that is no literal, is taken, a wildcard or a
                loopback address (those every host has); a name that is taken or looks like an
                address.
        """
        host = self._register(addresses, name)
        self._hosts.append(host)
        return host

    def _register(self, addresses: tuple[str, ...], name: str | None) -> Host:
        """Make a host that is found by name and address, and has no sockets of its own yet."""
        own = tuple(self._new_address(address) for address in addresses)
        if not own or len(set(own)) < len(own):
            raise ValueError(f"addresses must be one or more different ones, got {addresses!r}")
        if name is not None and (
            not name or name in self._by_name or name == "localhost" or is_literal(name)
        ):
            raise ValueError(f"name is taken or cannot be a host's name: {name!r}")
        rng = random.Random(f"{self.seed}/{own[0]}/ports")
        host = Host(self, name, own, rng)
        self._by_address.update(dict.fromkeys(own, host))
        if name is not None:
            self._by_name[name] = host
        return host

    def _new_address(self, address: str) -> str:
        ip = canonical(address)
        if ip in WILDCARDS or is_loopback(ip):
            raise ValueError(f"address cannot be a host's own: {address!r}")
        if ip in self._by_address:
            raise ValueError(f"address is taken: {address!r}")
        return ip

    def get_host(self, host: Host | str) -> Host:
        """Return the host that has this name or address.

        Raises:
            ValueError: There is none.
        """
        if isinstance(host, Host):
            if host.network is not self:
                raise ValueError(f"host is of another network: {host!r}")
            return host
        found = self._by_name.get(host)
        if found is None and is_literal(host):
            found = self._by_address.get(canonical(host))
        if found is None:
            raise ValueError(f"host is not in the network: {host!r} (add it with add_host)")
        return found

    @contextlib.contextmanager
    def host(self, host: Host | str) -> Iterator[Host]:
        """Make a host the current one: sockets and tasks made in the ``with`` block are on it.

        The current host is a context variable, so that a task keeps the host under which it was
        made, whatever the others do.

        Raises:
            ValueError: The network has no such host.
        """
        found = self.get_host(host)
        token = _current_host.set(found)
        try:
            yield found
        finally:
            _current_host.reset(token)

    @property
    def current_host(self) -> Host:
        """The host of the innermost `host` block, else the first host.

        Without any host, "10.0.0.1" is added.
        """
        current = _current_host.get()
        if current is not None and current.network is self:
            return current
        return self._hosts[0] if self._hosts else self.add_host(DEFAULT_ADDRESS)

    def context_on(self, host: Host) -> contextvars.Context:
        """Return a copy of the current context in which `host` is the current host."""
        context = contextvars.copy_context()
        context.run(_current_host.set, host)
        return context

    def _replace_address(self, old: Host | str, new: str) -> tuple[Host, str, str]:
        host = self.get_host(old)
        new_ip = self._new_address(new)
        candidates = host.addresses
        if isinstance(old, str) and old not in self._by_name:
            candidates = (canonical(old),)
        old_ip = next((own for own in candidates if version(own) == version(new_ip)), None)
        if old_ip is None:
            raise ValueError(f"new is of another address family than {old!r}: {new!r}")
        host.addresses = tuple(new_ip if own == old_ip else own for own in host.addresses)
        del self._by_address[old_ip]
        self._by_address[new_ip] = host
        return host, old_ip, new_ip

    def resolve(self, host: str | None, *, passive: bool = False) -> list[str]:
        """Return the addresses of a name, a literal, "localhost" or None, like ``getaddrinfo``.

        Args:
            host: What to look up. None and "" are the loopback addresses, or the wildcards of the
                current host's address families if `passive`.
            passive: Whether the addresses are to be bound.

        Returns:
            Canonical addresses; none if the name is unknown.
        """
        if not host:
            if not passive:
                return list(LOOPBACKS)
            versions = {version(own) for own in self.current_host.addresses}
            return [ip for ip in WILDCARDS if version(ip) in versions]
        if host == "localhost":
            return list(LOOPBACKS)
        if host in self._by_name:
            return list(self._by_name[host].addresses)
        return [canonical(host)] if is_literal(host) else []
