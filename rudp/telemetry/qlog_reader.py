"""Read qlog files of rudp's: connections as conversations, and as recordings of their numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rudp.telemetry.conversation import Conversation, Read
from rudp.telemetry.recording import Header, Recording, Sample
from rudp.wire.seq import MASK, from_wire

__all__ = ["QlogConnection", "read"]

_RECORD = "\x1e"
_SENT, _RECEIVED = "transport:packet_sent", "transport:packet_received"
_METRICS = "recovery:metrics_updated"


@dataclass(slots=True)
class QlogConnection:
    """The events of one connection, and what the file says of its time.

    `truncated` tells that the file's end was cut off.
    """

    group: str
    events: list[dict[str, Any]] = field(default_factory=list)
    reference_ms: float = 0.0
    truncated: bool = False

    def conversation(self) -> Conversation:
        """The segments that it sent and received. Raises `ValueError` for events of others."""
        local, peer = _ends(self.events)
        found = Conversation(local or self.group, peer or "peer")
        for event in self.events:
            if event["name"] in (_SENT, _RECEIVED):
                found.add(self._read(event))
        return found

    def _read(self, event: dict[str, Any]) -> Read:
        try:
            data, segment = event["data"], event["data"]["segment"]
            syn: dict[str, Any] = next(
                (frame for frame in data["frames"] if frame["frame_type"] == "syn"), {}
            )
            return Read(
                (self.reference_ms + event["time"]) / 1e3,
                event["name"] == _SENT,
                sum(1 << "FSRPAUEC".index(letter) for letter in segment["flags"]),
                segment["seq"],
                segment["ack"],
                data["raw"]["payload_length"],
                segment["window"],
                mss=syn.get("mss"),
                sack=tuple((left, right) for left, right in segment.get("sack", ())),
            )
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"an event {event['name']} that rudp did not write") from None

    def recording(self) -> Recording:
        """Its numbers, a row each time that one of them changed. Raises `ValueError` for events of
        others."""
        found = Recording(Header(title=f"connection {self.group}"), truncated=self.truncated)
        counters = _Counters()
        numbers: dict[str, Any] = {}
        for event in self.events:
            name, time_ms, data = event["name"], event["time"], event["data"]
            try:
                counters.take(name, time_ms, data)
                if name == _METRICS:
                    numbers.update(data)
                    found.append(_sample(time_ms, numbers, counters))
            except (KeyError, TypeError):
                raise ValueError(f"an event {name} that rudp did not write") from None
        return found


class _Counters:
    """What qlog tells in single events and a recording in totals."""

    def __init__(self) -> None:
        self.acked = self.lost = self.again = self.timeouts = self.probes = 0
        self._first: int | None = None
        self._end = 0
        """How many bytes were sent so far."""
        self._sizes: dict[int, int] = {}
        self._timeout_ms = -1.0

    def take(self, name: str, time_ms: float, data: dict[str, Any]) -> None:
        """Count an event."""
        if name == _SENT:
            size = data["raw"]["payload_length"]
            if self._first is None:
                self._first = data["segment"]["seq"]
            if size:
                end = (data["segment"]["seq"] + size - self._first - 1) & MASK
                self._end = max(self._end, from_wire(end, self._end))
                self._sizes[data["header"]["packet_number"]] = size
            if "trigger" in data:
                self.again += size
                self.probes += data["trigger"] == "pto_probe"
        elif name == _RECEIVED and self._first is not None and "A" in data["segment"]["flags"]:
            for frame in data["frames"]:
                for first, last in frame.get("acked_ranges", ()):
                    for number in range(first, last + 1):
                        self._sizes.pop(number, None)
            acked = (data["segment"]["ack"] - self._first - 1) & MASK
            # Not the FIN's sequence number, and no acknowledgement that another has overtaken.
            self.acked = min(max(self.acked, from_wire(acked, self.acked)), self._end)
        elif name == "recovery:packet_lost":
            self.lost += self._sizes.get(data["header"]["packet_number"], 0)
            if data["trigger"] == "pto_expired" and time_ms != self._timeout_ms:
                self._timeout_ms = time_ms
                self.timeouts += 1


def _sample(time_ms: float, numbers: dict[str, Any], counters: _Counters) -> Sample:
    rate = numbers.get("pacing_rate")
    return Sample(
        t_s=time_ms / 1e3,
        cwnd=numbers.get("congestion_window", 0),
        in_flight=numbers.get("bytes_in_flight", 0),
        bytes_acked=counters.acked,
        bytes_lost=counters.lost,
        bytes_retransmitted=counters.again,
        timeouts=counters.timeouts,
        ssthresh=numbers.get("ssthresh"),
        srtt_s=_seconds(numbers, "smoothed_rtt"),
        latest_rtt_s=_seconds(numbers, "latest_rtt"),
        min_rtt_s=_seconds(numbers, "min_rtt"),
        rto_s=_seconds(numbers, "rto"),
        pacing_rate=None if rate is None else rate / 8,
        tail_probes=counters.probes,
    )


def _seconds(numbers: dict[str, Any], name: str) -> float | None:
    value = numbers.get(name)
    return None if value is None else value / 1e3


def _ends(events: list[dict[str, Any]]) -> tuple[str, str]:
    for event in events:
        if event["name"] == "connectivity:connection_started":
            data = event["data"]
            try:
                return (
                    f"{data['src_ip']}:{data['src_port']}",
                    f"{data['dst_ip']}:{data['dst_port']}",
                )
            except KeyError:
                break
    return "", ""


def read(text: str) -> list[QlogConnection]:
    """The connections of a file, in the order that they begin in.

    A sequence of records whose last is cut off is read up to there. Raises `ValueError`, which
    names the record, for what is no qlog.
    """
    if text.startswith(_RECORD):
        return _group(*_read_sequence(text))
    try:
        whole = json.loads(text)
        (trace,) = whole["traces"]
        events = list(trace["events"])
    except (ValueError, KeyError, TypeError):
        raise ValueError("not a qlog file, or one that was not closed") from None
    return _group(trace, events, truncated=False)


def _read_sequence(text: str) -> tuple[dict[str, Any], list[Any], bool]:
    records = text.split(_RECORD)[1:]
    truncated = not records[-1].endswith("\n")
    values = []
    for number, record in enumerate(records, 1):
        try:
            values.append(json.loads(record))
        except ValueError:
            if number == len(records) and truncated:
                break
            raise ValueError(f"record {number}: not JSON") from None
    if not values or not isinstance(values[0], dict) or "trace" not in values[0]:
        raise ValueError("record 1: not the head of a qlog file")
    return values[0]["trace"], values[1:], truncated


def _group(trace: dict[str, Any], events: list[Any], truncated: bool) -> list[QlogConnection]:
    common = trace.get("common_fields") or {}
    found: dict[str, QlogConnection] = {}
    for event in _checked(events):
        group = str(event.get("group_id", common.get("group_id", "")))
        if group not in found:
            reference = float(common.get("reference_time", 0.0))
            found[group] = QlogConnection(group, [], reference, truncated)
        found[group].events.append(event)
    return list(found.values())


def _checked(events: list[Any]) -> Iterator[dict[str, Any]]:
    for number, event in enumerate(events, 2):
        is_event = isinstance(event, dict) and isinstance(event.get("data"), dict)
        if not (is_event and isinstance(event.get("time"), (int, float)) and "name" in event):
            raise ValueError(f"record {number}: not an event")
        yield event
