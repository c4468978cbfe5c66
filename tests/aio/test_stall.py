"""The event loop did something else for a while: lateness is not loss (design, section 5)."""

from __future__ import annotations

import asyncio
import time

import rudp
from rudp.sim import LinkConfig, Network, SimLoop

from .support import PORT, RunReal, Simulate, echo, end, round_trip, serving, serving_in_thread

STALL_S = 0.5
COUNT = 50


def _stall(seconds: float) -> None:
    """Let virtual time pass without the loop getting to run anything."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    loop._now_s += seconds


def _counters(writers: list[asyncio.StreamWriter]) -> tuple[int, int]:
    infos = [writer.get_extra_info("rudp_info") for writer in writers]
    return sum(info.timeouts for info in infos), sum(info.bytes_retransmitted for info in infos)


def test_acknowledgements_that_wait_in_the_socket_count_first(
    run_real: RunReal, config: rudp.Config
) -> None:
    """One loop stands still while the other's acknowledgements pile up in the socket.

    Every connection has its acknowledgement there, so that not one of them may time out.
    """

    async def main(address: tuple[str, int]) -> None:
        dialled = [await rudp.open_connection(*address, config=config) for _ in range(COUNT)]
        for reader, writer in dialled:
            await round_trip(reader, writer)
        for round_ in range(3):
            message = b"%d" % round_ * 3000
            for _, writer in dialled:
                writer.write(message)
            time.sleep(STALL_S)
            for reader, _ in dialled:
                assert await reader.readexactly(len(message)) == message
        assert _counters([writer for _, writer in dialled]) == (0, 0)
        for _, writer in dialled:
            writer.close()

    with serving_in_thread(echo, config=config.replace(linger=0.1)) as server:
        run_real(main(server.address))


def test_a_bulk_transfer_survives_stalls_without_a_timeout(
    network: Network, rudp_sim: Simulate
) -> None:
    """Both ends stand still: datagrams and acknowledgements are in flight while they do."""
    network.default = LinkConfig(delay_s=0.0)

    async def main() -> None:
        async with serving(network):
            with network.host("left"):
                reader, writer = await rudp.open_connection("10.0.0.2", PORT)

            async def send() -> None:
                for _ in range(20):
                    writer.write(b"s" * 50_000)
                    _stall(STALL_S)
                    await writer.drain()

            sending = asyncio.create_task(send())
            assert await reader.readexactly(1_000_000) == b"s" * 1_000_000
            await sending
            assert _counters([writer]) == (0, 0)
            await end(writer)

    rudp_sim(main)


def test_a_long_stall_does_not_end_connections(network: Network, rudp_sim: Simulate) -> None:
    """A suspended laptop: neither keepalive nor the limits of patience have been tried."""
    config = rudp.Config(keepalive=10.0, keepalive_interval=1.0, keepalive_probes=3)

    async def main() -> None:
        async with serving(network, config=config):
            with network.host("left"):
                reader, writer = await rudp.open_connection("10.0.0.2", PORT, config=config)
            for stall_s in (60.0, 8 * 3600.0):
                await round_trip(reader, writer)
                _stall(stall_s)
                await asyncio.sleep(0)
                assert await round_trip(reader, writer) == b"alive"
                writer.write(b"in flight when it stops")
                _stall(stall_s)
                assert await reader.readexactly(23) == b"in flight when it stops"
            await end(writer)

    rudp_sim(main)


def test_a_real_loss_is_still_noticed_after_a_stall(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with serving(network):
            with network.host("left"):
                reader, writer = await rudp.open_connection("10.0.0.2", PORT)
            await round_trip(reader, writer)
            network.partition("left", "right")
            writer.write(b"lost at first")
            _stall(STALL_S)
            await asyncio.sleep(0.1)
            network.heal("left", "right")
            assert await reader.readexactly(13) == b"lost at first"
            assert _counters([writer])[0] >= 1
            await end(writer)

    rudp_sim(main)


def test_a_peer_that_is_gone_is_still_noticed_after_a_stall(
    network: Network, rudp_sim: Simulate
) -> None:
    config = rudp.Config(retransmit_timeout=100.0, time_wait=1.0)

    async def main() -> None:
        async with serving(network) as server:
            with network.host("left"):
                reader, writer = await rudp.open_connection("10.0.0.2", PORT, config=config)
            await round_trip(reader, writer)
            network.partition("left", "right")
            writer.write(b"lost")
            await asyncio.sleep(1.0)
            _stall(3600.0)
            (error,) = await asyncio.gather(reader.read(), return_exceptions=True)
            assert isinstance(error, TimeoutError)
            server.abort_clients()
            await asyncio.sleep(1.0)

    rudp_sim(main)
