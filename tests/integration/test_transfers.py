"""Two processes on loopback: what one sent is what the other received, by SHA-256."""

from __future__ import annotations

import asyncio
import sys

import pytest

from .processes import Child, Children

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform == "win32", reason="signals"),
]

BAD_LINK = {
    "delay_s": 0.001,
    "jitter_s": 0.001,
    "loss": 0.02,
    "reorder": 0.05,
    "duplicate": 0.02,
}


async def _exchanged(client: Child, server: Child, count: int = 1) -> None:
    """Every connection has ended, and each side received what the other sent."""
    pairs = []
    for child in (client, server):
        messages = []
        while len(messages) < count:
            message = await child.hear()
            assert "error" not in message, message
            if "sent" in message:
                messages.append(message)
        pairs.append(messages)
    mine = sorted((one["sent"], one["received"]) for one in pairs[0])
    theirs = sorted((one["received"], one["sent"]) for one in pairs[1])
    assert mine == theirs
    assert await client.finish() == [{"ended": True}]
    assert await server.finish() == [{"ended": True}]


async def test_thirty_megabytes_each_way_at_once(children: Children, loop: str) -> None:
    server = await children.start("server", "exchange", loop=loop, size=30_000_000)
    client = await children.start(
        "client", "exchange", loop=loop, size=30_000_000, port=await server.port()
    )
    await _exchanged(client, server)


@pytest.mark.parametrize("server_io", ["batched", "stock"])
@pytest.mark.parametrize("client_io", ["batched", "stock"])
async def test_the_two_loops_and_ways_of_io_understand_each_other(
    children: Children, server_io: str, client_io: str
) -> None:
    server = await children.start(
        "server", "exchange", loop="uvloop", size=3_000_000, config={"io": server_io}
    )
    client = await children.start(
        "client",
        "exchange",
        loop="asyncio",
        size=3_000_000,
        port=await server.port(),
        config={"io": client_io},
    )
    await _exchanged(client, server)


@pytest.mark.parametrize("io", ["batched", "stock"])
async def test_many_connections_each_way_at_once(children: Children, loop: str, io: str) -> None:
    settings = {"io": io}
    server = await children.start("server", "exchange", loop=loop, size=200_000, config=settings)
    client = await children.start(
        "client",
        "exchange",
        loop=loop,
        size=300_000,
        count=40,
        port=await server.port(),
        config=settings,
    )
    await _exchanged(client, server, 40)


@pytest.mark.parametrize(("io", "sack"), [("batched", True), ("batched", False), ("stock", True)])
async def test_through_a_relay_that_loses_reorders_and_duplicates(
    children: Children, loop: str, io: str, sack: bool
) -> None:
    settings = {"io": io, "sack": sack}
    server = await children.start("server", "exchange", loop=loop, size=2_000_000, config=settings)
    relay = await children.start("relay", loop=loop, target=await server.port(), link=BAD_LINK)
    client = await children.start(
        "client", "exchange", loop=loop, size=2_000_000, port=await relay.port(), config=settings
    )
    await _exchanged(client, server)
    (stats,) = await relay.finish()
    for direction in (stats["to_server"], stats["to_client"]):
        assert direction["dropped"] > 0
        assert direction["delivered"] > direction["received"] - direction["dropped"]  # duplicates


async def test_datagrams_as_large_as_udp_has_them(children: Children, loop: str) -> None:
    settings = {"max_datagram_size": 65_507}
    server = await children.start("server", "exchange", loop=loop, size=30_000_000, config=settings)
    client = await children.start(
        "client", "exchange", loop=loop, size=30_000_000, port=await server.port(), config=settings
    )
    await _exchanged(client, server)


async def test_a_client_that_ends_right_after_close(children: Children, loop: str) -> None:
    """The server is still reading when the client's process has long gone."""
    server = await children.start("server", "swallow", loop=loop)
    client = await children.start(
        "client", "upload", loop=loop, size=5_000_000, port=await server.port()
    )
    assert await client.hear() == {"connected": True}
    sent = await client.hear()
    received = await server.hear()
    assert received["received"] == sent["sent"]
    assert received["received_bytes"] == 5_000_000
    await asyncio.gather(client.finish(), server.finish())
