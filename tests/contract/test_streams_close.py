"""How a stream ends: half-close, close, abort and reset."""

from __future__ import annotations

import asyncio

import pytest

from .stacks import Stack
from .support import (
    CHUNK_BYTES,
    Clock,
    ConnectStreams,
    End,
    digest,
    fill,
    random_bytes,
    read_digest,
)

Ends = tuple[End, End]


@pytest.fixture(params=["client first", "server first"])
def near_far(request: pytest.FixtureRequest, ends: Ends) -> Ends:
    """Both ends of one connection, once with the client as the near one, once with the server."""
    return ends if request.param == "client first" else ends[::-1]


async def write_until_refused(end: End) -> None:
    """Write for as long as the peer's kernel or state machine does not object."""
    while True:
        end.writer.write(bytes(CHUNK_BYTES))
        await end.writer.drain()


async def test_write_eof_delivers_everything_first(near_far: Ends) -> None:
    near, far = near_far
    data = random_bytes(1_000_000)
    near.writer.write(data)
    near.writer.write_eof()
    assert digest(await far.reader.read()) == digest(data)
    assert far.reader.at_eof()


async def test_after_write_eof_the_other_direction_still_works(near_far: Ends) -> None:
    near, far = near_far
    near.writer.write_eof()
    assert await far.reader.read() == b""
    data = random_bytes(2_000_000)
    far.writer.write(data)
    assert await read_digest(near.reader, len(data)) == digest(data)
    far.writer.close()
    assert await near.reader.read() == b""


async def test_a_half_closed_connection_answers_one_request_after_another(near_far: Ends) -> None:
    near, far = near_far
    near.writer.write_eof()
    for number in range(20):
        far.writer.write(bytes([number]) * 1000)
        assert await near.reader.readexactly(1000) == bytes([number]) * 1000


async def test_write_eof_on_both_sides_one_after_the_other(near_far: Ends) -> None:
    near, far = near_far
    near.writer.write(b"request")
    near.writer.write_eof()
    request = await far.reader.read()
    far.writer.write(b"answer to " + request)
    far.writer.write_eof()
    assert await near.reader.read() == b"answer to request"
    for end in near_far:
        end.writer.close()
        await end.writer.wait_closed()


async def test_write_eof_on_both_sides_at_once(ends: Ends) -> None:
    for end in ends:
        end.writer.write(b"last words")
        end.writer.write_eof()
    for end in ends:
        assert await end.reader.read() == b"last words"


async def test_write_after_write_eof_is_a_runtime_error(ends: Ends) -> None:
    client, server = ends
    client.writer.write(b"all")
    client.writer.write_eof()
    with pytest.raises(RuntimeError):
        client.writer.write(b"more")
    with pytest.raises(RuntimeError):
        client.writer.writelines([b"more"])
    assert await server.reader.read() == b"all"


async def test_write_eof_twice_is_one_eof(ends: Ends) -> None:
    client, server = ends
    client.writer.write_eof()
    client.writer.write_eof()
    assert await server.reader.read() == b""


async def test_write_eof_then_close(ends: Ends) -> None:
    client, server = ends
    client.writer.write(b"done")
    client.writer.write_eof()
    client.writer.close()
    await client.writer.wait_closed()
    assert await server.reader.read() == b"done"


async def test_write_eof_after_close_does_no_harm(ends: Ends) -> None:
    client, server = ends
    client.writer.write(b"done")
    client.writer.close()
    client.writer.write_eof()
    assert await server.reader.read() == b"done"


async def test_close_delivers_everything_written(near_far: Ends) -> None:
    near, far = near_far
    data = random_bytes(6_000_000)
    near.writer.write(data)
    near.writer.close()
    assert await read_digest(far.reader, len(data)) == digest(data)
    assert await far.reader.read() == b""
    await near.writer.wait_closed()


async def test_wait_closed_waits_for_what_is_unsent(ends: Ends, clock: Clock) -> None:
    client, server = ends
    server.writer.transport.pause_reading()
    data = await fill(client.writer.transport, clock)
    client.writer.close()
    waiting = asyncio.create_task(client.writer.wait_closed())
    await clock.ticks()
    assert not waiting.done()
    server.writer.transport.resume_reading()
    assert digest(await server.reader.read()) == digest(data)
    await waiting


async def test_close_gives_the_peer_eof(near_far: Ends) -> None:
    near, far = near_far
    near.writer.close()
    assert await far.reader.read(1) == b""


async def test_close_twice(ends: Ends) -> None:
    client, server = ends
    client.writer.close()
    client.writer.close()
    await client.writer.wait_closed()
    client.writer.close()
    await client.writer.wait_closed()
    assert await server.reader.read() == b""


async def test_both_sides_close_at_once(ends: Ends) -> None:
    client, server = ends
    client.writer.close()
    server.writer.close()
    await asyncio.gather(client.writer.wait_closed(), server.writer.wait_closed())


async def test_one_side_closes_after_the_other(near_far: Ends) -> None:
    near, far = near_far
    near.writer.close()
    assert await far.reader.read() == b""
    far.writer.close()
    await asyncio.gather(near.writer.wait_closed(), far.writer.wait_closed())


async def test_two_tasks_may_wait_for_the_end(ends: Ends) -> None:
    client, _ = ends
    waiting = [asyncio.create_task(client.writer.wait_closed()) for _ in range(2)]
    await asyncio.sleep(0)
    client.writer.close()
    await asyncio.gather(*waiting)


async def test_a_pending_read_ends_when_its_own_side_closes(ends: Ends) -> None:
    client, _ = ends
    reading = asyncio.create_task(client.reader.read(10))
    await asyncio.sleep(0)
    client.writer.close()
    assert await reading == b""


async def test_writing_to_a_peer_that_closed_ends_in_an_error(near_far: Ends) -> None:
    """The bytes have nowhere to go: a reset answers them, and drain() says so."""
    near, far = near_far
    near.writer.close()
    await near.writer.wait_closed()
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await write_until_refused(far)


async def test_close_with_unread_input_resets_the_peer(near_far: Ends, clock: Clock) -> None:
    """RFC 2525 section 2.17: a peer must not believe that bytes were read which nobody reads."""
    near, far = near_far
    near.writer.transport.pause_reading()
    await fill(far.writer.transport, clock)
    near.writer.close()
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await far.reader.read()


async def test_abort_ends_both_sides(stack: Stack, near_far: Ends) -> None:
    """asyncio's TCP abort() closes the socket, which sends a FIN; rudp's sends a reset."""
    near, far = near_far
    near.writer.transport.abort()
    await near.writer.wait_closed()
    assert near.writer.is_closing()
    if stack.abort_resets:
        with pytest.raises(ConnectionResetError):
            await far.reader.read()
    else:
        assert await far.reader.read() == b""


async def test_abort_does_not_wait_for_a_peer_that_does_not_read(ends: Ends, clock: Clock) -> None:
    client, server = ends
    server.writer.transport.pause_reading()
    await fill(client.writer.transport, clock)
    client.writer.transport.abort()
    await client.writer.wait_closed()


async def test_abort_after_close_drops_what_is_unsent(ends: Ends, clock: Clock) -> None:
    client, server = ends
    server.writer.transport.pause_reading()
    await fill(client.writer.transport, clock)
    client.writer.close()
    client.writer.transport.abort()
    await client.writer.wait_closed()


async def test_a_reset_ends_a_pending_read(stack: Stack, near_far: Ends) -> None:
    near, far = near_far
    reading = asyncio.create_task(far.reader.read(10))
    await asyncio.sleep(0)
    stack.reset(near.writer.transport)
    with pytest.raises(ConnectionResetError):
        await reading


@pytest.mark.parametrize("method", ["read", "readline", "readuntil", "readexactly"])
async def test_after_a_reset_every_read_raises(stack: Stack, ends: Ends, method: str) -> None:
    client, server = ends
    stack.reset(server.writer.transport)
    arguments = {"readuntil": [b";"], "readexactly": [5]}.get(method, [])
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            await getattr(client.reader, method)(*arguments)


async def test_after_a_reset_writing_does_no_harm_and_drain_raises(
    stack: Stack, ends: Ends
) -> None:
    """write() itself drops the bytes on stock asyncio, and may raise RuntimeError on uvloop."""
    client, server = ends
    stack.reset(server.writer.transport)
    with pytest.raises(ConnectionResetError):
        await client.reader.read()
    for _ in range(3):
        try:
            client.writer.write(b"anyone there?")
        except RuntimeError:
            pass
        with pytest.raises(ConnectionResetError):
            await client.writer.drain()


async def test_after_a_reset_wait_closed_tells_the_reason(stack: Stack, ends: Ends) -> None:
    client, server = ends
    stack.reset(server.writer.transport)
    with pytest.raises(ConnectionResetError):
        await client.writer.wait_closed()
    client.writer.close()
    assert client.writer.is_closing()


async def test_the_side_that_resets_sees_no_error(stack: Stack, ends: Ends) -> None:
    client, _ = ends
    reading = asyncio.create_task(client.reader.read(1))
    await asyncio.sleep(0)
    stack.reset(client.writer.transport)
    assert await reading == b""
    await client.writer.wait_closed()


async def test_a_reset_of_one_connection_leaves_the_others(
    stack: Stack, connect_streams: ConnectStreams
) -> None:
    victim_client, victim_server = await connect_streams()
    client, server = await connect_streams()
    stack.reset(victim_client.writer.transport)
    with pytest.raises(ConnectionResetError):
        await victim_server.reader.read()
    client.writer.write(b"unmoved")
    assert await server.reader.readexactly(7) == b"unmoved"
