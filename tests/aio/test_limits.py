"""Bounds of an endpoint: connections, half-open connections, backlog."""

from __future__ import annotations

import asyncio

import pytest

import rudp
from rudp.config import Config
from rudp.sim import LinkConfig, Network

from .support import PORT, Simulate, echo, end, round_trip


def test_a_full_server_drops_syns_and_serves_them_when_there_is_room(
    network: Network, rudp_sim: Simulate
) -> None:
    config = Config(max_connections=3, time_wait=1.0)

    async def main() -> None:
        async with rudp.Endpoint.bind("10.0.0.2", PORT, config=config) as right:
            await right.start_server(echo)
            with network.host("left"):
                first = [await rudp.open_connection("10.0.0.2", PORT) for _ in range(3)]
                late = asyncio.create_task(rudp.open_connection("10.0.0.2", PORT))
            await asyncio.sleep(5.0)
            assert not late.done()
            assert right.stats.limit_drops >= 2
            assert right.connection_count == 3
            for reader, writer in first[1:]:
                assert await round_trip(reader, writer) == b"alive"
            await end(first[0][1])
            reader, writer = await late
            assert await round_trip(reader, writer) == b"alive"
            for _, one in (*first[1:], (reader, writer)):
                await end(one)

    rudp_sim(main)


def test_an_endpoint_dials_no_more_than_it_may(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with (
            rudp.Endpoint.bind("10.0.0.2", PORT) as right,
            rudp.Endpoint.bind("10.0.0.1", config=Config(max_connections=2)) as left,
        ):
            await right.start_server(echo)
            dialled = [await left.open_connection("10.0.0.2", PORT) for _ in range(2)]
            with pytest.raises(OSError, match="max_connections"):
                await left.open_connection("10.0.0.2", PORT)
            await end(dialled[0][1])
            await asyncio.sleep(1.0)
            dialled[0] = await left.open_connection("10.0.0.2", PORT)
            for reader, writer in dialled:
                assert await round_trip(reader, writer) == b"alive"
                await end(writer)

    rudp_sim(main)


@pytest.mark.parametrize("bound", ["backlog", "max_half_open"])
def test_half_open_connections_are_bounded(
    network: Network, rudp_sim: Simulate, bound: str
) -> None:
    """SYNs whose SYN-ACK does not get through, then honest ones."""
    backlog = 4 if bound == "backlog" else 100
    config = Config(max_half_open=4) if bound == "max_half_open" else Config()
    network.add_host("10.0.0.66", name="attacker")
    network.set_link("right", "attacker", LinkConfig(loss=1.0), both=False)

    async def main() -> None:
        async with rudp.Endpoint.bind("10.0.0.2", PORT, config=config) as right:
            await right.start_server(echo, backlog=backlog)
            with network.host("attacker"):
                dialling = [
                    asyncio.create_task(
                        rudp.open_connection("10.0.0.2", PORT, config=Config(connect_timeout=20.0))
                    )
                    for _ in range(50)
                ]
            await asyncio.sleep(1.0)
            assert right.connection_count == 4
            assert right.stats.backlog_drops == 46
            results = await asyncio.gather(*dialling, return_exceptions=True)
            assert all(isinstance(result, TimeoutError) for result in results)
            with network.host("left"):
                reader, writer = await rudp.open_connection("10.0.0.2", PORT)
            assert await round_trip(reader, writer) == b"alive"
            await end(writer)

    rudp_sim(main)


def test_a_small_backlog_serves_a_crowd_in_the_end(network: Network, rudp_sim: Simulate) -> None:
    network.default = LinkConfig(delay_s=0.05)

    async def main() -> None:
        async with rudp.Endpoint.bind("10.0.0.2", PORT) as right:
            await right.start_server(echo, backlog=5)
            with network.host("left"):
                dialled = await asyncio.gather(
                    *(rudp.open_connection("10.0.0.2", PORT) for _ in range(40))
                )
            await asyncio.sleep(1.0)
            assert right.stats.backlog_drops > 0
            assert right.stats.accepted == 40
            for reader, writer in dialled:
                assert await round_trip(reader, writer) == b"alive"
                await end(writer)

    rudp_sim(main)


def test_memory_for_a_reader_that_does_not_read_is_bounded(
    network: Network, rudp_sim: Simulate
) -> None:
    config = Config(receive_buffer=50_000)

    async def main() -> None:
        accepted = []
        async with rudp.Endpoint.bind("10.0.0.2", PORT, config=config) as right:
            await right.start_server(lambda *streams: accepted.append(streams), limit=1000)
            with network.host("left"):
                _, writer = await rudp.open_connection("10.0.0.2", PORT)
            writer.write(b"x" * 10_000_000)
            await asyncio.sleep(600.0)
            info = accepted[0][1].get_extra_info("rudp_info")
            assert info.unread <= 50_000
            assert info.bytes_received <= 50_000 + 70_000  # and what the reader took
            received = await accepted[0][0].readexactly(10_000_000)
            assert received == b"x" * 10_000_000
            writer.close()
            accepted[0][1].close()
            await writer.wait_closed()

    rudp_sim(main)
