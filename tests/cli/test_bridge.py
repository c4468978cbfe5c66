"""Tunnels and their bridges over a bad network, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import rudp
from rudp.cli.address import HostPort, StreamAddress
from rudp.cli.bridge import Bridge, IdleTimeout, StreamSide
from rudp.cli.output import Output
from rudp.cli.streams import dial
from rudp.cli.tunnel import Tunnel
from rudp.sim import LinkConfig, Network

PORT = 7000
CONFIG = rudp.Config(keepalive=10.0, keepalive_interval=5.0, user_timeout=30.0)
UPSTREAM = StreamAddress("rudp", HostPort("server", PORT))
ENTRY = StreamAddress("rudp", HostPort("middle", PORT))
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def network(rudp_network: Network) -> Network:
    """A client, a tunnel in the middle, a server; 3 % loss and reordering on every link."""
    rudp_network.default = LinkConfig(delay_s=0.01, loss=0.03, reorder=0.02)
    for number, name in enumerate(("client", "middle", "server"), start=1):
        rudp_network.add_host(f"10.0.0.{number}", name=name)
    return rudp_network


async def through_tunnel(
    network: Network,
    serve: Handler,
    use: Callable[[], Awaitable[None]],
    capsys: pytest.CaptureFixture[str],
) -> dict[str, Any]:
    """Run `use` on the client while the tunnel runs; the tunnel's statistics at its end."""
    with network.host("server"):
        server = await rudp.start_server(serve, "server", PORT, config=CONFIG)
    with network.host("middle"):
        tunnel = Tunnel(ENTRY, UPSTREAM, CONFIG, 100, Output(json=True))
        serving = asyncio.create_task(tunnel.serve())
    await asyncio.sleep(0.001)
    with network.host("client"):
        await asyncio.ensure_future(use())
    await asyncio.sleep(60.0)  # of virtual time: everything that is going to end has ended
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    server.close()
    statistics: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return statistics


def test_many_clients_over_a_bad_network(
    network: Network, rudp_sim: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random(7)  # the seed of the payloads
    payloads = [draw.randbytes(draw.randrange(60_000)) for _ in range(10)]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hashlib.sha256(await reader.read()).digest())
        writer.close()

    async def one(payload: bytes) -> None:
        reader, writer = await rudp.open_connection("middle", PORT, config=CONFIG)
        writer.write(payload)
        writer.write_eof()
        assert await reader.read() == hashlib.sha256(payload).digest()
        writer.close()
        await writer.wait_closed()

    async def use() -> None:
        await asyncio.gather(*(one(payload) for payload in payloads))

    stats = rudp_sim(lambda: through_tunnel(network, serve, use, capsys))
    assert (stats["accepted"], stats["finished"], stats["reset"]) == (10, 10, 0)
    assert (stats["active"], stats["dialling"]) == (0, 0)
    assert (stats["bytes_to"], stats["bytes_back"]) == (sum(map(len, payloads)), 320)
    assert stats["rudp_bytes_retransmitted"] > 0


def test_a_reset_is_carried_over_a_bad_network(
    network: Network, rudp_sim: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[type[BaseException]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        try:
            await reader.read()
        except OSError as exc:
            seen.append(type(exc))
        writer.close()

    async def use() -> None:
        reader, writer = await rudp.open_connection("middle", PORT, config=CONFIG)
        assert await reader.readexactly(5) == b"hello"
        writer.transport.abort()

    stats = rudp_sim(lambda: through_tunnel(network, serve, use, capsys))
    assert (stats["reset"], stats["finished"], stats["active"]) == (1, 0, 0)
    assert issubclass(seen[0], (ConnectionResetError, TimeoutError))  # the reset itself may be lost


def test_a_client_that_vanishes_leaves_nothing(
    network: Network, rudp_sim: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    async def use() -> None:
        _, writer = await rudp.open_connection("middle", PORT, config=CONFIG)
        writer.write(b"the last words")
        await asyncio.sleep(5.0)
        network.default = LinkConfig(loss=1.0)
        writer.transport.abort()
        await asyncio.sleep(60.0)

    stats = rudp_sim(lambda: through_tunnel(network, serve, use, capsys))
    assert (stats["reset"], stats["active"]) == (1, 0)


def test_idleness_resets_both_sides(network: Network, rudp_sim: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        lost: list[float] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(3):
                await asyncio.sleep(4.0)
                writer.write(b".")
            with contextlib.suppress(OSError):
                await reader.read()
            lost.append(loop.time())
            writer.close()

        with network.host("server"):
            server = await rudp.start_server(serve, "server", PORT, config=CONFIG)
        with network.host("client"):
            left = await dial(UPSTREAM, StreamSide, CONFIG)
            right = await dial(UPSTREAM, StreamSide, CONFIG)
        over: asyncio.Future[Bridge] = loop.create_future()
        bridge = Bridge(left, right, over.set_result, idle_timeout_s=5.0)
        bridge.start()
        assert await over is bridge
        assert isinstance(bridge.error, IdleTimeout)
        assert 15.0 <= loop.time() <= 23.0  # the last byte at 12 s; looked at every 5 s
        assert (left.bytes_received, right.bytes_received) == (3, 3)
        assert not bridge.is_complete
        await asyncio.sleep(60.0)
        assert len(lost) == 2
        server.close()

    rudp_sim(main)
