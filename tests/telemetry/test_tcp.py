"""TCP in IP packets, and rudp's segments as TCP's."""

from __future__ import annotations

import ipaddress
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.telemetry import tcp
from rudp.telemetry.tcp import Packet, packet_of, timestamps_of
from rudp.wire import options as opt
from rudp.wire.options import Options
from rudp.wire.segment import ACK, PSH, SYN, Segment

FOUR = (("192.0.2.1", 9), ("192.0.2.2", 7))
SIX = (("2001:db8::1", 9), ("2001:db8::2", 7))
TS = bytes.fromhex("0101 080a 00000005 00000006")

numbers = st.integers(0, 2**32 - 1)
packets = st.builds(
    Packet,
    st.tuples(st.ip_addresses(v=4).map(str), st.integers(0, 65_535)),
    st.tuples(st.ip_addresses(v=4).map(str), st.integers(0, 65_535)),
    numbers,
    numbers,
    st.integers(0, 255),
    st.integers(0, 65_535),
    st.binary(max_size=10).map(lambda data: data * 4),
    st.binary(max_size=70),
    st.integers(0, 3),
    st.just(0),
)


@given(packets, st.booleans())
def test_a_packet_survives_coding(packet: Packet, six: bool) -> None:
    if six:
        hosts = [f"2001:db8::{end[0]}" for end in packet[:2]]
        source, target = (str(ipaddress.ip_address(host)) for host in hosts)
        packet = packet._replace(
            source=(source, packet.source[1]), target=(target, packet.target[1])
        )
    assert tcp.decode(tcp.encode(packet)) == packet


@pytest.mark.parametrize("ends", [FOUR, SIX])
def test_a_flipped_bit_is_noticed(ends: tuple[tcp.Address, tcp.Address]) -> None:
    """IPv6 has no checksum of its header; its addresses and lengths are in TCP's."""
    packet = Packet(*ends, 1, 2, ACK, 3, TS, b"payload")
    data = bytearray(tcp.encode(packet))
    unprotected = (0, 9) if ends is FOUR else (0, 1, 2, 3, 6, 7)
    for at in range(len(data)):
        if at in unprotected:
            continue
        data[at] ^= 0x10
        with pytest.raises(tcp.Damaged):
            tcp.decode(bytes(data))
        data[at] ^= 0x10


def test_other_packets_are_none() -> None:
    data = bytearray(tcp.encode(Packet(*FOUR, 1, 2, ACK, 3, TS, b"")))
    data[9] = 17
    assert tcp.decode(bytes(data)) is None
    data = bytearray(tcp.encode(Packet(*SIX, 1, 2, ACK, 3, TS, b"")))
    data[6] = 17
    assert tcp.decode(bytes(data)) is None
    assert tcp.decode(b"") is None
    assert tcp.decode(b"\x50" * 60) is None


def test_what_is_missing_is_counted() -> None:
    """A payload that was left out: the lengths must fit, the checksum can not."""
    packet = Packet(*FOUR, 1, 2, ACK, 3, TS, b"0123456789")
    data = tcp.encode(packet)
    cut = tcp.decode(data[:-4], missing=4)
    assert cut == packet._replace(payload=b"012345", missing=4)
    with pytest.raises(tcp.Damaged):
        tcp.decode(data[:-4], missing=3)


@pytest.mark.parametrize(
    ("local", "peer", "version"),
    [
        ("127.0.0.1", "127.0.0.2", 4),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.2", 4),
        ("127.0.0.1", "::ffff:127.0.0.2", 4),
        ("fe80::1%eth0", "fe80::2", 6),
        ("127.0.0.1", "2001:db8::1", 6),
    ],
)
def test_the_version_of_ip(local: str, peer: str, version: int) -> None:
    """IPv4 wherever both are it, mapped or not (RFC 4291 §2.5.5.2); otherwise both become IPv6."""
    data = tcp.encode(Packet((local, 1), (peer, 2), 1, 2, ACK, 3, TS, b""))
    assert data[0] >> 4 == version
    assert tcp.decode(data) is not None


def test_an_address_that_is_none() -> None:
    with pytest.raises(ValueError, match="left"):
        tcp.encode(Packet(("left", 1), ("127.0.0.1", 2), 1, 2, ACK, 3, TS, b""))


def test_a_segment_field_by_field() -> None:
    segment = Segment(0xABC, 10, 20, ACK | PSH, 512, 5, 6, payload=b"data")
    packet = packet_of(segment, *FOUR, ecn=2)
    assert packet == Packet(*FOUR, 10, 20, ACK | PSH, 512, TS, b"data", 2)
    assert timestamps_of(packet.options) == (5, 6)


def test_options_of_a_syn() -> None:
    """RFC 6691: TCP's MSS counts the 12 bytes of timestamps."""
    options = Options(mss=1448, window_scale=9, sack_permitted=True, version=1, connection_id=7)
    packet = packet_of(Segment(0, 10, 0, SYN, 65_535, 5, 0, options), *FOUR)
    parsed = opt.parse(packet.options)
    assert parsed == Options(mss=1460, window_scale=9, sack_permitted=True)
    assert len(packet.options) % 4 == 0


def test_the_largest_mss_fits_its_sixteen_bits() -> None:
    packet = packet_of(Segment(0, 10, 0, SYN, 0, 5, 0, Options(mss=65_530)), *FOUR)
    parsed = opt.parse(packet.options)
    assert parsed is not None
    assert parsed.mss == 65_535


def test_three_sack_blocks_have_room() -> None:
    blocks = tuple((at, at + 5) for at in range(100, 180, 10))
    packet = packet_of(Segment(1, 10, 20, ACK, 0, 5, 6, Options(sack=blocks)), *FOUR)
    parsed = opt.parse(packet.options)
    assert parsed is not None
    assert parsed.sack == blocks[:3]
    tcp.encode(packet)


def test_options_that_are_too_many() -> None:
    """No honest sender puts SACK blocks into a SYN; a forger's are left out as far as need be."""
    blocks = tuple((at, at + 5) for at in range(100, 180, 10))
    everything = Options(mss=1000, window_scale=9, sack_permitted=True, sack=blocks)
    packet = packet_of(Segment(1, 10, 20, SYN, 0, 5, 6, everything), *FOUR)
    tcp.encode(packet)
    assert opt.parse(packet.options) == Options(1012, 9, True, blocks[:1])


@pytest.mark.parametrize("ends", [FOUR, SIX])
def test_the_largest_segment(ends: tuple[tcp.Address, tcp.Address]) -> None:
    """65,507 bytes of UDP payload become 65,535 bytes of IPv4 packet, to the byte."""
    payload = random.Random(1).randbytes(65_507 - 24)
    data = tcp.encode(packet_of(Segment(1, 10, 20, ACK, 0, 5, 6, payload=payload), *ends))
    decoded = tcp.decode(data)
    assert decoded is not None
    assert decoded.payload == payload
    if ends is FOUR:
        assert len(data) == 65_535
