"""Run a scenario on two bare cores."""

from __future__ import annotations

import functools
import hashlib
import random

from rudp.core.connection import Connection, Notice
from rudp.core.states import CAN_SEND, State
from rudp.core.timers import Timer
from rudp.sim.pair import CorePair, Node

from .conditions import Ending, Scenario, Side, number_source

_LONGEST_S = 6 * 3600.0
_QUIET_S = 1800.0


class App:
    """The application behind one side of a connection."""

    def __init__(self, pair: CorePair, node: Node, conn: Connection, side: Side) -> None:
        self.conn = conn
        self.side = side
        self._pair = pair
        self.node = node
        self._written = 0
        self._ended = False
        self._closed = False

    @property
    def digests(self) -> tuple[str, str]:
        """SHA-256 of what was sent and of what was received."""
        received = self.node.received.get(self.conn, b"")
        return _digest(self.side.data), _digest(received)

    @property
    def notices(self) -> list[Notice]:
        """What the connection has reported."""
        return self.node.notices.get(self.conn, [])

    @property
    def is_done(self) -> bool:
        """Whether the connection is over, and all of it read."""
        return self._closed and self.conn.state is State.CLOSED

    def pump(self) -> None:
        """Do what can be done now."""
        if self._closed or self.conn.state in (State.SYN_SENT, State.SYN_RECEIVED):
            return
        heard_all = Notice.EOF in self.notices and not self.conn.receiver.inbox.size
        ending = self.side.ending
        if heard_all or ending is not Ending.REPLY:
            self._write()
        if self._written < len(self.side.data):
            return
        if not self._ended and (heard_all or ending is Ending.AT_ONCE):
            self._ended = True
            if ending is not Ending.AFTER_EOF_CLOSED:
                self.conn.shutdown()
                self._pair.flush(self.node, self.conn)
        if self._ended and heard_all:
            self._closed = True
            self.conn.close(self._pair.now_s)
            self._pair.flush(self.node, self.conn)

    def _write(self) -> None:
        data, sender = self.side.data, self.conn.sender
        while (
            self._written < len(data)
            and self.conn.state in CAN_SEND
            and len(sender.buffer) < sender.capacity
        ):
            piece = data[self._written : self._written + self.side.write_bytes]
            self.conn.send(piece)
            self._written += len(piece)
            self._pair.flush(self.node, self.conn)


class Conversation:
    """All connections of a scenario, on two cores."""

    def __init__(self, case: Scenario) -> None:
        self._case = case
        self.clients: list[App] = []
        self.servers: list[App] = []
        rng = random.Random(case.seed)
        # Three numbers a connection: id, sequence number, clock. Drawn numbers never are 0.
        count = 3 * len(case.exchanges)
        numbers = [[number_source(case, rng, 32) for _ in range(count)] for _ in "ab"]
        self.pair = CorePair(
            case.seed,
            case.forward,
            back=case.back,
            config=case.client,
            config_b=case.server,
            identities=(numbers[0], numbers[1]),
        )

    @property
    def apps(self) -> list[App]:
        """Both sides of every connection."""
        return [*self.clients, *self.servers]

    def hold(self) -> None:
        """Go on until every connection is over."""
        pair, exchanges = self.pair, self._case.exchanges
        pair.b.endpoint.listen(len(exchanges))
        for exchange in exchanges:
            pair.at(exchange.start_s, functools.partial(self._dial, exchange.client))
        self._disturb()
        while len(self.servers) < len(exchanges) or not all(app.is_done for app in self.apps):
            assert pair.step(_LONGEST_S), self._describe()
            for conn in pair.b.accepted[len(self.servers) :]:
                side = exchanges[len(self.servers)].server
                self.servers.append(App(pair, pair.b, conn, side))
            for app in self.apps:
                app.pump()

    def _dial(self, side: Side) -> None:
        pair = self.pair
        conn = pair.a.endpoint.connect("b", pair.now_s)
        self.clients.append(App(pair, pair.a, conn, side))
        pair.flush(pair.a, conn)

    def _disturb(self) -> None:
        """Plan the partition and the pauses."""
        case, pair = self._case, self.pair
        if case.partition is not None:
            start_s, length_s = case.partition
            pair.at(start_s, functools.partial(self._set_links, up=False))
            pair.at(start_s + length_s, functools.partial(self._set_links, up=True))
        for node, pauses in ((pair.a, case.client_pauses), (pair.b, case.server_pauses)):
            for start_s, length_s in pauses:
                pair.at(start_s, functools.partial(self._set_reading, node, reading=False))
                end_s = start_s + length_s
                pair.at(end_s, functools.partial(self._set_reading, node, reading=True))

    def _set_links(self, *, up: bool) -> None:
        for link in self.pair.links.values():
            link.up = up

    def _set_reading(self, node: Node, *, reading: bool) -> None:
        node.reading = reading
        for app in self.apps:
            # A connection may be over before all of it was read.
            if app.node is node:
                self.pair.flush(node, app.conn)

    def _describe(self) -> str:
        now_s = self.pair.now_s
        lines = [f"not over at {now_s:.3f} s"]
        for name, apps in (("client", self.clients), ("server", self.servers)):
            lines += [f"  {name}: {app.side} {app.conn.info(now_s)}" for app in apps]
        return "\n".join(lines)


def run(case: Scenario, trace: list[object] | None = None) -> None:
    """Run `case`; raises `AssertionError` for whatever is not as promised.

    Every segment that is sent is appended to `trace`, if given.
    """
    conversation = Conversation(case)
    if trace is not None:
        conversation.pair.tap = lambda *event: trace.append(event)
    conversation.hold()
    sent_and_received = sorted(app.digests for app in conversation.clients)
    received_and_sent = sorted(app.digests[::-1] for app in conversation.servers)
    assert sent_and_received == received_and_sent
    assert len(conversation.servers) == len(case.exchanges)
    for app in conversation.apps:
        _check_end(app)
    _check_nothing_left(conversation.pair)


def _check_end(app: App) -> None:
    conn = app.conn
    assert conn.state is State.CLOSED
    assert conn.reason is None
    assert app.notices.count(Notice.CLOSED) == 1
    assert app.notices.count(Notice.EOF) == 1
    assert Notice.FINISHED in app.notices
    assert not any(conn.timers.is_set(timer) for timer in Timer)
    assert len(conn.sender.buffer) == 0
    assert conn.receiver.held_bytes == conn.receiver.held_chunks == 0
    assert conn.poll(1e9) is None


def _check_nothing_left(pair: CorePair) -> None:
    pair.run(_QUIET_S)  # TIME-WAIT and whatever else is still to come
    for node in (pair.a, pair.b):
        endpoint = node.endpoint
        endpoint.stop_listening()
        assert not endpoint.connections
        assert not endpoint.time_wait
        assert not endpoint.accepted
        assert not endpoint.outbox
        assert endpoint.half_open == 0
        assert endpoint.next_s == float("inf")
        assert not endpoint._by_peer
        assert not endpoint._opening
        assert not endpoint._heap
        assert endpoint.stats.malformed_total == 0
        assert endpoint.stats.wrong_address == 0


def _digest(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()
