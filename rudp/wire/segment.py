"""One segment: the fixed header, its parsed form, the codec (design: "The wire", version 1)."""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

from rudp.config import HEADER_BYTES
from rudp.wire import options as opt
from rudp.wire.options import Options

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80

HEADER = struct.Struct(">IIIBBHII")
HEADER_WORDS = HEADER_BYTES // 4
MAX_HEADER_BYTES = 255 * 4


class Malformed(enum.Enum):
    """Why a datagram is not a segment."""

    TOO_SHORT = "shorter than a header"
    HEADER_LENGTH = "header length below 24 bytes or beyond the datagram"
    FLAGS = "control bits that cannot stand together, or URG"
    OPTIONS = "options that do not parse"


class Segment(NamedTuple):
    """A segment as it travelled, or a run of consecutive ones that are alike but for SEQ.

    Numbers are the 32 bits of the wire; whoever knows the connection widens them
    (`rudp.wire.seq`). `segments` counts the datagrams that the payload came in.
    """

    cid: int
    seq: int
    ack: int
    flags: int
    window: int
    tsval: int
    tsecr: int
    options: Options = opt.NONE
    payload: bytes = b""
    segments: int = 1

    @property
    def length(self) -> int:
        """SEG.LEN: sequence numbers taken, SYN and FIN counted (RFC 9293 §3.4)."""
        return len(self.payload) + (self.flags & FIN) + (self.flags >> 1 & 1)

    def __str__(self) -> str:
        flags = flag_names(self.flags)
        return f"[{flags}] seq {self.seq} ack {self.ack} win {self.window} len {len(self.payload)}"


def flag_names(flags: int) -> str:
    """The control bits as letters: F, S, R, P, A, U, E, C."""
    return "".join(letter for place, letter in enumerate("FSRPAUEC") if flags >> place & 1)


# SYN with FIN or RST, FIN with RST: no state of RFC 9293 sends them; probes and attacks do.
_IMPOSSIBLE = frozenset(
    flags
    for flags in range(256)
    if flags & URG or (flags & (FIN | SYN | RST)).bit_count() > 1 or not flags & (SYN | RST | ACK)
)
_make = tuple.__new__


def decode(datagram: bytes | memoryview) -> Segment | Malformed:
    """Parse one datagram. Never raises, whatever the bytes are."""
    if len(datagram) < HEADER_BYTES:
        return Malformed.TOO_SHORT
    cid, seq, ack, words, flags, window, tsval, tsecr = HEADER.unpack_from(datagram)
    if flags in _IMPOSSIBLE:
        return Malformed.FLAGS
    if words == HEADER_WORDS:
        payload = bytes(datagram[HEADER_BYTES:])
        return _make(Segment, (cid, seq, ack, flags, window, tsval, tsecr, opt.NONE, payload, 1))
    end = words * 4
    if end < HEADER_BYTES or end > len(datagram):
        return Malformed.HEADER_LENGTH
    options = opt.parse(bytes(datagram[HEADER_BYTES:end]))
    if options is None:
        return Malformed.OPTIONS
    payload = bytes(datagram[end:])
    return Segment(cid, seq, ack, flags, window, tsval, tsecr, options, payload)


def encode(segment: Segment) -> bytes:
    """The datagram of one segment.

    Raises `ValueError` if the options do not fit the header's length field.
    """
    block = opt.encode(segment.options)
    end = HEADER_BYTES + len(block)
    if end > MAX_HEADER_BYTES:
        raise ValueError(f"options take {len(block)} bytes, more than a header can carry")
    header = HEADER.pack(
        segment.cid,
        segment.seq,
        segment.ack,
        end // 4,
        segment.flags,
        segment.window,
        segment.tsval,
        segment.tsecr,
    )
    return header + block + segment.payload
