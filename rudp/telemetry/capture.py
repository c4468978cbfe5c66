"""Connections as a capture of TCP segments: what an observer is told, as the bytes of a pcapng.

Wireshark, tshark and whatever else reads captures then analyse rudp as they analyse TCP.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from rudp.telemetry import pcapng, segments, tcp
from rudp.telemetry.observer import Observer
from rudp.telemetry.tcp import Address
from rudp.wire import options as opt
from rudp.wire.segment import ACK, SYN, Segment
from rudp.wire.train import Train

__all__ = ["Capture", "CaptureObserver", "Ends", "Output"]

_FIRST_PORT, _PORTS = 49_152, 16_384
"""The dynamic ports (RFC 6335 §6): made up from here where two connections share their own."""
_MOST_PAIRS = 1 << 16


class Output(Protocol):
    """Takes a file's bytes."""

    def write(self, data: bytes, /) -> None:
        """Take `data`."""

    def flush(self) -> None:
        """A connection has ended: its trace wants to be read."""


Route = tuple[Address, Address]
"""The addresses of a stream: here, and there."""


class Ends(NamedTuple):
    """A connection's id on this side, and its two addresses, numeric."""

    connection_id: int
    local: Address
    peer: Address


class Capture:
    """One pcapng file of any number of connections.

    Each connection is one TCP stream of the file, under the addresses that it began with. The
    ports are those of the sockets, except that connections of one socket to one peer differ in
    nothing: there the port of the side that dialled is made up. So it is where both ends of a
    connection are captured in one file: they are two streams. What belongs to no connection any
    more, or never did, is told apart by the connection ids in it.

    Args:
        output: Takes the file's bytes, the head at once.
        epoch_ns: Nanoseconds from 1970 to the zero of the connections' clock.
        payload_bytes: Most bytes of each segment's payload to keep; None keeps all.
        application: The writing program's name and version.
    """

    def __init__(
        self,
        output: Output,
        *,
        epoch_ns: int,
        payload_bytes: int | None = None,
        application: str = "rudp",
    ) -> None:
        self.output = output
        self.epoch_ns = epoch_ns
        self.payload_bytes = payload_bytes
        self._pairs: OrderedDict[frozenset[Address], None] = OrderedDict()
        self._ports = 0
        self._routes: OrderedDict[tuple[bool, int], Route] = OrderedDict()
        """By whose id it is, ours or not, and the id."""
        description = "rudp's segments, translated to TCP's"
        output.write(pcapng.section_header(application) + pcapng.interface("rudp", description))

    def observer(self, ends: Ends) -> CaptureObserver:
        """The observer of a connection that begins."""
        return CaptureObserver(self, ends)

    def record(
        self,
        some: Iterable[Segment],
        route: Route,
        ecn: int,
        now_s: float,
        *,
        outbound: bool,
        about: str = "",
    ) -> None:
        """Write segments; the first one's comment begins with `about`."""
        time_ns = self.epoch_ns + round(now_s * 1e9)
        source, target = route if outbound else route[::-1]
        blocks = []
        for segment in some:
            packet = tcp.encode(tcp.packet_of(segment, source, target, ecn))
            most = self.payload_bytes
            missing = max(0, len(segment.payload) - most) if most is not None else 0
            comment = "; ".join(filter(None, (about, comment_of(segment))))
            about = ""
            blocks.append(
                pcapng.enhanced_packet(
                    packet[:-missing] if missing else packet,
                    time_ns,
                    outbound=outbound,
                    missing=missing,
                    comment=comment,
                )
            )
        self.output.write(b"".join(blocks))

    def stray_received(
        self, segment: Segment, size: int, ecn: int, ends: Callable[[], Route], now_s: float
    ) -> None:
        """Write a segment that belongs to no connection; `ends` gives the sockets' addresses."""
        options = segment.options
        key = True, segment.cid
        if not segment.cid:
            key = False, options.connection_id or options.unknown_id or 0
        route = self._stray_route(key, ends)
        self.record(segments.received(segment, size), route, ecn, now_s, outbound=False)

    def answer_sent(self, train: Train, ends: Callable[[], Route], now_s: float) -> None:
        """Write what no connection sends."""
        for segment in segments.sent(train):
            key = (False, segment.cid) if segment.cid else (True, segment.options.unknown_id or 0)
            self.record((segment,), self._stray_route(key, ends), 0, now_s, outbound=True)

    def _stray_route(self, key: tuple[bool, int], ends: Callable[[], Route]) -> Route:
        route = self._routes.get(key)
        if route is None:
            route = self.pair(*ends(), dialled=False)
            self.remember(key, route)
        return route

    def remember(self, key: tuple[bool, int], route: Route) -> None:
        """What names this id belongs to the stream of `route`."""
        self._routes[key] = route
        if len(self._routes) > _MOST_PAIRS:
            self._routes.popitem(last=False)

    def pair(self, local: Address, peer: Address, *, dialled: bool) -> Route:
        """The local and the peer's address of a new stream; `dialled` tells who made it."""
        for _ in range(_PORTS):
            if frozenset((local, peer)) not in self._pairs:
                break
            port = _FIRST_PORT + self._ports % _PORTS
            self._ports += 1
            if dialled:
                local = (local[0], port)
            else:
                peer = (peer[0], port)
        self._pairs[frozenset((local, peer))] = None
        if len(self._pairs) > _MOST_PAIRS:
            self._pairs.popitem(last=False)
        return local, peer


class CaptureObserver(Observer):
    """Writes one connection's segments to a capture."""

    __slots__ = ("_capture", "_ends", "_route")

    def __init__(self, capture: Capture, ends: Ends) -> None:
        self._capture = capture
        self._ends = ends
        self._route: Route | None = None
        """None until the first segment tells who dialled."""

    def segment_received(self, segment: Segment, size: int, ecn: int, now_s: float) -> None:
        """Write the segments of a run."""
        self._write(segments.received(segment, size), segment.flags, ecn, now_s, outbound=False)
        if segment.options.connection_id is not None and self._route is not None:
            self._capture.remember((False, segment.options.connection_id), self._route)

    def train_sent(self, train: Train, ecn: int, now_s: float) -> None:
        """Write the segments of a train."""
        some = list(segments.sent(train))
        self._write(some, some[0].flags, ecn, now_s, outbound=True)

    def closed(self, reason: enum.Enum | None) -> None:
        """Have it written."""
        self._capture.output.flush()

    def _write(
        self, some: Iterable[Segment], flags: int, ecn: int, now_s: float, *, outbound: bool
    ) -> None:
        """Write segments, the first one's control bits being `flags`."""
        about = ""
        if self._route is None:
            ends = self._ends
            dialled = outbound == (flags & (SYN | ACK) == SYN)
            self._route = self._capture.pair(ends.local, ends.peer, dialled=dialled)
            self._capture.remember((True, ends.connection_id), self._route)
            about = f"connection {ends.connection_id:08x}"
        self._capture.record(some, self._route, ecn, now_s, outbound=outbound, about=about)


def comment_of(segment: Segment) -> str:
    """What TCP has no words for, in words; empty where there is nothing."""
    options = segment.options
    if options is opt.NONE:
        return ""
    said = []
    if options.connection_id is not None:
        said.append(f"sender's connection id {options.connection_id:08x}")
    if options.version is not None:
        said.append(f"version {options.version}")
    if options.unknown_id is not None:
        said.append(f"unknown connection id {options.unknown_id:08x}")
    if options.path_challenge is not None:
        said.append(f"path challenge {options.path_challenge.hex()}")
    if options.path_response is not None:
        said.append(f"path response {options.path_response.hex()}")
    if options.ecn_counts is not None:
        ect0, ect1, ce = options.ecn_counts
        said.append(f"bytes received as ECT(0) {ect0}, ECT(1) {ect1}, CE {ce}")
    return ", ".join(said)
