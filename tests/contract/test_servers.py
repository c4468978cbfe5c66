"""The life of a server: starting, serving, closing, waiting."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import pytest

from .stacks import LOOPBACK, Stack
from .support import (
    Clock,
    ConnectProtocols,
    Dial,
    Recorder,
    Serve,
    address_of,
    echo,
    echo_round_trip,
    end_server,
    loop_passes,
)


async def test_a_server_knows_its_socket_loop_and_state(serve: Serve) -> None:
    server = await serve(echo)
    assert len(server.sockets) == 1
    host, port = server.sockets[0].getsockname()
    assert host == LOOPBACK
    assert port > 0
    assert server.is_serving()
    assert server.get_loop() is asyncio.get_running_loop()


@pytest.mark.not_on("tcp-uvloop", because="its server is of no asyncio class")
async def test_a_server_is_an_abstract_server(serve: Serve) -> None:
    assert isinstance(await serve(echo), asyncio.AbstractServer)


async def test_the_callback_may_be_a_plain_function(serve: Serve, dial: Dial) -> None:
    def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    end = await dial(*address_of(await serve(greet)))
    assert await end.reader.read() == b"hello"


async def test_a_server_serves_one_after_another(serve: Serve, dial: Dial) -> None:
    server = await serve(echo)
    for number in range(20):
        end = await dial(*address_of(server))
        assert await echo_round_trip(end, bytes([number])) == bytes([number])
        end.writer.close()
        await end.writer.wait_closed()


async def test_two_servers_do_not_mix(serve: Serve, dial: Dial) -> None:
    async def say(name: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(name)
        writer.close()

    first = await serve(lambda _, writer: say(b"first", writer))
    second = await serve(lambda _, writer: say(b"second", writer))
    for server, name in ((second, b"second"), (first, b"first"), (second, b"second")):
        end = await dial(*address_of(server))
        assert await end.reader.read() == name


async def test_one_process_may_be_server_and_client_of_itself(serve: Serve, dial: Dial) -> None:
    """Two connections of the same server: its bytes go to the right one."""
    server = await serve(echo)
    one, two = await dial(*address_of(server)), await dial(*address_of(server))
    one.writer.write(b"to the first")
    two.writer.write(b"to the second")
    assert await two.reader.readexactly(13) == b"to the second"
    assert await one.reader.readexactly(12) == b"to the first"


async def test_a_small_backlog_serves_them_all_in_the_end(serve: Serve, dial: Dial) -> None:
    server = await serve(echo, backlog=1)
    for _ in range(5):
        end = await dial(*address_of(server))
        assert await echo_round_trip(end) == b"still alive"


@pytest.mark.not_on("tcp-asyncio", because="it leaks the socket")
async def test_a_backlog_that_is_no_number_is_a_type_error(stack: Stack) -> None:
    with pytest.raises(TypeError):
        await stack.start_server(echo, LOOPBACK, 0, backlog="many")


# Serving, or not yet


async def test_start_serving_false_refuses_until_start_serving(
    stack: Stack, serve: Serve, dial: Dial
) -> None:
    server = await serve(echo, start_serving=False)
    assert not server.is_serving()
    address = address_of(server)
    with pytest.raises(ConnectionRefusedError):
        await stack.open_connection(*address)
    await server.start_serving()
    assert server.is_serving()
    end = await dial(*address_of(server))
    assert await echo_round_trip(end) == b"still alive"


async def test_start_serving_twice_is_start_serving_once(serve: Serve, dial: Dial) -> None:
    server = await serve(echo)
    await server.start_serving()
    await server.start_serving()
    assert server.is_serving()
    end = await dial(*address_of(server))
    assert await echo_round_trip(end) == b"still alive"


async def test_serve_forever_starts_serving_and_ends_when_cancelled(
    serve: Serve, dial: Dial
) -> None:
    server = await serve(echo, start_serving=False)
    serving = asyncio.create_task(server.serve_forever())
    await loop_passes()
    assert server.is_serving()
    end = await dial(*address_of(server))
    assert await echo_round_trip(end) == b"still alive"
    end.writer.close()
    await end.writer.wait_closed()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert not server.is_serving()
    assert tuple(server.sockets) == ()


async def test_serve_forever_cancelled_at_once_still_closes_the_server(serve: Serve) -> None:
    server = await serve(echo, start_serving=False)
    serving = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0)
    assert server.is_serving()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert not server.is_serving()


@pytest.mark.not_on("tcp-uvloop", because="it goes on until it is cancelled")
async def test_serve_forever_ends_when_the_server_is_closed(serve: Serve) -> None:
    server = await serve(echo)
    serving = asyncio.create_task(server.serve_forever())
    await loop_passes()
    server.close()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_serve_forever_twice_is_a_runtime_error(serve: Serve) -> None:
    server = await serve(echo)
    serving = asyncio.create_task(server.serve_forever())
    await loop_passes()
    with pytest.raises(RuntimeError):
        await server.serve_forever()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_serve_forever_of_a_closed_server_is_a_runtime_error(serve: Serve) -> None:
    server = await serve(echo)
    server.close()
    with pytest.raises(RuntimeError):
        await server.serve_forever()


# Closing


async def test_after_close_a_server_has_no_sockets_and_does_not_serve(serve: Serve) -> None:
    server = await serve(echo)
    server.close()
    assert tuple(server.sockets) == ()
    assert not server.is_serving()
    await server.wait_closed()


async def test_close_twice_and_wait_closed_twice(serve: Serve) -> None:
    server = await serve(echo)
    server.close()
    server.close()
    await server.wait_closed()
    server.close()
    await server.wait_closed()


async def test_closing_the_server_keeps_serving_what_lives(serve: Serve, dial: Dial) -> None:
    server = await serve(echo)
    ends = [await dial(*address_of(server)) for _ in range(3)]
    for end in ends:
        assert await echo_round_trip(end) == b"still alive"
    server.close()
    for end in ends:
        assert await echo_round_trip(end, bytes(200_000)) == bytes(200_000)
        end.writer.close()
        await end.writer.wait_closed()


async def test_a_port_may_be_listened_on_again_after_close(serve: Serve, dial: Dial) -> None:
    server = await serve(echo)
    address = address_of(server)
    await end_server(server)
    again = await serve(echo, *address)
    end = await dial(*address_of(again))
    assert await echo_round_trip(end) == b"still alive"


async def test_a_server_as_a_context_manager_is_closed_at_its_end(stack: Stack, dial: Dial) -> None:
    async with await stack.start_server(echo, LOOPBACK, 0) as server:
        address = address_of(server)
        end = await dial(*address_of(server))
        assert await echo_round_trip(end) == b"still alive"
        end.writer.close()
        await end.writer.wait_closed()
    assert not server.is_serving()
    with pytest.raises(ConnectionRefusedError):
        await stack.open_connection(*address)


async def test_wait_closed_before_close_waits_for_it(serve: Serve, clock: Clock) -> None:
    server = await serve(echo)
    waiting = asyncio.create_task(server.wait_closed())
    await clock.ticks()
    assert not waiting.done()
    server.close()
    await waiting


# Python 3.12.1 repaired asyncio's wait_closed(); uvloop kept the old behaviour.
WAITS_FOR_CLIENTS = [
    "tcp-asyncio",
    *(f"{stack}-{loop}" for stack in ("rudp", "rudp-stock") for loop in ("asyncio", "uvloop")),
]


@pytest.mark.not_on(
    *(WAITS_FOR_CLIENTS if sys.version_info >= (3, 12) else []), because="it waits for clients"
)
async def test_wait_closed_after_close_returns_though_connections_live(
    serve: Serve, dial: Dial
) -> None:
    server = await serve(echo)
    end = await dial(*address_of(server))
    assert await echo_round_trip(end) == b"still alive"
    server.close()
    await server.wait_closed()
    assert await echo_round_trip(end) == b"still alive"


@pytest.mark.not_on(
    "tcp-uvloop",
    *(WAITS_FOR_CLIENTS if sys.version_info < (3, 12, 1) else []),
    because="it does not wait for clients",
)
async def test_wait_closed_after_close_waits_for_the_last_connection(
    serve: Serve, clock: Clock, dial: Dial
) -> None:
    server = await serve(echo)
    end = await dial(*address_of(server))
    assert await echo_round_trip(end) == b"still alive"
    server.close()
    waiting = asyncio.create_task(server.wait_closed())
    await clock.ticks()
    assert not waiting.done()
    end.writer.close()
    await end.writer.wait_closed()
    await waiting


async def test_wait_closed_returns_when_there_never_was_a_connection(serve: Serve) -> None:
    server = await serve(echo)
    server.close()
    await server.wait_closed()


# asyncio's TCP server can end its clients from Python 3.13 on, uvloop's cannot.
controls_its_clients = pytest.mark.not_on(
    "tcp-uvloop",
    *(["tcp-asyncio"] if sys.version_info < (3, 13) else []),
    because="its server has no such method",
)


@controls_its_clients
async def test_close_clients_closes_every_connection_and_delivers_what_was_written(
    serve: Serve, dial: Dial
) -> None:
    accepted: list[asyncio.StreamWriter] = []

    def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(1_000_000))
        accepted.append(writer)

    server = await serve(greet)
    ends = [await dial(*address_of(server)) for _ in range(3)]
    for end in ends:
        await end.reader.readexactly(1)
    server.close()
    server.close_clients()
    for end in ends:
        assert len(await end.reader.read()) == 999_999
        end.writer.close()
        await end.writer.wait_closed()
    await server.wait_closed()
    assert [writer.is_closing() for writer in accepted] == [True] * 3


@controls_its_clients
async def test_abort_clients_ends_every_connection_at_once(
    serve: Serve, clock: Clock, dial: Dial
) -> None:
    accepted: list[asyncio.StreamWriter] = []
    server = await serve(lambda _, writer: accepted.append(writer))
    ends = [await dial(*address_of(server)) for _ in range(3)]
    await clock.ticks()
    assert len(accepted) == 3
    server.close()
    server.abort_clients()
    for end in ends:
        with contextlib.suppress(ConnectionResetError):
            assert await end.reader.read() == b""
    await server.wait_closed()
    assert [writer.is_closing() for writer in accepted] == [True] * 3


@controls_its_clients
@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
async def test_ending_the_clients_does_not_close_the_server(
    serve: Serve, method: str, dial: Dial
) -> None:
    server = await serve(echo)
    end = await dial(*address_of(server))
    assert await echo_round_trip(end) == b"still alive"
    getattr(server, method)()
    with contextlib.suppress(ConnectionResetError):
        assert await end.reader.read() == b""
    assert server.is_serving()
    second = await dial(*address_of(server))
    assert await echo_round_trip(second) == b"still alive"


@controls_its_clients
async def test_ending_clients_leaves_those_of_other_servers(
    serve: Serve, connect_protocols: ConnectProtocols
) -> None:
    client, other = await connect_protocols(Recorder, Recorder)
    server = await serve(echo)
    server.abort_clients()
    client.transport.write(b"unmoved")
    await other.until(lambda: other.received == b"unmoved")
