"""Cancelling any await leaves the connection, the server and the bytes as they were."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from .stacks import LOOPBACK, Stack
from .support import (
    Clock,
    Dial,
    End,
    Serve,
    address_of,
    digest,
    echo,
    echo_round_trip,
    end_connection,
    end_server,
    fill,
    loop_passes,
    read_digest,
)

Ends = tuple[End, End]


async def cancelled(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Start `coroutine`, let it come to its wait, and cancel it there."""
    task = asyncio.ensure_future(coroutine)
    await loop_passes()
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("passes", range(8))
async def test_cancelled_open_connection_leaves_the_server_usable(
    stack: Stack, serve: Serve, passes: int, dial: Dial
) -> None:
    """Cancelled after every number of loop passes: wherever it was, nothing stays behind."""
    server = await serve(echo)
    task = asyncio.ensure_future(stack.open_connection(*address_of(server)))
    await loop_passes(passes)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        _, writer = await task
        await end_connection(writer)
    assert await echo_round_trip(await dial(*address_of(server))) == b"still alive"


@pytest.mark.parametrize("passes", range(4))
async def test_cancelled_start_server_frees_its_port(stack: Stack, passes: int) -> None:
    port = stack.unused_port()
    task = asyncio.ensure_future(stack.start_server(echo, LOOPBACK, port))
    await loop_passes(passes)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await end_server(await task)
    await end_server(await stack.start_server(echo, LOOPBACK, port))


async def test_cancelled_connect_to_a_silent_host(stack: Stack) -> None:
    with stack.silent_address() as address:
        await cancelled(stack.open_connection(*address))


async def test_timeout_around_connecting_to_a_silent_host(stack: Stack) -> None:
    with stack.silent_address() as address, pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await stack.open_connection(*address)


READS: dict[str, Callable[[asyncio.StreamReader], Coroutine[Any, Any, bytes]]] = {
    "read": lambda reader: reader.read(100),
    "read all": lambda reader: reader.read(),
    "readline": lambda reader: reader.readline(),
    "readuntil": lambda reader: reader.readuntil(b"\n"),
    "readexactly": lambda reader: reader.readexactly(6),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
async def test_cancelled_read_loses_no_byte(
    ends: Ends, read: Callable[[asyncio.StreamReader], Coroutine[Any, Any, bytes]]
) -> None:
    client, server = ends
    await cancelled(read(client.reader))
    server.writer.write(b"whole\n")
    server.writer.write_eof()
    assert await read(client.reader) == b"whole\n"


@pytest.mark.parametrize("method", ["readline", "readuntil", "readexactly"])
async def test_cancelled_half_way_keeps_what_had_arrived(
    ends: Ends, clock: Clock, method: str
) -> None:
    client, server = ends
    arguments = [6] if method == "readexactly" else []
    reading = asyncio.ensure_future(getattr(client.reader, method)(*arguments))
    server.writer.write(b"who")
    await clock.ticks()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    server.writer.write(b"le\n")
    assert await getattr(client.reader, method)(*arguments) == b"whole\n"


async def test_timeout_around_a_read(ends: Ends) -> None:
    client, server = ends
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await client.reader.read(1)
    server.writer.write(b"later")
    assert await client.reader.readexactly(5) == b"later"


async def test_wait_for_around_a_read(ends: Ends) -> None:
    client, server = ends
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reader.readline(), timeout=0)
    server.writer.write(b"later\n")
    assert await asyncio.wait_for(client.reader.readline(), timeout=10) == b"later\n"


async def test_cancelled_drain_loses_no_byte(ends: Ends, clock: Clock) -> None:
    client, server = ends
    server.writer.transport.pause_reading()
    written = await fill(client.writer.transport, clock)
    await cancelled(client.writer.drain())
    server.writer.transport.resume_reading()
    assert await read_digest(server.reader, len(written)) == digest(written)
    await client.writer.drain()
    client.writer.write(b"usable")
    assert await server.reader.readexactly(6) == b"usable"


async def test_timeout_around_drain(ends: Ends, clock: Clock) -> None:
    client, server = ends
    server.writer.transport.pause_reading()
    written = await fill(client.writer.transport, clock)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await client.writer.drain()
    server.writer.transport.resume_reading()
    assert await read_digest(server.reader, len(written)) == digest(written)


async def test_cancelled_wait_closed_still_delivers_and_closes(ends: Ends, clock: Clock) -> None:
    """A second wait_closed() may be cancelled too: asyncio's StreamWriter shares one future."""
    client, server = ends
    server.writer.transport.pause_reading()
    written = await fill(client.writer.transport, clock)
    client.writer.close()
    await cancelled(client.writer.wait_closed())
    server.writer.transport.resume_reading()
    assert digest(await server.reader.read()) == digest(written)


async def test_cancelled_server_wait_closed_leaves_it_serving(serve: Serve, dial: Dial) -> None:
    """Before close(), Python 3.11 and uvloop wait for it, and so does every later version."""
    server = await serve(echo)
    await cancelled(server.wait_closed())
    assert await echo_round_trip(await dial(*address_of(server))) == b"still alive"


async def test_cancelled_serve_forever_closes_the_server(stack: Stack, serve: Serve) -> None:
    server = await serve(echo)
    address = address_of(server)
    await cancelled(server.serve_forever())
    assert not server.is_serving()
    with pytest.raises(ConnectionRefusedError):
        await stack.open_connection(*address)


async def test_cancelled_handler_leaves_the_server_and_the_others(
    serve: Serve, loop_errors: list[dict[str, Any]], dial: Dial
) -> None:
    """asyncio before 3.11.8 also reports the CancelledError to the loop's exception handler."""
    handlers: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.put_nowait(task)
        try:
            await echo(reader, writer)
        finally:
            writer.close()

    server = await serve(handler)
    first = await dial(*address_of(server))
    first_handler = await handlers.get()
    second = await dial(*address_of(server))
    first_handler.cancel()
    assert await first.reader.read() == b""
    assert await echo_round_trip(second) == b"still alive"
    loop_errors.clear()
