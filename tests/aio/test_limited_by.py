"""`rudp_info.limited_by`: what held the sender back, also once nothing does."""

from __future__ import annotations

import asyncio

import pytest

import rudp
from rudp.sim import LinkConfig, Network

from .support import PORT, Simulate, end, serving


def test_an_idle_connection_is_limited_by_its_application(
    network: Network, rudp_sim: Simulate
) -> None:
    """Also where the last thing that was sent was a retransmission that had to wait."""
    network.default = LinkConfig(
        delay_s=0.01, loss=0.05, rate_bytes_per_s=1_000_000, queue_bytes=30_000
    )

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def main() -> None:
        async with serving(network, swallow):
            with network.host("left"):
                _, writer = await rudp.open_connection("10.0.0.2", PORT)
            for _ in range(10):
                writer.write(bytes(100_000))
                await asyncio.sleep(5)
                before = writer.get_extra_info("rudp_info")
                assert before.unacked == 0
                await asyncio.sleep(100)
                after = writer.get_extra_info("rudp_info")
                idle_s = after.limited_by["application"] - before.limited_by["application"]
                assert idle_s == pytest.approx(100.0), (before.limited_by, after.limited_by)
            await end(writer)

    rudp_sim(main)
