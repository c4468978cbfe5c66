"""Header options: kinds, their parsed form, the codec (RFC 9293 §3.1, docs/protocol.md)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

END, NOP = 0, 1
MSS, WINDOW_SCALE, SACK_PERMITTED, SACK, USER_TIMEOUT = 2, 3, 4, 5, 28
VERSION, CONNECTION_ID, COOKIE, UNKNOWN_ID = 128, 129, 130, 131
PATH_CHALLENGE, PATH_RESPONSE, PADDING, ECN_COUNTS = 132, 133, 134, 135
RENDEZVOUS = 136

WIRE_VERSION = 1
_MAX_OPTIONS = 40
"""Far more than any sender has use for; a thousand would cost as much as a thousand segments."""
MAX_SACK_BLOCKS = 31
"""What the one-byte length of an option can carry; senders stay far below."""

_NOP_BYTE = bytes((NOP,))
_U32_PAIR = struct.Struct(">II")
_U32_TRIPLE = struct.Struct(">III")
_COOKIE_BYTES = 1, 64
_PATH_BYTES = 8, 8
RENDEZVOUS_BYTES = 1, 16


class Options(NamedTuple):
    """The options of a segment; None (or False) where one is absent.

    SACK blocks are pairs of 32-bit sequence numbers as they travel, left edge and right edge
    (RFC 2018 §3). The ECN counts are the bytes of payload that arrived as ECT(0), ECT(1) and
    CE, in this order, modulo 2**32 (RFC 9000 §19.3.2 has such counts, of packets).
    """

    mss: int | None = None
    window_scale: int | None = None
    sack_permitted: bool = False
    sack: tuple[tuple[int, int], ...] = ()
    version: int | None = None
    connection_id: int | None = None
    cookie: bytes | None = None
    unknown_id: int | None = None
    path_challenge: bytes | None = None
    path_response: bytes | None = None
    ecn_counts: tuple[int, int, int] | None = None
    rendezvous: bytes | None = None


NONE = Options()


def _unsigned(length: int) -> Callable[[bytes], int | None]:
    return lambda value: int.from_bytes(value, "big") if len(value) == length else None


def _opaque(low: int, high: int) -> Callable[[bytes], bytes | None]:
    return lambda value: value if low <= len(value) <= high else None


def _ecn_counts(value: bytes) -> tuple[int, ...] | None:
    return _U32_TRIPLE.unpack(value) if len(value) == _U32_TRIPLE.size else None


def _sack_blocks(value: bytes) -> tuple[tuple[int, int], ...] | None:
    if not value or len(value) % 8:
        return None
    return tuple(_U32_PAIR.iter_unpack(value))


# Kind -> (field, parser); a parser answers None for a length that the option cannot have.
_PARSERS: dict[int, tuple[str, Callable[[bytes], object]]] = {
    MSS: ("mss", _unsigned(2)),
    WINDOW_SCALE: ("window_scale", _unsigned(1)),
    SACK_PERMITTED: ("sack_permitted", lambda value: True if not value else None),
    SACK: ("sack", _sack_blocks),
    VERSION: ("version", _unsigned(1)),
    CONNECTION_ID: ("connection_id", _unsigned(4)),
    COOKIE: ("cookie", _opaque(*_COOKIE_BYTES)),
    UNKNOWN_ID: ("unknown_id", _unsigned(4)),
    PATH_CHALLENGE: ("path_challenge", _opaque(*_PATH_BYTES)),
    PATH_RESPONSE: ("path_response", _opaque(*_PATH_BYTES)),
    ECN_COUNTS: ("ecn_counts", _ecn_counts),
    RENDEZVOUS: ("rendezvous", _opaque(*RENDEZVOUS_BYTES)),
}


def parse(block: bytes) -> Options | None:
    """Parse the options between header and payload; None if they are malformed.

    An option of unknown kind is skipped (RFC 9293 MUST-6). A length that runs over the block,
    or is not one that a known kind can have, condemns the segment (MUST-7), and so does a known
    kind that comes twice: no honest sender repeats one. So does an absurd number of options.
    """
    fields: dict[str, object] = {}
    at, end = 0, len(block)
    budget = _MAX_OPTIONS
    while at < end:
        kind = block[at]
        if kind == NOP:
            at = end - len(block[at:].lstrip(_NOP_BYTE))
            continue
        if kind == END:
            break
        budget -= 1
        if budget < 0:
            return None
        if at + 1 >= end:
            return None
        length = block[at + 1]
        if length < 2 or at + length > end:
            return None
        known = _PARSERS.get(kind)
        if known is not None:
            name, parser = known
            value = parser(block[at + 2 : at + length])
            if value is None or name in fields:
                return None
            fields[name] = value
        at += length
    return Options(**fields) if fields else NONE  # type: ignore[arg-type]


def encode(options: Options) -> bytes:
    """The options' bytes, padded to a multiple of four with END (RFC 9293 §3.1).

    Raises `ValueError` if a cookie, path challenge, path response or rendezvous has a length that
    `parse` would not take.
    """
    parts: list[bytes] = []
    if options.mss is not None:
        parts.append(struct.pack(">BBH", MSS, 4, options.mss))
    if options.window_scale is not None:
        parts.append(bytes((WINDOW_SCALE, 3, options.window_scale)))
    if options.sack_permitted:
        parts.append(bytes((SACK_PERMITTED, 2)))
    if options.version is not None:
        parts.append(bytes((VERSION, 3, options.version)))
    if options.connection_id is not None:
        parts.append(struct.pack(">BBI", CONNECTION_ID, 6, options.connection_id))
    if options.cookie is not None:
        parts.append(_encode_opaque("cookie", COOKIE, options.cookie, *_COOKIE_BYTES))
    if options.unknown_id is not None:
        parts.append(struct.pack(">BBI", UNKNOWN_ID, 6, options.unknown_id))
    if options.path_challenge is not None:
        value = options.path_challenge
        parts.append(_encode_opaque("path_challenge", PATH_CHALLENGE, value, *_PATH_BYTES))
    if options.path_response is not None:
        value = options.path_response
        parts.append(_encode_opaque("path_response", PATH_RESPONSE, value, *_PATH_BYTES))
    if options.ecn_counts is not None:
        parts.append(struct.pack(">BBIII", ECN_COUNTS, 14, *options.ecn_counts))
    if options.rendezvous is not None:
        value = options.rendezvous
        parts.append(_encode_opaque("rendezvous", RENDEZVOUS, value, *RENDEZVOUS_BYTES))
    if options.sack:
        parts.append(encode_sack(options.sack))
    block = b"".join(parts)
    return block + bytes(-len(block) % 4)


def _encode_opaque(name: str, kind: int, value: bytes, low: int, high: int) -> bytes:
    if not low <= len(value) <= high:
        wanted = f"{low} to {high}" if low != high else f"{low}"
        raise ValueError(f"{name} must have {wanted} bytes, not {len(value)}")
    return bytes((kind, 2 + len(value))) + value


def encode_sack(blocks: tuple[tuple[int, int], ...]) -> bytes:
    """A SACK option (RFC 2018 §3) without padding; `blocks` as they travel, most recent first."""
    pack = _U32_PAIR.pack
    return bytes((SACK, 2 + 8 * len(blocks))) + b"".join(
        [pack(left, right) for left, right in blocks]
    )
