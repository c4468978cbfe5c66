"""What goes wrong on one connection never touches another one of the same socket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rudp
from rudp.sim import Network

from .support import PORT, Simulate, echo, end, round_trip, serving


class Boom(Exception):
    """What the faulty protocols raise."""


class Faulty(asyncio.Protocol):
    """Raises in one of its callbacks."""

    def __init__(self, where: str) -> None:
        self._where = where

    def _maybe_raise(self, name: str) -> None:
        if name == self._where:
            raise Boom(name)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=0)
        self._maybe_raise("connection_made")

    def data_received(self, data: bytes) -> None:
        self._maybe_raise("data_received")
        self.transport.write(data)

    def eof_received(self) -> None:
        self._maybe_raise("eof_received")

    def pause_writing(self) -> None:
        self._maybe_raise("pause_writing")

    def resume_writing(self) -> None:
        self._maybe_raise("resume_writing")

    def connection_lost(self, exc: Exception | None) -> None:
        self._maybe_raise("connection_lost")


# Little room behind the transport, so that writing is paused and resumed all the time.
SMALL = rudp.Config(send_buffer=4096)
CALLBACKS = (
    "connection_made",
    "data_received",
    "eof_received",
    "pause_writing",
    "resume_writing",
    "connection_lost",
)


def _collect_errors() -> list[Any]:
    errors: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(context.get("exception")))
    return errors


@pytest.mark.parametrize("where", CALLBACKS)
def test_a_faulty_server_protocol(network: Network, rudp_sim: Simulate, where: str) -> None:
    """Every second connection raises; all of them are on one socket at each end."""
    made = 0

    def factory() -> asyncio.Protocol:
        nonlocal made
        made += 1
        return Faulty(where if made % 2 else "nowhere")

    async def main() -> None:
        errors = _collect_errors()
        with network.host("right"):
            server = await rudp.create_server(factory, "10.0.0.2", PORT, config=SMALL)
        with network.host("left"):
            dialled = [await rudp.open_connection("10.0.0.2", PORT) for _ in range(6)]
        sound = dialled[1::2]
        for size in (10, 300_000):
            for _, writer in dialled:
                writer.write(b"m" * size)
            for reader, _ in sound:
                assert await reader.readexactly(size) == b"m" * size
        for _, writer in dialled:
            if not writer.is_closing():
                writer.write_eof()
        for reader, writer in sound:
            assert await reader.read() == b""
            await end(writer)
        for _, writer in dialled[::2]:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        server.close()
        await asyncio.sleep(1.0)
        assert errors
        assert {type(error) for error in errors} == {Boom}

    rudp_sim(main)


@pytest.mark.parametrize("where", CALLBACKS)
def test_a_faulty_client_protocol(network: Network, rudp_sim: Simulate, where: str) -> None:
    async def main() -> None:
        errors = _collect_errors()
        async with serving(network, echo):
            with network.host("left"):
                reader, writer = await rudp.open_connection("10.0.0.2", PORT)
                transport, _ = await rudp.create_connection(
                    lambda: Faulty(where), "10.0.0.2", PORT, config=SMALL
                )
            assert len(network.get_host("left").sockets) == 1
            for _ in range(3):
                if not transport.is_closing():
                    transport.write(b"f" * 6_000)
                assert await round_trip(reader, writer) == b"alive"
                await asyncio.sleep(0.1)
            # Faulty echoes what is echoed: only its own end stops that.
            transport.abort()
            await asyncio.sleep(1.0)
            assert await round_trip(reader, writer) == b"alive"
            await end(writer)
        if where != "eof_received":  # its peer never ends first
            assert errors
        assert {type(error) for error in errors} <= {Boom}

    rudp_sim(main)


def test_a_failing_factory_costs_the_server_one_connection(
    network: Network, rudp_sim: Simulate
) -> None:
    calls = 0

    def factory() -> asyncio.Protocol:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise Boom
        return Faulty("nowhere")

    async def main() -> None:
        errors = _collect_errors()
        async with rudp.Endpoint.bind("10.0.0.2", PORT) as right:
            await right.create_server(factory)
            with network.host("left"):
                for _ in range(3):
                    reader, _ = await rudp.open_connection("10.0.0.2", PORT)
                    with pytest.raises(ConnectionResetError):
                        await reader.read()
                    reader, writer = await rudp.open_connection("10.0.0.2", PORT)
                    assert await round_trip(reader, writer) == b"alive"
                    await end(writer)
            assert [type(error) for error in errors] == [Boom] * 3
            await asyncio.sleep(1.0)
            assert right.connection_count == 0

    rudp_sim(main)


def test_a_failing_factory_of_a_client_raises_there_and_leaves_nothing(
    network: Network, rudp_sim: Simulate
) -> None:
    def factory() -> asyncio.Protocol:
        raise Boom

    async def main() -> None:
        async with serving(network) as server:
            with network.host("left"), pytest.raises(Boom):
                await rudp.create_connection(factory, "10.0.0.2", PORT)
            assert network.get_host("left").sockets == {}
            await asyncio.sleep(1.0)
            assert server.is_serving()

    rudp_sim(main)


def test_the_reset_of_one_leaves_the_others(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with serving(network, echo) as server:
            with network.host("left"):
                dialled = [await rudp.open_connection("10.0.0.2", PORT) for _ in range(10)]
            for index, (_, writer) in enumerate(dialled):
                if index % 2:
                    writer.transport.abort()
            for reader, writer in dialled[::2]:
                assert await round_trip(reader, writer) == b"alive"
            server.close_clients()
            for reader, writer in dialled[::2]:
                assert await reader.read() == b""
                await end(writer)

    rudp_sim(main)
