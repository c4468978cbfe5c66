"""Single segments out of what the core sends and receives in trains and runs."""

from __future__ import annotations

from collections.abc import Iterator

from rudp.wire.segment import FIN, PSH, Malformed, Segment, decode
from rudp.wire.seq import MASK
from rudp.wire.train import Train

__all__ = ["received", "sent"]

_LAST_ONLY = FIN | PSH


def sent(train: Train) -> Iterator[Segment]:
    """The segments of a train."""
    for datagram in train.datagrams():
        segment = decode(datagram)
        if not isinstance(segment, Malformed):
            yield segment


def received(segment: Segment, size: int) -> Iterator[Segment]:
    """The segments that a run was joined from, all of `size` bytes of payload but the last."""
    if segment.segments == 1 or size <= 0:
        yield segment
        return
    payload, seq = segment.payload, segment.seq
    last = (segment.segments - 1) * size
    inner = segment._replace(flags=segment.flags & ~_LAST_ONLY, segments=1)
    for at in range(0, last, size):
        yield inner._replace(seq=(seq + at) & MASK, payload=payload[at : at + size])
    yield segment._replace(seq=(seq + last) & MASK, payload=payload[last:], segments=1)
