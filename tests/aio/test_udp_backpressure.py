"""The UDP socket takes nothing for a while: `pause_writing()`, then `resume_writing()`."""

from __future__ import annotations

import asyncio
from collections import Counter

import rudp
from rudp.sim import Network
from rudp.wire.segment import Segment, decode

from .support import PORT, Simulate, echo, end, round_trip, serving

SIZE_BYTES = 200_000


class Sent:
    """Counts the datagrams that leave each host."""

    def __init__(self) -> None:
        self.by_host: Counter[str] = Counter()

    def __call__(self, time_s: float, source: tuple[str, int], *rest: object) -> None:
        self.by_host[source[0]] += 1


def test_nothing_leaves_while_writing_is_paused(network: Network, rudp_sim: Simulate) -> None:
    sent = Sent()

    async def main() -> None:
        async with serving(network), rudp.Endpoint.bind("10.0.0.1") as left:
            reader, writer = await left.open_connection("10.0.0.2", PORT)
            await round_trip(reader, writer)
            await asyncio.sleep(1.0)
            network.tap = sent  # type: ignore[assignment]
            left.pause_writing()
            writer.write(b"x" * SIZE_BYTES)
            await asyncio.sleep(0.1)
            assert sent.by_host["10.0.0.1"] == 0
            left.resume_writing()
            assert sent.by_host["10.0.0.1"] > 0
            assert await reader.readexactly(SIZE_BYTES) == b"x" * SIZE_BYTES
            info = writer.get_extra_info("rudp_info")
            assert info.bytes_retransmitted == 0
            await end(writer)

    rudp_sim(main)


def test_what_arrives_while_paused_is_answered_afterwards(
    network: Network, rudp_sim: Simulate
) -> None:
    """Acknowledgements, and resets of strangers, wait for the socket too."""

    async def main() -> None:
        async with (
            rudp.Endpoint.bind("10.0.0.2", PORT) as right,
            rudp.Endpoint.bind("10.0.0.1") as left,
        ):
            server = await right.start_server(echo)
            reader, writer = await left.open_connection("10.0.0.2", PORT)
            await round_trip(reader, writer)
            server.close()
            right.pause_writing()
            refused = asyncio.create_task(left.open_connection("10.0.0.2", PORT))
            writer.write(b"hello")
            await asyncio.sleep(0.15)
            assert not refused.done()
            right.resume_writing()
            assert await reader.readexactly(5) == b"hello"
            (error,) = await asyncio.gather(refused, return_exceptions=True)
            assert isinstance(error, ConnectionRefusedError)
            await end(writer)

    rudp_sim(main)


def test_all_connections_of_the_socket_go_on(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with serving(network), rudp.Endpoint.bind("10.0.0.1") as left:
            dialled = [await left.open_connection("10.0.0.2", PORT) for _ in range(20)]
            for pause_s in (0.05, 0.5, 3.0):
                left.pause_writing()
                for _, writer in dialled:
                    writer.write(b"y" * 5000)
                await asyncio.sleep(pause_s)
                left.resume_writing()
                for reader, _ in dialled:
                    assert await reader.readexactly(5000) == b"y" * 5000
            left.pause_writing()
            for _, writer in dialled:
                writer.close()
            await asyncio.sleep(0.1)
            left.resume_writing()
            for _, writer in dialled:
                await writer.wait_closed()

    rudp_sim(main)


def test_a_connection_that_ends_while_paused_does_no_harm(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> None:
        async with serving(network), rudp.Endpoint.bind("10.0.0.1") as left:
            (_, gone), (reader, writer) = [
                await left.open_connection("10.0.0.2", PORT) for _ in range(2)
            ]
            left.pause_writing()
            for one in (gone, writer):
                one.write(b"z" * 5000)
            gone.transport.abort()
            await asyncio.sleep(0.1)
            left.resume_writing()
            assert await reader.readexactly(5000) == b"z" * 5000
            await end(writer)
            assert left.connection_count == 0

    rudp_sim(main)


def test_the_connections_of_a_socket_take_turns(network: Network, rudp_sim: Simulate) -> None:
    """Each has a window of ten segments to send: nobody's tenth goes before everybody's first."""
    config = rudp.Config(
        max_datagram_size=60_000,
        base_datagram_size=60_000,
        mtu_discovery=False,
        congestion="newreno",
        pacing=False,
    )
    count = 10
    order: list[int] = []

    def tap(time_s: float, source: tuple[str, int], destination: object, data: bytes) -> None:
        segment = decode(data)
        if source[0] == "10.0.0.1" and isinstance(segment, Segment) and segment.payload:
            order.append(segment.cid)

    async def main() -> None:
        async with (
            serving(network, config=config),
            rudp.Endpoint.bind("10.0.0.1", config=config) as left,
        ):
            dialled = [await left.open_connection("10.0.0.2", PORT) for _ in range(count)]
            for reader, writer in dialled:  # so that the congestion windows are large enough
                writer.write(b"w" * 3_000_000)
                await reader.readexactly(3_000_000)
            network.tap = tap  # type: ignore[assignment]
            left.pause_writing()
            for _, writer in dialled:
                writer.write(b"w" * 10 * config.mss)
            left.resume_writing()
            for reader, writer in dialled:
                await reader.readexactly(10 * config.mss)
                await end(writer)

    rudp_sim(main)
    assert len(order) == 10 * count
    firsts = [order.index(cid) for cid in set(order)]
    tenths = [len(order) - 1 - order[::-1].index(cid) for cid in set(order)]
    assert len(firsts) == count
    assert max(firsts) < min(tenths)
