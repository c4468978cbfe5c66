"""Nothing outlives its use: warnings for what was forgotten, no cycles, no retained connections."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

import rudp
from rudp.core.connection import Connection
from rudp.sim import Network

from .support import PORT, RunReal, Simulate, echo, end, round_trip, serving


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Without the collector, only what is in no cycle goes away."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _connections() -> int:
    return sum(type(one) is Connection for one in gc.get_objects())


def test_an_unclosed_transport_is_a_resource_warning(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with serving(network, echo):
            with network.host("left"):
                transport, _ = await rudp.create_connection(asyncio.Protocol, "10.0.0.2", PORT)
            forgotten = transport
            with pytest.warns(ResourceWarning, match="unclosed transport"):
                forgotten.__del__()
            transport.abort()
            await asyncio.sleep(1.0)
            transport.__del__()  # no warning: an error in this suite

    rudp_sim(main)


def test_a_closed_connection_dies_with_its_last_reference(
    network: Network, rudp_sim: Simulate, no_gc: None
) -> None:
    """Transport, protocol, reader and core, on both sides; TIME-WAIT is a small record."""
    before = _connections()

    async def main() -> None:
        async with rudp.Endpoint.bind("10.0.0.2", PORT) as right:
            await right.start_server(echo)
            async with rudp.Endpoint.bind("10.0.0.1") as left:
                reader, writer = await left.open_connection("10.0.0.2", PORT)
                await round_trip(reader, writer)
                await end(writer)
                gone = [weakref.ref(one) for one in (reader, writer, writer.transport)]
                del reader, writer
                await asyncio.sleep(1.0)
                assert [ref() for ref in gone] == [None] * 3
                assert _connections() == before

    rudp_sim(main)


@pytest.mark.parametrize("how", ["abort", "reset", "refused", "timeout", "cancelled"])
def test_a_connection_that_failed_dies_too(
    network: Network, rudp_sim: Simulate, no_gc: None, how: str
) -> None:
    before = _connections()
    config = rudp.Config(connect_timeout=10.0)

    async def fail(left: rudp.Endpoint, server: rudp.Server) -> None:
        if how in ("abort", "reset"):
            reader, writer = await left.open_connection("10.0.0.2", PORT)
            await round_trip(reader, writer)
            if how == "abort":
                writer.transport.abort()
            else:
                server.abort_clients()
            await asyncio.gather(reader.read(), return_exceptions=True)
            return
        if how == "refused":
            server.close()
        else:
            network.partition("left", "right")
        dialling = asyncio.create_task(left.open_connection("10.0.0.2", PORT, config=config))
        await asyncio.sleep(5.0)
        if how == "cancelled":
            dialling.cancel()
        (error,) = await asyncio.gather(dialling, return_exceptions=True)
        assert isinstance(error, (OSError, asyncio.CancelledError))

    async def main() -> None:
        async with rudp.Endpoint.bind("10.0.0.2", PORT) as right:
            server = await right.start_server(echo)
            async with rudp.Endpoint.bind("10.0.0.1") as left:
                await fail(left, server)
                await asyncio.sleep(30.0)
                assert left.connection_count == right.connection_count == 0
                gc.collect(0)  # a traceback's frames, which asyncio's exceptions keep
                assert _connections() == before

    rudp_sim(main)


def test_closed_connections_are_not_kept_for_their_timers(
    network: Network, rudp_sim: Simulate, no_gc: None
) -> None:
    """A deadline that lies hours ahead (keepalive) must not hold what has ended."""
    before = _connections()
    config = rudp.Config(keepalive=7200.0, time_wait=1.0)

    async def main() -> None:
        async with rudp.Endpoint.bind("10.0.0.2", PORT, config=config) as right:
            await right.start_server(echo)
            async with rudp.Endpoint.bind("10.0.0.1", config=config) as left:
                for _ in range(200):
                    reader, writer = await left.open_connection("10.0.0.2", PORT)
                    await round_trip(reader, writer)
                    await asyncio.sleep(1.0)
                    await end(writer)
                del reader, writer
                await asyncio.sleep(60.0)
                assert left.connection_count == right.connection_count == 0
                assert _connections() - before < 100

    rudp_sim(main)


def test_endpoints_and_servers_die_when_they_are_closed(run_real: RunReal, no_gc: None) -> None:
    async def main() -> None:
        gone: list[weakref.ref[object]] = []
        for _ in range(3):
            server = await rudp.start_server(echo, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            async with rudp.Endpoint.bind("127.0.0.1") as endpoint:
                reader, writer = await endpoint.open_connection(*address)
                await round_trip(reader, writer)
                await end(writer)
                gone += [weakref.ref(endpoint), weakref.ref(server)]
            server.close()
            await server.wait_closed()
            del server, endpoint, reader, writer
            await asyncio.sleep(0.05)
        assert [ref() for ref in gone] == [None] * 6

    run_real(main())
