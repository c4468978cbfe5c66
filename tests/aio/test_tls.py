"""TLS over a bad network, its time-outs, and what ends it: in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from certificates import NAMES, Certificates, names_of

import rudp
from rudp.sim import LinkConfig, Network

from .support import (
    DELAY_S,
    PORT,
    RunReal,
    Simulate,
    echo,
    end,
    round_trip,
    serving,
    serving_in_thread,
)

SIZE_BYTES = 400_000
LOSSY = LinkConfig(delay_s=DELAY_S, loss=0.05, reorder=0.05, duplicate=0.02)


async def dial(
    network: Network, certificates: Certificates, **options: Any
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection from "left" to "right" with TLS."""
    with network.host("left"):
        return await rudp.open_connection(
            "right", PORT, ssl=certificates.client_context(), **options
        )


@contextlib.asynccontextmanager
async def pair(
    network: Network, certificates: Certificates, **server_options: Any
) -> AsyncIterator[tuple[Any, Any]]:
    """Both ends of a connection with TLS: (reader, writer) of "left", then of "right"."""
    accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result((reader, writer))

    context = certificates.server_context()
    async with serving(network, accept, ssl=context, **server_options):
        near = await dial(network, certificates)
        far = await accepted
        try:
            yield near, far
        finally:
            for _, writer in (near, far):
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()


# Data


def test_both_directions_at_once_over_a_lossy_link(
    network: Network, rudp_sim: Simulate, certificates: Certificates
) -> None:
    network.default = LOSSY
    data = [random.Random(seed).randbytes(SIZE_BYTES) for seed in (1, 2)]

    async def exchange(stream: Any, mine: bytes) -> str:
        reader, writer = stream

        async def send() -> None:
            for at in range(0, SIZE_BYTES, 10_000):
                writer.write(mine[at : at + 10_000])
                await writer.drain()

        received, _ = await asyncio.gather(reader.readexactly(SIZE_BYTES), send())
        return hashlib.sha256(received).hexdigest()

    async def main() -> None:
        async with pair(network, certificates) as ends:
            found = await asyncio.gather(*map(exchange, ends, data))
            assert found == [hashlib.sha256(each).hexdigest() for each in data[::-1]]
            assert ends[0][1].get_extra_info("rudp_info").bytes_retransmitted > 0
            names = names_of(ends[0][1].get_extra_info("peercert"))
            assert names == set(NAMES)

    rudp_sim(main)


def test_start_tls_over_a_lossy_link(
    network: Network, rudp_sim: Simulate, certificates: Certificates
) -> None:
    network.default = LOSSY

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"ready\n")
        await writer.start_tls(certificates.server_context())
        await echo(reader, writer)

    async def main() -> None:
        async with serving(network, accept):
            with network.host("left"):
                reader, writer = await rudp.open_connection("right", PORT)
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"ready\n"
            await writer.start_tls(certificates.client_context(), server_hostname="right")
            assert await round_trip(reader, writer, b"x" * 50_000) == b"x" * 50_000
            await end(writer)

    rudp_sim(main)


def test_a_protocol_starts_tls_by_itself(
    network: Network, rudp_sim: Simulate, certificates: Certificates
) -> None:
    """`rudp.start_tls()` is `loop.start_tls()`; the latter works on this loop, too."""

    class Client(asyncio.Protocol):
        def __init__(self) -> None:
            self.received = b""
            self.done = asyncio.Event()

        def data_received(self, data: bytes) -> None:
            self.received += data
            self.done.set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await writer.start_tls(certificates.server_context())
        await echo(reader, writer)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        context = certificates.client_context()
        async with serving(network, accept):
            for start in (rudp.start_tls, loop.start_tls):
                with network.host("left"):
                    plain, client = await rudp.create_connection(Client, "right", PORT)
                secured = await start(plain, client, context, server_hostname="right")
                secured.write(b"to and fro")
                await client.done.wait()
                assert client.received == b"to and fro"
                with pytest.raises(TypeError, match="sslcontext"):
                    await start(secured, client, True)
                secured.close()

    rudp_sim(main)


def test_two_that_dial_each_other_start_tls(
    network: Network, rudp_sim: Simulate, certificates: Certificates
) -> None:
    """Of a rendezvous nobody is the server, so that one of them has to say it."""
    name = b"for this one"

    async def main() -> None:
        with network.host("left"):
            left = rudp.Endpoint.bind("left", PORT)
        with network.host("right"):
            right = rudp.Endpoint.bind("right", PORT)
        async with left as one, right as other:
            with pytest.raises(ValueError, match="rendezvous"):
                await one.open_connection("right", PORT, ssl=True, rendezvous=name)
            near, far = await asyncio.gather(
                one.open_connection("right", PORT, rendezvous=name),
                other.open_connection("left", PORT, rendezvous=name),
            )
            await asyncio.gather(
                near[1].start_tls(certificates.client_context(), server_hostname="right"),
                far[1].start_tls(certificates.server_context(), server_side=True),
            )
            near[1].write(b"encrypted")
            assert await far[0].readexactly(9) == b"encrypted"
            near[1].close()
            assert await far[0].read() == b""
            await end(far[1])
            await near[1].wait_closed()

    rudp_sim(main)


def test_a_foreign_transport_cannot_start_tls(certificates: Certificates) -> None:
    async def main() -> None:
        context = certificates.client_context()
        with pytest.raises(TypeError, match="not supported"):
            await rudp.start_tls(asyncio.Transport(), asyncio.Protocol(), context)

    asyncio.run(main())


def test_an_endpoint_speaks_tls_in_both_roles(
    run_real: RunReal, config: rudp.Config, certificates: Certificates
) -> None:
    async def main() -> None:
        async with (
            rudp.Endpoint.bind("127.0.0.1", config=config) as left,
            rudp.Endpoint.bind("127.0.0.1", config=config) as right,
        ):
            address = right.get_extra_info("sockname")
            server = await right.start_server(echo, ssl=certificates.server_context())
            context = certificates.client_context()
            reader, writer = await left.open_connection(*address, ssl=context)
            assert await round_trip(reader, writer) == b"alive"
            with pytest.raises(ssl.SSLCertVerificationError):
                await left.open_connection(*address, ssl=context, server_hostname="other.example")
            await end(writer)
            server.close()

    run_real(main())


# Arguments that asyncio would stumble over later


@pytest.mark.parametrize("nonsense", [object(), "context", 1])
def test_a_context_of_another_kind_is_a_type_error(nonsense: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="ssl"):
            await rudp.open_connection("127.0.0.1", 1, ssl=nonsense)
        with pytest.raises(TypeError, match="ssl"):
            await rudp.start_server(echo, "127.0.0.1", 0, ssl=nonsense)

    asyncio.run(main())


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
def test_a_server_s_timeouts_are_checked_at_once(certificates: Certificates, name: str) -> None:
    async def main() -> None:
        context = certificates.server_context()
        for timeout_s in (0, -1, float("nan")):
            with pytest.raises(ValueError, match=f"{name} should be a positive number"):
                await rudp.start_server(echo, "127.0.0.1", 0, ssl=context, **{name: timeout_s})
        with pytest.raises(TypeError, match=f"{name} must be a number"):
            await rudp.start_server(echo, "127.0.0.1", 0, ssl=context, **{name: "5"})

    asyncio.run(main())


# Time-outs and ends of a handshake


async def _swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        await reader.read()
    writer.close()


@pytest.mark.parametrize(("options", "expected_s"), [({}, 60.0), ({"ssl_handshake_timeout": 5}, 5)])
def test_a_server_that_says_nothing_costs_the_client_its_handshake_timeout(
    network: Network,
    rudp_sim: Simulate,
    certificates: Certificates,
    options: dict[str, Any],
    expected_s: float,
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(network, _swallow):
            began_s = loop.time()
            with pytest.raises(rudp.ConnectionAborted) as caught:
                await dial(network, certificates, **options)
            assert caught.value.reason is rudp.Reason.TLS_HANDSHAKE_TIMEOUT
            assert loop.time() - began_s == pytest.approx(expected_s, abs=0.5)

    rudp_sim(main)


def test_a_client_that_says_nothing_is_turned_away_and_nobody_hears_of_it(
    network: Network, rudp_sim: Simulate, certificates: Certificates
) -> None:
    served: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(
            network,
            lambda *stream: served.append(stream),
            ssl=certificates.server_context(),
            ssl_handshake_timeout=5.0,
        ):
            with network.host("left"):
                reader, writer = await rudp.open_connection("right", PORT)
            began_s = loop.time()
            with pytest.raises(rudp.ConnectionReset):
                await reader.read()
            assert loop.time() - began_s == pytest.approx(5.0, abs=0.5)
            with pytest.raises(rudp.ConnectionReset):
                await end(writer)
        assert served == []

    rudp_sim(main)


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("close", rudp.Reason.TLS_HANDSHAKE_EOF),
        ("abort", rudp.Reason.RESET_BY_PEER),
    ],
)
def test_a_server_that_ends_the_handshake_is_a_reset(
    network: Network,
    rudp_sim: Simulate,
    certificates: Certificates,
    ending: str,
    expected: rudp.Reason,
) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        getattr(writer.transport, ending)()

    async def main() -> None:
        async with serving(network, hang_up):
            with pytest.raises(rudp.ConnectionReset) as caught:
                await dial(network, certificates)
            assert caught.value.reason is expected

    rudp_sim(main)


@pytest.mark.parametrize("gracefully", [True, False])
def test_an_endpoint_that_closes_during_the_handshake_aborts_it(
    network: Network, rudp_sim: Simulate, certificates: Certificates, gracefully: bool
) -> None:
    """A handshake that never ended must not pass for one that has."""

    async def main() -> None:
        async with serving(network, _swallow):
            with network.host("left"):
                async with rudp.Endpoint.bind("left") as endpoint:
                    opening = asyncio.ensure_future(
                        endpoint.open_connection("right", PORT, ssl=certificates.client_context())
                    )
                    await asyncio.sleep(1.0)
                    if not gracefully:
                        endpoint.close()
            with pytest.raises(rudp.ConnectionAborted) as caught:
                await opening
            assert caught.value.reason in (rudp.Reason.ABORTED, rudp.Reason.ENDPOINT_CLOSED)

    rudp_sim(main)


# The end


def test_a_peer_that_does_not_end_tls_costs_the_shutdown_timeout(
    network: Network, rudp_sim: Simulate, certificates: Certificates
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with pair(network, certificates, ssl_shutdown_timeout=3.0) as (near, far):
            near[1].transport.pause_reading()
            began_s = loop.time()
            far[1].write(b"x" * 1_000_000)  # more than the paused reader takes
            far[1].close()
            with pytest.raises(rudp.ConnectionTimedOut) as caught:
                await far[1].wait_closed()
            assert caught.value.reason is rudp.Reason.TLS_SHUTDOWN_TIMEOUT
            assert loop.time() - began_s == pytest.approx(3.0, abs=0.5)

    rudp_sim(main)


@pytest.mark.parametrize("how", ["close_clients", "leave"])
def test_what_closes_connections_from_outside_ends_tls_too(
    network: Network, rudp_sim: Simulate, certificates: Certificates, how: str
) -> None:
    """`Server.close_clients()` and the end of an endpoint deliver what was written, and the peer
    can tell that it is complete."""
    data = random.Random(1).randbytes(SIZE_BYTES)
    network.default = LinkConfig(delay_s=DELAY_S, rate_bytes_per_s=2e6)

    writers: list[asyncio.StreamWriter] = []

    def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(data)

    async def main() -> None:
        with network.host("right"):
            async with rudp.Endpoint.bind("right", PORT) as endpoint:
                server = await endpoint.start_server(say, ssl=certificates.server_context())
                reader, writer = await dial(network, certificates)
                first = await reader.readexactly(1)  # by now the server's handshake is over, too
                reading = asyncio.ensure_future(reader.read())
                if how == "close_clients":
                    server.close_clients()
                    await reading
            assert first + await reading == data
        await end(writer)

    rudp_sim(main)


def test_a_loop_that_ends_right_after_close_delivers_tls_to_its_end(
    run_real: RunReal, config: rudp.Config, certificates: Certificates
) -> None:
    data = random.Random(1).randbytes(2_000_000)
    found: list[Any] = []

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            found.append(await reader.read())
        except OSError as exc:
            found.append(exc)
        writer.close()

    async def main(address: tuple[str, int]) -> None:
        context = certificates.client_context()
        _, writer = await rudp.open_connection(*address, ssl=context, config=config)
        writer.write(data)
        writer.close()

    with serving_in_thread(collect, ssl=certificates.server_context()) as server:
        run_real(main(server.address))
    assert [hashlib.sha256(each).digest() for each in found] == [hashlib.sha256(data).digest()]
