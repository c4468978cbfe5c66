"""What stands in for a system socket where there is none: on a simulated network."""

from __future__ import annotations

import socket
from typing import Any, Protocol


class _Named(Protocol):
    """What has a local address."""

    @property
    def family(self) -> int: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


class SimulatedSocket:
    """Shows programs what they ask a stream's or a server's socket for: its address.

    Options are accepted and change nothing; there is no descriptor.
    """

    __slots__ = ("_endpoint", "family")

    type = socket.SOCK_DGRAM
    proto = socket.IPPROTO_UDP

    def __init__(self, endpoint: _Named) -> None:
        self._endpoint = endpoint
        self.family = endpoint.family

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.getsockname()}>"

    def getsockname(self) -> Any:
        """The local address."""
        return self._endpoint.get_extra_info("sockname")

    def fileno(self) -> int:
        """-1, as of a closed socket."""
        return -1

    def setsockopt(self, level: int, *option: Any) -> None:
        """Accept any option."""

    def getsockopt(self, level: int, *option: Any) -> int:
        """0: an option that is off."""
        return 0
