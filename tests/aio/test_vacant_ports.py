"""A server is closed while connections live: the port serves them, and a new server."""

from __future__ import annotations

import asyncio

import pytest

import rudp
from rudp.sim import Network

from .support import PORT, Simulate, echo, end, round_trip, serving


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Another server's callback, to tell the two apart."""
    while data := await reader.read(100):
        writer.write(data.upper())
    await end(writer)


def test_a_new_server_on_the_port_of_old_connections(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        with network.host("right"):
            first = await rudp.start_server(echo, "10.0.0.2", PORT)
        with network.host("left"):
            old = await rudp.open_connection("10.0.0.2", PORT)
            assert await round_trip(*old) == b"alive"
            first.close()
            with pytest.raises(ConnectionRefusedError):
                await rudp.open_connection("10.0.0.2", PORT)
            assert await round_trip(*old) == b"alive"
            async with serving(network, shout, host="10.0.0.2"):
                new = await rudp.open_connection("10.0.0.2", PORT)
                assert await round_trip(*new) == b"ALIVE"
                assert await round_trip(*old) == b"alive"
                assert len(network.get_host("right").sockets) == 1
                for _, writer in (old, new):
                    await end(writer)
        await asyncio.sleep(600.0)
        assert network.open_sockets() == []

    rudp_sim(main)


def test_without_connections_the_port_is_free_at_once(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        for _ in range(3):
            async with serving(network, host="10.0.0.2"):
                assert len(network.open_sockets()) == 1
            assert network.open_sockets() == []

    rudp_sim(main)


def test_the_old_connection_outlives_two_more_servers(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        with network.host("right"):
            first = await rudp.start_server(echo, "10.0.0.2", PORT)
        with network.host("left"):
            old = await rudp.open_connection("10.0.0.2", PORT)
            await round_trip(*old)
            first.close()
            for _ in range(2):
                async with serving(network, shout, host="10.0.0.2"):
                    new = await rudp.open_connection("10.0.0.2", PORT)
                    assert await round_trip(*new) == b"ALIVE"
                    await end(new[1])
                assert await round_trip(*old) == b"alive"
            await end(old[1])
        await asyncio.sleep(600.0)
        assert network.open_sockets() == []

    rudp_sim(main)


def test_the_new_server_s_own_settings_count(network: Network, rudp_sim: Simulate) -> None:
    """As they would where it had bound a socket of its own."""

    async def main() -> None:
        with network.host("right"):
            first = await rudp.start_server(echo, "10.0.0.2", PORT)
        with network.host("left"):
            old = await rudp.open_connection("10.0.0.2", PORT)
            await round_trip(*old)
            first.close()
            config = rudp.Config(max_datagram_size=424)
            async with serving(network, host="10.0.0.2", config=config):
                new = await rudp.open_connection("10.0.0.2", PORT)
                assert new[1].get_extra_info("rudp_info").mss == 400
                assert old[1].get_extra_info("rudp_info").mss == 1176
                for _, writer in (old, new):
                    await end(writer)

    rudp_sim(main)


def test_a_port_that_listens_is_in_use(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with serving(network, host="10.0.0.2"):
            with pytest.raises(OSError, match="use"):
                await rudp.start_server(echo, "10.0.0.2", PORT)

    rudp_sim(main)


def test_the_endpoint_of_another_is_not_taken_over(network: Network, rudp_sim: Simulate) -> None:
    """Who called `Endpoint.bind()` holds the port, whether a server of theirs listens or not."""

    async def main() -> None:
        async with rudp.Endpoint.bind("10.0.0.2", PORT) as endpoint:
            with pytest.raises(OSError, match="use"):
                await rudp.start_server(echo, "10.0.0.2", PORT)
            own = await endpoint.start_server(echo)
            own.close()
            await own.wait_closed()
            with pytest.raises(OSError, match="use"):
                await rudp.start_server(echo, "10.0.0.2", PORT)
            assert not endpoint.is_closing()

    rudp_sim(main)


def test_what_the_closed_server_had_accepted_is_its_own(
    network: Network, rudp_sim: Simulate
) -> None:
    """`close_clients()` of one server leaves those of the one before on the same socket."""

    async def main() -> None:
        with network.host("right"):
            first = await rudp.start_server(echo, "10.0.0.2", PORT)
        with network.host("left"):
            old = await rudp.open_connection("10.0.0.2", PORT)
            await round_trip(*old)
            first.close()
            async with serving(network, shout, host="10.0.0.2") as second:
                new = await rudp.open_connection("10.0.0.2", PORT)
                await round_trip(*new)
                second.close_clients()
                assert await new[0].read() == b""
                assert await round_trip(*old) == b"alive"
                for _, writer in (old, new):
                    await end(writer)

    rudp_sim(main)
