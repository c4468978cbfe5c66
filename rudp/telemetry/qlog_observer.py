"""A connection's events in qlog's words."""

from __future__ import annotations

import enum
from typing import Any

from rudp.config import HEADER_BYTES
from rudp.telemetry import segments
from rudp.telemetry.capture import Ends
from rudp.telemetry.flight import Flight, runs
from rudp.telemetry.observer import Metrics, Observer, Ranges
from rudp.telemetry.qlog import QlogFile
from rudp.wire import options as opt
from rudp.wire.segment import ACK, FIN, RST, SYN, Segment, flag_names
from rudp.wire.train import Train

__all__ = ["QlogObserver"]

_AGAIN = {
    "time_threshold": "retransmit_reordered",
    "reordering_threshold": "retransmit_reordered",
    "pto_expired": "retransmit_timeout",
}
_CLOSED_BY = {
    None: "application",
    "ABORTED": "aborted",
    "ENDPOINT_CLOSED": "aborted",
    "RESET_BY_PEER": "stateless_reset",
    "UNKNOWN_TO_PEER": "stateless_reset",
}


class _Half:
    """One direction: its packets' numbers, and what its receiver has granted."""

    __slots__ = ("flight", "granted", "lost_by", "packets", "scale")

    def __init__(self) -> None:
        self.flight = Flight()
        self.packets = 0
        self.scale: int | None = None
        """Shift of the windows that are announced in this direction, as its SYN had it."""
        self.granted = -1
        """The highest offset that windows announced in this direction allow the other one."""
        self.lost_by = ""


class QlogObserver(Observer):
    """Writes one connection to a qlog file.

    A change of state is told without its time: it is written with what is sent or received next,
    which it is the reason of or which was its reason.
    """

    __slots__ = ("_changes", "_ends", "_file", "_in", "_last", "_now_s", "_out", "_role")

    wants_metrics = True

    def __init__(self, file: QlogFile, ends: Ends) -> None:
        self._file = file
        self._ends = ends
        self._out, self._in = _Half(), _Half()
        self._changes: list[dict[str, Any]] = []
        self._last: dict[str, Any] = {}
        self._now_s: float | None = None
        self._role = "unknown"

    # -- what the core tells ----------------------------------------------------------------

    def state_changed(self, before: enum.IntEnum, after: enum.IntEnum, event: enum.Enum) -> None:
        """Keep it for the next event that has a time."""
        if event.name in ("ACTIVE_OPEN", "PASSIVE_OPEN"):
            self._role = "client" if event.name == "ACTIVE_OPEN" else "server"
        change = {"old": before.name.lower(), "new": after.name.lower(), "trigger": event.name}
        self._changes.append(change)

    def segment_received(self, segment: Segment, size: int, ecn: int, now_s: float) -> None:
        """Write an event a datagram."""
        self._settle(now_s)
        for one in segments.received(segment, size):
            data, _ = self._packet(one, self._in, self._out, ecn)
            self._event("transport:packet_received", data)

    def train_sent(self, train: Train, ecn: int, now_s: float) -> None:
        """Write an event a datagram."""
        self._settle(now_s)
        for one in segments.sent(train):
            data, again = self._packet(one, self._out, self._in, ecn)
            if again:
                data["trigger"] = _AGAIN.get(self._out.lost_by, "pto_probe")
            self._event("transport:packet_sent", data)

    def lost(self, ranges: Ranges, trigger: str, now_s: float) -> None:
        """Write an event a packet."""
        self._settle(now_s)
        self._out.lost_by = trigger
        for start, end in ranges:
            for number in self._out.flight.within(start, end):
                header = {"packet_type": "1RTT", "packet_number": number}
                self._event("recovery:packet_lost", {"header": header, "trigger": trigger})

    def metrics_updated(self, metrics: Metrics, now_s: float) -> None:
        """Write what differs from last time."""
        self._settle(now_s)
        now = _metrics(metrics)
        state = now.pop("state")
        before = self._last.get("state")
        if state != before:
            data = {"new": state} if before is None else {"old": before, "new": state}
            self._event("recovery:congestion_state_updated", data)
        changed = {name: value for name, value in now.items() if self._last.get(name) != value}
        if changed:
            self._event("recovery:metrics_updated", changed)
        self._last = {**now, "state": state}

    def closed(self, reason: enum.Enum | None) -> None:
        """Write the last event."""
        if self._now_s is None:
            return  # nothing has ever happened
        self._settle(self._now_s)
        name = reason.name if reason is not None else None
        data = {"trigger": _CLOSED_BY.get(name, "error")}
        if reason is not None:
            data["reason"] = str(reason.value)
        self._event("connectivity:connection_closed", data)
        self._file.connection_ended()

    # -- inside -----------------------------------------------------------------------------

    def _settle(self, now_s: float) -> None:
        """Something happens at `now_s`: so did what has waited for a time."""
        if self._now_s is None:
            self._begin(now_s)
        self._now_s = now_s
        if self._changes:
            for change in self._changes:
                self._event("connectivity:connection_state_updated", change)
            self._changes.clear()

    def _begin(self, now_s: float) -> None:
        self._now_s = now_s
        self._file.begin(now_s, self._role)
        local, peer = self._ends.local, self._ends.peer
        data = {
            "ip_version": "ipv6" if ":" in local[0] else "ipv4",
            "protocol": "RUDP",
            "src_ip": local[0],
            "dst_ip": peer[0],
            "src_port": local[1],
            "dst_port": peer[1],
            "src_cid": f"{self._ends.connection_id:08x}",
        }
        self._event("connectivity:connection_started", data)

    def _event(self, name: str, data: dict[str, Any]) -> None:
        self._file.event(self._ends, name, self._now_s or 0.0, data)

    def _packet(
        self, segment: Segment, own: _Half, other: _Half, ecn: int
    ) -> tuple[dict[str, Any], bool]:
        """The data of an event, and whether any of it was sent before."""
        number = own.packets
        own.packets += 1
        again = own.flight.add(segment.seq, segment.length, number)
        if segment.flags & SYN:
            own.scale = segment.options.window_scale
        window = segment.window
        if not segment.flags & SYN and own.scale is not None and other.scale is not None:
            window <<= min(own.scale, 14)
        data: dict[str, Any] = {
            "header": {
                "packet_type": "initial" if segment.flags & SYN else "1RTT",
                "packet_number": number,
                "dcid": f"{segment.cid:08x}",
            },
            "raw": {
                "length": HEADER_BYTES + _option_bytes(segment) + len(segment.payload),
                "payload_length": len(segment.payload),
            },
            "frames": _frames(segment, window, own, other),
            "segment": _fields(segment, window),
        }
        if ecn:
            data["ecn"] = ("Not-ECT", "ECT(1)", "ECT(0)", "CE")[ecn & 3]
        return data, again


def _frames(segment: Segment, window: int, own: _Half, other: _Half) -> list[dict[str, Any]]:
    """The segment, with its window in bytes, as the frames that a QUIC packet would have."""
    flags, frames = segment.flags, list[dict[str, Any]]()
    if flags & SYN:
        frames.append({"frame_type": "syn", **_syn(segment)})
    if flags & ACK and other.flight.first is not None:
        newly = other.flight.acknowledge(segment.ack, segment.options.sack)
        if newly:
            frames.append({"frame_type": "ack", "acked_ranges": runs(newly)})
        granted = other.flight.offset(segment.ack) + window
        if granted > own.granted and not flags & RST:
            own.granted = granted
            frames.append({"frame_type": "max_data", "maximum": granted})
    if segment.payload or flags & FIN:
        frame = {
            "frame_type": "stream",
            "stream_id": 0,
            "offset": own.flight.offset(segment.seq),
            "length": len(segment.payload),
        }
        frames.append({**frame, "fin": True} if flags & FIN else frame)
    if flags & RST:
        frames.append({"frame_type": "connection_close", "reason": "reset"})
    options = segment.options
    if options.path_challenge is not None:
        frames.append({"frame_type": "path_challenge", "data": options.path_challenge.hex()})
    if options.path_response is not None:
        frames.append({"frame_type": "path_response", "data": options.path_response.hex()})
    return frames


def _syn(segment: Segment) -> dict[str, Any]:
    options = segment.options
    cid = options.connection_id
    said = {
        "mss": options.mss,
        "window_scale": options.window_scale,
        "sack_permitted": options.sack_permitted,
        "connection_id": None if cid is None else f"{cid:08x}",
    }
    return {name: value for name, value in said.items() if value is not None}


def _fields(segment: Segment, window: int) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "flags": flag_names(segment.flags),
        "seq": segment.seq,
        "ack": segment.ack,
        "window": window,
        "tsval": segment.tsval,
        "tsecr": segment.tsecr,
    }
    if segment.options.sack:
        fields["sack"] = segment.options.sack
    return fields


def _option_bytes(segment: Segment) -> int:
    return 0 if segment.options is opt.NONE else len(opt.encode(segment.options))


def _metrics(metrics: Metrics) -> dict[str, Any]:
    """qlog's names and units: milliseconds, bytes, bits a second."""
    said = {
        "congestion_window": metrics.cwnd,
        "bytes_in_flight": metrics.in_flight,
        "ssthresh": metrics.ssthresh,
        "smoothed_rtt": _ms(metrics.srtt_s),
        "rtt_variance": _ms(metrics.rttvar_s),
        "min_rtt": _ms(metrics.min_rtt_s),
        "latest_rtt": _ms(metrics.latest_rtt_s),
        "rto": _ms(metrics.rto_s),
        "pacing_rate": None if metrics.pacing_rate is None else round(metrics.pacing_rate * 8),
        "state": metrics.congestion_state,
    }
    return {name: value for name, value in said.items() if value is not None}


def _ms(value_s: float | None) -> float | None:
    return None if value_s is None else round(value_s * 1e3, 6)
