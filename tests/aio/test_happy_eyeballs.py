"""Names with several addresses: one after the other, or staggered (RFC 8305)."""

from __future__ import annotations

import asyncio

import pytest

import rudp
from rudp.sim import LinkConfig, Network

from .support import DELAY_S, PORT, Simulate, echo, end, round_trip

V6, V4 = ("fd00::a1", "fd00::a2", "fd00::a3"), ("10.0.0.11", "10.0.0.12")
CONFIG = rudp.Config(connect_timeout=30.0)


@pytest.fixture
def addresses(network: Network) -> tuple[str, ...]:
    """The addresses of "many", in the order in which the name resolves."""
    network.add_host(*V6, *V4, name="many")
    return V6 + V4


def _only_reachable(network: Network, reachable: str) -> None:
    """Datagrams to all other addresses of "many" vanish without a word."""
    network.icmp = False
    for address in V6 + V4:
        source = "fd00::1" if ":" in address else "10.0.0.1"
        loss = 0.0 if address == reachable else 1.0
        network.set_link(source, address, LinkConfig(delay_s=DELAY_S, loss=loss))


def _order_of_syns(network: Network) -> list[tuple[float, str]]:
    """Fills with the time and the address of each first SYN."""
    order: list[tuple[float, str]] = []

    def tap(time_s: float, source: object, destination: tuple[str, int], data: bytes) -> None:
        if destination[1] == PORT and destination[0] not in [ip for _, ip in order]:
            order.append((time_s, destination[0]))

    network.tap = tap  # type: ignore[assignment]
    return order


@pytest.mark.parametrize("reachable", [V6[0], V6[2], V4[1]])
def test_staggered_attempts_reach_the_one_that_answers(
    network: Network, rudp_sim: Simulate, addresses: tuple[str, ...], reachable: str
) -> None:
    _only_reachable(network, reachable)

    async def main() -> None:
        with network.host("many"):
            server = await rudp.start_server(echo, list(addresses), PORT)
        with network.host("left"):
            reader, writer = await rudp.open_connection(
                "many", PORT, happy_eyeballs_delay=0.25, interleave=0, config=CONFIG
            )
        place = addresses.index(reachable)
        assert asyncio.get_running_loop().time() == pytest.approx(
            place * 0.25 + 2 * DELAY_S, abs=0.01
        )
        assert writer.get_extra_info("peername")[0] == reachable
        assert await round_trip(reader, writer) == b"alive"
        await end(writer)
        server.close()

    rudp_sim(main)


def test_without_a_delay_each_address_has_its_whole_time(
    network: Network, rudp_sim: Simulate, addresses: tuple[str, ...]
) -> None:
    _only_reachable(network, V6[1])

    async def main() -> None:
        with network.host("many"):
            server = await rudp.start_server(echo, list(addresses), PORT)
        with network.host("left"):
            _, writer = await rudp.open_connection("many", PORT, config=CONFIG)
        assert asyncio.get_running_loop().time() == pytest.approx(30.0, abs=0.1)
        await end(writer)
        server.close()

    rudp_sim(main)


@pytest.mark.parametrize(
    ("interleave", "expected"),
    [
        (None, [V6[0], V4[0], V6[1], V4[1], V6[2]]),  # with a delay, 1 is the default
        (0, [*V6, *V4]),
        (1, [V6[0], V4[0], V6[1], V4[1], V6[2]]),
        (2, [V6[0], V6[1], V4[0], V6[2], V4[1]]),
    ],
)
def test_families_alternate(
    network: Network,
    rudp_sim: Simulate,
    addresses: tuple[str, ...],
    interleave: int | None,
    expected: list[str],
) -> None:
    """RFC 8305 §4: First Address Family Count, then one of each."""
    _only_reachable(network, "nobody")
    order = _order_of_syns(network)

    async def main() -> None:
        with network.host("left"), pytest.raises(OSError, match=r"not acknowledged|answer"):
            await rudp.open_connection(
                "many", PORT, happy_eyeballs_delay=0.25, interleave=interleave, config=CONFIG
            )

    rudp_sim(main)
    assert [ip for _, ip in order] == expected
    assert [time_s for time_s, _ in order] == pytest.approx([0.25 * n for n in range(5)], abs=1e-3)


def test_the_next_attempt_does_not_wait_for_the_delay_after_a_refusal(
    network: Network, rudp_sim: Simulate, addresses: tuple[str, ...]
) -> None:
    order = _order_of_syns(network)

    async def main() -> None:
        with network.host("many"):
            deaf = [rudp.Endpoint.bind(one, PORT) for one in addresses[:-1]]
            server = await rudp.start_server(echo, addresses[-1], PORT)
        async with deaf[0], deaf[1], deaf[2], deaf[3]:
            with network.host("left"):
                _, writer = await rudp.open_connection(
                    "many", PORT, happy_eyeballs_delay=10.0, interleave=0
                )
            assert asyncio.get_running_loop().time() < 1.0
            await end(writer)
        server.close()

    rudp_sim(main)
    assert [ip for _, ip in order] == list(addresses)


def test_the_losers_of_the_race_leave_nothing(
    network: Network, rudp_sim: Simulate, addresses: tuple[str, ...]
) -> None:
    """All answer, the first ones late: their half-open connections are reset."""
    for index, address in enumerate(addresses):
        source = "fd00::1" if ":" in address else "10.0.0.1"
        network.set_link(source, address, LinkConfig(delay_s=1.0 - 0.2 * index))
    config = rudp.Config(time_wait=5.0)

    async def main() -> None:
        accepted = []
        with network.host("many"):
            server = await rudp.start_server(
                lambda *streams: accepted.append(streams), list(addresses), PORT, config=config
            )
        with network.host("left"):
            reader, writer = await rudp.open_connection(
                "many", PORT, happy_eyeballs_delay=0.01, interleave=0, config=config
            )
        assert writer.get_extra_info("peername")[0] == addresses[-1]
        await asyncio.sleep(60.0)
        assert len(accepted) == 1
        accepted[0][1].write(b"you won")
        assert await reader.readexactly(7) == b"you won"
        await asyncio.gather(end(writer), end(accepted[0][1]))
        server.close()
        await asyncio.sleep(60.0)
        assert network.open_sockets() == []

    rudp_sim(main)


def test_two_attempts_that_succeed_at_once_make_one_connection(
    network: Network, rudp_sim: Simulate, addresses: tuple[str, ...]
) -> None:
    async def main() -> None:
        accepted: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        with network.host("many"):
            server = await rudp.start_server(
                lambda *streams: accepted.append(streams), list(addresses), PORT
            )
        with network.host("left"):
            reader, writer = await rudp.open_connection(
                "many", PORT, happy_eyeballs_delay=0.0, interleave=0
            )
        writer.write(b"hello")
        await asyncio.sleep(10.0)
        greeted = []
        for one, other in accepted:
            try:
                greeted.append(await one.readexactly(5))
            except ConnectionResetError:
                pass
            other.close()
        assert greeted == [b"hello"]
        assert await reader.read() == b""
        await end(writer)
        server.close()

    rudp_sim(main)


@pytest.mark.parametrize("delay_s", [None, 0.25])
def test_when_all_fail_the_error_tells_of_all(
    network: Network, rudp_sim: Simulate, addresses: tuple[str, ...], delay_s: float | None
) -> None:
    """Refused by one, not answered by the others."""
    _only_reachable(network, V6[0])

    async def main() -> None:
        async with rudp.Endpoint.bind(V6[0], PORT):
            with network.host("left"):
                with pytest.raises(OSError, match="Multiple exceptions") as one:
                    await rudp.open_connection(
                        "many", PORT, happy_eyeballs_delay=delay_s, config=CONFIG
                    )
                assert "no listener" in str(one.value)
                with pytest.raises(ExceptionGroup) as group:
                    await rudp.open_connection(
                        "many", PORT, happy_eyeballs_delay=delay_s, all_errors=True, config=CONFIG
                    )
        kinds = [type(error) for error in group.value.exceptions]
        assert (
            sorted(kind.__name__ for kind in kinds)
            == ["ConnectionRefused"] + ["ConnectionTimedOut"] * 4
        )

    rudp_sim(main)


def test_cancelling_a_race_leaves_nothing(
    network: Network, rudp_sim: Simulate, addresses: tuple[str, ...]
) -> None:
    _only_reachable(network, "nobody")

    async def main() -> None:
        with network.host("left"), pytest.raises(TimeoutError):
            async with asyncio.timeout(0.6):
                await rudp.open_connection("many", PORT, happy_eyeballs_delay=0.25)
        await asyncio.sleep(0.1)  # the race does not wait for those that it cancels
        assert network.open_sockets() == []

    rudp_sim(main)


@pytest.mark.parametrize(("family", "expected"), [(2, V4[0]), (10, V6[0])])
def test_a_family_chooses_among_the_addresses(
    network: Network,
    rudp_sim: Simulate,
    addresses: tuple[str, ...],
    family: int,
    expected: str,
) -> None:
    async def main() -> None:
        with network.host("many"):
            server = await rudp.start_server(echo, list(addresses), PORT)
        with network.host("left"):
            _, writer = await rudp.open_connection("many", PORT, family=family)
        assert writer.get_extra_info("peername")[0] == expected
        await end(writer)
        server.close()

    rudp_sim(main)
