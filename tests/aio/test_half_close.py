"""Both directions have ended on the wire before the application has read everything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rudp
from rudp.sim import Network

from .support import CHUNK_BYTES, PORT, Simulate, end, serving

SIZE_BYTES = 3 * CHUNK_BYTES


def test_a_slow_stream_reader_still_gets_everything(network: Network, rudp_sim: Simulate) -> None:
    """Both sides have sent their FIN; what lies in the receive buffer is not lost with that."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * SIZE_BYTES)
        writer.write_eof()
        assert await reader.read() == b""
        await end(writer)

    async def main() -> None:
        async with serving(network, say):
            with network.host("left"):
                reader, writer = await rudp.open_connection("right", PORT, limit=1000)
            writer.write_eof()
            await asyncio.sleep(60.0)
            assert await reader.read() == b"x" * SIZE_BYTES
            await end(writer)

    rudp_sim(main)


class Paused(asyncio.Protocol):
    """Does not read until told to, and keeps its transport open after EOF."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.received = b""
        self.lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.calls.append("data_received")

    def eof_received(self) -> bool:
        self.calls.append("eof_received")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("connection_lost")
        self.lost.set_result(exc)


@pytest.mark.parametrize("ending", ["close", "shutdown"])
def test_data_then_eof_then_the_end(network: Network, rudp_sim: Simulate, ending: str) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.write(b"last words")
        if ending == "shutdown":
            writer.write_eof()
        await end(writer)

    async def main() -> None:
        async with serving(network, say):
            with network.host("left"):
                transport, protocol = await rudp.create_connection(Paused, "right", PORT)
            assert isinstance(protocol, Paused)
            transport.write_eof()
            await asyncio.sleep(60.0)
            assert protocol.calls == []
            assert not transport.is_closing()
            transport.resume_reading()
            assert await protocol.lost is None
            assert protocol.received == b"last words"
            assert protocol.calls == ["data_received", "eof_received", "connection_lost"]

    rudp_sim(main)


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_reader_that_never_resumes_may_end_it(
    network: Network, rudp_sim: Simulate, how: str
) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.write(b"last words")
        await end(writer)

    async def main() -> None:
        async with serving(network, say):
            with network.host("left"):
                transport, protocol = await rudp.create_connection(Paused, "right", PORT)
            assert isinstance(protocol, Paused)
            transport.write_eof()
            await asyncio.sleep(60.0)
            getattr(transport, how)()
            assert await protocol.lost is None
            assert protocol.calls == ["connection_lost"]

    rudp_sim(main)


def test_half_close_for_a_day(network: Network, rudp_sim: Simulate) -> None:
    """RFC 9293 §3.6: one direction may go on for as long as it likes."""
    config = rudp.Config(keepalive=3600.0)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b"request"
        for _ in range(24):
            writer.write(b"tick\n")
            await asyncio.sleep(3600.0)
        await end(writer)

    async def main() -> None:
        async with serving(network, drip, config=config):
            with network.host("left"):
                reader, writer = await rudp.open_connection("right", PORT, config=config)
            writer.write(b"request")
            writer.write_eof()
            assert [line async for line in reader] == [b"tick\n"] * 24
            assert asyncio.get_running_loop().time() > 24 * 3600.0
            await end(writer)

    rudp_sim(main)
