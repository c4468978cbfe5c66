"""The bytes between `rudp send` and `rudp recv`, version 1; no I/O.

A stream of frames each way: a byte of type, four bytes of length (big-endian), a body. The body
of DATA has up to 1 MiB, every other one at most `MAX_CONTROL_BYTES`; numbers are big-endian.
S sends, R receives; an INDEX counts the sender's offers from 0.

    type         from  body
     1 HELLO     both  "rudp-files", version (2): the first frame of each side
     2 OFFER     S     index (4), kind (1), size (8), mode (4), mtime in ns (8, signed), path
     3 HAVE      R     index, bytes (8) of the file that are here already: prove that they are yours
     4 PROOF     S     index, SHA-256 of the first so many bytes
     5 WANT      R     index, offset (8) to begin at
     6 BEGIN     S     index, offset: DATA of this file follow, up to END or ABANDON
     7 DATA      S     the next bytes
     8 END       S     index, SHA-256 of the whole file
     9 ABANDON   S     index, reason (UTF-8): the file cannot be read to its end
    10 DONE      R     index, outcome (1): verified, and under its name
    11 FAILED    R     index, reason: not taken
    12 BYE       both  the sender has no more; the receiver's answer, after which it closes
    13 ABORT     both  reason: nothing more comes from this side

An offer of kind 0 is a file that waits for WANT; of kind 1 a file whose DATA and END follow at
once (small files cost no round trip); of kind 2 a directory, whose mode and time are to be set.
Each ends with one DONE or FAILED, an abandoned one too; at most `MAX_OUTSTANDING` may be without.
The path is relative, with "/" between its components, in the sender's file system encoding.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

VERSION = 1
MAGIC = b"rudp-files"
DIGEST_BYTES = 32
MAX_PATH_BYTES = 4096
MAX_REASON_BYTES = 1024
MAX_DATA_BYTES = 1 << 20
MAX_CONTROL_BYTES = MAX_PATH_BYTES + 64
MAX_OUTSTANDING = 1024
EAGER_BYTES = 64 << 10
"""Files up to this size are sent without being asked for."""


class FormatError(ValueError):
    """What came is not this format, or not in this order."""


class Kind(enum.IntEnum):
    """What is offered."""

    FILE = 0
    EAGER_FILE = 1
    DIRECTORY = 2


class Outcome(enum.IntEnum):
    """How an offer ended well."""

    WRITTEN = 0
    UNCHANGED = 1
    """The same content was there under that name."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame of each side."""

    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Offer:
    """A file or directory that the sender has."""

    index: int
    kind: Kind
    size: int
    mode: int
    mtime_ns: int
    path: bytes


@dataclass(frozen=True, slots=True)
class Have:
    """So many bytes are here already."""

    index: int
    size: int


@dataclass(frozen=True, slots=True)
class Proof:
    """The digest of the bytes that the receiver has."""

    index: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Want:
    """Send from this offset on."""

    index: int
    offset: int


@dataclass(frozen=True, slots=True)
class Begin:
    """The data of this file follow."""

    index: int
    offset: int


@dataclass(frozen=True, slots=True)
class Data:
    """The next bytes of the file that was begun."""

    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class End:
    """The file is complete."""

    index: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Abandon:
    """The file will not be completed."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """Verified, and under its name."""

    index: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Failed:
    """Not taken."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Bye:
    """Nothing more to come, all being well."""


@dataclass(frozen=True, slots=True)
class Abort:
    """Nothing more to come, for a reason."""

    reason: str


Frame = (
    Hello | Offer | Have | Proof | Want | Begin | Data | End | Abandon | Done | Failed | Bye | Abort
)

_HEADER = struct.Struct("!BI")
_HELLO = struct.Struct(f"!{len(MAGIC)}sH")
_OFFER = struct.Struct("!IBQIq")
_INDEX = struct.Struct("!I")
_AT = struct.Struct("!IQ")
_DIGEST = struct.Struct(f"!I{DIGEST_BYTES}s")
_DONE = struct.Struct("!IB")
_DATA = 7

_TYPES: dict[type[Frame], int] = {
    Hello: 1,
    Offer: 2,
    Have: 3,
    Proof: 4,
    Want: 5,
    Begin: 6,
    Data: _DATA,
    End: 8,
    Abandon: 9,
    Done: 10,
    Failed: 11,
    Bye: 12,
    Abort: 13,
}
_CLASSES = {number: kind for kind, number in _TYPES.items()}


def data_header(size: int) -> bytes:
    """What goes before `size` bytes of file data, which need not be copied into a frame."""
    return _HEADER.pack(_DATA, size)


def encode(frame: Frame) -> bytes:
    """The bytes of a frame."""
    body = _body(frame)
    return _HEADER.pack(_TYPES[type(frame)], len(body)) + body


def _body(frame: Frame) -> bytes:
    match frame:
        case Hello():
            return _HELLO.pack(MAGIC, frame.version)
        case Offer():
            fixed = (frame.index, frame.kind, frame.size, frame.mode, frame.mtime_ns)
            return _OFFER.pack(*fixed) + frame.path
        case Have():
            return _AT.pack(frame.index, frame.size)
        case Want() | Begin():
            return _AT.pack(frame.index, frame.offset)
        case Proof() | End():
            return _DIGEST.pack(frame.index, frame.digest)
        case Done():
            return _DONE.pack(frame.index, frame.outcome)
        case Abandon() | Failed():
            return _INDEX.pack(frame.index) + _encode_reason(frame.reason)
        case Abort():
            return _encode_reason(frame.reason)
        case Data():
            return bytes(frame.data)
        case Bye():
            return b""


def _encode_reason(reason: str) -> bytes:
    return reason.encode(errors="replace")[:MAX_REASON_BYTES]


class Decoder:
    """Frames out of a stream that comes in pieces of any size.

    It keeps one control frame at most; file data is handed on as it comes, uncopied, in as many
    `Data` as there were pieces.
    """

    __slots__ = ("_data_left", "_needed", "_pending")

    def __init__(self) -> None:
        self._pending = bytearray()
        self._needed = _HEADER.size
        self._data_left = 0

    def feed(self, piece: bytes) -> list[Frame]:
        """The frames that `piece` completes. Raises `FormatError` for anything that is none."""
        frames: list[Frame] = []
        view = memoryview(piece)
        while view:
            if self._data_left:
                data = view[: self._data_left]
                self._data_left -= len(data)
                frames.append(Data(data))
                view = view[len(data) :]
            else:
                view = self._take_control(view, frames)
        return frames

    def _take_control(self, view: memoryview, frames: list[Frame]) -> memoryview:
        pending = self._pending
        taken = view[: self._needed - len(pending)]
        pending += taken
        if len(pending) == _HEADER.size and self._needed == _HEADER.size:
            self._begin_body()
        if len(pending) == self._needed and pending:
            kind = _CLASSES[pending[0]]
            frames.append(_decode(kind, bytes(pending[_HEADER.size :])))
            self._expect_header()
        return view[len(taken) :]

    def _begin_body(self) -> None:
        number, length = _HEADER.unpack(self._pending)
        kind = _CLASSES.get(number)
        if kind is None:
            raise FormatError(f"no frame has type {number}")
        if length > (MAX_DATA_BYTES if kind is Data else MAX_CONTROL_BYTES):
            raise FormatError(f"{kind.__name__} of {length} bytes is too long")
        if kind is Data:
            self._data_left = length
            self._expect_header()
        else:
            self._needed = _HEADER.size + length
            if not length:
                return

    def _expect_header(self) -> None:
        self._pending.clear()
        self._needed = _HEADER.size


def _decode(kind: type[Frame], body: bytes) -> Frame:
    try:
        return _parse(kind, body)
    except struct.error:
        raise FormatError(f"{kind.__name__} of {len(body)} bytes has the wrong length") from None
    except ValueError as exc:
        raise FormatError(f"{kind.__name__}: {exc}") from None


def _parse(kind: type[Frame], body: bytes) -> Frame:
    if kind is Hello:
        magic, version = _HELLO.unpack(body)
        if magic != MAGIC:
            raise FormatError("the peer does not speak this protocol")
        return Hello(version)
    if kind is Offer:
        index, what, size, mode, mtime_ns = _OFFER.unpack_from(body)
        path = body[_OFFER.size :]
        if len(path) > MAX_PATH_BYTES:
            raise FormatError(f"a path of {len(path)} bytes is too long")
        return Offer(index, Kind(what), size, mode, mtime_ns, path)
    if kind is Have or kind is Want or kind is Begin:
        return kind(*_AT.unpack(body))
    if kind is Proof or kind is End:
        return kind(*_DIGEST.unpack(body))
    if kind is Done:
        index, outcome = _DONE.unpack(body)
        return Done(index, Outcome(outcome))
    if kind is Abandon or kind is Failed:
        (index,) = _INDEX.unpack_from(body)
        return kind(index, _decode_reason(body[_INDEX.size :]))
    if kind is Abort:
        return Abort(_decode_reason(body))
    if body:
        raise FormatError("it has no body")
    return Bye()


def _decode_reason(body: bytes) -> str:
    """A peer's words, fit to be shown: nothing in them is obeyed by a terminal."""
    text = body[:MAX_REASON_BYTES].decode(errors="replace")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
