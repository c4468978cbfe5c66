"""Two real cores on a simulated path, whose exchange is drawn if the test fails."""

from __future__ import annotations

from typing import Any

from rudp.core.connection import Connection
from rudp.sim.link import LinkConfig
from rudp.sim.pair import CorePair, Node
from rudp.wire.segment import SYN, Malformed, Segment

from .diagram import Diagram, describe


def watched_pair(seed: int, link: LinkConfig | None = None, **options: Any) -> CorePair:
    """A `CorePair` with a diagram; the seed is in it."""
    diagram = Diagram("a", "b")
    diagram.note(0, "-", f"seed {seed}")
    first: dict[str, int] = {}

    def tap(now_s: float, name: str, segment: Segment | Malformed) -> None:
        if isinstance(segment, Segment) and (segment.flags & SYN or name not in first):
            first[name] = segment.seq
        base, other = first.get(name, 0), first.get("b" if name == "a" else "a", 0)
        text = describe(segment, base, other)
        diagram.arrow(now_s * 1e3, name, text, right=name == "a")

    return CorePair(seed, link, tap=tap, **options)


def exchange(
    pair: CorePair,
    sides: list[tuple[Node, Connection, Node, Connection]],
    size: int,
    seconds: float,
) -> None:
    """Send `size` random bytes from each first to its second; raises if any comes out changed."""
    wanted = []
    for node, conn, other, peer in sides:
        data = pair.rng.randbytes(size)
        wanted.append((other, peer, bytes(other.received.get(peer, b"")) + data))
        conn.send(data)
        pair.flush(node, conn)
    pair.run_until(
        lambda: all(len(n.received.get(c, b"")) >= len(data) for n, c, data in wanted), seconds
    )
    for node, conn, data in wanted:
        if node.received.get(conn, b"") != data:
            got = len(node.received.get(conn, b""))
            raise AssertionError(f"{node.name} got {got} of {len(data)} bytes, or other ones")
