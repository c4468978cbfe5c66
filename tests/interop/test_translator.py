"""The translator alone: checksums, options, ids and ports. Needs no privileges."""

from __future__ import annotations

import random

import pytest

from rudp.telemetry import tcp
from rudp.telemetry.tcp import TIMESTAMP_BYTES, Packet
from rudp.wire.options import NONE, Options
from rudp.wire.segment import ACK, ECE, FIN, PSH, RST, SYN, Segment

from .translator import Translator

KERNEL = ("192.0.2.1", 9)
RUDP = ("192.0.2.2", 7)
RUDP_CID = 0x1234
SYN_OPTIONS = bytes.fromhex("020405b4 0402 080a 00000001 00000000 01 030307")
"""As Linux sends them: MSS 1460, SACK permitted, timestamps, no-op, window scale 7."""
TS = bytes.fromhex("0101 080a 00000005 00000006")


def _translator() -> Translator:
    return Translator(RUDP[0], random.Random(1).getrandbits)


def _accepted() -> tuple[Translator, int]:
    """A translator through which rudp has accepted the kernel's connection; the kernel's id."""
    translator = _translator()
    arrived = translator.to_rudp(Packet(KERNEL, RUDP, 100, 0, SYN, 64_240, SYN_OPTIONS, b""))
    assert arrived is not None
    cid = arrived[1].options.connection_id
    assert cid
    options = Options(version=1, connection_id=RUDP_CID, mss=1448)
    answer = Segment(cid, 500, 101, SYN | ACK, 1000, 7, 1, options)
    assert translator.to_tcp(answer, KERNEL) is not None
    return translator, cid


def test_checksum_is_that_of_rfc_1071() -> None:
    """RFC 1071 §3: the sum of its example is ddf2; a checksum is the complement."""
    assert tcp.checksum(bytes.fromhex("0001 f203 f4f5 f6f7")) == 0xFFFF - 0xDDF2
    assert tcp.checksum(b"") == tcp.checksum(b"\0\0") == 0xFFFF
    assert tcp.checksum(b"\xff\xff") == 0
    assert tcp.checksum(b"\xab") == tcp.checksum(b"\xab\0")


@pytest.mark.parametrize("size", [0, 1, 1447, 1448])
def test_a_packet_survives_coding(size: int) -> None:
    packet = Packet(
        KERNEL, RUDP, 1, 2**32 - 1, ACK | PSH, 512, TS, random.Random(size).randbytes(size)
    )
    assert tcp.decode(tcp.encode(packet)) == packet


def test_a_flipped_bit_is_noticed() -> None:
    data = bytearray(tcp.encode(Packet(KERNEL, RUDP, 1, 2, ACK, 3, TS, b"payload")))
    for at in range(len(data)):
        if at in (0, 9):
            continue  # version and protocol: the packet is then none of ours
        data[at] ^= 0x10
        with pytest.raises(tcp.Damaged):
            tcp.decode(bytes(data))
        data[at] ^= 0x10


def test_a_syn_gets_what_tcp_lacks() -> None:
    arrived = _translator().to_rudp(Packet(KERNEL, RUDP, 100, 0, SYN, 64_240, SYN_OPTIONS, b""))
    assert arrived is not None
    peer, segment = arrived
    assert peer == KERNEL
    assert segment[:7] == (0, 100, 0, SYN, 64_240, 1, 0)
    cid = segment.options.connection_id
    assert cid
    assert segment.options == Options(
        mss=1460 - TIMESTAMP_BYTES,
        window_scale=7,
        sack_permitted=True,
        version=1,
        connection_id=cid,
    )


def test_a_repeated_syn_is_the_same_connection_and_a_new_one_is_not() -> None:
    translator = _translator()
    ids = []
    for seq in (100, 100, 200):
        arrived = translator.to_rudp(Packet(KERNEL, RUDP, seq, 0, SYN, 1, SYN_OPTIONS, b""))
        assert arrived is not None
        ids.append(arrived[1].options.connection_id)
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("flags", [ACK, ACK | PSH, ACK | FIN, RST, RST | ACK])
def test_what_tcp_has_words_for_comes_through_unchanged(flags: int) -> None:
    translator, cid = _accepted()
    payload = b"" if flags & RST else b"payload"
    ack = 7 if flags & ACK else 0
    sent = Segment(cid, 2**32 - 2, ack, flags, 999, 0xFFFFFFFF, 3, NONE, payload)
    packet = translator.to_tcp(sent, KERNEL)
    assert packet is not None
    assert (packet.source, packet.target) == (RUDP, KERNEL)
    back = translator.to_rudp(packet._replace(source=KERNEL, target=RUDP))
    assert back == (KERNEL, sent._replace(cid=RUDP_CID))


def test_a_tcp_header_has_room_for_three_sack_blocks() -> None:
    translator, cid = _accepted()
    blocks = tuple((at, at + 5) for at in range(100, 180, 10))
    sent = Segment(cid, 1, 2, ACK, 3, 4, 5, Options(sack=blocks))
    packet = translator.to_tcp(sent, KERNEL)
    assert packet is not None
    assert len(packet.options) == tcp.MAX_OPTION_BYTES
    back = translator.to_rudp(packet._replace(source=KERNEL, target=RUDP))
    assert back is not None
    assert back[1].options.sack == blocks[:3]


def test_a_reset_of_a_stranger_finds_the_ports() -> None:
    translator, _ = _accepted()
    reset = Segment(0, 77, 0, RST, 0, 0, 0, Options(unknown_id=RUDP_CID))
    packet = translator.to_tcp(reset, KERNEL)
    assert packet is not None
    assert (packet.source, packet.target, packet.seq) == (RUDP, KERNEL, 77)


def test_a_reset_of_the_kernels_has_no_timestamps_and_reaches_the_id() -> None:
    translator, _ = _accepted()
    back = translator.to_rudp(Packet(KERNEL, RUDP, 88, 0, RST, 0, b"", b""))
    assert back == (KERNEL, Segment(RUDP_CID, 88, 0, RST, 0, 0, 0))


def test_what_has_no_words_is_dropped_and_counted() -> None:
    translator, cid = _accepted()
    assert translator.to_rudp(Packet(KERNEL, RUDP, 1, 1, ACK, 1, b"", b"")) is None
    assert translator.to_rudp(Packet(KERNEL, (RUDP[0], 8), 1, 1, ACK, 1, TS, b"")) is None
    assert translator.to_tcp(Segment(cid + 1, 1, 1, ACK, 1, 1, 1), KERNEL) is None
    assert translator.untranslatable == 3
    packet = translator.to_tcp(Segment(cid, 1, 1, ACK | ECE, 1, 1, 1), KERNEL)
    assert packet is not None
    assert packet.flags == ACK
