"""Connections that name no local address share one socket per loop and family."""

from __future__ import annotations

import asyncio

import pytest

import rudp
from rudp.sim import LinkConfig, Network

from .support import PORT, Simulate, echo, end, round_trip, serving

COUNT = 200


def _ports(network: Network, host: str) -> list[int]:
    return [port for _, port in network.get_host(host).sockets]


def test_many_connections_dialled_at_once_share_one_socket(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> None:
        async with serving(network), serving(network, port=PORT + 1):
            with network.host("left"):
                dialled = await asyncio.gather(
                    *(
                        rudp.open_connection("right", PORT + index % 2, family=2)
                        for index in range(COUNT)
                    )
                )
            assert len(_ports(network, "left")) == 1
            messages = [b"%d" % index * 100 for index in range(COUNT)]
            echoed = await asyncio.gather(
                *(
                    round_trip(*streams, message)
                    for streams, message in zip(dialled, messages, strict=True)
                )
            )
            assert echoed == messages
            await asyncio.gather(*(end(writer) for _, writer in dialled))

    rudp_sim(main)


def test_the_socket_goes_with_the_last_connection_and_comes_back(
    network: Network, rudp_sim: Simulate
) -> None:
    config = rudp.Config(time_wait=5.0)

    async def main() -> None:
        async with serving(network, config=config):
            with network.host("left"):
                for _ in range(3):
                    assert _ports(network, "left") == []
                    first = await rudp.open_connection("right", PORT, config=config)
                    second = await rudp.open_connection("right", PORT, config=config)
                    await end(first[1])
                    await asyncio.sleep(60.0)
                    assert len(_ports(network, "left")) == 1
                    assert await round_trip(*second) == b"alive"
                    await end(second[1])
                    await asyncio.sleep(60.0)

    rudp_sim(main)


def test_a_socket_that_waits_out_time_wait_is_used_again(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> None:
        async with serving(network):
            with network.host("left"):
                _, writer = await rudp.open_connection("right", PORT)
                await end(writer)
                before = _ports(network, "left")
                _, writer = await rudp.open_connection("right", PORT)
                assert _ports(network, "left") == before
                await end(writer)

    rudp_sim(main)


def test_hosts_and_families_have_sockets_of_their_own(network: Network, rudp_sim: Simulate) -> None:
    network.add_host("10.0.0.3", "fd00::3", name="third")

    async def main() -> None:
        writers = []
        async with serving(network):
            for host in ("left", "third"):
                with network.host(host):
                    for address in ("10.0.0.2", "10.0.0.2", "fd00::2"):
                        _, writer = await rudp.open_connection(address, PORT)
                        writers.append(writer)
                assert len(_ports(network, host)) == 2
            for writer in writers:
                await end(writer)

    rudp_sim(main)


def test_connections_of_one_socket_may_have_settings_of_their_own(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> None:
        async with serving(network):
            with network.host("left"):
                writers = [
                    (await rudp.open_connection("10.0.0.2", PORT, config=config))[1]
                    for config in (rudp.Config(), rudp.Config(max_datagram_size=500))
                ]
            assert [w.get_extra_info("rudp_info").mss for w in writers] == [1176, 476]
            assert len(_ports(network, "left")) == 1
            for writer in writers:
                await end(writer)

    rudp_sim(main)


@pytest.mark.parametrize("failure", ["refused", "timeout", "cancelled"])
def test_a_dial_that_fails_leaves_no_socket(
    network: Network, rudp_sim: Simulate, failure: str
) -> None:
    async def main() -> None:
        async with rudp.Endpoint.bind("10.0.0.2", PORT), asyncio.timeout(600.0):
            if failure != "refused":
                network.partition("left", "right")
            config = rudp.Config(connect_timeout=10.0)
            with network.host("left"):
                dialling = asyncio.create_task(
                    rudp.open_connection("10.0.0.2", PORT, config=config)
                )
            await asyncio.sleep(1.0)
            if failure == "cancelled":
                dialling.cancel()
            with pytest.raises((OSError, asyncio.CancelledError)):
                await dialling
            assert _ports(network, "left") == []

    rudp_sim(main)


def test_the_failure_of_one_dial_does_not_touch_the_others(
    network: Network, rudp_sim: Simulate
) -> None:
    """One answers, one refuses, one is silent: all three from the same socket."""
    network.add_host("10.0.0.4", name="silent")
    network.set_link("left", "silent", LinkConfig(loss=1.0))

    async def main() -> None:
        config = rudp.Config(connect_timeout=5.0)
        async with serving(network), rudp.Endpoint.bind("10.0.0.2", PORT + 1):
            with network.host("left"):
                reader, writer = await rudp.open_connection("10.0.0.2", PORT)
                refused, silent = await asyncio.gather(
                    rudp.open_connection("10.0.0.2", PORT + 1, config=config),
                    rudp.open_connection("10.0.0.4", PORT, config=config),
                    return_exceptions=True,
                )
            assert isinstance(refused, ConnectionRefusedError)
            assert isinstance(silent, TimeoutError)
            assert await round_trip(reader, writer) == b"alive"
            await end(writer)

    rudp_sim(main)


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1"])
def test_a_local_address_means_a_socket_of_its_own(
    network: Network, rudp_sim: Simulate, address: str
) -> None:
    async def main() -> None:
        async with serving(network):
            with network.host("left"):
                reader, writer = await rudp.open_connection("right", PORT, local_addr=(address, 0))
                own, *_ = _ports(network, "left")
                other = (await rudp.open_connection("right", PORT))[1]
                fixed = (await rudp.open_connection("right", PORT, local_addr=(address, 9)))[1]
            assert writer.get_extra_info("sockname")[:2] == (address, own)
            assert fixed.get_extra_info("sockname")[:2] == (address, 9)
            assert other.get_extra_info("sockname")[1] not in (own, 9)
            assert await round_trip(reader, writer) == b"alive"
            for one in (writer, other, fixed):
                await end(one)
            await asyncio.sleep(600.0)
            assert _ports(network, "left") == []

    rudp_sim(main)


def test_local_addresses_that_cannot_be_had(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with serving(network, echo):
            with network.host("left"):
                for local in (("10.9.9.9", 0), ("fd00::1", 0)):
                    with pytest.raises(OSError, match=r"assign|family"):
                        await rudp.open_connection("10.0.0.2", PORT, local_addr=local)
                first = await rudp.open_connection("10.0.0.2", PORT, local_addr=("10.0.0.1", 9))
                with pytest.raises(OSError, match="use"):
                    await rudp.open_connection("10.0.0.2", PORT, local_addr=("10.0.0.1", 9))
                await end(first[1])

    rudp_sim(main)
