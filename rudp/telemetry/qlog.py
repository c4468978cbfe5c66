"""qlog files: connections as events that qvis and other tools for QUIC draw.

The schema is draft-ietf-quic-qlog-main-schema's as qvis reads it, version 0.3, with the keys of
the later drafts beside; the events are those of draft-ietf-quic-qlog-quic-events. What rudp does
not have is made up: each datagram gets a packet number, the byte stream is stream 0, and an
acknowledgement names the packets that it newly covers. What only rudp has, the segment's fields,
is in `data.segment`.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from rudp.telemetry.capture import Ends, Output

__all__ = ["Framing", "QlogFile"]

Framing = Literal["json-seq", "json"]
"""JSON text sequences (RFC 7464), whole at any moment; or one object, whole once it is closed."""

_dumps = json.JSONEncoder(separators=(",", ":")).encode
_MEDIA = {"json-seq": ("JSON-SEQ", "sequential"), "json": ("JSON", "contained")}


class QlogFile:
    """Frames records as one file: a head, then events in the order of their times.

    Args:
        output: Takes the file's bytes.
        epoch_ns: Nanoseconds from 1970 to the zero of the connections' clock.
        framing: How records follow each other.
        single: The connection that the file is about; None if it is about any number of them,
            whose events then carry their `group_id`.
        application: The writing program's name and version.
    """

    def __init__(
        self,
        output: Output,
        *,
        epoch_ns: int,
        framing: Framing = "json-seq",
        single: Ends | None = None,
        application: str = "rudp",
    ) -> None:
        self._output = output
        self._write = output.write
        self._epoch_ns = epoch_ns
        self._framing: Framing = framing
        self._single = single
        self._application = application
        self._zero_s: float | None = None
        self._last_ms = 0.0
        self._events = 0

    def begin(self, now_s: float, vantage_point: str) -> None:
        """Write the head, at the first call; `vantage_point` is "client" or "server"."""
        if self._zero_s is not None:
            return
        self._zero_s = now_s
        if self._single is None:
            vantage_point = "unknown"
        form, schema = _MEDIA[self._framing]
        head: dict[str, Any] = {
            "qlog_version": "0.3",
            "qlog_format": form,
            "file_schema": f"urn:ietf:params:qlog:file:{schema}",
            "serialization_format": f"application/qlog+{self._framing}",
            "title": "rudp",
        }
        trace = self._trace(now_s, vantage_point)
        if self._framing == "json-seq":
            self._write(_record({**head, "trace": trace}))
            return
        # Neither is closed: what is missing follows with the last event.
        opening = _dumps({**head, "traces": []})[:-2] + _dumps({**trace, "events": []})[:-2]
        self._write(opening.encode())

    def _trace(self, now_s: float, vantage_point: str) -> dict[str, Any]:
        common: dict[str, Any] = {
            "protocol_type": ["RUDP"],
            "time_format": "relative",
            "reference_time": (self._epoch_ns + round(now_s * 1e9)) / 1e6,
        }
        if self._single is not None:
            common["group_id"] = f"{self._single.connection_id:08x}"
        return {
            "vantage_point": {"name": self._application, "type": vantage_point},
            "event_schemas": ["urn:ietf:params:qlog:events:quic"],
            "common_fields": common,
        }

    def event(self, ends: Ends, name: str, now_s: float, data: dict[str, Any]) -> None:
        """Write an event of the connection `ends`. Times never go back."""
        if self._zero_s is None:
            self.begin(now_s, "unknown")
        time_ms = round((now_s - (self._zero_s or 0.0)) * 1e3, 6)
        self._last_ms = max(time_ms, self._last_ms)
        record: dict[str, Any] = {"time": self._last_ms, "name": name}
        if self._single is None:
            record["group_id"] = f"{ends.connection_id:08x}"
        record["data"] = data
        if self._framing == "json-seq":
            self._write(_record(record))
        else:
            self._write(b"," * (self._events > 0) + _dumps(record).encode())
        self._events += 1

    def connection_ended(self) -> None:
        """No event follows of a connection: have what there is written."""
        if self._single is not None:
            self.end()
        self._output.flush()

    def end(self) -> None:
        """Nothing follows."""
        if self._framing == "json" and self._zero_s is not None:
            self._write(b"]}]}\n")


def _record(value: object) -> bytes:
    return b"\x1e" + _dumps(value).encode() + b"\n"
