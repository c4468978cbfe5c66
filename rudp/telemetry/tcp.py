"""TCP in IP packets (RFC 791, 8200, 9293 §3.1), and rudp's segments as TCP's.

The wire has TCP's semantics field by field (docs/protocol.md), so that what was built for TCP can
be used on rudp: Wireshark on its traces, a kernel's TCP in its tests.
"""

from __future__ import annotations

import functools
import ipaddress
import struct
from typing import Any, NamedTuple

from rudp.wire import options as opt
from rudp.wire.options import Options
from rudp.wire.segment import Segment

__all__ = [
    "MAX_OPTION_BYTES",
    "TIMESTAMPS",
    "TIMESTAMP_BYTES",
    "Address",
    "Damaged",
    "Packet",
    "checksum",
    "decode",
    "encode",
    "packet_of",
    "timestamps_of",
]

Address = tuple[str, int]
"""A numeric IP address and a port."""

TIMESTAMPS = 8
_TS = struct.Struct(">BBBBII")
TIMESTAMP_BYTES = _TS.size
"""TCP's MSS counts the options of a segment (RFC 6691), rudp's does not count timestamps."""
MAX_OPTION_BYTES = 40
"""The data offset has four bits: 60 bytes of header, 20 of them fixed."""

_PROTOCOL = 6
_TTL = 64
_DONT_FRAGMENT = 0x4000
_IPV4 = struct.Struct(">BBHHHBBH4s4s")
_IPV6 = struct.Struct(">IHBB16s16s")
_TCP = struct.Struct(">HHIIBBHHH")
_TCP_LENGTH = struct.Struct(">HH")


class Damaged(ValueError):
    """A packet whose lengths or checksums are wrong."""


class Packet(NamedTuple):
    """A TCP segment and where it goes; `options` are the bytes of its header's options.

    `missing` counts bytes of payload that a trace has left out at the end.
    """

    source: Address
    target: Address
    seq: int
    ack: int
    flags: int
    window: int
    options: bytes
    payload: bytes
    ecn: int = 0
    missing: int = 0


def packet_of(segment: Segment, source: Address, target: Address, ecn: int = 0) -> Packet:
    """The TCP segment that means what `segment` means.

    Options that TCP does not have are left out, and so are SACK blocks beyond the three that its
    header has room for beside the timestamps: they are the oldest.
    """
    options = segment.options
    block = _TS.pack(opt.NOP, opt.NOP, TIMESTAMPS, 10, segment.tsval, segment.tsecr)
    if options is not opt.NONE:
        block += _tcp_options(options)
    return Packet(
        source,
        target,
        segment.seq,
        segment.ack,
        segment.flags,
        segment.window,
        block,
        segment.payload,
        ecn,
    )


def _tcp_options(options: Options) -> bytes:
    """Those of rudp's options that TCP has, as bytes; the timestamps are not among them."""
    kept = Options(
        mss=options.mss and min(options.mss + TIMESTAMP_BYTES, 0xFFFF),
        window_scale=options.window_scale,
        sack_permitted=options.sack_permitted,
    )
    block = opt.encode(kept)
    room = (MAX_OPTION_BYTES - TIMESTAMP_BYTES - len(block) - 2) // 8
    if options.sack and room:
        block = opt.encode(kept._replace(sack=options.sack[:room]))
    return block


def timestamps_of(block: bytes) -> tuple[int, int] | None:
    """TSval and TSecr in the bytes of a TCP header's options (RFC 7323 §3), which must parse."""
    at = 0
    while at < len(block) and block[at] != opt.END:
        if block[at] == opt.NOP:
            at += 1
            continue
        if block[at] == TIMESTAMPS:
            tsval, tsecr = struct.unpack_from(">II", block, at + 2)
            return tsval, tsecr
        at += block[at + 1]
    return None


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071): 0 over data that holds its own checksum.

    A sum of 16-bit words with end-around carry is the number that they write, modulo 2^16 - 1.
    """
    if len(data) % 2:
        data += b"\0"
    total = int.from_bytes(data, "big")
    folded = total % 0xFFFF or (0xFFFF if total else 0)
    return 0xFFFF - folded


def encode(packet: Packet) -> bytes:
    """The IP packet, of version 4 if both addresses are of it, or stand for one that is.

    Raises `ValueError` if the options do not fit a TCP header, or an address is not numeric.
    """
    options = packet.options
    if len(options) > MAX_OPTION_BYTES or len(options) % 4:
        raise ValueError(f"a TCP header has no room for {len(options)} bytes of options")
    source, target = packed(packet.source[0]), packed(packet.target[0])
    if len(source) != len(target):
        source, target = _as_ipv6(source), _as_ipv6(target)
    size = _TCP.size + len(options) + len(packet.payload)
    fields = (
        packet.source[1],
        packet.target[1],
        packet.seq,
        packet.ack,
        (_TCP.size + len(options)) // 4 << 4,
        packet.flags,
        packet.window,
    )
    rest = options + packet.payload
    checked = b"".join(
        (source, target, _TCP_LENGTH.pack(_PROTOCOL, size), _TCP.pack(*fields, 0, 0))
    )
    tcp = _TCP.pack(*fields, checksum(checked + rest), 0)
    return _ip_header(source, target, size, packet.ecn) + tcp + rest


def _ip_header(source: bytes, target: bytes, size: int, ecn: int) -> bytes:
    if len(source) == 16:
        return _IPV6.pack(6 << 28 | ecn << 20, size, _PROTOCOL, _TTL, source, target)
    start = (0x45, ecn, _IPV4.size + size, 0, _DONT_FRAGMENT, _TTL, _PROTOCOL)
    return _IPV4.pack(*start, checksum(_IPV4.pack(*start, 0, source, target)), source, target)


@functools.lru_cache(maxsize=4096)
def packed(host: str) -> bytes:
    """The bytes of a numeric address, 4 or 16. Raises `ValueError` if it is none."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).packed


def _as_ipv6(address: bytes) -> bytes:
    return address if len(address) == 16 else bytes(10) + b"\xff\xff" + address


def decode(data: bytes, missing: int = 0) -> Packet | None:
    """The TCP segment in an IP packet whose last `missing` bytes are not there.

    None if it holds none. Raises `Damaged` if lengths are wrong, or checksums, which cannot be
    verified where bytes are missing.
    """
    found = _ip_payload(data, missing)
    if found is None:
        return None
    source, target, ecn, tcp = found
    size = len(tcp) + missing
    pseudo = source + target + _TCP_LENGTH.pack(_PROTOCOL, size & 0xFFFF)
    if len(tcp) < _TCP.size or (not missing and checksum(pseudo + tcp)):
        raise Damaged("TCP segment")
    source_port, target_port, seq, ack, offset, flags, window, _, _ = _TCP.unpack_from(tcp)
    end = (offset >> 4) * 4
    if not _TCP.size <= end <= len(tcp):
        raise Damaged("TCP header length")
    return Packet(
        (str(ipaddress.ip_address(source)), source_port),
        (str(ipaddress.ip_address(target)), target_port),
        seq,
        ack,
        flags,
        window,
        tcp[_TCP.size : end],
        tcp[end:],
        ecn,
        missing,
    )


def _ip_payload(data: bytes, missing: int) -> tuple[bytes, bytes, int, bytes] | None:
    """Source, target, ECN field and TCP segment of an IP packet."""
    version = data[0] >> 4 if data else 0
    if version == 6 and len(data) >= _IPV6.size:
        head, size, protocol, _, source, target = _IPV6.unpack_from(data)
        if protocol != _PROTOCOL:
            return None
        if size + _IPV6.size != len(data) + missing:
            raise Damaged("IPv6 header")
        return source, target, head >> 20 & 3, data[_IPV6.size :]
    if version != 4 or len(data) < _IPV4.size:
        return None
    fields: tuple[Any, ...] = _IPV4.unpack_from(data)
    first, tos, total, _, _, _, protocol, _, source, target = fields
    if protocol != _PROTOCOL:
        return None
    start = (first & 0x0F) * 4
    if total != len(data) + missing or start < _IPV4.size or checksum(data[:start]):
        raise Damaged("IPv4 header")
    return source, target, tos & 3, data[start:]
