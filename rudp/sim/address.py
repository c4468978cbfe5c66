"""IP address literals and the address tuples that sockets use."""

from __future__ import annotations

import functools
import ipaddress
from typing import TypeAlias

__all__ = ["Address"]

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""What a socket calls an address: (ip, port), and (ip, port, flow, scope) for IPv6."""

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - it is compared with, nothing is bound to it
LOOPBACKS = ("127.0.0.1", "::1")


@functools.lru_cache(maxsize=4096)
def canonical(ip: str) -> str:
    """Return the literal in its one normal form.

    Raises:
        ValueError: `ip` is neither an IPv4 nor an IPv6 literal.
    """
    return str(ipaddress.ip_address(ip))


def is_literal(text: str) -> bool:
    """Say whether `text` is an IP address and not a name."""
    try:
        canonical(text)
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=4096)
def is_loopback(ip: str) -> bool:
    """Say whether a canonical address never leaves its host."""
    return ipaddress.ip_address(ip).is_loopback


def version(ip: str) -> int:
    """Return 4 or 6 for a canonical address."""
    return 6 if ":" in ip else 4


def wildcard(ip: str) -> str:
    """Return the "any address" of the family of a canonical address."""
    return WILDCARDS[1] if ":" in ip else WILDCARDS[0]


def socket_address(ip: str, port: int) -> Address:
    """Return the tuple that a socket of the address's family would give."""
    return (ip, port, 0, 0) if ":" in ip else (ip, port)
