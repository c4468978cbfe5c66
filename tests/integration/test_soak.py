"""Long runs: a gigabyte with memory flat, a thousand connections through losses."""

from __future__ import annotations

import asyncio
import sys

import pytest

from .processes import Child, Children

pytestmark = [
    pytest.mark.soak,
    pytest.mark.processes,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]

GIGABYTE = 1_000_000_000
FLAT_BYTES = 20 << 20
WARM_UP_S = 2.0
SAMPLE_S = 0.2
LONG_S = 800.0


def report(line: str) -> None:
    """A figure for who runs this by hand, with `-s`."""
    sys.stdout.write(f"\n{line}\n")


class Memory:
    """Samples of a child's resident memory, taken after a warm-up."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.samples: list[int] = []

    async def watch(self) -> None:
        """Take samples until cancelled."""
        await asyncio.sleep(WARM_UP_S)
        while True:
            self.samples.append(self._child.resident_bytes())
            await asyncio.sleep(SAMPLE_S)

    def __str__(self) -> str:
        low, high = min(self.samples) / 2**20, max(self.samples) / 2**20
        return f"{low:.1f} … {high:.1f} MiB in {len(self.samples)} samples"


async def test_a_gigabyte_with_memory_flat(children: Children, loop: str) -> None:
    server = await children.start("server", "swallow", loop=loop)
    client = await children.start(
        "client", "upload", loop=loop, size=GIGABYTE, port=await server.port()
    )
    assert (await client.hear())["connected"]
    memories = {"client": Memory(client), "server": Memory(server)}
    watching = [asyncio.create_task(memory.watch()) for memory in memories.values()]
    sent, received = await asyncio.gather(client.hear(LONG_S), server.hear(LONG_S))
    for task in watching:
        task.cancel()
    assert received["received"] == sent["sent"]
    assert received["received_bytes"] == GIGABYTE
    elapsed_s = sent["elapsed_s"]
    report(f"1 GB on {loop}: {elapsed_s:.1f} s, {GIGABYTE / elapsed_s / 1e6:.1f} MB/s")
    for name, memory in memories.items():
        report(f"memory of the {name}: {memory}")
        assert len(memory.samples) >= 10
        first = memory.samples[0]
        assert all(abs(sample - first) <= FLAT_BYTES for sample in memory.samples), memory


async def test_a_thousand_connections_at_once_through_losses(children: Children, loop: str) -> None:
    """One server socket, one client socket; each connection echoes 100 KB of its own."""
    count = 1000
    server = await children.start("server", "echo", loop=loop, backlog=count)
    link = {"loss": 0.02, "delay_s": 0.005}
    relay = await children.start("relay", loop="asyncio", target=await server.port(), link=link)
    client = await children.start(
        "client", "echo", loop=loop, size=100_000, count=count, port=await relay.port()
    )
    message = await client.hear(LONG_S)
    assert message["outcomes"] == {"same": count}
    (stats,) = [one for one in await relay.finish() if "to_server" in one]
    report(f"1,000 connections on {loop}: {message['elapsed_s']:.1f} s, {stats}")
    assert stats["to_server"]["dropped"] > 0
    assert stats["to_client"]["dropped"] > 0
