"""Trains: runs of segments alike but for SEQ, built and read without a Python call a segment.

Linux hands over and takes up to 64 KB of equal-sized datagrams in one system call. A train is
one such buffer: the headers lie at a fixed stride, so that `struct` walks them in C.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple

from rudp.config import HEADER_BYTES
from rudp.wire import options as opt
from rudp.wire.segment import ACK, FIN, HEADER, HEADER_WORDS, PSH, Malformed, Segment, decode
from rudp.wire.seq import MASK

Buffer = bytes | memoryview

_RUN_FLAGS = frozenset((ACK, ACK | PSH))
_LAST_FLAGS = frozenset((ACK, ACK | PSH, ACK | FIN, ACK | PSH | FIN))

# A header as two values: connection id and SEQ as one number, and the 16 bytes behind them, which
# are the same for all segments of a run.
_HALVES = struct.Struct(">Q16s")
_pack_halves = _HALVES.pack
_REST = struct.Struct(">IBBHII")
_WORDS_AT, _FLAGS_AT = 4, 5
_TURN = MASK + 1


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
    count = len(payloads)
    rest = _REST.pack(ack, HEADER_WORDS, flags, window, tsval, tsecr)
    first, end = cid << 32 | seq, seq + count * mss_bytes
    buffers: list[Buffer] = [b""] * (2 * count)
    if end <= _TURN:
        starts = range(first, first + count * mss_bytes, mss_bytes)
        buffers[::2] = map(_pack_halves, starts, repeat(rest))
    else:  # SEQ begins anew within the train
        buffers[::2] = [
            _pack_halves(cid << 32 | at & MASK, rest) for at in range(seq, end, mss_bytes)
        ]
    buffers[1::2] = payloads
    if last_flags != flags:
        last = (end - mss_bytes) & MASK
        buffers[-2] = HEADER.pack(cid, last, ack, HEADER_WORDS, last_flags, window, tsval, tsecr)
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
    view = memoryview(data)
    starts, rests = _headers(view, stride)
    if _is_run(starts, rests, stride - HEADER_BYTES):
        return [_join(view, stride, starts[0], rests[0], rests[-1], len(starts))]
    return _runs(view, stride, starts, rests)


_Starts = tuple[int, ...]
_Rests = tuple[bytes, ...]


# Compiled for a stride and a number of datagrams, which are the peer's choice: few, and small ones.
_MOST_COMPILED = 128
_MOST_COUNT = 128


@functools.lru_cache(maxsize=_MOST_COMPILED)
def _walker(stride: int, count: int) -> struct.Struct:
    """Reads the headers of `count` datagrams at once."""
    return struct.Struct(">" + f"Q16s{stride - HEADER_BYTES}x" * count)


@functools.lru_cache(maxsize=_MOST_COMPILED)
def _cutter(stride: int, count: int) -> Callable[[memoryview], tuple[memoryview, ...]]:
    """Gives the payloads of `count` datagrams, two at least; the last one may be shorter."""
    cut: Any = itemgetter(*_payload_slices(stride, count))
    return cut  # type: ignore[no-any-return]


def _payload_slices(stride: int, count: int) -> list[slice]:
    return [
        slice(end - stride + HEADER_BYTES, end)
        for end in range(stride, stride * (count + 1), stride)
    ]


def _headers(view: memoryview, stride: int) -> tuple[_Starts, _Rests]:
    """The halves of each datagram's header; zeros, which are no header, where there is none."""
    count = len(view) // stride
    if count <= _MOST_COUNT:
        flat = _walker(stride, count).unpack_from(view)
        starts, rests = flat[::2], flat[1::2]
    else:
        starts, rests = zip(*_walker(stride, 1).iter_unpack(view[: count * stride]), strict=True)
    left = len(view) - count * stride
    if left >= HEADER_BYTES:
        start, rest = _HALVES.unpack_from(view, count * stride)
        return (*starts, start), (*rests, rest)
    if left:
        return (*starts, 0), (*rests, bytes(_REST.size))
    return starts, rests


def _is_run(starts: _Starts, rests: _Rests, step: int) -> bool:
    """Whether all the datagrams are one run: every header is looked at."""
    first, rest, last = starts[0], rests[0], rests[-1]
    count = len(starts)
    return (
        rest[_WORDS_AT] == HEADER_WORDS
        and rest[_FLAGS_AT] in _RUN_FLAGS
        and starts == _expected(first, count, step)
        and (
            rests.count(rest) == count
            or (rests.count(rest) == count - 1 and _differs_in_flags(rest, last))
        )
    )


def _expected(first: int, count: int, step: int) -> _Starts:
    """The connection id and SEQ of each segment of a run."""
    end = first + count * step
    if (first & MASK) + count * step <= _TURN:
        return tuple(range(first, end, step))
    cid = first & ~MASK
    return tuple([cid | at & MASK for at in range(first, end, step)])


def _differs_in_flags(rest: bytes, last: bytes) -> bool:
    """Whether `last` is `rest` but for control bits that only the last segment of a run has."""
    behind = _FLAGS_AT + 1
    return (
        last[_FLAGS_AT] in _LAST_FLAGS
        and last[_FLAGS_AT] != rest[_FLAGS_AT]
        and last[:_FLAGS_AT] == rest[:_FLAGS_AT]
        and last[behind:] == rest[behind:]
    )


def _runs(
    view: memoryview, stride: int, starts: _Starts, rests: _Rests
) -> list[Segment | Malformed]:
    """The runs between what is missing, and singly what fits none."""
    step = stride - HEADER_BYTES
    found: list[Segment | Malformed] = []
    count = len(starts)
    at = 0
    while at < count:
        start, rest = starts[at], rests[at]
        end = at + 1
        if rest[_WORDS_AT] == HEADER_WORDS and rest[_FLAGS_AT] in _RUN_FLAGS:
            cid, seq = start & ~MASK, start
            while end < count and rests[end] == rest:
                seq += step
                if starts[end] != cid | seq & MASK:
                    break
                end += 1
        part = view[at * stride : end * stride]
        if end - at > 1:
            found.append(_join(part, stride, start, rest, rest, end - at))
        else:
            found.append(decode(part))
        at = end
    return found


def _join(
    view: memoryview, stride: int, start: int, rest: bytes, last: bytes, count: int
) -> Segment:
    """The `count` datagrams of `view`, which are a run, as one segment."""
    ack, _, flags, window, tsval, tsecr = _REST.unpack(rest)
    if count <= _MOST_COUNT:
        payload = b"".join(_cutter(stride, count)(view))
    else:
        payload = b"".join([view[part] for part in _payload_slices(stride, count)])
    flags |= last[_FLAGS_AT]
    return Segment(
        start >> 32, start & MASK, ack, flags, window, tsval, tsecr, opt.NONE, payload, count
    )
