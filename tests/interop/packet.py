"""TCP segments in IPv4 packets: codec and checksums (RFC 791, RFC 9293 §3.1, RFC 1071)."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

Address = tuple[str, int]

_IP = struct.Struct(">BBHHHBBH4s4s")
_TCP = struct.Struct(">HHIIBBHHH")
_PSEUDO = struct.Struct(">4s4sBBH")
_TTL = 64
_DONT_FRAGMENT = 0x4000
MAX_OPTION_BYTES = 40
"""The data offset has four bits: 60 bytes of header, 20 of them fixed."""


class Damaged(ValueError):
    """A packet whose lengths or checksums are wrong."""


class Packet(NamedTuple):
    """A TCP segment and where it goes; `options` are the bytes of its header's options."""

    source: Address
    target: Address
    seq: int
    ack: int
    flags: int
    window: int
    options: bytes
    payload: bytes


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
    """The IPv4 packet. Raises `ValueError` if the options do not fit a TCP header."""
    options = packet.options
    if len(options) > MAX_OPTION_BYTES or len(options) % 4:
        raise ValueError(f"a TCP header has no room for {len(options)} bytes of options")
    source = socket.inet_aton(packet.source[0])
    target = socket.inet_aton(packet.target[0])
    tcp_bytes = _TCP.size + len(options) + len(packet.payload)
    fields = (
        packet.source[1],
        packet.target[1],
        packet.seq,
        packet.ack,
        (_TCP.size + len(options)) // 4 << 4,
        packet.flags,
        packet.window,
    )
    pseudo = _PSEUDO.pack(source, target, 0, socket.IPPROTO_TCP, tcp_bytes)
    rest = options + packet.payload
    tcp = _TCP.pack(*fields, checksum(pseudo + _TCP.pack(*fields, 0, 0) + rest), 0)
    start = (0x45, 0, _IP.size + tcp_bytes, 0, _DONT_FRAGMENT, _TTL, socket.IPPROTO_TCP)
    ip = _IP.pack(*start, checksum(_IP.pack(*start, 0, source, target)), source, target)
    return ip + tcp + rest


def decode(data: bytes) -> Packet | None:
    """The TCP segment in an IP packet; None if it holds none, or is IPv6.

    Raises `Damaged` if lengths or checksums are wrong: between here and the kernel nothing can
    damage a packet, so that it would be a mistake of the one who made it.
    """
    if len(data) < _IP.size or data[0] >> 4 != 4:
        return None
    first, _, total, _, _, _, protocol, _, source, target = _IP.unpack_from(data)
    if protocol != socket.IPPROTO_TCP:
        return None
    start = (first & 0x0F) * 4
    if total != len(data) or start < _IP.size or checksum(data[:start]):
        raise Damaged("IPv4 header")
    pseudo = _PSEUDO.pack(source, target, 0, protocol, total - start)
    tcp = data[start:]
    if len(tcp) < _TCP.size or checksum(pseudo + tcp):
        raise Damaged("TCP segment")
    source_port, target_port, seq, ack, offset, flags, window, _, _ = _TCP.unpack_from(tcp)
    end = (offset >> 4) * 4
    if not _TCP.size <= end <= len(tcp):
        raise Damaged("TCP header length")
    return Packet(
        (socket.inet_ntoa(source), source_port),
        (socket.inet_ntoa(target), target_port),
        seq,
        ack,
        flags,
        window,
        tcp[_TCP.size : end],
        tcp[end:],
    )
