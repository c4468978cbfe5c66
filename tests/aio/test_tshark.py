"""Wireshark's TCP analysis, unchanged, on what rudp records."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import rudp
from rudp.sim import LinkConfig, Network, run
from rudp.telemetry.conversation import conversations_of
from rudp.telemetry.pcapng import Reading
from rudp.wire.segment import ACK, FIN, SYN

from . import tshark
from .tshark import needs_tshark, number

pytestmark = needs_tshark

PORT = 49_901
SEED = 5
LINK = LinkConfig(delay_s=0.02, loss=0.03, reorder=0.03)
REQUEST = random.Random(1).randbytes(100_000)
ANSWER = random.Random(2).randbytes(80_000)
ANALYSIS = (
    "tcp.analysis.retransmission",
    "tcp.analysis.out_of_order",
    "tcp.analysis.zero_window",
    "tcp.analysis.duplicate_ack",
    "tcp.options.sack_le",
    "tcp.options.sack.dsack",
)
FIELDS = (
    "frame.time_epoch",
    "frame.comment",
    "frame.packet_flags_direction",
    "frame.interface_name",
    "ip.src",
    "ip.dst",
    "ip.checksum.status",
    "ipv6.src",
    "tcp.stream",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.flags",
    "tcp.seq",
    "tcp.ack",
    "tcp.len",
    "tcp.window_size",
    "tcp.checksum.status",
    "tcp.options.mss_val",
    "tcp.options.wscale.shift",
    "tcp.options.sack_perm",
    "tcp.options.timestamp.tsval",
    *ANALYSIS,
)


class Traced(NamedTuple):
    """What both sides of a connection recorded, and their packets as tshark reads them."""

    dialler: Path
    listener: Path
    dialled: list[dict[str, str]]
    listened: list[dict[str, str]]


def network(link: LinkConfig) -> Network:
    made = Network(seed=SEED, default=link)
    made.add_host("10.0.0.1", "fd00::1", name="left")
    made.add_host("10.0.0.2", "fd00::2", name="right")
    return made


def converse(
    link: LinkConfig,
    left: rudp.Config,
    right: rudp.Config,
    *,
    host: str = "10.0.0.2",
    pause_s: float = 0.0,
    connections: int = 1,
    limit: int = 1 << 16,
) -> None:
    """Each connection sends the request, and gets the answer once it was read, after a pause."""
    simulated = network(link)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(pause_s)
        assert await reader.read() == REQUEST
        writer.write(ANSWER)
        writer.close()

    async def ask() -> None:
        reader, writer = await rudp.open_connection(host, PORT, config=left)
        writer.write(REQUEST)
        writer.write_eof()
        assert await reader.read() == ANSWER
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        with simulated.host("right"):
            server = await rudp.start_server(answer, host, PORT, limit=limit, config=right)
        with simulated.host("left"):
            await asyncio.gather(*(ask() for _ in range(connections)))
        server.close()
        await server.wait_closed()

    run(main(), network=simulated)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """A conversation over a link that loses and reorders."""
    folder = tmp_path_factory.mktemp("traces")
    left, right = folder / "left.pcapng", folder / "right.pcapng"
    converse(LINK, rudp.Config(trace=left), rudp.Config(trace=right))
    return Traced(left, right, tshark.fields(left, *FIELDS), tshark.fields(right, *FIELDS))


def test_it_is_one_stream_with_correct_checksums(traced: Traced) -> None:
    for packets in (traced.dialled, traced.listened):
        assert {packet["tcp.stream"] for packet in packets} == {"0"}
        assert {packet["tcp.checksum.status"] for packet in packets} == {"1"}
        assert {packet["ip.checksum.status"] for packet in packets} == {"1"}
        assert {packet["frame.interface_name"] for packet in packets} == {"rudp"}
        assert {packet["ip.src"] for packet in packets} == {"10.0.0.1", "10.0.0.2"}


def test_the_handshake(traced: Traced) -> None:
    """RFC 9293 §3.5: the flags, and the options that both sides have in common with TCP."""
    syn, answer, third = traced.dialled[:3]
    assert [number(one["tcp.flags"]) for one in (syn, answer, third)] == [SYN, SYN | ACK, ACK]
    for one in (syn, answer):
        # RFC 6691: TCP's counts the timestamps, 12 bytes of each segment, and rudp's does not.
        assert number(one["tcp.options.mss_val"]) == rudp.Config().mss + 12
        assert number(one["tcp.options.wscale.shift"]) > 0
        assert one["tcp.options.sack_perm"]
    assert (syn["tcp.srcport"] != syn["tcp.dstport"], syn["tcp.dstport"]) == (True, str(PORT))
    assert "sender's connection id" in syn["frame.comment"]
    assert "version 1" in answer["frame.comment"]
    assert not third["frame.comment"]
    assert all(one["tcp.options.timestamp.tsval"] for one in traced.dialled)


def test_directions_and_times(traced: Traced) -> None:
    """Virtual time begins in 1970; a packet that was sent there is received here later."""
    for packets, port in ((traced.dialled, "49901"), (traced.listened, "49901")):
        sent = "2" if packets is traced.dialled else "1"
        received = "1" if packets is traced.dialled else "2"
        towards = {(packet["tcp.dstport"] == port): set[str]() for packet in packets}
        for packet in packets:
            towards[packet["tcp.dstport"] == port].add(packet["frame.packet_flags_direction"])
        assert {number(way) for way in towards[True]} == {int(sent)}
        assert {number(way) for way in towards[False]} == {int(received)}
        times = [float(packet["frame.time_epoch"]) for packet in packets]
        assert times == sorted(times)
    assert float(traced.dialled[0]["frame.time_epoch"]) == pytest.approx(0.0, abs=0.001)
    assert float(traced.listened[0]["frame.time_epoch"]) == pytest.approx(0.02, abs=0.001)


def test_recovery_is_seen(traced: Traced) -> None:
    """The sender's side shows what was sent again, the receiver's what came out of order."""
    again = [one for one in traced.dialled if one["tcp.analysis.retransmission"]]
    assert len(again) > 2
    assert all(one["ip.src"] == "10.0.0.1" or number(one["tcp.len"]) for one in again)
    disorder = [one for one in traced.listened if one["tcp.analysis.out_of_order"]]
    assert disorder
    assert any(one["tcp.options.sack_le"] for one in traced.dialled)
    assert any(one["tcp.analysis.duplicate_ack"] for one in traced.dialled)


@pytest.mark.parametrize("side", ["dialler", "listener"])
def test_follow_stream_gives_the_very_bytes(traced: Traced, side: str) -> None:
    there, back = tshark.follow(getattr(traced, side))
    assert hashlib.sha256(there).digest() == hashlib.sha256(REQUEST).digest()
    assert hashlib.sha256(back).digest() == hashlib.sha256(ANSWER).digest()


def test_the_end(traced: Traced) -> None:
    """Both FINs, each acknowledged."""
    for packets in (traced.dialled, traced.listened):
        fins = [one for one in packets if number(one["tcp.flags"]) & FIN]
        assert {one["ip.src"] for one in fins} == {"10.0.0.1", "10.0.0.2"}
        for fin in fins:
            end = number(fin["tcp.seq"]) + number(fin["tcp.len"]) + 1
            acks = [one for one in packets if one["ip.src"] != fin["ip.src"] and one["tcp.ack"]]
            assert max(number(one["tcp.ack"]) for one in acks) == end


def test_a_closed_window(tmp_path: Path) -> None:
    """A peer that does not read: Wireshark sees the window close, and open again."""
    path = tmp_path / "window.pcapng"
    right = rudp.Config(receive_buffer=16_384)
    left = rudp.Config(trace=path)
    converse(LinkConfig(delay_s=0.01), left, right, pause_s=5.0, limit=4096)
    packets = tshark.fields(path, *FIELDS)
    closed = [one for one in packets if one["tcp.analysis.zero_window"]]
    assert closed
    assert {one["ip.src"] for one in closed} == {"10.0.0.2"}
    assert all(number(one["tcp.window_size"]) == 0 for one in closed)
    assert tshark.follow(path) == (REQUEST, ANSWER)


def test_ipv6(tmp_path: Path) -> None:
    path = tmp_path / "six.pcapng"
    converse(LinkConfig(delay_s=0.01), rudp.Config(trace=path), rudp.Config(), host="fd00::2")
    packets = tshark.fields(path, *FIELDS)
    assert {one["ipv6.src"] for one in packets} == {"fd00::1", "fd00::2"}
    assert {one["tcp.checksum.status"] for one in packets} == {"1"}
    assert tshark.follow(path) == (REQUEST, ANSWER)


def test_each_connection_end_is_a_stream_of_its_own(tmp_path: Path) -> None:
    """Two connections of one socket to one peer, both ends in one file: four streams, though
    the sockets give them one pair of ports."""
    path = tmp_path / "all.pcapng"
    config = rudp.Config(trace=path)
    converse(LinkConfig(delay_s=0.01), config, config, connections=2)
    packets = tshark.fields(path, "tcp.stream", "tcp.dstport", "tcp.srcport")
    assert {one["tcp.stream"] for one in packets} == set("0123")
    assert all(str(PORT) in (one["tcp.dstport"], one["tcp.srcport"]) for one in packets)
    for stream in (0, 3):
        assert tshark.follow(path, stream) == (REQUEST, ANSWER)


@pytest.mark.parametrize("payload_bytes", [0, 16])
def test_payload_can_be_left_out(tmp_path: Path, payload_bytes: int) -> None:
    path = tmp_path / "lean.pcapng"
    with rudp.TraceFile(path, payload_bytes=payload_bytes) as trace:
        converse(LinkConfig(delay_s=0.01), rudp.Config(trace=trace), rudp.Config())
    data = path.read_bytes()
    assert REQUEST[:16] not in data or payload_bytes == 16
    assert REQUEST[16:32] not in data
    packets = tshark.fields(path, "tcp.len", "ip.src", "frame.cap_len", "frame.len")
    sent = [number(one["tcp.len"]) for one in packets if one["ip.src"] == "10.0.0.1"]
    assert sum(sent) == len(REQUEST), "how much it was is still told"
    left_out = [number(one["frame.len"]) - number(one["frame.cap_len"]) for one in packets]
    assert max(left_out) == max(sent) - payload_bytes


def test_real_sockets(tmp_path: Path, run_real: Callable[..., Any], config: rudp.Config) -> None:
    """What arrives in runs, and left in trains, is recorded segment by segment."""
    path = tmp_path / "real.pcapng"

    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.read() == REQUEST
            writer.write(ANSWER)
            writer.close()

        # One file for both ends: what was received is in it as well.
        traced = config.replace(trace=path)
        async with await rudp.start_server(answer, "127.0.0.1", 0, config=traced) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await rudp.open_connection("127.0.0.1", port, config=traced)
            writer.write(REQUEST)
            writer.write_eof()
            assert await reader.read() == ANSWER
            writer.close()
            await writer.wait_closed()

    run_real(main())
    assert tshark.follow(path, 0) == (REQUEST, ANSWER)
    assert tshark.follow(path, 1) == (REQUEST, ANSWER)
    left, right = conversations_of(Reading(path.read_bytes()))
    sent = {(step.seq, step.length) for step in left.steps if step.outbound and step.length}
    arrived = {(step.seq, step.length) for step in right.steps if not step.outbound}
    assert arrived >= sent, "a run is cut where the datagrams began"
