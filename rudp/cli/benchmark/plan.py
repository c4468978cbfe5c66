"""What is measured, and how the client asks the server for its part; no I/O.

Every connection begins with a request of the client's: one line of JSON of at most
`MAX_REQUEST_BYTES`, in which "op" says what the *server* does with the connection:

    sink      count what comes, up to the end of the stream
    source    send for "seconds", or "size" bytes, then end the stream
    duplex    both
    echo      send back what comes
    result    answer with one line of JSON, what the server counted on the connections of "run"

A side that has nothing more to send ends its direction; a connection is over when both have.
"""

from __future__ import annotations

import enum
import json
import math
from dataclasses import asdict, dataclass
from typing import Any

VERSION = 1
MAX_REQUEST_BYTES = 1024
MAX_SECONDS = 3600.0
MAX_BYTES = 1 << 50
MAX_PARALLEL = 128
_RUN_LENGTH = 32


class Op(enum.StrEnum):
    """What the server does with a connection."""

    SINK = "sink"
    SOURCE = "source"
    DUPLEX = "duplex"
    ECHO = "echo"
    RESULT = "result"


class Mode(enum.StrEnum):
    """What is measured."""

    BULK = "bulk"
    DUPLEX = "duplex"
    ECHO = "echo"


@dataclass(frozen=True, slots=True)
class Request:
    """The client's first line. `seconds`, or `size` in bytes, bound what the server sends."""

    op: Op
    run: str
    seconds: float = 0.0
    size: int | None = None

    def encode(self) -> bytes:
        """The line."""
        return json.dumps({"rudp-bench": VERSION, **asdict(self)}).encode() + b"\n"


def parse_request(line: bytes) -> Request:
    """A request out of its line. Raises `ValueError` for anything else."""
    try:
        message: Any = json.loads(line)
    except RecursionError:
        raise ValueError("the request is nested too deeply") from None
    if not isinstance(message, dict) or message.get("rudp-bench") != VERSION:
        raise ValueError(f"no request of version {VERSION}")
    op, run = message.get("op"), message.get("run")
    seconds, size = message.get("seconds"), message.get("size")
    if not isinstance(op, str) or not isinstance(run, str) or len(run) != _RUN_LENGTH:
        raise ValueError(f"op must be a word, run have {_RUN_LENGTH} characters")
    if not isinstance(seconds, (int, float)) or not 0 <= seconds <= MAX_SECONDS:
        raise ValueError(f"seconds must be from 0 to {MAX_SECONDS:g}")
    if size is not None and not (isinstance(size, int) and 0 <= size <= MAX_BYTES):
        raise ValueError(f"size must be from 0 to {MAX_BYTES}")
    return Request(Op(op), run, float(seconds), size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A test. `size` in bytes, over all connections, takes the place of `seconds`; `reverse` lets
    the server send in bulk mode; `message_bytes` is what echo sends at a time."""

    mode: Mode = Mode.BULK
    parallel: int = 1
    seconds: float = 10.0
    size: int | None = None
    reverse: bool = False
    message_bytes: int = 64

    @property
    def op(self) -> Op:
        """The server's part."""
        if self.mode is Mode.BULK:
            return Op.SOURCE if self.reverse else Op.SINK
        return Op.DUPLEX if self.mode is Mode.DUPLEX else Op.ECHO

    @property
    def client_sends(self) -> bool:
        """Whether the client sends in bulk."""
        return self.mode is Mode.DUPLEX or (self.mode is Mode.BULK and not self.reverse)

    def share(self, number: int) -> int | None:
        """How many bytes are connection `number`'s, of those that each direction is to carry."""
        if self.size is None:
            return None
        share, rest = divmod(self.size, self.parallel)
        return share + (number < rest)


class Latencies:
    """Durations, counted in buckets 1 % wide: bounded however many there are."""

    __slots__ = ("_buckets", "count", "most_s", "sum_s")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.sum_s = 0.0
        self.most_s = 0.0

    def add(self, duration_s: float) -> None:
        """Count one."""
        bucket = int(math.log(max(duration_s, 1e-9)) * _BUCKETS_A_FACTOR_E)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self.sum_s += duration_s
        if duration_s > self.most_s:
            self.most_s = duration_s

    def merge(self, other: Latencies) -> None:
        """Count all of another's, too."""
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self.count += other.count
        self.sum_s += other.sum_s
        self.most_s = max(self.most_s, other.most_s)

    def percentile_s(self, percent: float) -> float | None:
        """The duration that `percent` of all do not exceed, to 1 %; None if there is none."""
        wanted = math.ceil(self.count * percent / 100)
        for bucket in sorted(self._buckets):
            wanted -= self._buckets[bucket]
            if wanted <= 0:
                middle_s = math.exp((bucket + math.copysign(0.5, bucket)) / _BUCKETS_A_FACTOR_E)
                return min(middle_s, self.most_s)
        return None

    def fields(self) -> dict[str, float | int | None]:
        """For JSON; microseconds."""
        found: dict[str, float | int | None] = {"count": self.count}
        for percent in (50, 90, 99, 99.9):
            value_s = self.percentile_s(percent)
            found[f"p{percent:g}_us"] = None if value_s is None else round(value_s * 1e6, 1)
        found["mean_us"] = round(self.sum_s / self.count * 1e6, 1) if self.count else None
        found["max_us"] = round(self.most_s * 1e6, 1) if self.count else None
        return found


_BUCKETS_A_FACTOR_E = 100
