"""Addresses on the command line: PORT, HOST:PORT, [V6]:PORT, tcp:… and rudp:…."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rudp.cli.parsing import Parsed

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class HostPort:
    """Where to listen or whom to dial; without a host, every interface or the loopback."""

    host: str | None
    port: int

    def __str__(self) -> str:
        return format_address((self.host or "*", self.port))

    @property
    def to_dial(self) -> tuple[str, int]:
        """Host and port for a client: no host is the loopback."""
        return self.host or LOOPBACK, self.port


@dataclass(frozen=True, slots=True)
class StreamAddress:
    """An address and which transport is spoken there."""

    scheme: Literal["tcp", "rudp"]
    at: HostPort

    def __str__(self) -> str:
        return f"{self.scheme}:{self.at}"


def parse_port(text: str, *, lowest: int = 0) -> int:
    """A port number from `lowest` to 65535.

    Raises:
        ValueError: It is none.
    """
    if not (text.isascii() and text.isdigit() and lowest <= int(text) <= 65_535):
        raise ValueError(f"{text!r} is not a port ({lowest} to 65535)")
    return int(text)


def parse_host_port(text: str, *, lowest_port: int = 0) -> HostPort:
    """Parse PORT, :PORT, *:PORT, HOST:PORT or [V6]:PORT.

    Raises:
        ValueError: It is none of these; the text says what is wrong.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not host:
            raise ValueError(f"{text!r} has no address between its brackets")
    elif ":" in host:
        raise ValueError(f"{text!r}: write an IPv6 address as [ADDRESS]:PORT")
    elif host == "*":
        host = ""
    if not colon and not text.isdigit():
        raise ValueError(f"{text!r} has no port: write HOST:PORT")
    return HostPort(host or None, parse_port(port, lowest=lowest_port))


def parse_stream_address(text: str, *, lowest_port: int = 0) -> StreamAddress:
    """Parse tcp:ADDRESS or rudp:ADDRESS, where ADDRESS is as for `parse_host_port`.

    Raises:
        ValueError: It is neither.
    """
    scheme, _, rest = text.partition(":")
    if scheme == "tcp" or scheme == "rudp":
        at = parse_host_port(rest.removeprefix("//"), lowest_port=lowest_port)
        return StreamAddress("tcp" if scheme == "tcp" else "rudp", at)
    raise ValueError(f"{text!r} does not begin with tcp: or rudp:")


def parse_where(words: Sequence[str], *, listen: bool) -> HostPort:
    """HOST PORT or HOST:PORT to dial; [HOST] PORT or [HOST:]PORT to listen.

    Raises:
        ValueError: It is none of these.
    """
    lowest = 0 if listen else 1
    if len(words) == 2:
        host, port = words
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        return HostPort(None if host in ("", "*") else host, parse_port(port, lowest=lowest))
    if len(words) != 1:
        raise ValueError("write [HOST] PORT" if listen else "write HOST PORT")
    where = parse_host_port(words[0], lowest_port=lowest)
    if not listen and where.host is None:
        raise ValueError(f"{words[0]!r} has no host: write HOST PORT")
    return where


def format_address(where: Any) -> str:
    """HOST:PORT for what a socket calls its name, [V6]:PORT for IPv6."""
    host, port = where[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


PORT = Parsed("PORT", parse_port)
"""A port; 0 lets the system choose."""
HOST_PORT = Parsed("ADDRESS", parse_host_port)
"""A `HostPort` to listen at: port 0 lets the system choose."""
STREAM_ADDRESS = Parsed("ADDRESS", parse_stream_address)
"""A `StreamAddress` to listen at."""
DIALLED_PORT = Parsed("PORT", functools.partial(parse_port, lowest=1))
DIALLED_HOST_PORT = Parsed("ADDRESS", functools.partial(parse_host_port, lowest_port=1))
DIALLED_STREAM_ADDRESS = Parsed("ADDRESS", functools.partial(parse_stream_address, lowest_port=1))
