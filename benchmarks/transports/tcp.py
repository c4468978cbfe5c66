"""The kernel's TCP through asyncio's own streams."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from benchmarks.transports.base import LIMIT_BYTES, Connection, Handler, Transport

_AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
_BACKLOG = 4096


class Tcp(Transport):
    """`asyncio.open_connection` and `start_server`, with the system's controller or a given one."""

    def __init__(self, name: str, congestion: str | None = None) -> None:
        super().__init__(name)
        self._congestion = congestion

    def why_not(self) -> str | None:
        """The kernel may not have the controller."""
        if self._congestion is None:
            return None
        if not _AVAILABLE.exists() or not hasattr(socket, "TCP_CONGESTION"):
            return "only Linux lets a program choose the congestion controller"
        if self._congestion not in _AVAILABLE.read_text().split():
            return f"this kernel has no congestion controller {self._congestion!r}"
        return None

    async def serve(self, handler: Handler, host: str) -> int:
        """See `Transport`."""
        self._server = await asyncio.start_server(
            handler, host, 0, limit=LIMIT_BYTES, backlog=_BACKLOG
        )
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def connect(self, host: str, port: int) -> Connection:
        """See `Transport`."""
        reader, writer = await asyncio.open_connection(host, port, limit=LIMIT_BYTES)
        if self._congestion is not None:
            writer.get_extra_info("socket").setsockopt(
                socket.IPPROTO_TCP, socket.TCP_CONGESTION, self._congestion.encode()
            )
        return Connection(reader, writer)
