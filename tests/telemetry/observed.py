"""Two bare cores whose connections are written to memory."""

from __future__ import annotations

from rudp.config import Config
from rudp.core.connection import Connection
from rudp.sim import CorePair, LinkConfig
from rudp.telemetry.capture import Ends
from rudp.telemetry.observer import Observer

LEFT, RIGHT = ("192.0.2.1", 1111), ("192.0.2.2", 2222)


class Memory:
    """An `Output` that keeps what it is given."""

    def __init__(self) -> None:
        self.data = b""
        self.flushes = 0

    def write(self, data: bytes) -> None:
        self.data += data

    def flush(self) -> None:
        self.flushes += 1


def ends(connection_id: int = 1) -> Ends:
    return Ends(connection_id, LEFT, RIGHT)


def transfer(
    observer: Observer,
    size: int,
    *,
    seed: int = 1,
    link: LinkConfig | None = None,
    config: Config | None = None,
) -> Connection:
    """Side a dials, sends `size` bytes, both close; `observer` watches a."""
    pair = CorePair(seed, link or LinkConfig(delay_s=0.01), config=config)
    pair.a.endpoint._observe = lambda *_: observer
    conn, peer = pair.connect()
    conn.send(bytes(size))
    conn.shutdown()
    pair.flush(pair.a, conn)
    assert pair.run_until(lambda: len(pair.b.received.get(peer, b"")) == size, 600.0), (
        f"seed {seed}"
    )
    peer.shutdown()
    pair.flush(pair.b, peer)
    pair.run(100.0)
    assert not pair.a.endpoint.connections
    return conn
