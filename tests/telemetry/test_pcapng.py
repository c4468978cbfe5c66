"""pcapng: what is written is read, and what is read need not have been written here."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.telemetry.pcapng import Reading, enhanced_packet, interface, section_header

HEAD = section_header("test") + interface("rudp", "a test")


def test_packets_survive() -> None:
    blocks = [
        enhanced_packet(b"12345", 1_700_000_000_123_456_789, outbound=True, comment="ünï"),
        enhanced_packet(b"", 0, outbound=False, missing=7),
        enhanced_packet(b"1234", 2**63, outbound=False),
    ]
    reading = Reading(HEAD + b"".join(blocks))
    assert list(reading) == [
        (1_700_000_000_123_456_789, b"12345", 0, True, "ünï"),
        (0, b"", 7, False, ""),
        (2**63, b"1234", 0, False, ""),
    ]
    assert not reading.truncated


def test_every_block_is_a_multiple_of_four_and_says_its_length_twice() -> None:
    for size in range(9):
        block = enhanced_packet(bytes(size), 1, outbound=True, comment="c" * size)
        kind, length = struct.unpack_from("<II", block)
        assert (kind, length) == (6, len(block))
        assert struct.unpack("<I", block[-4:]) == (length,)
        assert length % 4 == 0


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_file_whose_end_is_missing(cut: int) -> None:
    whole = enhanced_packet(b"12345", 1, outbound=True)
    reading = Reading((HEAD + whole + whole)[:-cut])
    assert [captured.packet for captured in reading] == [b"12345"] * (1 if cut <= len(whole) else 0)
    assert reading.truncated is (cut != len(whole))


def _foreign(order: str, resolution: bytes, link: int = 101) -> bytes:
    """A file as another program on another machine writes it: no options but the resolution."""

    def block(kind: int, body: bytes) -> bytes:
        size = struct.pack(order + "I", len(body) + 12)
        return struct.pack(order + "I", kind) + size + body + size

    option = struct.pack(order + "HH", 9, 1) + resolution + bytes(3) if resolution else b""
    return (
        block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
        + block(1, struct.pack(order + "HHI", link, 0, 0) + option)
        + block(5, bytes(12))  # statistics: skipped
        + block(6, struct.pack(order + "5I", 0, 0, 3_000_000, 4, 4) + b"data")
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("resolution", "time_ns"),
    [(b"", 3 * 10**9), (b"\x03", 3000 * 10**9), (b"\x94", 3_000_000 * 10**9 // 2**20)],
    ids=["microseconds by default", "milliseconds", "a power of two"],
)
def test_other_byte_orders_and_resolutions(order: str, resolution: bytes, time_ns: int) -> None:
    (captured,) = Reading(_foreign(order, resolution))
    assert captured == (time_ns, b"data", 0, None, "")


def test_a_second_section_begins_anew() -> None:
    """Two files one after the other are a file."""
    packet = enhanced_packet(b"12345", 1, outbound=True)
    assert len(list(Reading(HEAD + packet + _foreign(">", b"")))) == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "byte 0"),
        (b"no such file, no such file", "byte 0"),
        (_foreign("<", b"", link=1), "not raw IP"),
        (section_header("x") + enhanced_packet(b"1", 1, outbound=True), "does not parse"),
        (HEAD + struct.pack("<II", 6, 5) + bytes(20), "a block of 5 bytes"),
        (HEAD[:8] + bytes(4) + HEAD[12:], "unknown byte order"),
    ],
)
def test_what_is_no_trace(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(Reading(data))


@given(st.binary(max_size=200), st.integers(0, 150), st.integers(0, 255))
def test_damage_is_a_value_error(tail: bytes, at: int, value: int) -> None:
    data = bytearray(HEAD + enhanced_packet(b"12345", 1, outbound=True, comment="c") + tail)
    data[at % len(data)] = value
    with contextlib.suppress(ValueError):
        list(Reading(bytes(data)))
