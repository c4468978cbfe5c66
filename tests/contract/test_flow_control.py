"""Flow control: pausing and resuming to read, and the limits of the write buffer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from .support import (
    Clock,
    ConnectProtocols,
    HalfOpenRecorder,
    Recorder,
    digest,
    fill,
    random_bytes,
)

Pair = tuple[Recorder, Recorder]
CONNECTION_ENDS = {"client": 0, "server": 1}


@pytest.fixture
async def pair(connect_protocols: ConnectProtocols) -> Pair:
    return await connect_protocols()


@pytest.fixture(params=CONNECTION_ENDS)
def transport(request: pytest.FixtureRequest, pair: Pair) -> Any:
    """A connected transport: once the client's, once the server's."""
    return pair[CONNECTION_ENDS[request.param]].transport


# Reading


async def test_reading_is_on_at_first_and_may_be_switched_any_number_of_times(
    transport: Any,
) -> None:
    assert transport.is_reading()
    for _ in range(2):
        transport.pause_reading()
        assert not transport.is_reading()
    for _ in range(2):
        transport.resume_reading()
        assert transport.is_reading()


async def test_while_reading_is_paused_nothing_is_delivered(pair: Pair, clock: Clock) -> None:
    client, server = pair
    server.transport.pause_reading()
    client.transport.write(b"wait")
    client.transport.write_eof()
    await clock.ticks()
    assert server.calls == ["connection_made"]
    server.transport.resume_reading()
    await server.until(lambda: "eof_received" in server.calls)
    assert server.received == b"wait"


async def test_reading_paused_and_resumed_at_once_goes_on(pair: Pair) -> None:
    client, server = pair
    client.transport.write(b"x")
    server.transport.pause_reading()
    server.transport.resume_reading()
    await server.until(lambda: server.received == b"x")


async def test_pause_reading_inside_data_received_stops_after_that_call(
    connect_protocols: ConnectProtocols, clock: Clock
) -> None:
    class OneCallAtATime(Recorder):
        data_calls = 0

        def data_received(self, data: bytes) -> None:
            self.transport.pause_reading()
            self.data_calls += 1
            super().data_received(data)

    client, server = await connect_protocols(Recorder, OneCallAtATime)
    data = random_bytes(2_000_000)
    client.transport.write(data)
    turn = 0
    while len(server.received) < len(data):
        turn += 1
        await server.until(lambda turn=turn: server.data_calls == turn)
        await clock.ticks(2)
        assert server.data_calls == turn
        server.transport.resume_reading()
    assert digest(server.received) == digest(data)


@pytest.mark.not_on(
    "tcp-uvloop", because="it starts reading after connection_made() whatever that did"
)
async def test_pause_reading_inside_connection_made_holds(
    connect_protocols: ConnectProtocols, clock: Clock
) -> None:
    class NotYet(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.pause_reading()

    client, server = await connect_protocols(NotYet, NotYet)
    for near, far in ((client, server), (server, client)):
        near.transport.write(b"early")
        await clock.ticks()
        assert not far.transport.is_reading()
        assert far.calls == ["connection_made"]
        far.transport.resume_reading()
        await far.until(lambda far=far: far.received == b"early")


async def test_pause_and_resume_reading_after_close_do_no_harm(transport: Any) -> None:
    transport.close()
    transport.pause_reading()
    transport.resume_reading()
    assert not transport.is_reading()


async def test_a_paused_transport_may_be_closed_and_aborted(
    connect_protocols: ConnectProtocols,
) -> None:
    for name in ("close", "abort"):
        client, _ = await connect_protocols()
        client.transport.pause_reading()
        getattr(client.transport, name)()
        assert await client.lost is None


# Writing and its limits


async def test_default_write_buffer_limits(transport: Any) -> None:
    """High is 64 KiB everywhere; low is a quarter of it on stock asyncio, 16 bytes on uvloop."""
    low, high = transport.get_write_buffer_limits()
    assert high == 65_536
    assert 0 < low <= high
    assert transport.get_write_buffer_size() == 0


@pytest.mark.parametrize(
    ("arguments", "limits"),
    [
        ({"high": 100, "low": 50}, (50, 100)),
        ({"high": 100}, (25, 100)),
        ({"low": 50}, (50, 200)),
        ({"high": 0}, (0, 0)),
        ({"high": 10, "low": 10}, (10, 10)),
        ({}, (16_384, 65_536)),
        ({"high": None, "low": None}, (16_384, 65_536)),
    ],
    ids=str,
)
async def test_set_write_buffer_limits(
    transport: Any, arguments: dict[str, int | None], limits: tuple[int, int]
) -> None:
    transport.set_write_buffer_limits(high=1, low=1)
    transport.set_write_buffer_limits(**arguments)
    assert transport.get_write_buffer_limits() == limits


@pytest.mark.parametrize(("high", "low"), [(10, 11), (-1, None), (10, -1), (0, 1)])
async def test_bad_write_buffer_limits_are_a_value_error_and_change_nothing(
    transport: Any, high: int, low: int | None
) -> None:
    before = transport.get_write_buffer_limits()
    with pytest.raises(ValueError, match="high"):
        transport.set_write_buffer_limits(high, low)
    assert transport.get_write_buffer_limits() == before


def is_paused(protocol: Recorder) -> bool:
    """Whether the protocol was told last to pause; the two calls must alternate."""
    flow = [call for call in protocol.calls if call.endswith("_writing")]
    assert flow == (["pause_writing", "resume_writing"] * len(flow))[: len(flow)]
    return flow[-1:] == ["pause_writing"]


async def test_pause_writing_above_high_and_resume_writing_below_low(
    pair: Pair, clock: Clock
) -> None:
    client, server = pair
    server.transport.pause_reading()
    written = await fill(client.transport, clock)
    assert is_paused(client)
    server.transport.resume_reading()
    await client.until(lambda: not is_paused(client))
    low, _ = client.transport.get_write_buffer_limits()
    assert client.transport.get_write_buffer_size() <= low
    await server.until(lambda: len(server.received) == len(written))
    assert not is_paused(client)


async def test_pause_writing_comes_once_until_writing_is_resumed(pair: Pair, clock: Clock) -> None:
    client, server = pair
    server.transport.pause_reading()
    await fill(client.transport, clock)
    before = list(client.calls)
    for _ in range(5):
        client.transport.write(bytes(100_000))
    assert is_paused(client)
    assert client.calls == before


async def test_pause_and_resume_alternate_over_a_long_transfer(
    connect_protocols: ConnectProtocols,
) -> None:
    class Producer(Recorder):
        left = 200

        def resume_writing(self) -> None:
            super().resume_writing()
            self.produce()

        def produce(self) -> None:
            while self.left and self.calls[-1] != "pause_writing":
                self.left -= 1
                self.transport.write(bytes(50_000))

    client, server = await connect_protocols(Producer, Recorder)
    client.transport.set_write_buffer_limits(high=10_000)
    client.produce()
    await server.until(lambda: len(server.received) == 200 * 50_000)
    assert client.calls.count("pause_writing") > 1
    assert not is_paused(client)


async def test_with_a_high_water_mark_of_zero_any_waiting_byte_pauses(
    pair: Pair, clock: Clock
) -> None:
    client, server = pair
    server.transport.pause_reading()
    client.transport.set_write_buffer_limits(high=0)
    await fill(client.transport, clock)
    assert is_paused(client)
    server.transport.resume_reading()
    await client.until(lambda: not is_paused(client))
    assert client.transport.get_write_buffer_size() == 0


async def test_the_write_buffer_size_grows_by_what_is_written(pair: Pair, clock: Clock) -> None:
    client, server = pair
    server.transport.pause_reading()
    await fill(client.transport, clock)
    before = client.transport.get_write_buffer_size()
    client.transport.write(bytes(1234))
    client.transport.write(bytes(1766))
    assert client.transport.get_write_buffer_size() == before + 3000


async def test_no_resume_writing_after_abort(pair: Pair, clock: Clock) -> None:
    client, server = pair
    server.transport.pause_reading()
    await fill(client.transport, clock)
    before = list(client.calls)
    client.transport.abort()
    await client.lost
    assert client.calls == [*before, "connection_lost"]


async def test_can_write_eof(transport: Any) -> None:
    assert transport.can_write_eof()


async def test_write_eof_twice_and_write_after_it(connect_protocols: ConnectProtocols) -> None:
    client, server = await connect_protocols(Recorder, HalfOpenRecorder)
    client.transport.write(b"x")
    client.transport.write_eof()
    client.transport.write_eof()
    for refused in (client.transport.write, lambda data: client.transport.writelines([data])):
        with pytest.raises(RuntimeError):
            refused(b"more")
    await server.until(lambda: "eof_received" in server.calls)
    assert server.received == b"x"
    assert server.calls.count("eof_received") == 1


async def test_write_eof_goes_out_after_what_had_to_wait(
    connect_protocols: ConnectProtocols, clock: Clock
) -> None:
    client, server = await connect_protocols(Recorder, HalfOpenRecorder)
    server.transport.pause_reading()
    written = await fill(client.transport, clock)
    client.transport.write_eof()
    server.transport.resume_reading()
    await server.until(lambda: "eof_received" in server.calls)
    assert digest(server.received) == digest(written)
