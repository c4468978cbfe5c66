"""rudp.wire.segment: one datagram, and every datagram that can arrive (RFC 9293 §3.1)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rudp.wire.options import Options
from rudp.wire.segment import (
    ACK,
    CWR,
    ECE,
    FIN,
    HEADER,
    PSH,
    RST,
    SYN,
    URG,
    Malformed,
    Segment,
    decode,
    encode,
)

from .strategies import POSSIBLE_FLAGS, SEGMENTS, U8, U16, U32, is_possible

SEED = 20260101

PLAIN = Segment(0x0102_0304, 10, 20, ACK, 30, 40, 50, payload=b"hello")


def raw(
    *,
    cid: int = 1,
    seq: int = 2,
    ack: int = 3,
    words: int = 6,
    flags: int = ACK,
    window: int = 4,
    tsval: int = 5,
    tsecr: int = 6,
    rest: bytes = b"",
) -> bytes:
    """A datagram with exactly these fields, possible or not."""
    return HEADER.pack(cid, seq, ack, words, flags, window, tsval, tsecr) + rest


def test_every_field_lies_where_the_wire_has_it() -> None:
    """docs/protocol.md, version 1: the table of offsets."""
    segment = Segment(
        0x0102_0304, 0x0506_0708, 0x090A_0B0C, ACK | PSH, 0x0F10, 0x1112_1314, 0x1516_1718
    )._replace(payload=b"\xaa\xbb")
    datagram = encode(segment)
    assert datagram.hex() == "0102030405060708090a0b0c06180f101112131415161718aabb"
    assert datagram[12] == 6
    assert decode(datagram) == segment


def test_control_bits_stand_at_their_tcp_positions() -> None:
    """RFC 9293 §3.1, RFC 3168 §6.1."""
    assert (FIN, SYN, RST, PSH) == (0x01, 0x02, 0x04, 0x08)
    assert (ACK, URG, ECE, CWR) == (0x10, 0x20, 0x40, 0x80)


def test_a_header_without_options_is_24_bytes() -> None:
    assert HEADER.size == 24
    assert len(encode(PLAIN)) == 24 + 5


@given(SEGMENTS)
@settings(deadline=None)
def test_round_trip(segment: Segment) -> None:
    datagram = encode(segment)
    assert decode(datagram) == segment
    assert decode(memoryview(bytearray(datagram))) == segment


@given(SEGMENTS, st.binary(max_size=8))
@settings(deadline=None)
def test_the_payload_is_whatever_follows_the_header(segment: Segment, more: bytes) -> None:
    decoded = decode(encode(segment) + more)
    assert decoded == segment._replace(payload=segment.payload + more)


def test_the_payload_outlives_the_buffer_it_came_in() -> None:
    """A receive buffer is used again for the next datagram."""
    for options in (Options(), Options(mss=1)):
        buffer = bytearray(encode(PLAIN._replace(options=options)))
        decoded = decode(memoryview(buffer))
        buffer[:] = bytes(len(buffer))
        assert isinstance(decoded, Segment)
        assert decoded.payload == b"hello"
        assert type(decoded.payload) is bytes


@pytest.mark.parametrize("length", range(24))
def test_shorter_than_a_header(length: int) -> None:
    assert decode(encode(PLAIN)[:length]) is Malformed.TOO_SHORT


@pytest.mark.parametrize("length", range(101))
def test_every_length_of_random_bytes_is_survived(length: int) -> None:
    """Issue 2, bounds: 0 to 100 random bytes; decoded or named malformed, never an exception."""
    rng = random.Random(SEED + length)
    for _ in range(200):
        datagram = rng.randbytes(length)
        decoded = decode(datagram)
        if isinstance(decoded, Segment):
            assert length >= 24
            assert datagram.endswith(decoded.payload)
            assert len(decoded.payload) <= length - 24
            assert is_possible(decoded.flags)
        else:
            assert isinstance(decoded, Malformed)


@given(st.binary(max_size=1500))
@settings(deadline=None, max_examples=300)
def test_random_bytes_never_raise(datagram: bytes) -> None:
    assert isinstance(decode(datagram), (Segment, Malformed))


@given(U32, U32, U32, U8, U8, U16, U32, U32, st.binary(max_size=1100))
@settings(deadline=None, max_examples=300)
def test_random_fields_never_raise(
    cid: int,
    seq: int,
    ack: int,
    words: int,
    flags: int,
    window: int,
    tsval: int,
    tsecr: int,
    rest: bytes,
) -> None:
    """What is accepted has the fields as they travelled, and comes back from a second trip."""
    header = (cid, seq, ack, words, flags, window, tsval, tsecr)
    decoded = decode(HEADER.pack(*header) + rest)
    if isinstance(decoded, Segment):
        assert is_possible(flags)
        assert decoded[:7] == (cid, seq, ack, flags, window, tsval, tsecr)
        assert rest[words * 4 - 24 :] == decoded.payload
        assert decode(encode(decoded)) == decoded


@pytest.mark.parametrize(
    ("field", "most"),
    [
        ("cid", 0xFFFF_FFFF),
        ("seq", 0xFFFF_FFFF),
        ("ack", 0xFFFF_FFFF),
        ("window", 0xFFFF),
        ("tsval", 0xFFFF_FFFF),
        ("tsecr", 0xFFFF_FFFF),
    ],
)
def test_a_number_at_its_extremes_leaves_its_neighbours_alone(field: str, most: int) -> None:
    for value in (0, 1, most // 2, most // 2 + 1, most - 1, most):
        segment = PLAIN._replace(**{field: value})
        assert decode(encode(segment)) == segment
        ones = Segment(*[0xFFFF_FFFF] * 3, ACK, 0xFFFF, *[0xFFFF_FFFF] * 2)
        segment = ones._replace(**{field: value})
        assert decode(encode(segment)) == segment


def test_control_bits_that_cannot_stand_together() -> None:
    """RFC 9293 §3.10.7: of SYN, FIN, RST one at most; ACK in all but SYN and RST; no URG."""
    for flags in range(256):
        decoded = decode(raw(flags=flags))
        if is_possible(flags):
            assert isinstance(decoded, Segment), flags
            assert decoded.flags == flags
        else:
            assert decoded is Malformed.FLAGS, flags


def test_some_control_bits_by_name() -> None:
    """The scans that firewalls know: null, Xmas, SYN-FIN, and TCP's ordinary combinations."""
    impossible = [
        0,
        FIN,
        PSH,
        FIN | PSH | URG,
        SYN | FIN,
        SYN | RST,
        FIN | RST | ACK,
        ACK | URG,
        255,
    ]
    ordinary = [SYN, SYN | ACK, ACK, ACK | PSH, ACK | FIN, ACK | PSH | FIN, RST, RST | ACK]
    with_ecn = [SYN | ECE | CWR, SYN | ACK | ECE, ACK | ECE, ACK | CWR | PSH]
    assert not set(impossible) & set(POSSIBLE_FLAGS)
    assert set(ordinary + with_ecn) <= set(POSSIBLE_FLAGS)
    for flags in impossible:
        assert decode(raw(flags=flags, rest=b"x")) is Malformed.FLAGS
    for flags in ordinary + with_ecn:
        assert isinstance(decode(raw(flags=flags, rest=b"x")), Segment)


def test_the_header_length_at_every_value() -> None:
    """RFC 9293 §3.1, data offset: 6 to 255 words, and not beyond the datagram."""
    nops = b"\x01" * (1020 - 24)
    for words in range(256):
        decoded = decode(raw(words=words, rest=nops + b"payload"))
        if words < 6:
            assert decoded is Malformed.HEADER_LENGTH, words
            continue
        assert isinstance(decoded, Segment), words
        assert decoded.payload == nops[(words - 6) * 4 :] + b"payload"
        exact = raw(words=words, rest=nops[: (words - 6) * 4])
        assert isinstance(decode(exact), Segment), words
        if words > 6:
            assert decode(exact[:-1]) is Malformed.HEADER_LENGTH, words
            assert decode(exact[:24]) is Malformed.HEADER_LENGTH, words


def test_options_that_do_not_parse() -> None:
    """RFC 9293 MUST-7."""
    assert decode(raw(words=7, rest=bytes((2, 0, 0, 0)))) is Malformed.OPTIONS
    assert decode(raw(words=7, rest=bytes((2, 5, 0, 0)) + b"payload")) is Malformed.OPTIONS
    twice = bytes((2, 4, 1, 1))
    assert decode(raw(words=8, rest=twice + twice)) is Malformed.OPTIONS


def test_the_first_fault_names_the_datagram() -> None:
    """Flags are looked at before the header's length: the commoner fault of a stranger."""
    assert decode(raw(flags=0, words=0)) is Malformed.FLAGS
    assert decode(raw(flags=0)[:23]) is Malformed.TOO_SHORT


def test_options_up_to_the_greatest_header() -> None:
    """1,020 bytes of header are sent and read; a word more does not fit the length field."""
    blocks = tuple((number, number + 1) for number in range(31))
    biggest = Options(
        sack=blocks, cookie=b"c" * 64, path_challenge=bytes(8), path_response=bytes(8)
    )
    datagram = encode(PLAIN._replace(options=biggest))
    assert datagram[12] * 4 == len(datagram) - 5
    assert datagram[12] * 4 == 24 + 250 + 66 + 20

    block = b"\x86\xff" + bytes(253) + b"\x86\xff" + bytes(253)  # skipped, 510 bytes
    block += b"\x86\xff" + bytes(253) + b"\x86\xe7" + bytes(229)  # 996 bytes in all
    decoded = decode(raw(words=255, rest=block + b"payload"))
    assert isinstance(decoded, Segment)
    assert decoded.options == Options()
    assert decoded.payload == b"payload"


def test_options_that_no_header_can_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The length field counts words in one byte: 996 bytes of options, not 1,000."""
    monkeypatch.setattr("rudp.wire.segment.opt.encode", lambda options: b"\x01" * 996)
    assert len(encode(PLAIN)) == 1020 + 5
    assert encode(PLAIN)[12] == 255
    monkeypatch.setattr("rudp.wire.segment.opt.encode", lambda options: b"\x01" * 1000)
    with pytest.raises(ValueError, match="1000 bytes"):
        encode(PLAIN)


@pytest.mark.parametrize(
    ("flags", "payload", "length"),
    [
        (ACK, b"", 0),
        (ACK, b"abc", 3),
        (SYN, b"", 1),
        (SYN | ACK, b"abc", 4),
        (FIN | ACK, b"", 1),
        (FIN | ACK | PSH, b"abc", 4),
        (RST, b"", 0),
        (ACK | ECE | CWR, b"a", 1),
    ],
)
def test_segment_length(flags: int, payload: bytes, length: int) -> None:
    """RFC 9293 §3.4, SEG.LEN: SYN and FIN take a sequence number each."""
    assert PLAIN._replace(flags=flags, payload=payload).length == length


def test_str_is_for_people() -> None:
    segment = Segment(1, 1000, 2000, SYN | ACK, 512, 0, 0, payload=b"abc")
    assert str(segment) == "[SA] seq 1000 ack 2000 win 512 len 3"
    assert str(segment._replace(flags=0xFF)) == "[FSRPAUEC] seq 1000 ack 2000 win 512 len 3"
