"""The transports that are compared, each behind the same three calls, by name.

| name | what it is |
|---|---|
| tcp | the kernel's TCP through asyncio streams; tcp-cubic, tcp-bbr, …: with that controller |
| rudp | this project; each word that follows sets something: rudp-1452 datagrams of at most so many bytes, rudp-stock and rudp-batched the path to the socket, rudp-cubic, … the controller |
| aioquic | QUIC in Python, TLS included |
| enet | ENet, in C, through pyenet; without asyncio |
| kcptun | KCP, in Go: a relay process a side, and TCP between it and the program |
"""  # noqa: E501 - a table's row is one line

from __future__ import annotations

from typing import Any

from benchmarks.transports.base import Connection, Transport

__all__ = ["Connection", "Transport", "find"]


def find(name: str, config: dict[str, Any] | None = None) -> Transport:
    """The transport of that name; `config` are fields of `rudp.Config`, for rudp alone.

    Raises `ValueError` for a name that means nothing.
    """
    kind, *words = name.split("-")
    # Each is imported when it is asked for: what it needs may not be installed.
    if kind == "tcp" and len(words) <= 1:
        from benchmarks.transports.tcp import Tcp

        return Tcp(name, *words)
    if kind == "rudp":
        from benchmarks.transports.rudp import Rudp

        return Rudp(name, words, config or {})
    if name == "aioquic":
        from benchmarks.transports.quic import Quic

        return Quic(name)
    if name == "enet":
        from benchmarks.transports.enet import Enet

        return Enet(name)
    if name == "kcptun":
        from benchmarks.transports.kcp import Kcptun

        return Kcptun(name)
    raise ValueError(f"there is no transport {name!r}")
