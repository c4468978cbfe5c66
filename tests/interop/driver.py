"""A bare rudp endpoint in real time, its datagrams translated for a TUN device."""

from __future__ import annotations

import collections
import enum
import hashlib
import math
import os
import random
import select
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple, cast

from rudp.config import HEADER_BYTES, Config
from rudp.core.connection import Connection, Notice
from rudp.core.endpoint import Endpoint
from rudp.core.states import State
from rudp.telemetry import tcp
from rudp.telemetry.observer import Observer
from rudp.telemetry.tcp import Address
from rudp.wire.segment import Segment, decode, encode

from .kernel import Call, Kernel
from .translator import Translator
from .tun import KERNEL_HOST, RUDP_HOST

RUDP_PORT = 7
MSS = 1448
"""Of both sides with `config()`: what a packet of 1,500 bytes has room for."""
TO_KERNEL, TO_RUDP = "->", "<-"

_BATCH = 64
_REMEMBERED = 4000
_BUFFERED_BYTES = 1 << 20
_LONGEST_WAIT_S = 1.0


class Seen(NamedTuple):
    """A segment that passed the translator; `lost` tells that it went no farther."""

    when_s: float
    way: str
    segment: Segment
    size: int
    lost: bool

    def __str__(self) -> str:
        lost = " lost" if self.lost else ""
        return f"{self.when_s:9.4f} {self.way} {self.segment} ({self.size} bytes){lost}"


class Arrows(Observer):
    """An observer that notes the states a connection goes through."""

    def __init__(self) -> None:
        self.states: list[State] = []

    def state_changed(self, before: enum.IntEnum, after: enum.IntEnum, event: enum.Enum) -> None:
        """The connection followed an arrow of the state diagram."""
        self.states.append(State(after))


class App:
    """The application behind a connection.

    Attributes:
        states: Those that the connection has entered.
        reading: Set to False to let data lie in the receive buffer.
    """

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        assert isinstance(conn.observer, Arrows)
        self.states = conn.observer.states
        self.notices: list[Notice] = []
        self.reading = True
        self.received = 0
        self._received = hashlib.sha256()
        self.sent = 0
        self._sent = hashlib.sha256()
        self._source: Iterator[bytes] = iter(())
        self._then_shut = False

    @property
    def sha256(self) -> str:
        """Of all that was read."""
        return self._received.hexdigest()

    @property
    def sent_sha256(self) -> str:
        """Of all that was written."""
        return self._sent.hexdigest()

    @property
    def at_eof(self) -> bool:
        """The peer has ended its direction, and everything before it was read."""
        return Notice.EOF in self.notices and not self.conn.receiver.inbox.size

    @property
    def closed(self) -> bool:
        """The connection is gone."""
        return Notice.CLOSED in self.notices

    def send(self, source: Iterator[bytes], *, then_shut: bool = False) -> None:
        """Write pieces as the connection has room for them, then perhaps the FIN."""
        self._source = source
        self._then_shut = then_shut

    def turn(self) -> None:
        """Read, write, take notices."""
        conn = self.conn
        if self.reading and conn.receiver.inbox.size:
            for chunk in conn.receiver.take():
                self._received.update(chunk)
                self.received += len(chunk)
        self.notices += conn.notices
        conn.notices = []
        while conn.can_send and len(conn.sender.buffer) < _BUFFERED_BYTES:
            piece = next(self._source, b"")
            if not piece:
                if self._then_shut:
                    conn.shutdown()
                break
            conn.send(piece)
            self._sent.update(piece)
            self.sent += len(piece)


class Driver:
    """An endpoint, a translator, a TUN device, and a loop that waits for events.

    Args:
        kernel: The namespace to talk to.
        config: The endpoint's settings.
        seed: Decides which segments are lost.

    Attributes:
        loss: Share of the segments that is lost, each way.
        drop: Called with the way and the segment; True loses it.
        seen: The segments that passed last.
        ahead_s: How far rudp's clock is ahead of the kernel's: silence that nobody sat through.
    """

    def __init__(self, kernel: Kernel, config: Config, *, seed: int = 0) -> None:
        self.kernel = kernel
        bits = random.SystemRandom().getrandbits
        self.endpoint = Endpoint(config, bits, lambda *_: Arrows())
        self.translator = Translator(RUDP_HOST, bits)
        self.apps: dict[Connection, App] = {}
        self.drop: Callable[[str, Segment], bool] | None = None
        self.seen: collections.deque[Seen] = collections.deque(maxlen=_REMEMBERED)
        self.ahead_s = 0.0
        self.loss = 0.0
        self._dice = {way: random.Random(f"{seed} {way}") for way in (TO_KERNEL, TO_RUDP)}
        self._poller = select.poll()
        for fd in (kernel.tun, kernel.control.fileno()):
            self._poller.register(fd, select.POLLIN)
        self._start_s = self.now_s()

    def now_s(self) -> float:
        """rudp's clock."""
        return time.monotonic() + self.ahead_s

    # -- the application's calls -----------------------------------------------------------

    def connect(self, port: int) -> App:
        """Open a connection to a port of the kernel's; the SYN leaves at once."""
        conn = self.endpoint.connect((KERNEL_HOST, port), self.now_s())
        return self._adopt(conn)

    def accepted(self) -> App:
        """The connection that was accepted last."""
        return next(reversed(self.apps.values()))

    def flush(self, app: App) -> None:
        """Let a connection send what it was given, or has to answer, now."""
        self._flush(app.conn)

    def await_crossing(self, within_s: float = 10.0) -> None:
        """Wait until the kernel has sent something, and leave it in the device: what rudp sends
        next crosses it."""
        assert select.select([self.kernel.tun], [], [], within_s)[0], "the kernel sent nothing"

    # -- the loop --------------------------------------------------------------------------

    def wait(self, done: Callable[[], bool], what: str, *, within_s: float = 10.0) -> None:
        """Go on until `done()`. Fails after `within_s`, with what was seen last."""
        end_s = self.now_s() + within_s
        while not done():
            left_s = end_s - self.now_s()
            if left_s <= 0:
                last = "\n".join(map(str, list(self.seen)[-30:]))
                infos = "\n".join(str(conn.info(self.now_s())) for conn in self.apps)
                raise AssertionError(f"not within {within_s} s: {what}\n{infos}\n{last}")
            self._turn(left_s)

    def finish(self, *calls: Call, within_s: float = 10.0) -> None:
        """Go on until socket calls in the namespace have returned."""
        names = ", ".join(call.name for call in calls)
        self.wait(lambda: all(call.done for call in calls), f"{names} to return", within_s=within_s)

    def call(self, name: str, /, *, within_s: float = 10.0, **args: object) -> Any:
        """Make a socket call in the namespace and go on until it has returned: its result."""
        call = self.kernel.call(name, **args)
        self.finish(call, within_s=within_s)
        return call.result

    def count(self, way: str, fits: Callable[[Segment], object], *, size: int | None = None) -> int:
        """How many of the segments that were seen last fit."""
        return sum(
            seen.way == way and bool(fits(seen.segment)) and size in (None, seen.size)
            for seen in self.seen
        )

    def _turn(self, longest_s: float) -> None:
        for app in list(self.apps.values()):
            if not app.closed:
                self._flush(app.conn)
        wait_s = min(longest_s, _LONGEST_WAIT_S, self.endpoint.next_s - self.now_s())
        ready = {fd for fd, _ in self._poller.poll(max(0, math.ceil(wait_s * 1000)))}
        if self.kernel.tun in ready:
            self._read()
        if self.kernel.control.fileno() in ready:
            self.kernel.collect()
        now_s = self.now_s()
        if now_s >= self.endpoint.next_s:
            for conn in self.endpoint.due(now_s):
                self._flush(conn)

    def _read(self) -> None:
        """Take a batch of packets off the device, then answer them all."""
        touched: dict[Connection, None] = {}
        for _ in range(_BATCH):
            try:
                data = os.read(self.kernel.tun, 1 << 16)
            except BlockingIOError:
                break
            packet = tcp.decode(data)
            arrived = packet and self.translator.to_rudp(packet)
            if not arrived:
                continue
            peer, segment = arrived
            if self._passes(TO_RUDP, segment):
                datagram = encode(segment)
                now_s = self.now_s()
                touched |= dict.fromkeys(
                    self.endpoint.receive(datagram, len(datagram), peer, now_s)
                )
        while self.endpoint.accepted:
            self._adopt(self.endpoint.accepted.popleft())
        for conn in touched:
            self._flush(conn)
        while self.endpoint.outbox:
            target, train = self.endpoint.outbox.popleft()
            for datagram in train.datagrams():
                self._send(datagram, target)

    def _adopt(self, conn: Connection) -> App:
        self.apps[conn] = App(conn)
        self._flush(conn)
        return self.apps[conn]

    def _flush(self, conn: Connection) -> None:
        app = self.apps.get(conn)
        if app is not None:
            app.turn()
        now_s = self.now_s()
        while (train := conn.poll(now_s)) is not None:
            for datagram in train.datagrams():
                self._send(datagram, conn.peer)
        self.endpoint.settle(conn, now_s)
        if app is not None:
            app.turn()

    def _send(self, datagram: bytes, peer: Hashable) -> None:
        segment = decode(datagram)
        assert isinstance(segment, Segment), segment
        packet = self.translator.to_tcp(segment, cast(Address, peer))
        if packet is not None and self._passes(TO_KERNEL, segment):
            os.write(self.kernel.tun, tcp.encode(packet))

    def _passes(self, way: str, segment: Segment) -> bool:
        """Note a segment; False if it is lost."""
        lost = self._dice[way].random() < self.loss
        if self.drop is not None and self.drop(way, segment):
            lost = True
        when_s = self.now_s() - self._start_s
        bare = segment._replace(payload=b"")
        self.seen.append(Seen(when_s, way, bare, len(segment.payload), lost))
        return not lost


def config(**changes: object) -> Config:
    """Settings for the device's MTU of 1,500 bytes."""
    size = MSS + HEADER_BYTES
    return Config(
        max_datagram_size=size, base_datagram_size=size, mtu_discovery=False, time_wait=5.0
    ).replace(**changes)
