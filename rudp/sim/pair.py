"""Two bare cores, two links, virtual time: the protocol without asyncio.

For tests of the protocol itself, and for watching it: `examples/handshake_trace.py` prints a
conversation made this way.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Hashable, Sequence

from rudp.config import Config
from rudp.core.connection import Connection, Notice
from rudp.core.endpoint import Endpoint
from rudp.sim.link import Link, LinkConfig
from rudp.wire.segment import Malformed, Segment, decode

__all__ = ["CorePair", "Node"]

Tap = Callable[[float, str, Segment | Malformed], None]


class Node:
    """One side of a `CorePair`: an endpoint and the application behind it.

    Attributes:
        name: "a" or "b"; also its address.
        endpoint: The bare endpoint.
        received: Data that each connection has delivered.
        notices: What each connection has reported.
        reading: Set to False to let data lie in the receive buffer.
        on_notice: Called with each connection and notice, to write an application with.
    """

    def __init__(self, name: str, config: Config, random_bits: Callable[[int], int]) -> None:
        self.name = name
        self.endpoint = Endpoint(config, random_bits)
        self.received: dict[Connection, bytearray] = {}
        self.notices: dict[Connection, list[Notice]] = {}
        self.accepted: list[Connection] = []
        self.reading = True
        self.on_notice: Callable[[Connection, Notice], None] | None = None

    def collect(self, conn: Connection) -> None:
        """Let the application take what a connection has for it."""
        if self.reading and conn.receiver.inbox.size:
            data = self.received.setdefault(conn, bytearray())
            for chunk in conn.receiver.take():
                data += chunk
        notices, conn.notices = conn.notices, []
        for notice in notices:
            self.notices.setdefault(conn, []).append(notice)
            if self.on_notice is not None:
                self.on_notice(conn, notice)


class CorePair:
    """Two endpoints, "a" and "b", joined by a link in each direction.

    Args:
        seed: Seeds links, connection ids and sequence numbers.
        link: Both directions, unless `back` gives the one from b to a.
        back: The direction from b to a.
        config: Settings of both endpoints, unless `config_b` gives b's.
        config_b: Settings of b.
        tap: Called with time, sender's name and segment for everything sent.
        identities: For a and for b the numbers to use instead of the first random ones:
            connection id, initial sequence number, timestamp offset, and so on.
    """

    def __init__(
        self,
        seed: int,
        link: LinkConfig | None = None,
        *,
        back: LinkConfig | None = None,
        config: Config | None = None,
        config_b: Config | None = None,
        tap: Tap | None = None,
        identities: tuple[Sequence[int], Sequence[int]] | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        link = link or LinkConfig(delay_s=0.01)
        config = config or Config()
        self.now_s = 0.0
        self.tap = tap
        bits_a, bits_b = (self._numbers(which) for which in identities or ((), ()))
        self.a = Node("a", config, bits_a)
        self.b = Node("b", config_b or config, bits_b)
        self.links = {
            "a": Link(link, random.Random(self.rng.getrandbits(64))),
            "b": Link(back or link, random.Random(self.rng.getrandbits(64))),
        }
        self._nodes: dict[Hashable, Node] = {"a": self.a, "b": self.b}
        self._flying: list[tuple[float, int, str, bytes]] = []
        self._scheduled: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0

    def _numbers(self, first: Sequence[int]) -> Callable[[int], int]:
        given = iter(first)
        return lambda bits: next(given, None) or self.rng.getrandbits(bits)

    def connect(self, backlog: int = 100) -> tuple[Connection, Connection]:
        """b listens, a opens, both are established. Raises `TimeoutError` if they never are."""
        if self.b.endpoint.backlog is None:
            self.b.endpoint.listen(backlog)
        conn = self.a.endpoint.connect("b", self.now_s)
        known = len(self.b.accepted)
        self.flush(self.a, conn)
        if not self.run_until(lambda: len(self.b.accepted) > known, 600.0):
            raise TimeoutError("the connection was not established in 600 virtual seconds")
        return conn, self.b.accepted[-1]

    def at(self, when_s: float, call: Callable[[], None]) -> None:
        """Let `call` run at a point of virtual time."""
        self._serial += 1
        heapq.heappush(self._scheduled, (when_s, self._serial, call))

    def inject(self, to: Node, datagram: bytes, *, sender: Hashable = None) -> None:
        """Deliver a datagram to a node now, as if `sender` (the other node) had sent it."""
        other = "b" if to is self.a else "a"
        self._deliver(to, sender if sender is not None else other, datagram)

    def flush(self, node: Node, conn: Connection | None = None) -> None:
        """Send what a connection, or every connection of a node, has to send."""
        endpoint = node.endpoint
        for one in [conn] if conn is not None else list(endpoint.connections.values()):
            while (train := one.poll(self.now_s)) is not None:
                for datagram in train.datagrams():
                    self._send(node, datagram)
            endpoint.settle(one, self.now_s)
            node.collect(one)
            # What the application took may have opened the window.
            while (train := one.poll(self.now_s)) is not None:
                for datagram in train.datagrams():
                    self._send(node, datagram)
            endpoint.settle(one, self.now_s)
        while endpoint.outbox:
            _, train = endpoint.outbox.popleft()
            for datagram in train.datagrams():
                self._send(node, datagram)

    def run(self, seconds: float) -> None:
        """Let `seconds` of virtual time pass."""
        self.run_until(lambda: False, seconds)

    def run_until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Go on until `done()`, for at most `seconds`; returns `done()`."""
        end_s = self.now_s + seconds
        while not done():
            if not self.step(end_s):
                self.now_s = end_s
                return done()
        return True

    def step(self, end_s: float) -> bool:
        """Handle the next thing that happens up to `end_s`; False if there is none."""
        flying_s = self._flying[0][0] if self._flying else float("inf")
        call_s = self._scheduled[0][0] if self._scheduled else float("inf")
        timer_s = min(self.a.endpoint.next_s, self.b.endpoint.next_s)
        soonest = min(flying_s, timer_s, call_s)
        if soonest > end_s:
            return False
        self.now_s = max(self.now_s, soonest)
        if call_s == soonest:
            heapq.heappop(self._scheduled)[2]()
        elif flying_s == soonest:
            _, _, sender, datagram = heapq.heappop(self._flying)
            self._deliver(self.b if sender == "a" else self.a, sender, datagram)
        else:
            for node in (self.a, self.b):
                for conn in node.endpoint.due(self.now_s):
                    self.flush(node, conn)
        return True

    def _send(self, node: Node, datagram: bytes) -> None:
        node.endpoint.stats.segments_sent += 1
        if self.tap is not None:
            self.tap(self.now_s, node.name, decode(datagram))
        for due_s, delivered in self.links[node.name].transmit(datagram, self.now_s):
            self._serial += 1
            heapq.heappush(self._flying, (due_s, self._serial, node.name, delivered))

    def _deliver(self, node: Node, sender: Hashable, datagram: bytes) -> None:
        endpoint = node.endpoint
        touched = endpoint.receive(datagram, len(datagram) or 1, sender, self.now_s)
        while endpoint.accepted:
            node.accepted.append(endpoint.accepted.popleft())
        for conn in touched:
            self.flush(node, conn)
        if endpoint.outbox:
            self.flush(node)
