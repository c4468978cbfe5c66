"""The `socket` of a transport's extra information."""

from __future__ import annotations

import socket
from typing import Any

from rudp.core.connection import Connection


class StreamSocketView:
    """The endpoint's UDP socket as programs expect a stream's socket to be.

    Options of TCP (`TCP_NODELAY` and its like) are accepted and change nothing: there is no
    Nagle algorithm to turn off. Everything else goes to the UDP socket, which other connections
    share.
    """

    __slots__ = ("_conn", "_sock")

    def __init__(self, sock: Any, conn: Connection) -> None:
        self._sock = sock
        self._conn = conn

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._sock!r} peer={self._conn.peer!r}>"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def getpeername(self) -> object:
        """The connection's peer."""
        return self._conn.peer

    def setsockopt(self, level: int, *option: Any) -> None:
        """Set a socket option; those of TCP are harmless."""
        if level != socket.IPPROTO_TCP:
            self._sock.setsockopt(level, *option)

    def getsockopt(self, level: int, *option: Any) -> Any:
        """Get a socket option; those of TCP read as set, as TCP_NODELAY would."""
        if level == socket.IPPROTO_TCP:
            return 1
        return self._sock.getsockopt(level, *option)
