"""A protocol that raises: its own connection ends, the loop hears of it, nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from .stacks import Stack
from .support import (
    BufferedRecorder,
    Clock,
    ConnectProtocols,
    DialProtocol,
    Echo,
    Recorder,
    Serve,
    _Recording,
    address_of,
    fill,
    loop_passes,
)

LoopErrors = list[dict[str, Any]]


class Boom(Exception):
    """What the protocols below raise."""


def take_boom(loop_errors: LoopErrors) -> dict[str, Any]:
    """Take out the one context that was reported, and check that it carries the exception."""
    (context,) = loop_errors
    loop_errors.clear()
    assert isinstance(context["exception"], Boom)
    assert context["message"]
    return context


class RaisesOnData(Recorder):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        raise Boom


class RaisesOnEof(Recorder):
    def eof_received(self) -> None:
        super().eof_received()
        raise Boom


class RaisesOnGetBuffer(BufferedRecorder):
    def get_buffer(self, sizehint: int) -> bytearray:
        raise Boom


class RaisesOnBufferUpdated(BufferedRecorder):
    def buffer_updated(self, nbytes: int) -> None:
        raise Boom


class RaisesOnMade(Recorder):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        raise Boom


@pytest.mark.parametrize("factory", [RaisesOnData, RaisesOnEof, RaisesOnBufferUpdated])
@pytest.mark.parametrize("side", ["client", "server"])
async def test_an_exception_in_a_callback_ends_the_connection_with_it(
    connect_protocols: ConnectProtocols, loop_errors: LoopErrors, factory: type, side: str
) -> None:
    if side == "server":
        healthy, raising = await connect_protocols(Recorder, factory)
    else:
        raising, healthy = await connect_protocols(factory, Recorder)
    healthy.transport.write(b"x")
    if factory is RaisesOnEof:
        healthy.transport.write_eof()
    assert isinstance(await raising.lost, Boom)
    await healthy.lost
    context = take_boom(loop_errors)
    assert context["transport"] is raising.transport
    assert context["protocol"] is raising


@pytest.mark.parametrize("factory", [RaisesOnGetBuffer, lambda: BufferedRecorder(0)])
async def test_a_buffered_protocol_without_a_usable_buffer_ends_its_connection(
    connect_protocols: ConnectProtocols, loop_errors: LoopErrors, factory: Callable[[], Any]
) -> None:
    """Stock asyncio passes on what get_buffer() raised; uvloop raises RuntimeError in its place."""
    client, server = await connect_protocols(Recorder, factory)
    client.transport.write(b"x")
    assert isinstance(await server.lost, Boom | RuntimeError)
    await client.lost
    assert len(loop_errors) == 1
    loop_errors.clear()


async def test_a_protocol_without_the_method_ends_its_connection(
    connect_protocols: ConnectProtocols, loop_errors: LoopErrors
) -> None:
    """Nor does the missing method reach whoever reads the socket."""

    class Deaf(_Recording, asyncio.BaseProtocol):
        pass

    client, server = await connect_protocols(Recorder, Deaf)
    client.transport.write(b"x")
    assert isinstance(await server.lost, AttributeError | TypeError)
    await client.lost
    assert len(loop_errors) == 1
    loop_errors.clear()


@pytest.mark.not_on("tcp-asyncio", because="it goes by the class")
async def test_a_protocol_with_get_buffer_is_a_buffered_one(
    connect_protocols: ConnectProtocols,
) -> None:
    class Buffered(_Recording, asyncio.BaseProtocol):
        get_buffer = BufferedRecorder.get_buffer
        buffer_updated = BufferedRecorder.buffer_updated

        def __init__(self) -> None:
            super().__init__()
            self.buffer = bytearray(100)
            self.size_hints: list[int] = []

    client, server = await connect_protocols(Recorder, Buffered)
    client.transport.write(b"into the buffer")
    await server.until(lambda: server.received == b"into the buffer")


async def test_an_exception_in_connection_made_is_reported(
    connect_protocols: ConnectProtocols, loop_errors: LoopErrors
) -> None:
    """Neither loop closes the connection for it; the peer does not notice."""
    await connect_protocols(Recorder, RaisesOnMade)
    await loop_passes()
    take_boom(loop_errors)


@pytest.mark.not_on("tcp-uvloop", because="it does not begin to read")
async def test_after_an_exception_in_connection_made_the_connection_lives(
    connect_protocols: ConnectProtocols, loop_errors: LoopErrors
) -> None:
    for factories in ((Recorder, RaisesOnMade), (RaisesOnMade, Recorder)):
        client, server = await connect_protocols(*factories)
        await loop_passes()
        take_boom(loop_errors)
        client.transport.write(b"alive")
        await server.until(lambda server=server: server.received == b"alive")
        client.transport.close()
        assert await server.lost is None
        assert await client.lost is None


async def test_an_exception_in_connection_lost_is_reported(
    connect_protocols: ConnectProtocols, loop_errors: LoopErrors
) -> None:
    class RaisesOnLost(Recorder):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            raise Boom

    client, server = await connect_protocols(Recorder, RaisesOnLost)
    client.transport.close()
    await server.lost
    await loop_passes()
    take_boom(loop_errors)


@pytest.mark.parametrize("callback", ["pause_writing", "resume_writing"])
async def test_an_exception_in_flow_control_is_reported_and_the_connection_lives(
    connect_protocols: ConnectProtocols, clock: Clock, loop_errors: LoopErrors, callback: str
) -> None:
    class Raises(Recorder):
        pass

    def boom(self: Recorder) -> None:
        self.note(callback)
        raise Boom

    setattr(Raises, callback, boom)
    client, server = await connect_protocols(Raises, Recorder)
    server.transport.pause_reading()
    written = await fill(client.transport, clock)
    server.transport.resume_reading()
    await client.until(lambda: callback in client.calls)
    await server.until(lambda: len(server.received) == len(written))
    assert not client.transport.is_closing()
    assert {type(context["exception"]) for context in loop_errors} == {Boom}
    loop_errors.clear()


@pytest.mark.parametrize("factory", [RaisesOnData, RaisesOnEof, RaisesOnBufferUpdated])
async def test_other_connections_of_the_server_never_notice(
    loop_errors: LoopErrors, factory: type, serve_protocol: Serve, dial_protocol: DialProtocol
) -> None:
    factories = iter([Echo, factory, Echo])
    server = await serve_protocol(lambda: next(factories)())

    async def connect() -> Recorder:
        return await dial_protocol(Recorder, *address_of(server))

    before, victim = await connect(), await connect()
    victim.transport.write(b"x")
    victim.transport.write_eof()
    await victim.lost
    take_boom(loop_errors)
    after = await connect()
    for client in (before, after):
        client.transport.write(b"fine")
        await client.until(lambda client=client: client.received == b"fine")
        client.transport.close()
        await client.lost


@pytest.mark.not_on("tcp-asyncio", "tcp-uvloop", because="asyncio leaks the socket, uvloop spins")
async def test_a_server_factory_that_raises_costs_only_that_connection(
    loop_errors: LoopErrors, serve_protocol: Serve, dial_protocol: DialProtocol
) -> None:
    """Whether the loop's exception handler hears of it is open: asyncio tells it in debug mode."""
    calls = 0

    def build() -> Echo:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise Boom
        return Echo()

    server = await serve_protocol(build)
    unlucky = await dial_protocol(Recorder, *address_of(server))
    await unlucky.lost
    client = await dial_protocol(Recorder, *address_of(server))
    client.transport.write(b"fine")
    await client.until(lambda: client.received == b"fine")
    client.transport.close()
    await client.lost
    loop_errors.clear()


@pytest.mark.not_on("tcp-asyncio", because="it leaks the socket")
async def test_a_client_factory_that_raises_raises_from_create_connection(
    stack: Stack, serve_protocol: Serve
) -> None:
    def build() -> Recorder:
        raise Boom

    server = await serve_protocol(Echo)
    with pytest.raises(Boom):
        await stack.create_connection(build, *address_of(server))


async def test_a_stream_callback_that_raises_costs_only_that_connection(
    stack: Stack, serve: Any, loop_errors: LoopErrors
) -> None:
    calls = 0

    async def callback(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        with_error = calls == 1
        data = await reader.read(100)
        writer.write(data)
        writer.close()
        if with_error:
            raise Boom

    server = await serve(callback)
    for _ in range(2):
        reader, writer = await stack.open_connection(*address_of(server))
        writer.write(b"to and fro")
        assert await reader.read() == b"to and fro"
        writer.close()
        await writer.wait_closed()
    await loop_passes()
    take_boom(loop_errors)
