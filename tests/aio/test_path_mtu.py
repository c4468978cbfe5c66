"""Datagrams that the path is too narrow for (RFC 8899): found by what does not arrive."""

from __future__ import annotations

import asyncio

import pytest

import rudp
from rudp.sim import LinkConfig, Network

from .support import PORT, Simulate, end, serving

DELAY_S = 0.02
SOON_S = 10.0


def _link(mtu: int | None) -> LinkConfig:
    return LinkConfig(rate_bytes_per_s=2e6, queue_bytes=100_000, delay_s=DELAY_S, mtu=mtu)


def _info(writer: asyncio.StreamWriter) -> rudp.ConnectionInfo:
    info = writer.get_extra_info("rudp_info")
    assert isinstance(info, rudp.ConnectionInfo)
    return info


@pytest.mark.parametrize("size", [990, 1100, 1176, 1250, 50_000])
def test_a_message_that_the_base_size_is_too_large_for(
    network: Network, rudp_sim: Simulate, size: int
) -> None:
    """Below the base size too, and when there is nothing but one segment to judge by."""
    network.default = _link(1000)

    async def main() -> None:
        async with serving(network):
            with network.host("left"):
                reader, writer = await rudp.open_connection("right", PORT)
            writer.write(b"m" * size)
            async with asyncio.timeout(SOON_S):
                assert await reader.readexactly(size) == b"m" * size
            assert _info(writer).datagram_size <= 1000
            await end(writer)

    rudp_sim(main)


def test_a_path_that_narrows_under_a_transfer(network: Network, rudp_sim: Simulate) -> None:
    """Nothing is lost, and the transfer goes on at the smaller size."""
    network.default = _link(1452)
    data = bytes(range(256)) * 20_000

    async def main() -> None:
        async with serving(network):
            with network.host("left"):
                reader, writer = await rudp.open_connection("right", PORT)
            sending = asyncio.create_task(_send(writer, data))
            received = await reader.readexactly(2_000_000)
            assert _info(writer).datagram_size == 1452
            network.default = _link(1300)
            received += await reader.readexactly(len(data) - len(received))
            assert received == data
            await sending
            assert 1200 <= _info(writer).datagram_size <= 1300
            await end(writer)

    rudp_sim(main)


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    for at in range(0, len(data), 100_000):
        writer.write(data[at : at + 100_000])
        await writer.drain()


def test_small_talk_does_not_hide_that_large_segments_vanish(
    network: Network, rudp_sim: Simulate
) -> None:
    """RFC 8899 §4.3: what is small is acknowledged all the time, so that no timer expires."""
    network.default = _link(1452)

    async def main() -> None:
        async with serving(network):
            with network.host("left"):
                reader, writer = await rudp.open_connection("right", PORT)
            writer.write(b"x" * 400_000)
            await reader.readexactly(400_000)
            assert _info(writer).datagram_size == 1452
            network.default = _link(1300)
            before = _info(writer).timeouts
            writer.write(b"L" * 1400)
            for _ in range(int(SOON_S / 0.015)):
                await asyncio.sleep(0.015)
                writer.write(b"s")
                if _info(writer).datagram_size < 1452:
                    break
            assert _info(writer).datagram_size < 1452
            assert _info(writer).timeouts == before
            async with asyncio.timeout(SOON_S):
                assert await reader.readexactly(1400) == b"L" * 1400
            await end(writer)

    rudp_sim(main)
