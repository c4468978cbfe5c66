"""Trains of segments to bytes and back, and the walk over their headers alone."""

from __future__ import annotations

import struct

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from rudp.config import HEADER_BYTES
from rudp.wire.segment import ACK, HEADER, PSH, Segment, decode, encode
from rudp.wire.train import decode_train, encode_train

DATAGRAM_BYTES = 1200
MSS = DATAGRAM_BYTES - HEADER_BYTES
FULL = 65_507 // DATAGRAM_BYTES
"""Segments of the longest train that one system call takes."""
FIRST = Segment(cid=7, seq=1000, ack=2000, flags=ACK, window=65535, tsval=1, tsecr=2)


def train_bytes(segments: int, *, missing: int | None = None) -> bytes:
    """A received buffer of so many segments, one of them missing."""
    kept = [index for index in range(segments) if index != missing]
    return b"".join(
        encode(FIRST._replace(seq=FIRST.seq + index * MSS, payload=bytes(MSS))) for index in kept
    )


@pytest.mark.parametrize("segments", [1, FULL])
def test_encode_train(benchmark: BenchmarkFixture, segments: int) -> None:
    written = memoryview(bytes(segments * MSS))
    payloads = [written[at : at + MSS] for at in range(0, len(written), MSS)]
    train = benchmark(encode_train, FIRST, payloads, MSS, ACK | PSH)
    assert train.segments == segments


@pytest.mark.parametrize("segments", [2, FULL])
def test_decode_train_that_is_one_run(benchmark: BenchmarkFixture, segments: int) -> None:
    data = memoryview(train_bytes(segments))
    (found,) = benchmark(decode_train, data, DATAGRAM_BYTES)
    assert found.segments == segments


def test_decode_train_with_a_hole(benchmark: BenchmarkFixture) -> None:
    data = memoryview(train_bytes(FULL, missing=FULL // 2))
    assert len(benchmark(decode_train, data, DATAGRAM_BYTES)) == 2


def test_decode_train_without_any_run(benchmark: BenchmarkFixture) -> None:
    """The careful way: every other segment is of another connection."""
    data = b"".join(
        encode(FIRST._replace(cid=index % 2, payload=bytes(MSS))) for index in range(FULL)
    )
    assert len(benchmark(decode_train, data, DATAGRAM_BYTES)) == FULL


def test_header_walk(benchmark: BenchmarkFixture) -> None:
    """The floor below decode_train: `struct` over the headers of a full train."""
    walker = struct.Struct(f"{HEADER.format}{MSS}x")
    data = train_bytes(FULL)
    assert len(benchmark(lambda: list(walker.iter_unpack(data)))) == FULL


def test_decode_small_segment(benchmark: BenchmarkFixture) -> None:
    """What an echo of 64 bytes costs here."""
    data = encode(FIRST._replace(payload=bytes(64)))
    assert benchmark(decode, data) == FIRST._replace(payload=bytes(64))


def test_encode_small_segment(benchmark: BenchmarkFixture) -> None:
    assert len(benchmark(encode, FIRST._replace(payload=bytes(64)))) == HEADER_BYTES + 64
