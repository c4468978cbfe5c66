"""A simulated internet with two homes behind NATs, and a server that tells who one is."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import NamedTuple

import rudp
from rudp.sim import (
    FULL_CONE,
    PORT_RESTRICTED_CONE,
    RESTRICTED_CONE,
    SYMMETRIC,
    LinkConfig,
    Nat,
    NatConfig,
    Network,
)

DELAY_S = 0.02
SERVER, SERVER_PORT = "198.51.100.1", 7000
ALICE, BOB = "192.168.1.2", "192.168.2.2"
PORT = 5000
WORD = b"a word of two"
CONFIG = rudp.Config(connect_timeout=10.0, keepalive=15.0)

KINDS = {
    "full cone": FULL_CONE,
    "restricted cone": RESTRICTED_CONE,
    "port restricted cone": PORT_RESTRICTED_CONE,
    "symmetric": SYMMETRIC,
}
CLOSED = {
    frozenset(("symmetric", "port restricted cone")),
    frozenset(("symmetric",)),
}
"""Kinds between which there is no way. RFC 5128 §3.3 asks for mappings that do not depend on the
peer on both sides; one that does will do if the other's filter does not look at the port."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Homes(NamedTuple):
    """The NATs of the two."""

    alice: Nat
    bob: Nat


def build(network: Network, alice: NatConfig, bob: NatConfig | None = None) -> Homes:
    """A public server, and the hosts "alice" and "bob" behind NATs of their own."""
    network.default = LinkConfig(delay_s=DELAY_S)
    network.add_host(SERVER, name="server")
    homes = Homes(
        network.add_nat("203.0.113.1", alice, name="alices"),
        network.add_nat("203.0.113.2", bob or alice, name="bobs"),
    )
    network.add_host(ALICE, name="alice", behind=homes.alice)
    network.add_host(BOB, name="bob", behind=homes.bob)
    return homes


@contextlib.asynccontextmanager
async def mirror(network: Network) -> AsyncIterator[None]:
    """A server that tells everybody, once, at which address it sees them."""

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps(writer.get_extra_info("peername")).encode() + b"\n")
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    with network.host("server"):
        server = await rudp.start_server(tell, SERVER, SERVER_PORT)
    try:
        yield
    finally:
        server.close()


async def outside(endpoint: rudp.Endpoint) -> tuple[str, int]:
    """Where the server sees an endpoint."""
    reader, writer = await endpoint.open_connection(SERVER, SERVER_PORT)
    host, port = json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return host, port


async def punch(
    endpoint: rudp.Endpoint, peer: tuple[str, int], after_s: float = 0.0, word: bytes = WORD
) -> Streams:
    """Dial the peer's outside address, after a while."""
    await asyncio.sleep(after_s)
    return await endpoint.open_connection(*peer, rendezvous=word)


async def converse(one: Streams, other: Streams, size: int = 30_000) -> None:
    """Send bytes both ways over what has to be the two ends of one connection, and end it."""
    sent = bytes(range(250)) * (size // 250), bytes(range(250, 0, -1)) * (size // 250)
    for (_, writer), data in zip((one, other), sent, strict=True):
        writer.write(data)
        writer.write_eof()
    heard = await asyncio.gather(one[0].read(), other[0].read())
    assert heard == [sent[1], sent[0]]
    for _, writer in (one, other):
        writer.close()
        await writer.wait_closed()
