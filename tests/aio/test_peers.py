"""`rudp.Endpoint` between equals: everything that it can do, on one socket and at once."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import rudp
from rudp.sim import LinkConfig, Network

from .support import PORT, RunReal, Simulate, echo, end, round_trip

COUNT = 40
HOST = "127.0.0.1"


class Collector(asyncio.Protocol):
    """Collects what comes until the end of the stream."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self.ended.set_result(self.data)
        else:
            self.ended.set_exception(exc)


class Shout(asyncio.Protocol):
    """Sends back in capitals what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data.upper())  # type: ignore[attr-defined]


async def shouted(endpoint: rudp.Endpoint, host: str, number: int) -> None:
    """Talk to a `Shout` by a protocol of our own."""
    transport, protocol = await endpoint.create_connection(Collector, host, PORT)
    transport.write(b"protocol %d" % number)
    transport.write_eof()
    assert isinstance(protocol, Collector)
    assert await protocol.ended == b"PROTOCOL %d" % number
    assert transport.get_extra_info("sockname") == endpoint.get_extra_info("sockname")


async def echoed(endpoint: rudp.Endpoint, host: str, number: int) -> None:
    """Talk to an echo server by streams."""
    reader, writer = await endpoint.open_connection(host, PORT)
    message = b"stream %d" % number * 300
    assert await round_trip(reader, writer, message) == message
    assert writer.get_extra_info("sockname") == endpoint.get_extra_info("sockname")
    await end(writer)


async def crossed(
    one: rudp.Endpoint, other: rudp.Endpoint, hosts: tuple[str, str], number: int
) -> None:
    """Let two endpoints dial each other for one connection, and talk over it."""
    word = b"crossing %d" % number
    streams = await asyncio.gather(
        one.open_connection(hosts[1], PORT, rendezvous=word),
        other.open_connection(hosts[0], PORT, rendezvous=word),
    )
    for (_, writer), name in zip(streams, (b"one", b"other"), strict=True):
        writer.write(word + name)
        writer.write_eof()
    assert await streams[0][0].read() == word + b"other"
    assert await streams[1][0].read() == word + b"one"
    await asyncio.gather(*(end(writer) for _, writer in streams))


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_two_sockets_carry_everything_at_once(
    network: Network, rudp_sim: Simulate, loss: float
) -> None:
    """Both serve, both dial the other's server, and both dial each other, forty times each."""
    network.default = LinkConfig(delay_s=0.01, jitter_s=0.01, loss=loss)
    left, right = "10.0.0.1", "10.0.0.2"

    async def main() -> None:
        async with (
            rudp.Endpoint.bind(left, PORT) as a,
            rudp.Endpoint.bind(right, PORT) as b,
        ):
            await a.start_server(echo)
            await b.create_server(Shout)
            await asyncio.gather(
                *(shouted(a, right, number) for number in range(COUNT)),
                *(echoed(b, left, number) for number in range(COUNT)),
                *(crossed(a, b, (left, right), number) for number in range(COUNT)),
            )
            assert len(network.open_sockets()) == 2
            assert (a.stats.opened, b.stats.opened) == (2 * COUNT, 2 * COUNT)
            assert (a.stats.accepted, b.stats.accepted) == (COUNT, COUNT)
            await asyncio.sleep(300.0)
            assert (a.connection_count, b.connection_count) == (0, 0)

    rudp_sim(main)


def test_an_endpoint_with_one_server_after_the_other(network: Network, rudp_sim: Simulate) -> None:
    """What the first accepted goes on; in between there is nobody to dial, but one may dial."""

    async def main() -> None:
        async with rudp.Endpoint.bind("left", PORT) as a, rudp.Endpoint.bind("right", PORT) as b:
            first = await a.start_server(echo)
            with pytest.raises(OSError, match="server already"):
                await a.create_server(Shout)
            kept = await b.open_connection("left", PORT)
            assert await round_trip(*kept) == b"alive"
            first.close()
            with pytest.raises(ConnectionRefusedError):
                await b.open_connection("left", PORT)
            await b.create_server(Shout)
            await shouted(a, "right", 1)
            await a.create_server(Shout)
            await shouted(b, "left", 2)
            assert await round_trip(*kept) == b"alive"
            await end(kept[1])

    rudp_sim(main)


# -- on the system's sockets ---------------------------------------------------------------------


@contextlib.asynccontextmanager
async def real_pair(config: rudp.Config):  # type: ignore[no-untyped-def]
    async with (
        rudp.Endpoint.bind(HOST, config=config) as a,
        rudp.Endpoint.bind(HOST, config=config) as b,
    ):
        yield a, b


def address_of(endpoint: rudp.Endpoint) -> tuple[str, int]:
    host, port = endpoint.get_extra_info("sockname")
    return host, port


def test_crossing_dials_on_real_sockets(run_real: RunReal, config: rudp.Config) -> None:
    """RFC 9293 §3.5: both loops, both ways to move datagrams; servers listen all the while."""

    async def dial(one: rudp.Endpoint, other: rudp.Endpoint, number: int) -> None:
        streams = await one.open_connection(*address_of(other), rendezvous=b"%d" % number)
        reader, writer = streams
        writer.write(b"%d" % number * 1000)
        writer.write_eof()
        assert await reader.read() == b"%d" % number * 1000
        await end(writer)

    async def main() -> None:
        async with real_pair(config) as (a, b):
            await a.start_server(echo)
            await b.start_server(echo)
            await asyncio.gather(
                *(dial(a, b, number) for number in range(20)),
                *(dial(b, a, number) for number in range(20)),
            )
            assert (a.stats.accepted, b.stats.accepted) == (0, 0)

    run_real(main())


def test_a_peer_that_binds_its_port_late(run_real: RunReal, config: rudp.Config) -> None:
    """RFC 9293 MUST-56: the system says that the port is closed, and the peer comes all the same;
    then it goes and comes back, on the same port."""
    quick = config.replace(punch_interval=0.02, linger=0.1)

    async def main() -> None:
        async with rudp.Endpoint.bind(HOST, config=quick) as a:
            async with rudp.Endpoint.bind(HOST, config=quick) as b:
                where = address_of(b)
            for word in (b"first", b"second"):
                early = asyncio.create_task(a.open_connection(*where, rendezvous=word))
                with pytest.raises(ConnectionRefusedError):
                    await a.open_connection(*where)  # so the refusals have come by now
                assert not early.done()
                async with rudp.Endpoint.bind(*where, config=quick) as b:
                    late = await b.open_connection(*address_of(a), rendezvous=word)
                    _, writer = await early
                    writer.write(word)
                    assert await late[0].readexactly(len(word)) == word
                    await asyncio.gather(end(writer), end(late[1]))

    run_real(main())
