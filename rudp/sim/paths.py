"""Which link lies between which two addresses: the default, the exceptions, the links made."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from rudp.sim.address import is_loopback
from rudp.sim.link import Link

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rudp.sim.link import LinkConfig

__all__ = ["Paths"]


class Paths:
    """The links of a network by canonical source and destination address.

    A link is made when it is first asked for, with a generator of its own whose seed depends on the
    network's seed and the link's place alone, not on when it was made.

    Args:
        seed: The network's seed.
        default: The link between addresses for which `set` was not called.
        loopback: The same for loopback addresses; None means `default`.
    """

    __slots__ = ("_configs", "_default", "_links", "_loopback", "_seed")

    def __init__(self, seed: int, default: LinkConfig, loopback: LinkConfig | None) -> None:
        self._seed = seed
        self._default = default
        self._loopback = loopback
        self._configs: dict[tuple[str, str], LinkConfig] = {}
        # The last part of the key is the host's label for loopback addresses, which every host has
        # with links of its own, and empty for all others.
        self._links: dict[tuple[str, str, str], Link] = {}

    @property
    def default(self) -> LinkConfig:
        """The link between addresses without one of their own."""
        return self._default

    @default.setter
    def default(self, config: LinkConfig) -> None:
        self._default = config
        for (source, destination, _), link in self._links.items():
            link.config = self._config(source, destination)

    def __iter__(self) -> Iterator[Link]:
        return iter(self._links.values())

    def _config(self, source: str, destination: str) -> LinkConfig:
        config = self._configs.get((source, destination))
        if config is None and self._loopback is not None and is_loopback(destination):
            return self._loopback
        return self._default if config is None else config

    def get(self, source: str, destination: str, host: str) -> Link:
        """Return a link; `host` says whose it is if `destination` is a loopback address."""
        key = (source, destination, host if is_loopback(destination) else "")
        link = self._links.get(key)
        if link is None:
            rng = random.Random(f"{self._seed}/link/{'/'.join(key)}")
            link = self._links[key] = Link(self._config(source, destination), rng)
        return link

    def set(self, source: str, destination: str, config: LinkConfig) -> None:
        """Set what a link does; over loopback addresses, that of every host."""
        self._configs[source, destination] = config
        if is_loopback(destination):
            for key, link in self._links.items():
                if key[:2] == (source, destination):
                    link.config = config
        elif (source, destination, "") in self._links:
            self._links[source, destination, ""].config = config

    def rename(self, old: str, new: str) -> None:
        """Make the links of `old` those of `new`, except where `set` was called for `new`."""

        def renamed(ip: str) -> str:
            return new if ip == old else ip

        kept = set(self._configs)
        for source, destination in [key for key in self._configs if old in key]:
            config = self._configs.pop((source, destination))
            self._configs.setdefault((renamed(source), renamed(destination)), config)
        for source, destination, host in [key for key in self._links if old in key[:2]]:
            link = self._links.pop((source, destination, host))
            if (renamed(source), renamed(destination)) not in kept:
                self._links[renamed(source), renamed(destination), host] = link
