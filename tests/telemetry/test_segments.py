"""Trains and runs taken apart into the segments that they are."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.telemetry import segments
from rudp.wire.segment import ACK, FIN, PSH, SYN, Segment, decode, encode
from rudp.wire.train import Train, decode_train, encode_train


@given(
    st.integers(1, 20),
    st.integers(1, 50),
    st.integers(0, 2**32 - 1),
    st.sampled_from([ACK, ACK | PSH, ACK | FIN, ACK | PSH | FIN]),
    st.data(),
)
def test_a_run_is_what_was_sent(
    count: int, mss: int, seq: int, last_flags: int, data: st.DataObject
) -> None:
    """One side's train, received as a run: the same segments, as single datagrams tell them."""
    last = data.draw(st.integers(1, mss))
    sizes = [mss] * (count - 1) + [last]
    payloads = [random.Random(at).randbytes(size) for at, size in enumerate(sizes)]
    train = encode_train(Segment(7, seq, 9, ACK, 100, 5, 6), payloads, mss, last_flags)
    sent = list(segments.sent(train))
    assert sent == [decode(datagram) for datagram in train.datagrams()]
    received = [
        one
        for run in decode_train(b"".join(train.datagrams()), train.segment_size)
        for one in segments.received(run, train.segment_size - 24)  # type: ignore[arg-type]
    ]
    assert received == sent


@pytest.mark.parametrize("flags", [SYN, ACK])
def test_a_train_of_one_buffer(flags: int) -> None:
    segment = Segment(0, 1, 2, flags, 3, 4, 5)
    datagram = encode(segment)
    assert list(segments.sent(Train([datagram], len(datagram), 1))) == [segment]
    assert list(segments.received(segment, 0)) == [segment]
