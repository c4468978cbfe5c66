"""`rudp.Endpoint`: one socket that dials and listens."""

from __future__ import annotations

import asyncio

import pytest

import rudp
from rudp.sim import LinkConfig, Network

from .support import PORT, Simulate, echo, end, round_trip


def test_one_socket_dials_and_listens_at_once(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with rudp.Endpoint.bind("left", PORT) as a, rudp.Endpoint.bind("right", PORT) as b:
            await a.start_server(echo)
            await b.start_server(echo)
            to_right = await a.open_connection("right", PORT)
            to_left = await b.open_connection("left", PORT)
            assert await round_trip(*to_right) == await round_trip(*to_left)
            assert len(network.open_sockets()) == 2
            # What each dialled with is what it listens on.
            assert to_right[1].get_extra_info("sockname")[1] == PORT
            assert to_left[1].get_extra_info("peername") == ("10.0.0.1", PORT)
            assert (a.stats.opened, a.stats.accepted) == (1, 1)
            assert (a.connection_count, b.connection_count) == (2, 2)
            for _, writer in (to_right, to_left):
                await end(writer)

    rudp_sim(main)


def test_simultaneous_open_makes_one_connection(network: Network, rudp_sim: Simulate) -> None:
    """RFC 9293 MUST-10, figure 8."""

    async def main() -> None:
        async with (
            rudp.Endpoint.bind("10.0.0.1", PORT) as a,
            rudp.Endpoint.bind("10.0.0.2", PORT) as b,
        ):
            (reader_a, writer_a), (reader_b, writer_b) = await asyncio.gather(
                a.open_connection("10.0.0.2", PORT), b.open_connection("10.0.0.1", PORT)
            )
            writer_a.write(b"from a")
            writer_b.write(b"from b")
            assert await reader_a.readexactly(6) == b"from b"
            assert await reader_b.readexactly(6) == b"from a"
            assert (a.connection_count, b.connection_count) == (1, 1)
            assert a.stats.accepted == b.stats.accepted == 0
            await asyncio.gather(end(writer_a), end(writer_b))

    rudp_sim(main)


def test_where_both_listen_each_dial_reaches_the_other_s_server(
    network: Network, rudp_sim: Simulate
) -> None:
    """Whether a SYN crosses a dial or is meant for the listener nobody could tell: with a lost SYN
    the two sides paired them differently, and one dial was left without anybody."""

    async def main() -> None:
        async with (
            rudp.Endpoint.bind("10.0.0.1", PORT) as a,
            rudp.Endpoint.bind("10.0.0.2", PORT) as b,
        ):
            await a.start_server(echo)
            await b.start_server(echo)
            dialled = await asyncio.gather(
                a.open_connection("10.0.0.2", PORT), b.open_connection("10.0.0.1", PORT)
            )
            for reader, writer in dialled:
                assert await round_trip(reader, writer) == b"alive"
            assert (a.connection_count, b.connection_count) == (2, 2)
            assert a.stats.accepted == b.stats.accepted == 1
            await asyncio.gather(*(end(writer) for _, writer in dialled))

    rudp_sim(main)


def test_many_pairs_of_simultaneous_opens_under_loss(network: Network, rudp_sim: Simulate) -> None:
    """Crossing SYNs are paired off; with losses one side's may come as a plain dial."""
    network.default = LinkConfig(delay_s=0.02, jitter_s=0.02, loss=0.1)
    config = rudp.Config(time_wait=300.0, linger=300.0)
    count = 20

    async def talk(one: rudp.Endpoint, host: str, port: int, say: bytes) -> bytes:
        reader, writer = await one.open_connection(host, port)
        writer.write(say)
        writer.write_eof()
        heard = await reader.read()
        await end(writer)
        return heard

    async def main() -> None:
        for port in range(PORT, PORT + count):
            async with (
                rudp.Endpoint.bind("10.0.0.1", port, config=config) as a,
                rudp.Endpoint.bind("10.0.0.2", port, config=config) as b,
            ):
                heard_a, heard_b = await asyncio.gather(
                    talk(a, "10.0.0.2", port, b"A" * 5000), talk(b, "10.0.0.1", port, b"B" * 5000)
                )
                assert (heard_a, heard_b) == (b"B" * 5000, b"A" * 5000)

    rudp_sim(main)


def test_leaving_the_context_delivers_what_was_written(
    network: Network, rudp_sim: Simulate
) -> None:
    received: list[bytes] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read())
        await end(writer)

    async def main() -> None:
        async with rudp.Endpoint.bind("right", PORT) as right:
            await right.start_server(keep)
            async with rudp.Endpoint.bind("left") as left:
                _, writer = await left.open_connection("right", PORT)
                writer.write(b"x" * 500_000)
            assert left.is_closing()
            assert writer.is_closing()
            while not received:
                await asyncio.sleep(0.1)

    rudp_sim(main)
    assert received == [b"x" * 500_000]


def test_leaving_the_context_waits_only_so_long(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with rudp.Endpoint.bind("right", PORT) as right:
            await right.start_server(echo)
            left = rudp.Endpoint.bind("left", config=rudp.Config(linger=7.0))
            async with left as endpoint:
                reader, writer = await endpoint.open_connection("right", PORT)
                await round_trip(reader, writer)
                network.partition("left", "right")
                writer.write(b"lost")
                before_s = loop.time()
            assert loop.time() - before_s == pytest.approx(7.0)
            network.heal("left", "right")

    rudp_sim(main)


def test_close_resets_what_is_open(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        accepted: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        async with rudp.Endpoint.bind("right", PORT) as right:
            await right.start_server(lambda *streams: accepted.append(streams))
            async with rudp.Endpoint.bind("left") as left:
                reader, _ = await left.open_connection("right", PORT)
                await asyncio.sleep(1.0)
                left.close()
                left.close()
                with pytest.raises(ConnectionAbortedError) as here:
                    await reader.read()
                assert here.value.reason is rudp.Reason.ENDPOINT_CLOSED  # type: ignore[attr-defined]
                with pytest.raises(ConnectionAbortedError):
                    await left.open_connection("right", PORT)
            with pytest.raises(ConnectionResetError):
                await accepted[0][0].read()

    rudp_sim(main)


def test_close_frees_the_port_at_once(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        for _ in range(3):
            async with rudp.Endpoint.bind("10.0.0.1", PORT) as endpoint:
                assert endpoint.get_extra_info("sockname") == ("10.0.0.1", PORT)
                with pytest.raises(OSError, match="use"):
                    async with rudp.Endpoint.bind("10.0.0.1", PORT):
                        pass

    rudp_sim(main)


def test_one_server_at_a_time(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with rudp.Endpoint.bind("right", PORT) as right:
            first = await right.start_server(echo)
            with pytest.raises(OSError, match="server"):
                await right.start_server(echo)
            first.close()
            await first.wait_closed()
            await right.start_server(echo)
            async with rudp.Endpoint.bind("left") as left:
                reader, writer = await left.open_connection("right", PORT)
                assert await round_trip(reader, writer) == b"alive"
                await end(writer)

    rudp_sim(main)


def test_without_a_server_a_dial_is_refused(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> float:
        async with rudp.Endpoint.bind("right", PORT) as right, rudp.Endpoint.bind("left") as left:
            with pytest.raises(ConnectionRefusedError):
                await left.open_connection("right", PORT)
            assert right.stats.refused == 1
            assert left.connection_count == right.connection_count == 0
        return asyncio.get_running_loop().time()

    assert rudp_sim(main) < 0.1


def test_a_dial_that_is_cancelled_leaves_nothing(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with rudp.Endpoint.bind("left") as left:
            network.partition("left", "right")
            dialling = asyncio.create_task(left.open_connection("right", PORT))
            await asyncio.sleep(5.0)
            assert left.connection_count == 1
            dialling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dialling
            assert left.connection_count == 0

    rudp_sim(main)


def test_a_dial_that_nobody_answers_is_a_timeout(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        network.partition("left", "right")
        async with rudp.Endpoint.bind("left") as left:
            before_s = loop.time()
            with pytest.raises(TimeoutError) as failure:
                await left.open_connection("right", PORT, config=rudp.Config(connect_timeout=30.0))
            assert failure.value.reason is rudp.Reason.CONNECT_TIMEOUT  # type: ignore[attr-defined]
            assert loop.time() - before_s == pytest.approx(30.0)

    rudp_sim(main)


def test_both_families_by_literal(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        for left, right in (("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")):
            async with rudp.Endpoint.bind(right, PORT) as b, rudp.Endpoint.bind(left) as a:
                await b.start_server(echo)
                reader, writer = await a.open_connection(right, PORT)
                assert await round_trip(reader, writer) == b"alive"
                assert writer.get_extra_info("peername")[0] == right
                await end(writer)

    rudp_sim(main)


def test_a_name_is_dialled_in_the_endpoint_s_own_family(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> None:
        async with rudp.Endpoint.bind("fd00::2", PORT) as b, rudp.Endpoint.bind("fd00::1") as a:
            await b.start_server(echo)
            _, writer = await a.open_connection("right", PORT)
            assert writer.get_extra_info("peername")[0] == "fd00::2"
            await end(writer)

    rudp_sim(main)


def test_host_and_sock_contradict_each_other(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="sock"):
            async with rudp.Endpoint.bind(sock="no socket"):  # type: ignore[arg-type]
                pass
        with pytest.raises(ValueError, match="sock"):
            async with rudp.Endpoint.bind("left", sock=object()):  # type: ignore[arg-type]
                pass

    rudp_sim(main)
