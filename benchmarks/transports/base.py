"""What a transport has to do to be measured."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

LIMIT_BYTES = 1 << 20
"""Of every reader: asyncio's default of 64 KB would measure its flow control."""


@dataclass
class Connection:
    """An open stream, from the client's side."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def close(self) -> None:
        """Close it and wait until it is closed."""
        self.writer.close()
        await self.writer.wait_closed()


class Transport(ABC):
    """One way to carry a stream of bytes between two processes.

    Attributes:
        name: As on the command line.
        tests: Which tests make sense for it.
        drains: Whether `drain()` waits for the network. Where it does not, whoever writes by the
            clock only fills memory.
        connects_at_once: Connections that may be opened at the same time.
    """

    tests: frozenset[str] = frozenset(
        {"bulk", "echo", "connections", "idle", "many", "links", "fairness"}
    )
    drains = True
    connects_at_once = 50

    def __init__(self, name: str) -> None:
        self.name = name

    def why_not(self) -> str | None:
        """Why it cannot run here; None if it can."""
        return None

    @abstractmethod
    async def serve(self, handler: Handler, host: str) -> int:
        """Serve connections on a free port of `host`; returns the port."""

    @abstractmethod
    async def connect(self, host: str, port: int) -> Connection:
        """Open a connection."""

    async def prepare(self, host: str, port: int) -> int:
        """Start what the client's side needs before its first connection; the port to dial."""
        return port

    def pids(self) -> list[int]:
        """The processes whose CPU time this side's work is: this one, and any that help it."""
        return [os.getpid()]
