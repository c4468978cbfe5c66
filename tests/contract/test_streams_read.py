"""Reading from a stream: every StreamReader method, limits, and the end of the data."""

from __future__ import annotations

import asyncio
import random

import pytest

from .stacks import Stack
from .support import (
    ConnectStreams,
    End,
    Serve,
    address_of,
    digest,
    echo,
    echo_round_trip,
    random_bytes,
    read_digest,
)

Ends = tuple[End, End]


async def test_read_returns_what_has_arrived(ends: Ends) -> None:
    client, server = ends
    server.writer.write(b"hello")
    assert await client.reader.read(100) == b"hello"


async def test_read_never_returns_more_than_asked(ends: Ends) -> None:
    client, server = ends
    server.writer.write(b"abcdef")
    server.writer.close()
    pieces = []
    while piece := await client.reader.read(4):
        pieces.append(piece)
    assert b"".join(pieces) == b"abcdef"
    assert max(map(len, pieces)) <= 4


async def test_read_zero_returns_at_once_and_is_not_eof(ends: Ends) -> None:
    client, server = ends
    assert await client.reader.read(0) == b""
    assert not client.reader.at_eof()
    server.writer.write(b"x")
    assert await client.reader.readexactly(1) == b"x"


async def test_read_all_waits_for_eof(ends: Ends) -> None:
    client, server = ends
    data = random_bytes(300_000)
    server.writer.writelines([data[:1], data[1:100_000], data[100_000:]])
    server.writer.write_eof()
    assert await client.reader.read(-1) == data


async def test_read_all_without_argument(ends: Ends) -> None:
    client, server = ends
    server.writer.write(b"everything")
    server.writer.close()
    assert await client.reader.read() == b"everything"


async def test_read_after_eof_returns_empty_again_and_again(ends: Ends) -> None:
    client, server = ends
    server.writer.close()
    assert [await client.reader.read(10) for _ in range(3)] == [b"", b"", b""]
    assert await client.reader.read() == b""


async def test_at_eof_only_when_the_buffer_is_empty_too(ends: Ends) -> None:
    client, server = ends
    assert not client.reader.at_eof()
    server.writer.write(b"ab")
    server.writer.write_eof()
    assert await client.reader.readexactly(1) == b"a"
    assert not client.reader.at_eof()
    assert await client.reader.read() == b"b"
    assert client.reader.at_eof()


async def test_every_byte_value_arrives_unchanged(ends: Ends) -> None:
    client, server = ends
    data = bytes(range(256)) * 3
    server.writer.write(data)
    assert await client.reader.readexactly(len(data)) == data


async def test_many_small_writes_arrive_in_order(ends: Ends) -> None:
    client, server = ends
    data = random_bytes(200_000)
    sizes = random.Random(2)
    start = 0
    while start < len(data):
        end = start + sizes.randint(1, 700)
        server.writer.write(data[start:end])
        start = end
        await server.writer.drain()
    assert await read_digest(client.reader, len(data)) == digest(data)


async def test_both_directions_at_once_do_not_mix(ends: Ends) -> None:
    client, server = ends
    client.writer.write(b"from the client")
    server.writer.write(b"from the server")
    assert await client.reader.readexactly(15) == b"from the server"
    assert await server.reader.readexactly(15) == b"from the client"


async def test_reading_while_a_read_waits_is_refused(ends: Ends) -> None:
    client, server = ends
    waiting = asyncio.create_task(client.reader.read(1))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await client.reader.read(1)
    server.writer.write(b"x")
    assert await waiting == b"x"


async def test_readline_returns_lines_then_the_rest_then_empty(ends: Ends) -> None:
    client, server = ends
    server.writer.write(b"one\ntw")
    server.writer.write(b"o\n\nrest")
    server.writer.close()
    lines = [await client.reader.readline() for _ in range(5)]
    assert lines == [b"one\n", b"two\n", b"\n", b"rest", b""]


async def test_iterating_a_reader_gives_its_lines(ends: Ends) -> None:
    client, server = ends
    server.writer.write(b"a\nb\nc")
    server.writer.close()
    assert [line async for line in client.reader] == [b"a\n", b"b\n", b"c"]


async def test_readline_over_the_limit_is_a_value_error_and_drops_the_line(
    connect_streams: ConnectStreams,
) -> None:
    client, server = await connect_streams(limit=16)
    server.writer.write(b"x" * 20 + b"\n")
    with pytest.raises(ValueError, match="limit"):
        await client.reader.readline()
    server.writer.write(b"next\n")
    assert await client.reader.readline() == b"next\n"


async def test_readuntil_finds_a_separator_split_between_writes(ends: Ends) -> None:
    client, server = ends
    reading = asyncio.create_task(client.reader.readuntil(b"<end>"))
    server.writer.write(b"body<e")
    await server.writer.drain()
    server.writer.write(b"nd>more")
    assert await reading == b"body<end>"
    assert await client.reader.readexactly(4) == b"more"


async def test_readuntil_refuses_an_empty_separator(ends: Ends) -> None:
    client, _ = ends
    with pytest.raises(ValueError):
        await client.reader.readuntil(b"")


async def test_readuntil_at_eof_gives_the_partial_data(ends: Ends) -> None:
    client, server = ends
    server.writer.write(b"no end")
    server.writer.close()
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await client.reader.readuntil(b";")
    assert (caught.value.partial, caught.value.expected) == (b"no end", None)
    assert client.reader.at_eof()


async def test_readuntil_over_the_limit_leaves_the_data_to_be_read(
    connect_streams: ConnectStreams,
) -> None:
    client, server = await connect_streams(limit=16)
    server.writer.write(b"y" * 20 + b";")
    with pytest.raises(asyncio.LimitOverrunError) as caught:
        await client.reader.readuntil(b";")
    assert 0 < caught.value.consumed <= 21
    assert await client.reader.readexactly(21) == b"y" * 20 + b";"


@pytest.mark.parametrize("size", [0, 1, 1199, 1200, 65_535, 65_537, 1_000_000])
async def test_readexactly_of_any_size(ends: Ends, size: int) -> None:
    client, server = ends
    data = random_bytes(size)
    server.writer.write(data + b"tail")
    assert await client.reader.readexactly(size) == data
    assert await client.reader.readexactly(4) == b"tail"


async def test_readexactly_of_far_more_than_the_limit(connect_streams: ConnectStreams) -> None:
    """The reader pauses and resumes its transport over and over."""
    client, server = await connect_streams(limit=100)
    data = random_bytes(500_000)
    server.writer.write(data)
    assert await client.reader.readexactly(len(data)) == data


async def test_readexactly_refuses_a_negative_size(ends: Ends) -> None:
    client, _ = ends
    with pytest.raises(ValueError):
        await client.reader.readexactly(-1)


async def test_readexactly_at_eof_gives_the_partial_data(ends: Ends) -> None:
    client, server = ends
    server.writer.write(b"short")
    server.writer.close()
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await client.reader.readexactly(10)
    assert (caught.value.partial, caught.value.expected) == (b"short", 10)
    assert await client.reader.read() == b""


async def test_a_slow_consumer_of_small_reads_gets_everything(
    connect_streams: ConnectStreams,
) -> None:
    client, server = await connect_streams(limit=512)
    data = random_bytes(100_000)
    server.writer.write(data)
    server.writer.close()
    received = bytearray()
    while piece := await client.reader.read(97):
        received += piece
        await asyncio.sleep(0)
    assert digest(received) == digest(data)


async def test_a_limit_of_zero_is_refused_and_hurts_nobody(
    stack: Stack, serve: Serve, connect_streams: ConnectStreams
) -> None:
    server = await serve(echo)
    with pytest.raises(ValueError, match="Limit"):
        await stack.open_connection(*address_of(server), limit=0)
    reader, writer = await stack.open_connection(*address_of(server))
    assert await echo_round_trip(End(reader, writer)) == b"still alive"
    writer.close()
    await writer.wait_closed()
