"""`Config`: everything that asyncio's own functions have no argument for."""

from __future__ import annotations

import dataclasses
import math
import os
from dataclasses import dataclass
from typing import Any, Literal, Protocol

HEADER_BYTES = 24
"""Bytes of a segment's header without options (docs/protocol.md)."""

MIN_DATAGRAM_BYTES = 128
"""Smallest `max_datagram_size`: a SYN with all of its options has to fit."""

MAX_DATAGRAM_BYTES = 65_507
"""Largest UDP payload over IPv4 (65,535 less the IP and UDP headers)."""


class Tracer(Protocol):
    """Watches connections: a `rudp.TraceFile`, or what you bring yourself."""

    def observe(self, connection_id: int, local: Any, peer: Any) -> Any:
        """A `rudp.telemetry.observer.Observer` for a connection that begins, or None.

        `local` and `peer` are socket addresses. What this raises, or the observer, is logged and
        ends the watching, never the connection.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of an endpoint and its connections; immutable, validated when made.

    Raises `TypeError` or `ValueError`, naming the field, for a value that is not possible.

    Attributes:
        max_datagram_size: Upper bound of a datagram's UDP payload in bytes, sent and received.
            The MSS announced is this less the 24-byte header.
        base_datagram_size: Size of full datagrams at the start, in bytes of UDP payload: 1,200
            passes every path of the Internet unfragmented (RFC 9000 §14).
        mtu_discovery: Search for the largest datagram that the path takes, where
            don't-fragment can be set (RFC 8899). Otherwise `base_datagram_size` stays.
        ecn: Mark data as ECN-capable and answer congestion marks, where the socket can tell
            them (RFC 3168); turned off for a connection whose path mangles the marks.
        congestion: Congestion controller: a registered name, or a class that derives from
            `rudp.congestion.CongestionController`.
        send_buffer: Most bytes that a connection takes off the application's hands before the
            transport's write watermarks begin to count; grows with the congestion window up to
            this, as the kernel's does.
        receive_buffer: Most bytes of received data, in order or not, that a connection holds;
            the largest window announced. The window begins with 256 KiB and grows up to this
            with what arrives in a round trip, as long as the application reads.
        max_holes: Most gaps in the received data that are kept track of; a segment that would
            open another is dropped (the next expected byte never is).
        initial_rto: Seconds before the first SYN is repeated (RFC 6298 §2.1).
        punch_interval: Seconds between the first SYNs of a dial with a rendezvous, which opens a
            way through NATs (RFC 5128 §3.3); after 25 of them up to eight times as many.
        min_rto: Seconds that the retransmission timeout exceeds the smoothed round-trip time
            by at least, as Linux has it. It has to stay well above the peer's `delayed_ack`.
        max_rto: Ceiling of the retransmission timeout in seconds (RFC 6298 §2.5).
        delayed_ack: Longest time in seconds that an acknowledgement waits for company
            (RFC 9293 §3.8.6.3, MUST-40: less than 0.5).
        connect_timeout: Seconds after which an unanswered SYN fails with `TimeoutError`
            (R2 for SYN segments, RFC 9293 MUST-23: at least three minutes).
        retransmit_timeout: Seconds of retransmissions without any answer after which the
            connection is given up (R2, RFC 9293 MUST-20: at least 100 s), but not before the
            sixth retransmission.
        user_timeout: Seconds that sent data may stay unacknowledged before the connection is
            given up (RFC 5482, local only); None leaves it to `retransmit_timeout`.
        keepalive: Seconds of silence before the first keepalive probe (RFC 9293 §3.8.4);
            None, the default, sends none.
        keepalive_interval: Seconds between keepalive probes.
        keepalive_probes: Unanswered keepalive probes after which the connection is given up.
        fin_wait_2_timeout: Seconds that a fully closed connection waits for the peer's FIN.
        time_wait: Seconds in TIME-WAIT (2 MSL). Connection ids are random 32-bit numbers, so
            old duplicates cannot reach a successor; what remains is answering a repeated FIN.
            It does not keep the socket of a closed server open.
        linger: Seconds that a closing event loop is held for data not yet acknowledged.
        sack: Offer and accept selective acknowledgements (RFC 2018).
        tail_loss_probe: Probe the tail of a flight instead of waiting for the retransmission
            timeout (RFC 8985 §7).
        pacing: Spread what the congestion window allows over the round trip, where the
            controller names a rate; otherwise it leaves at once.
        max_connections: Most connections of one endpoint; further SYNs are dropped.
        max_half_open: Most connections of one endpoint in SYN-RECEIVED, whatever the backlog.
        io: How datagrams move: "stock" uses `loop.create_datagram_endpoint`, which works
            everywhere; "batched" a socket that sends and receives many datagrams a system call
            and carries ECN marks, where the platform has one; "auto" takes the best there is.
        trace: Where to record connections, payload included (docs/tracing.md): a file ending in
            `.pcapng`, for Wireshark, or in `.sqlog` or `.qlog`, for qvis; a directory for both;
            a `rudp.TraceFile`; or an object of your own with its `observe` method. None, the
            default, records nothing. The environment variable RUDP_TRACE does the same for all
            connections of a program.
    """

    max_datagram_size: int = MAX_DATAGRAM_BYTES
    base_datagram_size: int = 1200
    mtu_discovery: bool = True
    ecn: bool = True
    congestion: str | type[Any] = "resilient"
    send_buffer: int = 16 << 20
    receive_buffer: int = 16 << 20
    max_holes: int = 4096
    initial_rto: float = 1.0
    punch_interval: float = 0.2
    min_rto: float = 0.2
    max_rto: float = 60.0
    delayed_ack: float = 0.025
    connect_timeout: float = 180.0
    retransmit_timeout: float = 120.0
    user_timeout: float | None = None
    keepalive: float | None = None
    keepalive_interval: float = 15.0
    keepalive_probes: int = 4
    fin_wait_2_timeout: float = 60.0
    time_wait: float = 60.0
    linger: float = 3.0
    sack: bool = True
    tail_loss_probe: bool = True
    pacing: bool = True
    max_connections: int = 65_536
    max_half_open: int = 4096
    io: Literal["auto", "batched", "stock"] = "auto"
    trace: str | os.PathLike[str] | Tracer | None = None

    def __post_init__(self) -> None:
        for name, low, high in _INTEGERS:
            _check_int(name, getattr(self, name), low, high)
        for name, low_s, high_s in _SECONDS:
            _check_seconds(name, getattr(self, name), low_s, high_s)
        for name in ("user_timeout", "keepalive"):
            if getattr(self, name) is not None:
                _check_seconds(name, getattr(self, name), 0.001, math.inf)
        if self.min_rto > self.max_rto:
            raise ValueError(f"min_rto ({self.min_rto}) is greater than max_rto ({self.max_rto})")
        if self.io not in ("auto", "batched", "stock"):
            raise ValueError(f"io must be 'auto', 'batched' or 'stock', not {self.io!r}")
        if not isinstance(self.congestion, (str, type)):
            raise TypeError(f"congestion must be a name or a class, not {self.congestion!r}")
        _check_trace(self.trace)
        for name in _SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a bool, not {getattr(self, name)!r}")

    @property
    def mss(self) -> int:
        """The maximum segment size announced: bytes of payload in the largest datagram."""
        return self.max_datagram_size - HEADER_BYTES

    def replace(self, **changes: Any) -> Config:
        """A copy with `changes`, validated again."""
        return dataclasses.replace(self, **changes)


_SWITCHES = ("mtu_discovery", "ecn", "sack", "tail_loss_probe", "pacing")
_INTEGERS = (
    ("max_datagram_size", MIN_DATAGRAM_BYTES, MAX_DATAGRAM_BYTES),
    ("base_datagram_size", MIN_DATAGRAM_BYTES, MAX_DATAGRAM_BYTES),
    ("send_buffer", 4096, 1 << 30),
    ("receive_buffer", 4096, 1 << 30),
    ("max_holes", 1, 1 << 16),
    ("keepalive_probes", 1, 1000),
    ("max_connections", 1, 1 << 31),
    ("max_half_open", 1, 1 << 31),
)
_SECONDS = (
    ("initial_rto", 0.001, math.inf),
    ("punch_interval", 0.001, math.inf),
    ("min_rto", 0.001, math.inf),
    ("max_rto", 0.001, math.inf),
    ("delayed_ack", 0.0, 0.499),
    ("connect_timeout", 0.001, math.inf),
    ("retransmit_timeout", 0.001, math.inf),
    ("keepalive_interval", 0.001, math.inf),
    ("fin_wait_2_timeout", 0.0, math.inf),
    ("time_wait", 0.0, math.inf),
    ("linger", 0.0, math.inf),
)


def _check_trace(trace: object) -> None:
    if trace is None or callable(getattr(trace, "observe", None)):
        return
    if not isinstance(trace, (str, os.PathLike)):
        raise TypeError(f"trace must be a path or have a method observe, not {trace!r}")
    if not os.fspath(trace):
        raise ValueError("trace must not be an empty path")


def _check_int(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}, not {value}")


def _check_seconds(name: str, value: object, low: float, high: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high} seconds, not {value}")
