"""Bulk transfers that share one simulated link, each with a controller of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, cast

import rudp
from rudp import sim
from rudp.aio.transport import ConnectionTransport
from rudp.congestion import CongestionController

_RATE = 1.25e6
"""Bytes of UDP payload a second."""
_CHUNK = bytes(1 << 16)
BDP = _RATE * 0.04


class Flow(NamedTuple):
    """A transfer: its controller, when it begins, and when it is cut off."""

    congestion: str
    start_s: float = 0.0
    stop_s: float = 1e9


class Shared(NamedTuple):
    """What became of the flows."""

    shares: list[float]
    """Of the link, from `since_s` on."""
    queue_s: float
    """Mean queueing delay in that time."""
    controllers: list[CongestionController]


class _Bulk(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("ConnectionTransport", transport)
        self.paused = False
        self.fill()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.fill()

    def fill(self) -> None:
        while not self.paused and not self.transport.is_closing():
            self.transport.write(_CHUNK)


def share(flows: Sequence[Flow], *, queue_bdp: float, seconds: float, since_s: float) -> Shared:
    """Run `flows` over 10 Mbit/s and 40 ms, with a queue of so many bandwidth-delay products."""
    link = sim.LinkConfig(
        rate_bytes_per_s=_RATE, delay_s=0.02, queue_bytes=int(queue_bdp * BDP), mtu=1472
    )
    network = sim.Network(1, link)
    network.add_host("10.0.0.1", name="a")
    network.add_host("10.0.0.2", name="b")

    async def one(flow: Flow) -> ConnectionTransport:
        await asyncio.sleep(flow.start_s)
        config = rudp.Config(congestion=flow.congestion)
        transport, _ = await rudp.create_connection(_Bulk, "10.0.0.2", 7000, config=config)
        asyncio.get_running_loop().call_later(flow.stop_s - flow.start_s, transport.abort)
        return cast("ConnectionTransport", transport)

    async def main() -> Shared:
        with network.host("b"):
            server = await rudp.create_server(asyncio.Protocol, "10.0.0.2", 7000)
        with network.host("a"):
            tasks = [asyncio.create_task(one(flow)) for flow in flows]
        await asyncio.sleep(since_s)
        before = [_acked(task) for task in tasks]
        waits = []
        bottleneck = network.link("a", "b")
        loop = asyncio.get_running_loop()
        while loop.time() < seconds:
            await asyncio.sleep(0.02)
            waits.append(bottleneck.queued_bytes(loop.time()) / _RATE)
        volume = (seconds - since_s) * _RATE
        shares = [(_acked(task) - was) / volume for task, was in zip(tasks, before, strict=True)]
        connections = [task.result()._conn for task in tasks]
        for connection in tasks:
            connection.result().abort()
        server.close()
        server.abort_clients()
        controllers = [connection.sender.cc for connection in connections]
        return Shared(shares, sum(waits) / len(waits), controllers)

    return sim.run(main(), network=network, check_leaks=False, max_steps=10_000_000)


def _acked(task: asyncio.Task[ConnectionTransport]) -> int:
    return task.result()._conn.stats.bytes_acked if task.done() else 0


def jain(shares: Sequence[float]) -> float:
    """Jain's index: 1 where all are equal, 1/n where one has it all."""
    return sum(shares) ** 2 / len(shares) / sum(share * share for share in shares)
