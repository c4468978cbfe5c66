"""Connections from behind a NAT: they open, outlive silence, and follow a NAT that rebinds."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib

import pytest
from aio.support import Simulate, echo, end, round_trip

import rudp
from rudp.sim import PORT_RESTRICTED_CONE, Network

from .support import DELAY_S, KINDS, SERVER, SERVER_PORT, build

TIMEOUT_S = 30.0


@contextlib.asynccontextmanager
async def serving(network: Network, callback: object = echo, **settings: float):  # type: ignore[no-untyped-def]
    config = rudp.Config(**settings)  # type: ignore[arg-type]
    with network.host("server"):
        server = await rudp.start_server(callback, SERVER, SERVER_PORT, config=config)  # type: ignore[arg-type]
    try:
        yield server
    finally:
        server.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_from_behind_a_nat(
    rudp_network: Network, rudp_sim: Simulate, kind: str
) -> None:
    homes = build(rudp_network, KINDS[kind])
    data = hashlib.sha256(b"seed").digest() * 20_000
    peers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername"))
        await echo(reader, writer)

    async def main() -> None:
        async with serving(rudp_network, serve):
            with rudp_network.host("alice"):
                reader, writer = await rudp.open_connection("server", SERVER_PORT)
            writer.write(data)
            writer.write_eof()
            assert await reader.read() == data
            await end(writer)

    rudp_sim(main)
    assert peers == [(homes.alice.address, next(iter(homes.alice.mappings)))]


@pytest.mark.parametrize("keepalive", [20.0, None])
def test_keepalive_keeps_the_mapping(
    rudp_network: Network, rudp_sim: Simulate, keepalive: float | None
) -> None:
    """RFC 4787 §4.3: what a NAT forgets, only the inside can open again."""
    homes = build(rudp_network, PORT_RESTRICTED_CONE.replace(timeout_s=TIMEOUT_S))
    silence_s = 3600.0

    async def tell_later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(silence_s)
        with contextlib.suppress(OSError):
            writer.write(b"news")
            await end(writer)

    async def main() -> bytes:
        async with serving(rudp_network, tell_later):
            with rudp_network.host("alice"):
                config = rudp.Config(keepalive=keepalive)
                reader, writer = await rudp.open_connection("server", SERVER_PORT, config=config)
                try:
                    async with asyncio.timeout(silence_s + 60.0):
                        return await reader.read()
                except TimeoutError:
                    return b"nothing came in"
                finally:
                    writer.transport.abort()
                    await asyncio.sleep(300.0)

    assert rudp_sim(main) == (b"news" if keepalive else b"nothing came in")
    assert (homes.alice.stats.expired == 0) == (keepalive is not None)
    assert homes.alice.stats.mapped == 1 + homes.alice.stats.expired, "the last is for the reset"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("new_address", [None, "203.0.113.99"])
def test_a_nat_that_rebinds_in_the_middle_of_a_transfer(
    rudp_network: Network, rudp_sim: Simulate, kind: str, new_address: str | None
) -> None:
    """The id names a connection, not the address: the new one is validated, and followed."""
    homes = build(rudp_network, KINDS[kind])
    data = bytes(range(256)) * 20_000
    infos = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = await reader.read()
        writer.write(b"%d" % len(received))
        await end(writer)
        infos.append((writer.get_extra_info("peername"), received == data))

    def rebind() -> None:
        homes.alice.rebind()
        if new_address is not None:
            rudp_network.change_address("alices", new_address)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(rudp_network, serve):
            with rudp_network.host("alice"):
                reader, writer = await rudp.open_connection("server", SERVER_PORT)
            for after_s in (0.15, 0.9):
                loop.call_later(after_s, rebind)
                if new_address is not None:
                    break
            writer.write(data[: len(data) // 2])
            await asyncio.sleep(1.2)
            writer.write(data[len(data) // 2 :])
            writer.write_eof()
            assert await reader.read() == b"%d" % len(data)
            await end(writer)
            await asyncio.sleep(1.0)

    rudp_sim(main)
    ((peer, intact),) = infos
    assert intact
    assert peer[0] == homes.alice.address == (new_address or "203.0.113.1")
    assert peer[1] in homes.alice.mappings
    assert homes.alice.stats.mapped >= 2


def test_a_silent_connection_is_reachable_after_a_rebinding_by_its_keepalive(
    rudp_network: Network, rudp_sim: Simulate
) -> None:
    """The side that moved has to speak first: with keepalive it does."""
    homes = build(rudp_network, PORT_RESTRICTED_CONE)

    async def main() -> None:
        ready = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await ready.wait()
            writer.write(b"found you")
            await end(writer)

        async with serving(rudp_network, serve):
            with rudp_network.host("alice"):
                config = rudp.Config(keepalive=20.0)
                reader, writer = await rudp.open_connection("server", SERVER_PORT, config=config)
            await asyncio.sleep(5.0)
            homes.alice.rebind()
            await asyncio.sleep(30.0)
            ready.set()
            before_s = asyncio.get_running_loop().time()
            assert await reader.read() == b"found you"
            assert asyncio.get_running_loop().time() - before_s < 10 * DELAY_S
            await end(writer)

    rudp_sim(main)


def test_many_hosts_behind_one_nat(rudp_network: Network, rudp_sim: Simulate) -> None:
    homes = build(rudp_network, PORT_RESTRICTED_CONE)
    count = 50
    for number in range(count):
        rudp_network.add_host(f"192.168.1.{100 + number}", name=f"host{number}", behind=homes.alice)

    async def visit(number: int) -> None:
        with rudp_network.host(f"host{number}"):
            async with rudp.Endpoint.bind(f"192.168.1.{100 + number}", 5000) as endpoint:
                reader, writer = await endpoint.open_connection(SERVER, SERVER_PORT)
                message = b"%d" % number * 500
                assert await round_trip(reader, writer, message) == message
                await end(writer)

    async def main() -> None:
        async with serving(rudp_network):
            await asyncio.gather(*map(visit, range(count)))

    rudp_sim(main)
    assert homes.alice.stats.mapped == count
