"""A connection's numbers over time: rows sampled from `ConnectionInfo`, kept as JSON Lines.

The file's first line is an object: the format's version, what is known about the connection and
its path, the columns' names and units. Every further line is an array, one value a column, null
where a value is not known. A file whose last line was cut off, because the program that wrote it
was killed, is read up to there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from os import PathLike
from typing import Any, NamedTuple, TextIO

__all__ = ["UNITS", "VERSION", "Header", "Recording", "RecordingFile", "Sample", "sample_of"]

VERSION = 1
_MARK = "rudp_recording"
_DECIMALS = 7
"""A tenth of a microsecond: finer than any clock here."""


class Sample(NamedTuple):
    """A connection at one moment. Names, meanings and units are `rudp.ConnectionInfo`'s."""

    t_s: float
    """Seconds since the recording's beginning."""
    cwnd: int
    in_flight: int
    bytes_acked: int
    bytes_lost: int
    bytes_retransmitted: int
    timeouts: int
    ssthresh: int | None = None
    srtt_s: float | None = None
    latest_rtt_s: float | None = None
    min_rtt_s: float | None = None
    rto_s: float | None = None
    pacing_rate: float | None = None
    delivery_rate: float | None = None
    bytes_duplicated: int | None = None
    spurious_recoveries: int | None = None
    tail_probes: int | None = None
    limited_by: dict[str, float] | None = None
    """Seconds since the connection's beginning, by what kept it from sending more."""

    def is_like(self, other: Sample) -> bool:
        """Whether nothing but time has passed between the two."""
        return self[1:-1] == other[1:-1]


UNITS: dict[str, str] = {
    **dict.fromkeys(("t_s", "srtt_s", "latest_rtt_s", "min_rtt_s", "rto_s", "limited_by"), "s"),
    **dict.fromkeys(("cwnd", "in_flight", "ssthresh", "bytes_acked", "bytes_lost"), "B"),
    **dict.fromkeys(("bytes_retransmitted", "bytes_duplicated"), "B"),
    **dict.fromkeys(("pacing_rate", "delivery_rate"), "B/s"),
    **dict.fromkeys(("timeouts", "spurious_recoveries", "tail_probes"), "1"),
}
"""The unit of each column."""

_NAMES = Sample._fields
_of_info = attrgetter(*_NAMES[1:])
_REQUIRED = tuple(name for name in _NAMES if name not in Sample._field_defaults)


def sample_of(info: object, t_s: float) -> Sample:
    """The row for `info`, a `ConnectionInfo`, at `t_s`. What is not finite is not known."""
    return Sample(_tidy(t_s), *map(_tidy, _of_info(info)))


def _tidy(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DECIMALS) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _tidy(part) for key, part in value.items()}
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What is known about a recorded connection and its path.

    Attributes:
        title: A name for people.
        congestion: The controller's name.
        link_rate: Rate of the bottleneck in bytes a second; None if not known.
        link_rtt_s: Round-trip time of the empty path in seconds; None if not known.
    """

    title: str = ""
    congestion: str = ""
    link_rate: float | None = None
    link_rtt_s: float | None = None

    @property
    def bdp(self) -> float | None:
        """The path's bandwidth-delay product in bytes, if both are known."""
        if self.link_rate is None or self.link_rtt_s is None:
            return None
        return self.link_rate * self.link_rtt_s


@dataclass(slots=True)
class Recording:
    """A connection's course. `truncated` tells that the file's last line was cut off."""

    header: Header = field(default_factory=Header)
    samples: list[Sample] = field(default_factory=list)
    truncated: bool = False

    def append(self, sample: Sample) -> None:
        """Add a row."""
        self.samples.append(sample)

    def close(self) -> None:
        """Nothing: here for what also writes to a `RecordingFile`."""

    def column(self, name: str) -> list[Any]:
        """One value a row. Raises `ValueError` for a name that no column has."""
        if name not in _NAMES:
            raise ValueError(f"name must be one of {', '.join(_NAMES)}, not {name!r}")
        at = _NAMES.index(name)
        return [sample[at] for sample in self.samples]

    def has(self, name: str) -> bool:
        """Whether any row knows a value for `name`. Raises as `column` does."""
        return any(value is not None for value in self.column(name))

    @property
    def duration_s(self) -> float:
        """Seconds from the first row to the last."""
        return self.samples[-1].t_s - self.samples[0].t_s if self.samples else 0.0

    def save(self, path: str | PathLike[str]) -> None:
        """Write a file. Raises `OSError`."""
        file = RecordingFile(path, self.header)
        try:
            for sample in self.samples:
                file.append(sample)
        finally:
            file.close()

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Recording:
        """Read a file.

        Raises `OSError`, and `ValueError` with the line's number for what is no recording.
        """
        with open(path, encoding="utf-8", errors="replace") as file:
            return cls.parse(file)

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Recording:
        """Read the lines of a file. Raises `ValueError` with the line's number."""
        rows = iter(lines)
        header, names = _parse_header(next(rows, ""))
        recording = cls(header)
        row_of = _row_parser(names)
        broken: ValueError | None = None
        for number, line in enumerate(rows, 2):
            if broken is not None:
                raise broken  # it was not the last line
            if not line.strip():
                continue
            try:
                recording.samples.append(row_of(line))
            except ValueError as exc:
                broken = ValueError(f"line {number}: {exc}")
                if line.endswith("\n"):
                    raise broken from None  # whole, and wrong
        recording.truncated = broken is not None
        return recording


class RecordingFile:
    """Writes rows to a file as they come; each is one line.

    Lines wait in the file's buffer, so a program that is killed loses the last few kilobytes.
    Raises `OSError` where the file cannot be opened or written.
    """

    __slots__ = ("_file",)

    def __init__(self, path: str | PathLike[str], header: Header) -> None:
        self._file: TextIO = open(path, "w", encoding="ascii", newline="\n")  # noqa: SIM115
        first = {
            _MARK: VERSION,
            "title": header.title,
            "congestion": header.congestion,
            "link_rate": header.link_rate,
            "link_rtt_s": header.link_rtt_s,
            "names": _NAMES,
            "units": [UNITS[name] for name in _NAMES],
        }
        self._file.write(json.dumps(first) + "\n")

    def append(self, sample: Sample) -> None:
        """Write a row."""
        self._file.write(json.dumps(sample, separators=(",", ":"), allow_nan=False) + "\n")

    def close(self) -> None:
        """Write what waits, and close the file. May be called twice."""
        self._file.close()


def _parse_header(line: str) -> tuple[Header, list[str]]:
    try:
        first = json.loads(line)
        version = first[_MARK]
        names = first["names"]
    except (ValueError, TypeError, KeyError):
        raise ValueError("line 1: not the header of a recording") from None
    if version != VERSION:
        raise ValueError(f"line 1: version {version!r}, but this program reads {VERSION}")
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise ValueError(f"line 1: no column {missing[0]!r}")
    header = Header(
        title=str(first.get("title", "")),
        congestion=str(first.get("congestion", "")),
        link_rate=_positive(first, "link_rate"),
        link_rtt_s=_positive(first, "link_rtt_s"),
    )
    return header, names


def _positive(first: dict[str, Any], name: str) -> float | None:
    value = first.get(name)
    if value is None:
        return None
    if not _is_number(value) or value <= 0:
        raise ValueError(f"line 1: {name} must be a number above 0, not {value!r}")
    return float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _row_parser(names: list[str]) -> Callable[[str], Sample]:
    """A function from a line to its row; columns that this version does not know are skipped."""
    places = [(name, names.index(name)) for name in _NAMES if name in names]

    def parse(line: str) -> Sample:
        values = json.loads(line)
        if not isinstance(values, list) or len(values) != len(names):
            raise ValueError(f"not a row of {len(names)} values")
        row = {name: values[at] for name, at in places}
        for name, value in row.items():
            _check(name, value)
        return Sample(**row)

    return parse


def _check(name: str, value: Any) -> None:
    if value is None and name not in _REQUIRED:
        return
    if name == "limited_by":
        if not isinstance(value, dict) or not all(map(_is_number, value.values())):
            raise ValueError(f"{name} must be an object of numbers, not {value!r}")
    elif not _is_number(value):
        raise ValueError(f"{name} must be a number, not {value!r}")
