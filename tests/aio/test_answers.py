"""The answer to what came waits for whom that woke: one datagram where two would do, never none."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest

import rudp
from rudp.sim import Network
from rudp.wire.segment import Segment, decode

from .support import DELAY_S, PORT, Simulate, end, serving

REQUEST = b"q" * 3000
"""More than two segments, so that an acknowledgement is due at once (RFC 9293 §3.8.6.3)."""


class _Left(NamedTuple):
    """A datagram that a host sent."""

    at_s: float
    segment: Segment


class _Watch:
    """What the host "right" sends from now on."""

    def __init__(self, network: Network) -> None:
        self.sent: list[_Left] = []
        network.tap = self._tap

    def _tap(self, time_s: float, source: object, destination: object, data: bytes) -> None:
        segment = decode(data)
        assert isinstance(segment, Segment)
        if str(source).find("10.0.0.2") >= 0:
            self.sent.append(_Left(time_s, segment))


class _Peer(asyncio.Protocol):
    """A server's protocol that does with what comes as it was told."""

    def __init__(self, does: str) -> None:
        self.does = does
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.does == "pause":
            self.transport.pause_reading()
        if len(self.received) < len(REQUEST):
            return
        if self.does == "answer":
            self.transport.write(b"answer")
        elif self.does == "answer twice":
            self.transport.write(b"ans")
            self.transport.write(b"wer")
        elif self.does == "answer and end":
            self.transport.write(b"answer")
            self.transport.write_eof()


async def _ask(network: Network, does: str, *, pause: bool = False) -> tuple[list[_Left], float]:
    """What a server that `does` this sends within 20 ms of the request's arrival, and when the
    request arrived."""
    peers: list[_Peer] = []

    def factory() -> _Peer:
        peers.append(_Peer(does))
        return peers[-1]

    with network.host("right"):
        server = await rudp.create_server(factory, "right", PORT)
    with network.host("left"):
        reader, writer = await rudp.open_connection("10.0.0.2", PORT)
    await asyncio.sleep(0.1)
    watch = _Watch(network)
    endpoint = peers[0].transport._endpoint  # type: ignore[attr-defined]
    if pause:
        endpoint.pause_writing()
    writer.write(REQUEST)
    arrived_s = asyncio.get_running_loop().time() + DELAY_S
    await asyncio.sleep(DELAY_S + 0.015)
    if pause:
        assert watch.sent == []
        endpoint.resume_writing()
    await asyncio.sleep(0.005)
    network.tap = None
    sent = list(watch.sent)
    await asyncio.sleep(2 * DELAY_S)
    assert writer.get_extra_info("rudp_info").unacked == 0
    if does.startswith("answer"):
        assert await reader.readexactly(6) == b"answer"
    peers[0].transport.close()
    await end(writer)
    server.close()
    await server.wait_closed()
    return sent, arrived_s


@pytest.mark.parametrize("does", ["answer", "answer and end"])
def test_one_datagram_answers_and_acknowledges(
    network: Network, rudp_sim: Simulate, does: str
) -> None:
    """Written where the data is handed over; a FIN of its own follows."""

    async def main() -> None:
        sent, arrived_s = await _ask(network, does)
        payloads = [left.segment.payload for left in sent]
        assert [payload for payload in payloads if payload] == [b"answer"]
        assert len(sent) == (2 if does == "answer and end" else 1)
        assert sent[0].at_s == pytest.approx(arrived_s, abs=1e-6)
        assert sent[-1].segment.ack == sent[0].segment.ack

    rudp_sim(main)


@pytest.mark.parametrize("does", ["nothing", "pause"])
def test_the_acknowledgement_of_who_says_nothing(
    network: Network, rudp_sim: Simulate, does: str
) -> None:
    """It leaves in the same moment, once."""

    async def main() -> None:
        sent, arrived_s = await _ask(network, does)
        assert len(sent) == 1
        assert sent[0].segment.payload == b""
        assert sent[0].at_s == pytest.approx(arrived_s, abs=1e-6)

    rudp_sim(main)


@pytest.mark.parametrize("does", ["nothing", "answer", "answer twice"])
def test_a_socket_that_takes_nothing_puts_the_answer_off(
    network: Network, rudp_sim: Simulate, does: str
) -> None:
    """Whoever wrote meanwhile was told that the answer left: it still has to."""

    async def main() -> None:
        sent, _ = await _ask(network, does, pause=True)
        assert b"".join(left.segment.payload for left in sent) == (
            b"answer" if does.startswith("answer") else b""
        )
        assert len(sent) >= 1

    rudp_sim(main)


def test_a_task_that_wakes_answers_in_one_datagram(network: Network, rudp_sim: Simulate) -> None:
    """A coroutine behind a `StreamReader` runs before the acknowledgement would leave."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(REQUEST))
        writer.write(b"answer")
        await writer.drain()
        await reader.read()
        writer.close()

    async def main() -> None:
        async with serving(network, handle):
            with network.host("left"):
                reader, writer = await rudp.open_connection("10.0.0.2", PORT)
            await asyncio.sleep(0.1)
            watch = _Watch(network)
            writer.write(REQUEST)
            assert await reader.readexactly(6) == b"answer"
            assert [left.segment.payload for left in watch.sent] == [b"answer"]
            await end(writer)

    rudp_sim(main)


def test_a_reader_s_answer_tells_the_window_that_reading_opened(
    network: Network, rudp_sim: Simulate
) -> None:
    """RFC 9293 §3.8.6.2.2: an acknowledgement before the reading would tell a smaller window,
    and a second one would have to follow."""
    config = rudp.Config(receive_buffer=20_000)
    total = 500_000

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(total)
        writer.close()

    async def main() -> None:
        async with serving(network, handle, config=config):
            with network.host("left"):
                _, writer = await rudp.open_connection("10.0.0.2", PORT)
            await asyncio.sleep(0.1)
            watch = _Watch(network)
            writer.write(bytes(total))
            await end(writer)
            acks = [left for left in watch.sent if not left.segment.flags & 1]
            moments = {round(left.at_s, 6) for left in acks}
            assert len(acks) <= len(moments) + 2

    rudp_sim(main)
