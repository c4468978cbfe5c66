"""Trains: runs of segments alike but for SEQ, built and read without a Python call a segment.

Linux hands over and takes up to 64 KB of equal-sized datagrams in one system call. A train is
one such buffer: the headers lie at a fixed stride, so that `struct` walks them in C.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import NamedTuple

from rudp.config import HEADER_BYTES
from rudp.wire import options as opt
from rudp.wire.segment import ACK, FIN, HEADER, HEADER_WORDS, PSH, Malformed, Segment, decode
from rudp.wire.seq import MASK

Buffer = bytes | memoryview

_RUN_FLAGS = frozenset((ACK, ACK | PSH))
_LAST_FLAGS = frozenset((ACK, ACK | PSH, ACK | FIN, ACK | PSH | FIN))


class Train(NamedTuple):
    """Datagrams to send: header, payload, header, payload, …

    Every datagram but the last has `segment_size` bytes, the last at most that.
    """

    buffers: list[Buffer]
    segment_size: int
    segments: int

    def datagrams(self) -> list[bytes]:
        """The train cut into datagrams, for a socket that takes one at a time."""
        buffers = self.buffers
        if len(buffers) == 1:
            return [bytes(buffers[0])]
        return [b"".join(pair) for pair in zip(buffers[::2], buffers[1::2], strict=True)]


def encode_train(
    header: Segment, payloads: Sequence[Buffer], mss_bytes: int, last_flags: int
) -> Train:
    """A train that carries `payloads`, each `mss_bytes` long but the last.

    `header` gives the fields of the first segment; the last one carries `last_flags` instead.
    """
    cid, seq, ack, flags, window, tsval, tsecr = header[:7]
    pack = HEADER.pack
    count = len(payloads)
    buffers: list[Buffer] = [b""] * (2 * count)
    buffers[::2] = [
        pack(cid, at & MASK, ack, HEADER_WORDS, flags, window, tsval, tsecr)
        for at in range(seq, seq + count * mss_bytes, mss_bytes)
    ]
    buffers[1::2] = payloads
    if last_flags != flags:
        last = seq + (count - 1) * mss_bytes
        buffers[-2] = pack(cid, last & MASK, ack, HEADER_WORDS, last_flags, window, tsval, tsecr)
    return Train(buffers, HEADER_BYTES + (mss_bytes if count > 1 else len(payloads[0])), count)


def decode_train(data: Buffer, stride: int) -> list[Segment | Malformed]:
    """Parse a buffer of datagrams that are `stride` bytes long each, the last one maybe shorter.

    Consecutive segments that are alike but for SEQ come back as one `Segment` whose payload is
    theirs joined; a lost segment between them ends the run. What does not fit a run is parsed
    segment by segment. Never raises.
    """
    if len(data) <= stride or stride <= 0:
        return [decode(data)]
    if stride <= HEADER_BYTES:
        return [decode(data[at : at + stride]) for at in range(0, len(data), stride)]
    headers = _headers(data, stride)
    if _is_run(headers, stride - HEADER_BYTES):
        return [_join(data, stride, headers, 0, len(headers))]
    return _runs(data, stride, headers)


@functools.lru_cache(maxsize=64)
def _walker(stride: int) -> struct.Struct:
    return struct.Struct(f"{HEADER.format}{stride - HEADER_BYTES}x")


_Header = tuple[int, int, int, int, int, int, int, int]
_NO_HEADER: _Header = (0, 0, 0, 0, 0, 0, 0, 0)


def _headers(data: Buffer, stride: int) -> list[_Header]:
    """The fixed header of each datagram; all zero, which is no header, where there is none."""
    full = len(data) // stride * stride
    headers = list(_walker(stride).iter_unpack(data[:full]))
    if len(data) - full >= HEADER_BYTES:
        headers.append(HEADER.unpack_from(data, full))
    elif len(data) != full:
        headers.append(_NO_HEADER)
    return headers


def _is_run(headers: list[_Header], step: int) -> bool:
    """Whether all the datagrams are one run."""
    cid, seq, ack, words, flags, window, tsval, tsecr = headers[0]
    last_flags = headers[-1][4]
    if words != HEADER_WORDS or flags not in _RUN_FLAGS or last_flags not in _LAST_FLAGS:
        return False
    same = (ack, words, flags, window, tsval, tsecr)
    expected = [(cid, at & MASK, *same) for at in range(seq, seq + len(headers) * step, step)]
    if last_flags != flags:
        expected[-1] = (*expected[-1][:4], last_flags, *same[3:])
    return headers == expected


def _runs(data: Buffer, stride: int, headers: list[_Header]) -> list[Segment | Malformed]:
    """The runs between what is missing, and singly what fits none."""
    step = stride - HEADER_BYTES
    found: list[Segment | Malformed] = []
    count = len(headers)
    start = 0
    while start < count:
        cid, seq, ack, words, flags, window, tsval, tsecr = headers[start]
        end = start + 1
        if words == HEADER_WORDS and flags in _RUN_FLAGS:
            same = (ack, words, flags, window, tsval, tsecr)
            while end < count and headers[end] == (cid, (seq + step) & MASK, *same):
                seq += step
                end += 1
        if end - start > 1:
            found.append(_join(data, stride, headers, start, end))
        else:
            found.append(decode(data[start * stride : end * stride]))
        start = end
    return found


def _join(data: Buffer, stride: int, headers: list[_Header], start: int, end: int) -> Segment:
    """The datagrams from number `start` to `end`, which are a run, as one segment."""
    cid, seq, ack, _, flags, window, tsval, tsecr = headers[start]
    view = memoryview(data)
    stop = min(end * stride, len(data))
    payload = b"".join(
        [view[at + HEADER_BYTES : at + stride] for at in range(start * stride, stop, stride)]
    )
    flags |= headers[end - 1][4]
    return Segment(cid, seq, ack, flags, window, tsval, tsecr, opt.NONE, payload, end - start)
