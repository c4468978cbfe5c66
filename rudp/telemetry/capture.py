"""Connections as a capture of TCP segments: what an observer is told, as the bytes of a pcapng.

Wireshark, tshark and whatever else reads captures then analyse rudp as they analyse TCP.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from rudp.telemetry import pcapng, segments, tcp
from rudp.telemetry.observer import Observer
from rudp.telemetry.tcp import Address, Packet
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
    connection are captured in one file: they are two streams.

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
        description = "rudp's segments, translated to TCP's"
        output.write(pcapng.section_header(application) + pcapng.interface("rudp", description))

    def observer(self, ends: Ends) -> CaptureObserver:
        """The observer of a connection that begins."""
        return CaptureObserver(self, ends)

    def pair(self, local: Address, peer: Address, *, dialled: bool) -> tuple[Address, Address]:
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

    __slots__ = ("_capture", "_ends", "_local", "_peer")

    def __init__(self, capture: Capture, ends: Ends) -> None:
        self._capture = capture
        self._ends = ends
        self._local: Address | None = None
        """None until the first segment tells who dialled."""
        self._peer = ends.peer

    def segment_received(self, segment: Segment, size: int, ecn: int, now_s: float) -> None:
        """Write the segments of a run."""
        self._write(segments.received(segment, size), ecn, now_s, outbound=False)

    def train_sent(self, train: Train, ecn: int, now_s: float) -> None:
        """Write the segments of a train."""
        self._write(segments.sent(train), ecn, now_s, outbound=True)

    def closed(self, reason: enum.Enum | None) -> None:
        """Have it written."""
        self._capture.output.flush()

    def _write(self, some: Iterable[Segment], ecn: int, now_s: float, *, outbound: bool) -> None:
        capture = self._capture
        time_ns = capture.epoch_ns + round(now_s * 1e9)
        most = capture.payload_bytes
        blocks = []
        for segment in some:
            comment = comment_of(segment)
            if self._local is None:
                dialled = outbound == (segment.flags & (SYN | ACK) == SYN)
                self._begin(dialled=dialled)
                comment = f"connection {self._ends.connection_id:08x}; {comment}".strip("; ")
            packet = tcp.encode(self._packet(segment, ecn, outbound=outbound))
            missing = max(0, len(segment.payload) - most) if most is not None else 0
            blocks.append(
                pcapng.enhanced_packet(
                    packet[:-missing] if missing else packet,
                    time_ns,
                    outbound=outbound,
                    missing=missing,
                    comment=comment,
                )
            )
        capture.output.write(b"".join(blocks))

    def _begin(self, *, dialled: bool) -> None:
        ends = self._ends
        self._local, self._peer = self._capture.pair(ends.local, ends.peer, dialled=dialled)

    def _packet(self, segment: Segment, ecn: int, *, outbound: bool) -> Packet:
        local, peer = self._local or self._ends.local, self._peer
        source, target = (local, peer) if outbound else (peer, local)
        return tcp.packet_of(segment, source, target, ecn)


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
