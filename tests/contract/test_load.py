"""Many connections at once, and a lot of bytes both ways: SHA-256 compared, default buffers."""

from __future__ import annotations

import asyncio

from .stacks import Stack
from .support import (
    CHUNK_BYTES,
    ConnectStreams,
    Serve,
    address_of,
    digest,
    echo,
    random_bytes,
    read_digest,
)


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    for start in range(0, len(data), CHUNK_BYTES):
        writer.write(data[start : start + CHUNK_BYTES])
        await writer.drain()


async def test_a_hundred_connections_at_once_echo_their_own_bytes(
    stack: Stack, serve: Serve
) -> None:
    server = await serve(echo)

    async def converse(number: int) -> bool:
        data = random_bytes(40_000, seed=number)
        reader, writer = await stack.open_connection(*address_of(server))
        sending = asyncio.create_task(send(writer, data))
        received = await read_digest(reader, len(data))
        await sending
        writer.close()
        await writer.wait_closed()
        return received == digest(data)

    assert await asyncio.gather(*map(converse, range(100))) == [True] * 100


async def test_a_hundred_connections_one_after_the_other(stack: Stack, serve: Serve) -> None:
    server = await serve(echo)
    for number in range(100):
        message = number.to_bytes(2, "big") * 50
        reader, writer = await stack.open_connection(*address_of(server))
        writer.write(message)
        writer.write_eof()
        assert await reader.read() == message
        writer.close()
        await writer.wait_closed()


async def test_eight_megabytes_both_ways_at_once(connect_streams: ConnectStreams) -> None:
    client, server = await connect_streams(options={})
    up, down = random_bytes(8_000_000, seed=1), random_bytes(8_000_000, seed=2)
    _, _, received_up, received_down = await asyncio.gather(
        send(client.writer, up),
        send(server.writer, down),
        read_digest(server.reader, len(up)),
        read_digest(client.reader, len(down)),
    )
    assert received_up == digest(up)
    assert received_down == digest(down)


async def test_eight_megabytes_in_one_write(connect_streams: ConnectStreams) -> None:
    client, server = await connect_streams(options={})
    data = random_bytes(8_000_000)
    client.writer.write(data)
    client.writer.close()
    assert digest(await server.reader.read()) == digest(data)


async def test_ten_thousand_messages_of_one_line(connect_streams: ConnectStreams) -> None:
    client, server = await connect_streams(options={})

    async def talk() -> None:
        for number in range(10_000):
            client.writer.write(b"%d\n" % number)
            await client.writer.drain()
        client.writer.close()

    talking = asyncio.create_task(talk())
    heard = [int(line) async for line in server.reader]
    await talking
    assert heard == list(range(10_000))
