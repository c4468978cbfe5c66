"""A peer that does not read: drain() waits, memory stays bounded, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from .stacks import Stack
from .support import (
    CHUNK_BYTES,
    Clock,
    ConnectStreams,
    Dial,
    End,
    Serve,
    address_of,
    digest,
    echo,
    echo_round_trip,
    end_connection,
    fill,
    random_bytes,
    read_digest,
)

Ends = tuple[End, End]


@pytest.fixture
async def stuck(ends: Ends, clock: Clock) -> tuple[End, End, bytes]:
    """A client that cannot write any more, its server, and what the client has written."""
    client, server = ends
    server.writer.transport.pause_reading()
    return client, server, await fill(client.writer.transport, clock)


Stuck = tuple[End, End, bytes]


async def test_drain_waits_while_the_peer_does_not_read(stuck: Stuck, clock: Clock) -> None:
    client, _, _ = stuck
    draining = asyncio.create_task(client.writer.drain())
    await clock.ticks(30)
    assert not draining.done()
    draining.cancel()


async def test_drain_goes_on_when_the_peer_reads_and_every_byte_arrives(stuck: Stuck) -> None:
    client, server, written = stuck
    draining = asyncio.create_task(client.writer.drain())
    server.writer.transport.resume_reading()
    assert await read_digest(server.reader, len(written)) == digest(written)
    await draining
    client.writer.write(b"and on")
    assert await server.reader.readexactly(6) == b"and on"


async def test_what_a_stuck_writer_took_is_bounded(stuck: Stuck) -> None:
    """`fill` fails if it takes without end; here it keeps to its high-water mark as well."""
    transport = stuck[0].writer.transport
    high = transport.get_write_buffer_limits()[1]
    assert high < transport.get_write_buffer_size() <= high + CHUNK_BYTES


async def test_a_stream_reader_nobody_reads_stops_its_peer(
    connect_streams: ConnectStreams, clock: Clock
) -> None:
    """No pause_reading() by hand: StreamReader's own limit closes the window."""
    client, server = await connect_streams(server_limit=1000)
    written = await fill(client.writer.transport, clock)
    assert not server.writer.transport.is_reading()
    assert await read_digest(server.reader, len(written)) == digest(written)


async def test_two_tasks_wait_in_drain_and_both_go_on(stuck: Stuck, clock: Clock) -> None:
    client, server, written = stuck
    draining = [asyncio.create_task(client.writer.drain()) for _ in range(2)]
    await clock.ticks()
    assert not any(task.done() for task in draining)
    server.writer.transport.resume_reading()
    await read_digest(server.reader, len(written))
    await asyncio.gather(*draining)


async def test_pausing_again_and_again_loses_nothing(stuck: Stuck) -> None:
    client, server, written = stuck
    client.writer.write_eof()
    received = bytearray()
    while not server.reader.at_eof():
        server.writer.transport.resume_reading()
        received += await server.reader.read(200_000)
        server.writer.transport.pause_reading()
    assert digest(received) == digest(written)


async def test_a_stuck_direction_does_not_hold_up_the_other(stuck: Stuck) -> None:
    client, server, _ = stuck
    data = random_bytes(1_000_000)
    server.writer.write(data)
    assert await read_digest(client.reader, len(data)) == digest(data)


async def test_a_stuck_connection_does_not_hold_up_its_server(
    serve: Serve, clock: Clock, dial: Dial, cleanup: contextlib.AsyncExitStack
) -> None:
    accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()

    async def first_sleeps_others_echo(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if accepted.done():
            await echo(reader, writer)
        else:
            writer.transport.pause_reading()
            accepted.set_result(writer)

    server = await serve(first_sleeps_others_echo)
    stuck = await dial(*address_of(server))
    sleeper = await accepted
    cleanup.push_async_callback(end_connection, sleeper)
    await fill(stuck.writer.transport, clock)
    other = await dial(*address_of(server))
    assert await echo_round_trip(other) == b"still alive"


async def test_both_directions_stuck_at_once_come_free(ends: Ends, clock: Clock) -> None:
    client, server = ends
    for end in ends:
        end.writer.transport.pause_reading()
    from_client = await fill(client.writer.transport, clock)
    from_server = await fill(server.writer.transport, clock)
    for end in ends:
        end.writer.transport.resume_reading()
    digests = await asyncio.gather(
        read_digest(server.reader, len(from_client)), read_digest(client.reader, len(from_server))
    )
    assert digests == [digest(from_client), digest(from_server)]


async def test_drain_ends_with_the_error_when_the_peer_resets(stack: Stack, stuck: Stuck) -> None:
    client, server, _ = stuck
    draining = asyncio.create_task(client.writer.drain())
    await asyncio.sleep(0)
    stack.reset(server.writer.transport)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await draining


async def test_drain_ends_when_its_own_side_aborts(stuck: Stuck) -> None:
    client, _, _ = stuck
    draining = asyncio.create_task(client.writer.drain())
    await asyncio.sleep(0)
    client.writer.transport.abort()
    await draining
    with pytest.raises(ConnectionResetError):
        await client.writer.drain()


async def test_with_a_high_water_mark_of_zero_drain_waits_for_an_empty_buffer(
    ends: Ends, clock: Clock
) -> None:
    client, server = ends
    client.writer.transport.set_write_buffer_limits(high=0)
    server.writer.transport.pause_reading()
    written = await fill(client.writer.transport, clock)
    server.writer.transport.resume_reading()
    reading = asyncio.create_task(read_digest(server.reader, len(written)))
    await client.writer.drain()
    assert client.writer.transport.get_write_buffer_size() == 0
    assert await reading == digest(written)


async def test_a_writer_that_drains_never_holds_more_than_a_write_above_the_mark(
    connect_streams: ConnectStreams,
) -> None:
    client, server = await connect_streams(server_limit=2000)
    transport = client.writer.transport
    high = transport.get_write_buffer_limits()[1]
    data = random_bytes(3_000_000)
    receiving = asyncio.create_task(read_digest(server.reader, len(data)))
    for start in range(0, len(data), 10_000):
        client.writer.write(data[start : start + 10_000])
        await client.writer.drain()
        assert transport.get_write_buffer_size() <= high
    assert await receiving == digest(data)
