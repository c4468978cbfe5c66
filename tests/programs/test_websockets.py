"""websockets' server and client, by the adapters of `examples/with_websockets.py`."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import rudp
from rudp.sim import Network
from rudp.sim.pytest_plugin import Simulate

pytest.importorskip("websockets")
from websockets.exceptions import (
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidStatus,
)

PORT = 80
URI = f"ws://server:{PORT}/"
MESSAGE = random.Random(3).randbytes(1_000_000)  # websockets takes a mebibyte by default


@asynccontextmanager
async def serving(
    network: Network, handler: Callable[[Any], Awaitable[None]], **options: Any
) -> AsyncIterator[Any]:
    """A WebSocket server on the host "server"."""
    from with_websockets import rudp_serve

    with network.host("server"):
        server = await rudp_serve(handler, "server", PORT, **options)
    try:
        yield server
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def connected(network: Network, **options: Any) -> AsyncIterator[Any]:
    """A client on the host "client"."""
    from with_websockets import RudpConnect

    with network.host("client"):
        async with RudpConnect(URI, **options) as socket:
            yield socket


async def echo(socket: Any) -> None:
    """Send every message back."""
    async for message in socket:
        await socket.send(message)


def test_large_messages_of_several_clients_arrive_unchanged(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> None:
        async def talk() -> None:
            async with connected(network) as socket:
                await socket.send(MESSAGE)
                answer = await socket.recv()
                assert hashlib.sha256(answer).digest() == hashlib.sha256(MESSAGE).digest()
                assert socket.remote_address == ("10.0.0.2", PORT)

        async with serving(network, echo):
            await asyncio.gather(*(talk() for _ in range(4)))

    rudp_sim(main)


def test_both_sides_close_with_their_code_and_reason(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        seen: list[tuple[Any, ...]] = []

        async def handle(socket: Any) -> None:
            if await socket.recv() == "leave":
                await socket.close(4000, "as you wish")
            await socket.wait_closed()
            seen.append((socket.remote_address[0], socket.close_code, socket.close_reason))

        async with serving(network, handle):
            async with connected(network) as socket:
                await socket.send("leave")
                with pytest.raises(ConnectionClosedError) as caught:
                    await socket.recv()
                assert caught.value.rcvd is not None
                assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4000, "as you wish")
            async with connected(network) as socket:
                await socket.send("stay")
                await socket.close(4001, "goodbye")
        assert sorted(seen) == [
            ("10.0.0.1", 4000, "as you wish"),
            ("10.0.0.1", 4001, "goodbye"),
        ]

    rudp_sim(main)


def test_a_server_that_shuts_down_says_so(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with serving(network, echo) as server, connected(network) as socket:
            await socket.send("there?")
            assert await socket.recv() == "there?"
            server.close()
            with pytest.raises(ConnectionClosedOK) as caught:
                await socket.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1001
            await server.wait_closed()
            with pytest.raises(ConnectionRefusedError):
                async with connected(network):
                    pass

    rudp_sim(main)


def test_a_peer_that_falls_silent_is_noticed_by_pings(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        pings = {"ping_interval": 5, "ping_timeout": 5}
        async with serving(network, echo, **pings), connected(network, **pings) as socket:
            await asyncio.sleep(60)
            assert socket.latency > 0
            await socket.send("still here")
            assert await socket.recv() == "still here"
            network.partition("client", "server")
            with pytest.raises(ConnectionClosedError) as caught:
                await socket.recv()
            assert caught.value.sent is not None
            assert caught.value.sent.code == 1011

    rudp_sim(main)


def test_a_client_reconnects_by_itself(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        from with_websockets import RudpConnect

        arrived = 0

        async def abrupt(socket: Any) -> None:
            nonlocal arrived
            arrived += 1
            if arrived < 3:
                socket.transport.abort()
            else:
                await echo(socket)

        async with serving(network, abrupt):
            with network.host("client"):
                async for socket in RudpConnect(URI, process_exception=lambda exc: None):
                    try:
                        await socket.send("hello")
                        assert await socket.recv() == "hello"
                    except ConnectionClosedError:
                        continue
                    await socket.close()
                    break
        assert arrived == 3

    rudp_sim(main)


def test_backpressure_reaches_the_sender(network: Network, rudp_sim: Simulate) -> None:
    small = rudp.Config(send_buffer=1 << 16, receive_buffer=1 << 16)

    async def main() -> None:
        never = asyncio.Event()
        sent = 0

        async def deaf(socket: Any) -> None:
            await never.wait()

        options = {"config": small, "ping_interval": None}
        async with serving(network, deaf, max_queue=1, **options):
            try:
                async with connected(network, compression=None, **options) as socket:
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(600):
                            for _ in range(100):
                                await socket.send(bytes(1 << 16))
                                sent += 1
                    assert 0 < sent < 20
                    socket.transport.abort()
            finally:
                never.set()

    rudp_sim(main)


def test_a_refused_handshake_tells_its_status(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        def refuse(connection: Any, request: Any) -> Any:
            return connection.respond(403, "no\n")

        async with serving(network, echo, process_request=refuse):
            with pytest.raises(InvalidStatus) as caught:
                async with connected(network):
                    pass
            assert caught.value.response.status_code == 403

    rudp_sim(main)
