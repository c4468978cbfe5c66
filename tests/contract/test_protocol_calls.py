"""What a protocol is told, in which order, and how often."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .stacks import Stack
from .support import (
    BufferedRecorder,
    Clock,
    ConnectProtocols,
    DialProtocol,
    Echo,
    HalfOpenRecorder,
    Recorder,
    Serve,
    address_of,
    digest,
    loop_passes,
    random_bytes,
)

Pair = tuple[Recorder, Recorder]


@pytest.fixture
async def pair(connect_protocols: ConnectProtocols) -> Pair:
    return await connect_protocols()


async def test_the_whole_life_in_order(pair: Pair) -> None:
    client, server = pair
    client.transport.write(b"one")
    await server.until(lambda: server.received == b"one")
    client.transport.write(b"two")
    client.transport.close()
    assert await server.lost is None
    assert await client.lost is None
    assert server.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]
    assert client.calls == ["connection_made", "connection_lost"]
    assert server.received == b"onetwo"


async def test_data_written_before_close_comes_before_eof(pair: Pair) -> None:
    client, server = pair
    data = random_bytes(2_000_000)
    client.transport.write(data)
    client.transport.close()
    await server.lost
    assert digest(server.received) == digest(data)
    assert server.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]


async def test_connection_made_has_run_when_create_connection_returns(pair: Pair) -> None:
    client, _ = pair
    assert client.calls == ["connection_made"]
    assert client.transport.get_protocol() is client


async def test_create_connection_returns_the_transport_and_the_protocol_it_built(
    stack: Stack, connect_protocols: ConnectProtocols, serve_protocol: Serve
) -> None:
    server = await serve_protocol(Recorder)
    built = Recorder()
    transport, protocol = await stack.create_connection(lambda: built, *address_of(server))
    assert protocol is built
    assert transport is built.transport
    transport.abort()
    await built.lost


async def test_the_server_builds_one_protocol_for_each_connection(
    serve_protocol: Serve, dial_protocol: DialProtocol
) -> None:
    built: list[Recorder] = []

    def build() -> Recorder:
        built.append(Recorder())
        return built[-1]

    server = await serve_protocol(build)
    clients = [await dial_protocol(Recorder, *address_of(server)) for _ in range(3)]
    for number, client in enumerate(clients):
        client.transport.write(bytes([number]) * 5)
        client.transport.close()
        await client.lost
    assert len(built) == 3
    for protocol in built:
        await protocol.lost
    assert sorted(bytes(protocol.received) for protocol in built) == [
        b"\0\0\0\0\0",
        b"\1\1\1\1\1",
        b"\2\2\2\2\2",
    ]


async def test_a_protocol_may_write_in_connection_made(connect_protocols: ConnectProtocols) -> None:
    class Greeter(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.write(b"welcome")

    client, server = await connect_protocols(Greeter, Greeter)
    await client.until(lambda: client.received == b"welcome")
    await server.until(lambda: server.received == b"welcome")


async def test_a_protocol_may_close_in_connection_made(connect_protocols: ConnectProtocols) -> None:
    class Doorman(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.write(b"closed today")
            self.transport.close()

    client, server = await connect_protocols(server_factory=Doorman)
    assert await client.lost is None
    assert client.received == b"closed today"
    await server.lost
    assert server.calls == ["connection_made", "connection_lost"]


async def test_a_protocol_may_close_in_data_received(connect_protocols: ConnectProtocols) -> None:
    class OneShot(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(b"bye")
            self.transport.close()

    client, server = await connect_protocols(server_factory=OneShot)
    client.transport.write(b"hi")
    await client.lost
    assert client.received == b"bye"
    await server.lost
    assert server.calls == ["connection_made", "data_received", "connection_lost"]


async def test_after_close_no_more_data_is_delivered(pair: Pair, clock: Clock) -> None:
    client, server = pair
    server.transport.pause_reading()
    client.transport.write(b"too late")
    await clock.ticks()
    server.transport.close()
    await server.lost
    assert server.calls == ["connection_made", "connection_lost"]


@pytest.mark.parametrize("answer", [None, False, 0, ""])
async def test_eof_received_returning_a_false_value_closes_the_transport(
    connect_protocols: ConnectProtocols, answer: Any
) -> None:
    class Answering(Recorder):
        def eof_received(self) -> Any:
            super().eof_received()
            return answer

    client, server = await connect_protocols(HalfOpenRecorder, Answering)
    client.transport.write_eof()
    assert await server.lost is None
    await client.until(lambda: "eof_received" in client.calls)
    assert server.calls == ["connection_made", "eof_received", "connection_lost"]


async def test_eof_received_closing_the_transport_delivers_what_was_written(
    connect_protocols: ConnectProtocols,
) -> None:
    class LastWords(Recorder):
        def eof_received(self) -> None:
            super().eof_received()
            self.transport.write(random_bytes(500_000))

    client, _ = await connect_protocols(HalfOpenRecorder, LastWords)
    client.transport.write_eof()
    await client.until(lambda: "eof_received" in client.calls)
    assert digest(client.received) == digest(random_bytes(500_000))


async def test_eof_received_returning_true_keeps_the_transport_half_open(
    connect_protocols: ConnectProtocols, clock: Clock
) -> None:
    client, server = await connect_protocols(Recorder, HalfOpenRecorder)
    client.transport.write_eof()
    await server.until(lambda: "eof_received" in server.calls)
    await clock.ticks()
    assert not server.transport.is_closing()
    server.transport.write(b"still here")
    await client.until(lambda: client.received == b"still here")
    server.transport.close()
    assert await client.lost is None
    assert await server.lost is None
    assert server.calls == ["connection_made", "eof_received", "connection_lost"]


async def test_both_sides_half_open_end_by_close(connect_protocols: ConnectProtocols) -> None:
    client, server = await connect_protocols(HalfOpenRecorder, HalfOpenRecorder)
    for side in (client, server):
        side.transport.write_eof()
    for side in (client, server):
        await side.until(lambda side=side: "eof_received" in side.calls)
        side.transport.close()
    for side in (client, server):
        assert await side.lost is None
        assert side.calls == ["connection_made", "eof_received", "connection_lost"]


async def test_abort_is_connection_lost_without_an_error_here(stack: Stack, pair: Pair) -> None:
    """And the end of the connection there: a FIN from asyncio's TCP, a reset from rudp."""
    client, server = pair
    client.transport.abort()
    assert client.calls == ["connection_made"]
    assert await client.lost is None
    reason = await server.lost
    assert isinstance(reason, ConnectionResetError) if stack.abort_resets else reason is None


async def test_abort_drops_what_is_not_sent(pair: Pair) -> None:
    client, server = pair
    server.transport.pause_reading()
    client.transport.write(bytes(30_000_000))
    client.transport.abort()
    assert client.transport.is_closing()
    assert await client.lost is None
    server.transport.resume_reading()
    await server.lost
    assert len(server.received) < 30_000_000


async def test_a_reset_is_connection_lost_with_the_error(stack: Stack, pair: Pair) -> None:
    client, server = pair
    stack.reset(client.transport)
    assert isinstance(await server.lost, ConnectionResetError)
    assert server.calls == ["connection_made", "connection_lost"]
    assert await client.lost is None


async def test_connection_lost_comes_once_however_often_the_end_is_asked_for(
    pair: Pair, clock: Clock
) -> None:
    """A second call would raise in `Recorder` and be reported to the loop's exception handler."""
    client, _ = pair
    for _ in range(2):
        client.transport.close()
        client.transport.abort()
    assert await client.lost is None
    client.transport.close()
    client.transport.abort()
    await clock.ticks()
    assert client.calls == ["connection_made", "connection_lost"]


async def test_connection_lost_is_never_called_from_within_close_or_abort(
    connect_protocols: ConnectProtocols,
) -> None:
    for name in ("close", "abort"):
        client, _ = await connect_protocols()
        getattr(client.transport, name)()
        assert not client.lost.done()
        await client.lost


async def test_a_protocol_without_eof_received_of_its_own_is_closed(
    connect_protocols: ConnectProtocols,
) -> None:
    class Plain(asyncio.Protocol):
        def __init__(self) -> None:
            self.made = asyncio.get_running_loop().create_future()
            self.lost = asyncio.get_running_loop().create_future()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport
            self.made.set_result(None)

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set_result(exc)

    client, server = await connect_protocols(Plain, Plain)
    client.transport.write_eof()
    assert await server.lost is None
    assert await client.lost is None


async def test_a_conversation_of_many_turns(connect_protocols: ConnectProtocols) -> None:
    client, _ = await connect_protocols(Recorder, Echo)
    said = b""
    for number in range(200):
        message = number.to_bytes(2, "big")
        client.transport.write(message)
        said += message
        await client.until(lambda said=said: client.received == said)


class BufferedHalfOpen(BufferedRecorder):
    def eof_received(self) -> bool:
        super().eof_received()
        return True


async def test_a_buffered_protocol_gets_every_byte_through_its_own_buffer(
    connect_protocols: ConnectProtocols,
) -> None:
    client, server = await connect_protocols(Recorder, BufferedRecorder)
    data = random_bytes(300_000)
    client.transport.write(data)
    client.transport.close()
    assert await server.lost is None
    assert digest(server.received) == digest(data)
    assert server.calls[0] == "connection_made"
    assert server.calls[-2:] == ["eof_received", "connection_lost"]
    assert set(server.calls[1:-2]) == {"buffer_updated"}
    assert all(isinstance(hint, int) for hint in server.size_hints)


async def test_a_buffered_protocol_may_offer_one_byte(connect_protocols: ConnectProtocols) -> None:
    client, server = await connect_protocols(Recorder, lambda: BufferedRecorder(1))
    client.transport.write(b"letter by letter")
    await server.until(lambda: server.received == b"letter by letter")
    assert server.calls.count("buffer_updated") == len(b"letter by letter")


async def test_a_buffered_protocol_keeps_the_transport_half_open(
    connect_protocols: ConnectProtocols,
) -> None:
    client, server = await connect_protocols(Recorder, BufferedHalfOpen)
    client.transport.write(b"request")
    client.transport.write_eof()
    await server.until(lambda: "eof_received" in server.calls)
    server.transport.write(bytes(server.received))
    await client.until(lambda: client.received == b"request")


async def test_a_buffered_protocol_as_the_client(connect_protocols: ConnectProtocols) -> None:
    client, server = await connect_protocols(BufferedRecorder, Echo)
    data = random_bytes(50_000)
    client.transport.write(data)
    await client.until(lambda: len(client.received) == len(data))
    assert digest(client.received) == digest(data)
    server.transport.close()
    assert await client.lost is None


async def test_a_buffered_protocol_may_pause_in_buffer_updated(
    connect_protocols: ConnectProtocols, clock: Clock
) -> None:
    class OneAtATime(BufferedRecorder):
        def buffer_updated(self, nbytes: int) -> None:
            self.transport.pause_reading()
            super().buffer_updated(nbytes)

    client, server = await connect_protocols(Recorder, lambda: OneAtATime(10))
    client.transport.write(b"0123456789" * 5)
    for turn in range(1, 6):
        await server.until(lambda turn=turn: len(server.received) == 10 * turn)
        await clock.ticks()
        assert len(server.received) == 10 * turn
        server.transport.resume_reading()
    await loop_passes()
    assert server.received == b"0123456789" * 5
