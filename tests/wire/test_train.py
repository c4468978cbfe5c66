"""rudp.wire.train: what was sent as a train is one run, and no header in a buffer may lie."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rudp.wire.options import Options
from rudp.wire.segment import (
    ACK,
    ECE,
    FIN,
    HEADER,
    PSH,
    RST,
    SYN,
    Malformed,
    Segment,
    decode,
    encode,
)
from rudp.wire.train import Train, decode_train, encode_train

from .strategies import U16, U32

SEED = 20260102
TURN = 1 << 32


def header(seq: int = 1000, flags: int = ACK) -> Segment:
    return Segment(0xC1D, seq, 2000, flags, 512, 111, 222)


def payloads_of(data: bytes, size: int) -> list[bytes | memoryview]:
    view = memoryview(data)
    return [view[at : at + size] for at in range(0, len(data), size)]


def buffer_of(train: Train) -> bytes:
    return b"".join(train.buffers)


def by_hand(data: bytes, stride: int) -> list[Segment | Malformed]:
    """What arrived, datagram by datagram: what no shortcut may change."""
    return [decode(data[at : at + stride]) for at in range(0, len(data), stride)]


def cut(run: Segment, step: int) -> list[Segment]:
    """The segments that a run claims to stand for: `step` bytes each, the last maybe fewer."""
    size = len(run.payload)
    assert (run.segments - 1) * step <= size <= run.segments * step, "a run has full segments"
    return [
        run._replace(
            seq=(run.seq + index * step) % TURN,
            payload=run.payload[index * step : (index + 1) * step],
            segments=1,
        )
        for index in range(run.segments)
    ]


def joined(segments: list[Segment]) -> list[Segment | Malformed]:
    """The one run of `segments`; none of none."""
    if not segments:
        return []
    payload = b"".join(segment.payload for segment in segments)
    return [segments[0]._replace(payload=payload, segments=len(segments))]


def around(segments: list[Segment], index: int) -> list[Segment | Malformed]:
    """What is told where segment `index` fits none: before it, itself, behind it."""
    return [*joined(segments[:index]), segments[index], *joined(segments[index + 1 :])]


def belongs(data: bytes, stride: int, at: int) -> bool:
    """Whether datagram number `at` goes on where the one before it ended, alike but for SEQ."""
    before, after = by_hand(data[(at - 1) * stride : (at + 1) * stride], stride)
    if isinstance(before, Malformed) or isinstance(after, Malformed):
        return False
    plain = data[(at - 1) * stride + 12] == data[at * stride + 12] == HEADER.size // 4
    follows = before._replace(seq=(before.seq + stride - HEADER.size) % TURN, payload=after.payload)
    return plain and before.flags in (ACK, ACK | PSH) and after == follows


def assert_same_meaning(data: bytes, stride: int) -> list[Segment | Malformed]:
    """decode_train() tells the same as decoding each datagram for itself, in maximal runs.

    PSH is a hint about the run's end and FIN belongs to its last segment: of all else, nothing
    may differ between segments that were merged. What could have been merged has been.
    """
    runs = decode_train(data, stride)
    single = by_hand(data, stride)
    at = 0
    for run in runs:
        if at and stride > HEADER.size:
            assert not belongs(data, stride, at), "a run goes as far as it can"
        if isinstance(run, Malformed):
            assert single[at] is run
            at += 1
            continue
        members = single[at : at + run.segments]
        at += run.segments
        if run.segments == 1:
            assert members == [run]
            continue
        first, last = members[0], members[-1]
        assert isinstance(first, Segment)
        assert isinstance(last, Segment)
        # Only the last may end the stream, and only it may differ in PSH from the others: in a
        # buffer that is one run. Elsewhere they end the run before.
        assert first.flags == last.flags or len(runs) == 1
        inner = {member.flags for member in members[:-1] if isinstance(member, Segment)}
        assert inner == {first.flags}
        assert not first.flags & FIN
        assert first.flags | last.flags == run.flags
        assert (first.flags ^ last.flags) & ~(FIN | PSH) == 0
        expected = [member._replace(flags=run.flags) for member in members]
        assert cut(run, stride - HEADER.size) == expected
    assert at == len(single), "every datagram is told once"
    return runs


# -- encode --------------------------------------------------------------------------------------


@given(
    data=st.binary(min_size=1, max_size=4000),
    mss=st.integers(1, 600),
    seq=U32,
    last=st.sampled_from([ACK, ACK | PSH, ACK | FIN, ACK | PSH | FIN]),
    fields=st.tuples(U32, U32, U16, U32, U32),
)
@settings(deadline=None)
def test_round_trip_is_one_run(
    data: bytes, mss: int, seq: int, last: int, fields: tuple[int, int, int, int, int]
) -> None:
    """A train that is sent, joined by GRO and decoded is one run with the payload joined."""
    cid, ack, window, tsval, tsecr = fields
    first = Segment(cid, seq, ack, ACK, window, tsval, tsecr)
    train = encode_train(first, payloads_of(data, mss), mss, last)
    assert train.segments == -(-len(data) // mss)
    assert train.segment_size == 24 + min(mss, len(data))
    runs = decode_train(buffer_of(train), train.segment_size)
    assert runs == [
        Segment(cid, seq, ack, last, window, tsval, tsecr, Options(), data, train.segments)
    ]
    assert_same_meaning(buffer_of(train), train.segment_size)


def test_the_datagrams_of_a_train() -> None:
    """A train is what encode() would have sent segment by segment."""
    data = bytes(range(256)) * 4
    train = encode_train(header(), payloads_of(data, 100), 100, ACK | PSH)
    datagrams = train.datagrams()
    assert len(datagrams) == train.segments == 11
    assert {len(datagram) for datagram in datagrams[:-1]} == {train.segment_size} == {124}
    assert len(datagrams[-1]) == 24 + 24
    for index, datagram in enumerate(datagrams):
        assert type(datagram) is bytes
        flags = ACK | PSH if index == 10 else ACK
        payload = data[index * 100 : index * 100 + 100]
        assert datagram == encode(header(1000 + index * 100, flags)._replace(payload=payload))
    assert b"".join(datagrams) == buffer_of(train)


def test_a_train_of_one_datagram() -> None:
    """SYN, pure ACK: one buffer, header and payload in one."""
    syn = encode(header(flags=SYN)._replace(options=Options(mss=1000)))
    assert Train([syn], len(syn), 1).datagrams() == [syn]
    single = encode_train(header(), [b"abc"], 1176, ACK)
    assert single == Train([encode(header()), b"abc"], 27, 1)
    assert single.datagrams() == [encode(header()._replace(payload=b"abc"))]


def test_payloads_are_not_copied() -> None:
    """The train carries the very slices of what the application wrote."""
    payloads = payloads_of(bytes(1000), 100)
    train = encode_train(header(), payloads, 100, ACK)
    assert all(sent is given for sent, given in zip(train.buffers[1::2], payloads, strict=True))


def test_the_sequence_wraps_inside_a_train() -> None:
    """RFC 9293 §3.4: SEQ is modulo 2^32, within a train as anywhere."""
    data = random.Random(SEED).randbytes(1000)
    for seq in (TURN - 1, TURN - 100, TURN - 500, TURN - 999, TURN - 1000):
        train = encode_train(header(seq), payloads_of(data, 100), 100, ACK | PSH | FIN)
        seqs = [HEADER.unpack_from(sent)[1] for sent in train.buffers[::2]]
        assert seqs == [(seq + at) % TURN for at in range(0, 1000, 100)]
        runs = assert_same_meaning(buffer_of(train), 124)
        assert [(run.seq, run.payload) for run in runs if isinstance(run, Segment)] == [(seq, data)]


@pytest.mark.parametrize("last", [ACK, ACK | PSH, ACK | FIN, ACK | PSH | FIN])
@pytest.mark.parametrize("size", [1, 99, 100, 101, 200, 250])
def test_the_last_flags_are_on_the_last_segment_only(last: int, size: int) -> None:
    train = encode_train(header(), payloads_of(bytes(size), 100), 100, last)
    flags = [HEADER.unpack_from(sent)[4] for sent in train.buffers[::2]]
    assert flags == [ACK] * (train.segments - 1) + [last]
    (run,) = assert_same_meaning(buffer_of(train), train.segment_size)
    assert isinstance(run, Segment)
    assert run.flags == last
    assert run.segments == train.segments
    assert run.payload == bytes(size)
    assert run.length == size + (1 if last & FIN else 0)


# -- decode --------------------------------------------------------------------------------------


def test_the_payload_outlives_the_buffer_it_came_in() -> None:
    data = random.Random(SEED).randbytes(950)
    train = encode_train(header(), payloads_of(data, 100), 100, ACK)
    buffer = bytearray(buffer_of(train))
    (run,) = decode_train(memoryview(buffer), 124)
    buffer[:] = bytes(len(buffer))
    assert isinstance(run, Segment)
    assert type(run.payload) is bytes
    assert run.payload == data


@st.composite
def trains(draw: st.DrawFn) -> tuple[bytes, int]:
    """An honest train as it arrives, and its stride."""
    step = draw(st.integers(1, 40))
    count = draw(st.integers(2, 8))
    size = (count - 1) * step + draw(st.integers(1, step))
    seq = draw(st.sampled_from([0, 1000, TURN - step, TURN - 1]) | U32)
    last = draw(st.sampled_from([ACK, ACK | PSH, ACK | FIN, ACK | PSH | FIN]))
    data = draw(st.binary(min_size=size, max_size=size))
    train = encode_train(header(seq), payloads_of(data, step), step, last)
    return buffer_of(train), train.segment_size


@given(trains(), st.data())
@settings(deadline=None, max_examples=500)
def test_any_header_byte_may_lie(train: tuple[bytes, int], data: st.DataObject) -> None:
    """Any byte of any header of the buffer changed: nothing is merged that is not alike."""
    buffer, stride = train
    mutable = bytearray(buffer)
    segments = -(-len(buffer) // stride)
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, segments - 1))
        at = index * stride + data.draw(st.integers(0, HEADER.size - 1))
        mutable[at] = data.draw(st.integers(0, 255))
    assert_same_meaning(bytes(mutable), stride)


def test_every_single_header_byte_in_every_place() -> None:
    """All of it, without chance: five segments, each of 24 bytes, each bit flipped."""
    data = random.Random(SEED).randbytes(4 * 9 + 5)
    train = encode_train(header(TURN - 12), payloads_of(data, 9), 9, ACK | PSH)
    buffer, stride = buffer_of(train), train.segment_size
    merged = 0
    # How many segments each run has: the one that was changed stands alone, and so does the last,
    # which pushes.
    shapes = ([1, 3, 1], [1, 1, 2, 1], [2, 1, 1, 1], [3, 1, 1], [4, 1])
    for index in range(5):
        for offset in range(HEADER.size):
            for bit in range(8):
                changed = bytearray(buffer)
                changed[index * stride + offset] ^= 1 << bit
                runs = assert_same_meaning(bytes(changed), stride)
                shape = [1 if isinstance(run, Malformed) else run.segments for run in runs]
                if shape == [5]:
                    merged += 1
                elif index == 3 and HEADER.unpack_from(changed, 3 * stride)[4] == ACK | PSH:
                    assert shape == [3, 2], "alike again: the last two push"
                else:
                    assert shape == shapes[index]
    # Still one run: PSH of the last taken away, FIN given to it. All else tells them apart.
    assert merged == 2


@given(st.lists(trains(), min_size=1, max_size=3), st.integers(1, 80))
@settings(deadline=None)
def test_any_stride_is_survived(trains_: list[tuple[bytes, int]], stride: int) -> None:
    """The stride is the kernel's word, but for a buffer that it does not fit nothing breaks."""
    assert_same_meaning(b"".join(buffer for buffer, _ in trains_), stride)


@given(st.binary(max_size=400), st.integers(1, 120))
@settings(deadline=None, max_examples=300)
def test_random_buffers_never_raise(buffer: bytes, stride: int) -> None:
    runs = decode_train(buffer, stride)
    if len(buffer) <= stride:
        assert runs == [decode(buffer)]
    else:
        assert_same_meaning(buffer, stride)


def test_an_empty_buffer_is_one_empty_datagram() -> None:
    assert decode_train(b"", 1200) == [Malformed.TOO_SHORT]


@pytest.mark.parametrize("stride", range(1, 25))
def test_strides_without_room_for_payload(stride: int) -> None:
    """Trains of pure ACKs (24 bytes each) and of less than headers are told one by one."""
    buffer = b"".join(encode(header(seq)) for seq in (1, 2, 3))
    runs = assert_same_meaning(buffer, stride)
    assert len(runs) == -(-72 // stride)


@pytest.mark.parametrize("field", ["cid", "ack", "window", "tsval", "tsecr"])
@pytest.mark.parametrize("index", range(4))
def test_a_field_that_differs_splits_the_train(field: str, index: int) -> None:
    """Acknowledgements, windows, timestamps of every segment count: none is swallowed."""
    segments = [header(1000 + 10 * at)._replace(payload=bytes(10)) for at in range(4)]
    segments[index] = segments[index]._replace(**{field: 7})
    runs = assert_same_meaning(b"".join(map(encode, segments)), 34)
    assert runs == around(segments, index)


def test_mixed_connections_from_one_address() -> None:
    """GRO joins by address: segments of two connections may alternate, each gets its own."""
    rng = random.Random(SEED)
    segments = []
    for index in range(6):
        one = header(1000 + 10 * index)._replace(payload=rng.randbytes(10))
        segments += [one, one._replace(cid=0xD1D, seq=500 + 10 * index)]
    assert assert_same_meaning(b"".join(map(encode, segments)), 34) == segments


@pytest.mark.parametrize(
    ("seqs", "first"),
    [
        ([0, 10, 30], 2),
        ([0, 10, 10], 2),
        ([0, 10, 19], 2),
        ([0, 10, 21], 2),
        ([0, 20, 30], 1),
        ([20, 10, 0], 0),
        ([0, 0, 0], 0),
    ],
)
def test_a_gap_or_an_overlap_splits_the_train(seqs: list[int], first: int) -> None:
    """A run is contiguous: a hole ends it, and the next begins behind it."""
    segments = [header(seq)._replace(payload=bytes((at,)) * 10) for at, seq in enumerate(seqs)]
    expected = [*joined(segments[:first]), *joined(segments[first:])] if first else segments
    assert assert_same_meaning(b"".join(map(encode, segments)), 34) == expected


def test_sequence_numbers_are_counted_modulo_2_32_only() -> None:
    """A SEQ that is right but for a whole turn is right; one that is off by 2^31 is not."""
    segments = [header(seq)._replace(payload=bytes(10)) for seq in (TURN - 10, 0, 10)]
    assert len(assert_same_meaning(b"".join(map(encode, segments)), 34)) == 1
    segments[1] = segments[1]._replace(seq=1 << 31)
    assert len(assert_same_meaning(b"".join(map(encode, segments)), 34)) == 3


@pytest.mark.parametrize("flags", [SYN, SYN | ACK, RST, RST | ACK, ACK | ECE, ACK | FIN])
@pytest.mark.parametrize("index", range(4))
def test_control_bits_split_the_train(flags: int, index: int) -> None:
    """SYN, RST, ECE anywhere, FIN anywhere but on the last: that segment is told for itself."""
    segments = [header(1000 + 10 * at)._replace(payload=bytes(10)) for at in range(4)]
    segments[index] = segments[index]._replace(flags=flags)
    runs = assert_same_meaning(b"".join(map(encode, segments)), 34)
    if index == 3 and flags == ACK | FIN:
        payload = bytes(40)
        assert runs == [segments[0]._replace(flags=ACK | FIN, payload=payload, segments=4)]
    else:
        assert runs == around(segments, index)


def test_psh_inside_the_train_splits_it() -> None:
    for index in range(3):
        segments = [header(1000 + 10 * at)._replace(payload=bytes(10)) for at in range(4)]
        segments[index] = segments[index]._replace(flags=ACK | PSH)
        runs = assert_same_meaning(b"".join(map(encode, segments)), 34)
        assert runs == around(segments, index)
    # On all of them, or on all but the last, the run pushes.
    for last in (ACK, ACK | PSH):
        flags = [ACK | PSH] * 3 + [last]
        segments = [
            header(1000 + 10 * at, flag)._replace(payload=bytes(10))
            for at, flag in enumerate(flags)
        ]
        (run,) = assert_same_meaning(b"".join(map(encode, segments)), 34)
        assert isinstance(run, Segment)
        assert run.flags == ACK | PSH


@pytest.mark.parametrize("index", range(4))
def test_options_split_the_train(index: int) -> None:
    """A segment with options has another header length; the runs around it stay runs."""
    segments = [header(1000 + 22 * at)._replace(payload=bytes((at,)) * 22) for at in range(4)]
    sack = Options(sack=((5, 6),))
    segments[index] = segments[index]._replace(options=sack, payload=bytes(10))
    size = 24 + 12 + 10
    buffer = b"".join(map(encode, segments))
    assert len(buffer) == 4 * size
    assert assert_same_meaning(buffer, size) == around(segments, index)


@pytest.mark.parametrize("tail", range(35))
def test_the_last_segment_may_be_shorter_or_cut(tail: int) -> None:
    """A tail shorter than a header is malformed and costs the train before it nothing."""
    rng = random.Random(SEED + tail)
    segments = [header(1000 + 10 * at)._replace(payload=rng.randbytes(10)) for at in range(4)]
    datagrams = [encode(segment) for segment in segments]
    buffer = b"".join(datagrams[:3]) + datagrams[3][:tail]
    runs = assert_same_meaning(buffer, 34)
    payload = b"".join(segment.payload for segment in segments)
    if tail == 0:
        assert runs == [segments[0]._replace(payload=payload[:30], segments=3)]
    elif tail < 24:
        assert runs == [*joined(segments[:3]), Malformed.TOO_SHORT]
    else:
        whole = payload[: 30 + tail - 24]
        assert runs == [segments[0]._replace(payload=whole, segments=4)]


@given(st.lists(st.integers(0, 9), min_size=2, max_size=12))
@settings(deadline=None)
def test_segments_in_any_order(order: list[int]) -> None:
    """Reordered and repeated segments of one train: told in the order of their arrival."""
    segments = [header(1000 + 10 * at)._replace(payload=bytes((at,)) * 10) for at in order]
    runs = assert_same_meaning(b"".join(map(encode, segments)), 34)
    starts = [0, *(at for at, pair in enumerate(pairwise(order), 1) if pair[1] != pair[0] + 1)]
    ends = [*starts[1:], len(order)]
    expected = [
        run for pair in zip(starts, ends, strict=True) for run in joined(segments[slice(*pair)])
    ]
    assert runs == expected


def test_as_many_strides_as_a_peer_likes() -> None:
    """Strides are the peer's choice: neither the result nor the memory kept depends on them."""
    for step in range(1, 600):
        data = bytes((step & 0xFF,)) * (step + 1)
        train = encode_train(header(), payloads_of(data, step), step, ACK)
        (run,) = decode_train(buffer_of(train), train.segment_size)
        assert isinstance(run, Segment)
        assert run.payload == data
    from rudp.wire import train as room

    for cache in (room._walker, room._cutter):
        assert cache.cache_info().currsize <= 128
    many = encode_train(header(), [b"ab"] * 2000, 2, ACK)
    before = room._cutter.cache_info().misses
    (run,) = decode_train(buffer_of(many), many.segment_size)
    assert isinstance(run, Segment)
    assert (run.payload, run.segments) == (b"ab" * 2000, 2000)
    assert room._cutter.cache_info().misses == before, "what is compiled is small"
