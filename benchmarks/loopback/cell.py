"""One measurement: what the parent process asks a pair of children for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.figures import Key
from benchmarks.transports import Transport, find

TESTS = {
    "bulk": "bytes as fast as drain() allows; MB/s, CPU seconds a gigabyte on each side",
    "echo": "64 bytes there and back, one at a time; median and 99th percentile",
    "connections": "open, one byte back, close, 16 at once; connections a second",
    "idle": "connections that say nothing; memory a connection and CPU on each side",
    "many": "the same with 10,000 of them on one socket of the server's",
    "cores": "64-byte echoes of two client processes, against one and two server processes that "
    "share a port (reuse_port)",
}
"""The tests and what each of them measures."""

CHUNK_BYTES = 256 << 10
MORE, LAST = b"\0", b"\1"
"""A bulk transfer is chunks, each of which begins with the word whether another follows: not every
transport lets one direction end before the other."""


@dataclass(frozen=True)
class Cell:
    """A test of a transport on an event loop, once.

    Attributes:
        seconds: How long the measured part takes, as far as the clock decides it.
        connections: How many connections the tests idle and many open.
        processes: How many server processes the test cores has.
        config: Fields of `rudp.Config`, for rudp alone.
    """

    test: str
    transport: str
    loop: str
    seconds: float
    connections: int = 0
    processes: int = 1
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """Whose repeat this is."""
        if self.test != "cores":
            return Key(self.test, self.loop, self.transport)
        plural = "" if self.processes == 1 else "es"
        return Key(self.test, f"{self.processes} process{plural}", self.transport)

    def find(self) -> Transport:
        """The transport."""
        return find(self.transport, self.config)

    def dump(self) -> str:
        """As a command line argument."""
        return json.dumps(asdict(self))

    @staticmethod
    def load(text: str) -> Cell:
        """From a command line argument."""
        return Cell(**json.loads(text))
