"""Writing to a stream: what is accepted, what is copied, what is refused."""

from __future__ import annotations

import array
import asyncio
import sys

import pytest

from .support import (
    Clock,
    ConnectStreams,
    End,
    digest,
    fill,
    random_bytes,
    read_digest,
)

Ends = tuple[End, End]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_write_takes_any_bytes_like_object(ends: Ends, kind: type) -> None:
    client, server = ends
    client.writer.write(kind(b"payload"))
    assert await server.reader.readexactly(7) == b"payload"


async def test_write_takes_a_slice_of_a_memoryview(ends: Ends) -> None:
    client, server = ends
    client.writer.write(memoryview(b"0123456789")[3:7])
    assert await server.reader.readexactly(4) == b"3456"


async def test_write_takes_an_array_of_bytes(ends: Ends) -> None:
    client, server = ends
    client.writer.write(memoryview(array.array("B", b"array")))
    assert await server.reader.readexactly(5) == b"array"


@pytest.mark.parametrize("size", [1, 1199, 1200, 1201, 65_536, 1_000_001])
async def test_one_write_of_any_size_arrives(ends: Ends, size: int) -> None:
    client, server = ends
    data = random_bytes(size)
    client.writer.write(data)
    assert await read_digest(server.reader, size) == digest(data)


@pytest.mark.parametrize("size", [100, 100_000])
async def test_a_bytearray_may_be_changed_right_after_write(ends: Ends, size: int) -> None:
    client, server = ends
    data = random_bytes(size)
    scratch = bytearray(data)
    client.writer.write(scratch)
    scratch[:] = bytes(size)
    assert await read_digest(server.reader, size) == digest(data)


# A transport that queues the object itself sends what the caller has made of it since.
copies_what_waits = pytest.mark.not_on(
    "tcp-uvloop",
    *(["tcp-asyncio"] if sys.version_info >= (3, 12) else []),
    because="uvloop and, from Python 3.12 on, asyncio queue a view of the caller's object",
)


@copies_what_waits
async def test_a_bytearray_that_had_to_wait_may_be_changed_and_resized(
    ends: Ends, clock: Clock
) -> None:
    """With the peer not reading, the transport holds the bytes: it must hold a copy."""
    client, server = ends
    server.writer.transport.pause_reading()
    before = await fill(client.writer.transport, clock)
    data = random_bytes(5000, seed=2)
    scratch = bytearray(data)
    client.writer.write(scratch)
    scratch.reverse()
    scratch.clear()
    server.writer.transport.resume_reading()
    assert await read_digest(server.reader, len(before) + 5000) == digest(before + data)


@copies_what_waits
async def test_a_memoryview_of_a_bytearray_may_be_released_and_changed_after_write(
    ends: Ends, clock: Clock
) -> None:
    client, server = ends
    server.writer.transport.pause_reading()
    before = await fill(client.writer.transport, clock)
    scratch = bytearray(b"original")
    client.writer.write(memoryview(scratch))
    scratch[:] = b"mutilate"
    server.writer.transport.resume_reading()
    assert await read_digest(server.reader, len(before)) == digest(before)
    assert await server.reader.readexactly(8) == b"original"


async def test_writelines_joins_pieces_of_all_kinds(ends: Ends) -> None:
    client, server = ends
    client.writer.writelines([b"one ", bytearray(b"two "), b"", memoryview(b"three")])
    assert await server.reader.readexactly(13) == b"one two three"


async def test_writelines_takes_an_iterator(ends: Ends) -> None:
    client, server = ends
    client.writer.writelines(bytes([byte]) for byte in range(200))
    assert await server.reader.readexactly(200) == bytes(range(200))


async def test_writelines_of_more_than_the_buffers_hold(ends: Ends) -> None:
    client, server = ends
    data = random_bytes(4_000_000)
    client.writer.writelines(data[at : at + 10_000] for at in range(0, len(data), 10_000))
    assert await read_digest(server.reader, len(data)) == digest(data)


async def test_empty_writes_send_nothing(ends: Ends) -> None:
    client, server = ends
    client.writer.write(b"")
    client.writer.write(bytearray())
    client.writer.writelines([])
    client.writer.writelines([b"", b""])
    await client.writer.drain()
    client.writer.write(b"!")
    assert await server.reader.read(10) == b"!"


@pytest.mark.parametrize("wrong", ["text", 1, 1.5, [b"x"]], ids=repr)
async def test_write_of_something_else_is_a_type_error(ends: Ends, wrong: object) -> None:
    client, server = ends
    with pytest.raises(TypeError):
        client.writer.write(wrong)
    client.writer.write(b"fine")
    assert await server.reader.read(10) == b"fine"


async def test_writelines_with_text_is_a_type_error(ends: Ends) -> None:
    client, server = ends
    with pytest.raises(TypeError):
        client.writer.writelines(["text"])
    client.writer.write(b"fine")
    assert await server.reader.read(10) == b"fine"


async def test_drain_of_an_idle_writer_returns(ends: Ends) -> None:
    client, _ = ends
    for _ in range(3):
        await client.writer.drain()


async def test_can_write_eof(ends: Ends) -> None:
    assert all(end.writer.can_write_eof() for end in ends)


async def test_the_writer_shows_its_transport_and_addresses(ends: Ends) -> None:
    client, server = ends
    assert client.writer.transport.get_protocol() is not server.writer.transport.get_protocol()
    for near, far in (ends, ends[::-1]):
        assert near.writer.get_extra_info("peername") == far.writer.get_extra_info("sockname")


async def test_is_closing_from_close_on(ends: Ends) -> None:
    client, _ = ends
    assert not client.writer.is_closing()
    client.writer.close()
    assert client.writer.is_closing()
    await client.writer.wait_closed()
    assert client.writer.is_closing()


async def test_write_after_close_sends_nothing(ends: Ends) -> None:
    """Stock asyncio drops the bytes without a word; uvloop raises RuntimeError."""
    client, server = ends
    client.writer.write(b"before")
    client.writer.close()
    try:
        client.writer.write(b"after")
    except RuntimeError:
        pass
    assert await server.reader.read() == b"before"


async def test_drain_after_the_connection_ended_is_a_connection_reset_error(ends: Ends) -> None:
    client, _ = ends
    client.writer.close()
    await client.writer.wait_closed()
    with pytest.raises(ConnectionResetError):
        await client.writer.drain()


async def test_write_after_the_connection_ended_does_no_harm(ends: Ends) -> None:
    """Stock asyncio drops the bytes without a word; uvloop raises RuntimeError."""
    client, _ = ends
    client.writer.close()
    await client.writer.wait_closed()
    for _ in range(3):
        try:
            client.writer.write(b"too late")
        except RuntimeError:
            pass


async def test_drain_right_after_close_is_a_connection_reset_error(ends: Ends) -> None:
    """The stack has taken everything: nothing is left to drain, and more goes nowhere."""
    client, _ = ends
    client.writer.write(b"x")
    client.writer.close()
    with pytest.raises(ConnectionResetError):
        client.writer.write(b"to nobody")
        await client.writer.drain()


async def test_many_tasks_may_write_and_drain(connect_streams: ConnectStreams) -> None:
    client, server = await connect_streams()
    records = [bytes([number]) * 20_000 for number in range(50)]

    async def send(record: bytes) -> None:
        client.writer.write(record)
        await client.writer.drain()

    async with asyncio.TaskGroup() as group:
        for record in records:
            group.create_task(send(record))
        received = await server.reader.readexactly(50 * 20_000)
    assert sorted(received[at : at + 20_000] for at in range(0, len(received), 20_000)) == records
