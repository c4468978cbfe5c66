"""pcapng files of IP packets, written and read (draft-ietf-opsawg-pcapng).

Written are one section, one interface, enhanced packets with the direction and, where there is
something to say, a comment; times in nanoseconds. Read are raw IP packets from any section and
interface, of either byte order and any resolution, and of a file whose end is missing what is
there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Captured", "Reading", "enhanced_packet", "interface", "section_header"]

_SECTION, _INTERFACE, _ENHANCED = 0x0A0D0D0A, 1, 6
_BYTE_ORDER = 0x1A2B3C4D
_END, _COMMENT = 0, 1
_APPLICATION = 4
_NAME, _DESCRIPTION, _RESOLUTION = 2, 3, 9
_FLAGS = 2
_INBOUND, _OUTBOUND = 1, 2
_RAW, _IPV4, _IPV6 = 101, 228, 229
_NANOSECONDS = 9
_MICROSECONDS = 6
_MOST_BLOCK_BYTES = 1 << 24

_HEAD = struct.Struct("<II")
_U32 = struct.Struct("<I")
_OPTION = struct.Struct("<HH")
_PACKET = struct.Struct("<IIIII")
_DIRECTION = {way: _OPTION.pack(_FLAGS, 4) + _U32.pack(way) for way in (_INBOUND, _OUTBOUND)}
_NO_MORE = _OPTION.pack(_END, 0)


def section_header(application: str) -> bytes:
    """The block that a file begins with; `application` is the name of the program."""
    fixed = struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1)
    return _block(_SECTION, fixed + _text(_APPLICATION, application) + _NO_MORE)


def interface(name: str, description: str) -> bytes:
    """The block of the interface that all packets belong to."""
    resolution = _OPTION.pack(_RESOLUTION, 1) + bytes((_NANOSECONDS, 0, 0, 0))
    texts = _text(_NAME, name) + _text(_DESCRIPTION, description)
    return _block(_INTERFACE, struct.pack("<HHI", _RAW, 0, 0) + texts + resolution + _NO_MORE)


def enhanced_packet(
    packet: bytes, time_ns: int, *, outbound: bool, missing: int = 0, comment: str = ""
) -> bytes:
    """The block of a packet.

    Args:
        packet: The bytes, from the IP header on.
        time_ns: Nanoseconds since 1970.
        outbound: Whether it was sent, not received.
        missing: How many bytes at its end are left out.
        comment: For people.
    """
    size = len(packet)
    fixed = _PACKET.pack(0, time_ns >> 32, time_ns & 0xFFFF_FFFF, size, size + missing)
    options = _DIRECTION[_OUTBOUND if outbound else _INBOUND]
    if comment:
        options = _text(_COMMENT, comment) + options
    return _block(_ENHANCED, b"".join((fixed, packet, bytes(-size % 4), options, _NO_MORE)))


def _block(kind: int, body: bytes) -> bytes:
    size = len(body) + 12
    return _HEAD.pack(kind, size) + body + _U32.pack(size)


def _text(code: int, text: str) -> bytes:
    value = text.encode()
    return _OPTION.pack(code, len(value)) + value + bytes(-len(value) % 4)


class Captured(NamedTuple):
    """A packet that was read; `missing` bytes at its end had been left out."""

    time_ns: int
    packet: bytes
    missing: int
    outbound: bool | None
    """Whether it was sent by whoever wrote the file; None where the file does not say."""
    comment: str


class _Interface(NamedTuple):
    is_raw: bool
    ticks_a_second: int


class Reading:
    """Iterates over the packets of a file's bytes.

    Raises `ValueError`, which names the place, for what is no pcapng or holds other than raw IP.

    Attributes:
        truncated: Set at the end if the last block was cut off.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<"
        self._interfaces: list[_Interface] = []
        self.truncated = False

    def __iter__(self) -> Iterator[Captured]:
        at, data = 0, self._data
        if len(data) < 12 or _U32.unpack_from(data)[0] != _SECTION:
            raise ValueError("byte 0: not the section header of a pcapng file")
        while at < len(data):
            if len(data) - at < 12:
                self.truncated = True
                return
            kind, size = self._unpack_head(at)
            if size < 12 or size % 4 or size > _MOST_BLOCK_BYTES:
                raise ValueError(f"byte {at}: a block of {size} bytes")
            if at + size > len(data):
                self.truncated = True
                return
            captured = self._read(kind, data[at + 8 : at + size - 4], at)
            if captured is not None:
                yield captured
            at += size

    def _unpack_head(self, at: int) -> tuple[int, int]:
        if _U32.unpack_from(self._data, at)[0] == _SECTION:
            magic = self._data[at + 8 : at + 12]
            self._order = "<" if magic == _U32.pack(_BYTE_ORDER) else ">"
            if magic != struct.pack(self._order + "I", _BYTE_ORDER):
                raise ValueError(f"byte {at}: a section of unknown byte order")
        kind, size = struct.unpack_from(self._order + "II", self._data, at)
        return kind, size

    def _read(self, kind: int, body: bytes, at: int) -> Captured | None:
        try:
            if kind == _SECTION:
                self._interfaces = []
            elif kind == _INTERFACE:
                self._interfaces.append(self._read_interface(body))
            elif kind == _ENHANCED:
                return self._read_packet(body)
        except (struct.error, IndexError):
            raise ValueError(f"byte {at}: a block that does not parse") from None
        return None

    def _read_interface(self, body: bytes) -> _Interface:
        (link,) = struct.unpack_from(self._order + "H", body)
        resolution = self._options(body[8:]).get(_RESOLUTION, bytes((_MICROSECONDS,)))[0]
        base = 2 if resolution & 0x80 else 10
        return _Interface(link in (_RAW, _IPV4, _IPV6), base ** (resolution & 0x7F))

    def _read_packet(self, body: bytes) -> Captured:
        number, high, low, size, original = struct.unpack_from(self._order + "5I", body)
        one = self._interfaces[number]
        if not one.is_raw:
            raise ValueError("its packets are not raw IP, so it is no trace of rudp's")
        if _PACKET.size + size > len(body):
            raise IndexError(size)
        packet = body[_PACKET.size : _PACKET.size + size]
        options = self._options(body[_PACKET.size + size + -size % 4 :])
        flags = options.get(_FLAGS, bytes(4))
        way = struct.unpack(self._order + "I", flags)[0] & 3
        time_ns = (high << 32 | low) * 10**9 // one.ticks_a_second
        comment = options.get(_COMMENT, b"").decode(errors="replace")
        outbound = {_INBOUND: False, _OUTBOUND: True}.get(way)
        return Captured(time_ns, packet, max(0, original - size), outbound, comment)

    def _options(self, block: bytes) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        at = 0
        while at + 4 <= len(block):
            code, size = struct.unpack_from(self._order + "HH", block, at)
            if code == _END:
                break
            found.setdefault(code, block[at + 4 : at + 4 + size])
            at += 4 + size + -size % 4
        return found
