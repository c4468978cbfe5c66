"""aiohttp's server and client, by the adapters of `examples/with_aiohttp.py`, in virtual time."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

import rudp
from rudp.sim import Network
from rudp.sim.pytest_plugin import Simulate

aiohttp = pytest.importorskip("aiohttp")
from aiohttp import web  # noqa: E402 - it may be missing

BODY_BYTES = 1 << 20
PORT = 80
Handler = Callable[[Any], Coroutine[Any, Any, Any]]


class Served:
    """A running server, and what its handlers saw."""

    def __init__(self, runner: web.AppRunner) -> None:
        self.runner = runner
        self.peers: list[Any] = []

    def note(self, request: Any) -> None:
        self.peers.append(request.transport.get_extra_info("peername"))


@asynccontextmanager
async def serving(network: Network, handler: Handler, **options: Any) -> AsyncIterator[Served]:
    """A site on the host "server" whose every request goes to `handler`."""
    from with_aiohttp import RudpSite

    async def handle(request: Any) -> Any:
        served.note(request)
        return await handler(request)

    app = web.Application(client_max_size=4 * BODY_BYTES)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, **options)
    served = Served(runner)
    await runner.setup()
    with network.host("server"):
        await RudpSite(runner, "server", PORT).start()
    try:
        yield served
    finally:
        await runner.cleanup()


@asynccontextmanager
async def session(network: Network, **pool: Any) -> AsyncIterator[Any]:
    """A client session on the host "client"."""
    from with_aiohttp import RudpConnector

    with network.host("client"):
        connector = RudpConnector(**pool)
        async with aiohttp.ClientSession(f"http://server:{PORT}", connector=connector) as opened:
            yield opened


async def digest(request: Any) -> Any:
    """Answer with the body and its SHA-256."""
    body = await request.read()
    return web.Response(body=body, headers={"X-SHA256": hashlib.sha256(body).hexdigest()})


def test_large_bodies_side_by_side_arrive_unchanged_both_ways(
    network: Network, rudp_sim: Simulate
) -> None:
    body = random.Random(1).randbytes(BODY_BYTES)
    expected = hashlib.sha256(body).hexdigest()

    async def main() -> None:
        async with serving(network, digest) as served, session(network, limit=4) as client:

            async def put() -> None:
                async with client.put("/", data=body) as response:
                    assert response.headers["X-SHA256"] == expected
                    assert hashlib.sha256(await response.read()).hexdigest() == expected

            await asyncio.gather(*(put() for _ in range(6)))
            assert len(set(served.peers)) == 1  # one UDP socket for all four connections

    rudp_sim(main)


def test_the_pool_keeps_connections_alive(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        transports = set()

        async def handle(request: Any) -> Any:
            transports.add(request.transport)
            return web.Response(text="ok")

        async with serving(network, handle), session(network) as client:
            for _ in range(5):
                async with client.get("/") as response:
                    assert await response.text() == "ok"
            assert len(transports) == 1
            async with client.get("/", headers={"Connection": "close"}):
                pass
            async with client.get("/"):
                pass
            assert len(transports) == 2

    rudp_sim(main)


def test_the_server_ends_idle_connections_and_the_client_opens_new_ones(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> None:
        async with (
            serving(network, digest, keepalive_timeout=1) as served,
            session(network, keepalive_timeout=None) as client,
        ):
            for _ in range(2):
                async with client.put("/", data=b"x") as response:
                    assert await response.read() == b"x"
                connections = served.runner.server.connections
                assert len(connections) == 1
                await asyncio.sleep(5)
                assert not served.runner.server.connections

    rudp_sim(main)


def test_the_access_log_names_the_peer(
    network: Network, rudp_sim: Simulate, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with (
            serving(network, digest, access_log_format="%a %r %s"),
            session(network) as client,
            client.get("/page"),
        ):
            pass

    with caplog.at_level(logging.INFO, logger="aiohttp.access"):
        rudp_sim(main)
    assert "10.0.0.1 GET /page HTTP/1.1 200" in caplog.messages


def test_shutdown_waits_for_requests_under_way_and_refuses_new_ones(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> None:
        started, stop = asyncio.Event(), asyncio.Event()

        async def slow(request: Any) -> Any:
            started.set()
            await stop.wait()
            return web.Response(body=bytes(BODY_BYTES))

        async with serving(network, slow) as served, session(network) as client:

            async def get() -> bytes:
                async with client.get("/") as response:
                    body: bytes = await response.read()
                    return body

            under_way = asyncio.create_task(get())
            await started.wait()
            ending = asyncio.create_task(served.runner.cleanup())
            await asyncio.sleep(1)
            with pytest.raises(aiohttp.ClientConnectorError):
                await get()
            assert not ending.done()
            stop.set()
            assert await under_way == bytes(BODY_BYTES)
            await ending

    rudp_sim(main)


def test_a_cancelled_request_ends_its_handler_and_its_connection(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> None:
        started, cancelled = asyncio.Event(), asyncio.Event()

        async def slow(request: Any) -> Any:
            started.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async with (
            serving(network, slow, handler_cancellation=True) as served,
            session(network) as client,
        ):
            request = asyncio.create_task(client.get("/"))
            await started.wait()
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            async with asyncio.timeout(5):
                await cancelled.wait()
            assert not client.connector._conns
            await asyncio.sleep(1)
            assert not served.runner.server.connections

    rudp_sim(main)


def test_a_download_is_streamed_at_the_readers_pace(network: Network, rudp_sim: Simulate) -> None:
    total_bytes = 64 * BODY_BYTES

    async def main() -> None:
        sent_bytes = 0

        async def stream(request: Any) -> Any:
            nonlocal sent_bytes
            response = web.StreamResponse()
            await response.prepare(request)
            while sent_bytes < total_bytes:
                await response.write(bytes(BODY_BYTES))
                sent_bytes += BODY_BYTES
            return response

        async with (
            serving(network, stream),
            session(network) as client,
            client.get("/") as response,
        ):
            await response.content.readexactly(1)
            await asyncio.sleep(600)
            # What the two buffers hold (16 MiB each at most) is under way; no more is.
            assert sent_bytes < total_bytes
            response.close()

    rudp_sim(main)


def test_nobody_listening_is_aiohttps_own_error(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with session(network) as client:
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await client.get("/")
            assert isinstance(caught.value.os_error, ConnectionRefusedError)
            with pytest.raises(aiohttp.ClientConnectorError):
                await client.get("http://nobody.invalid/")

    rudp_sim(main)


def test_a_silent_server_runs_into_aiohttps_own_time_limit(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        network.partition("client", "server")
        limit = aiohttp.ClientTimeout(total=None, sock_connect=2)
        async with session(network) as client:
            with pytest.raises(aiohttp.ConnectionTimeoutError):
                await client.get("/", timeout=limit)
            assert loop.time() == pytest.approx(2, abs=0.1)
        async with session(network, config=rudp.Config(connect_timeout=3)) as client:
            with pytest.raises(aiohttp.ConnectionTimeoutError):
                await client.get("/", timeout=aiohttp.ClientTimeout())
            assert loop.time() == pytest.approx(5, abs=0.1)

    rudp_sim(main)


def test_a_server_that_dies_is_noticed(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async def die(request: Any) -> Any:
            request.transport.abort()
            return web.Response()

        async with serving(network, die), session(network) as client:
            with pytest.raises(aiohttp.ClientConnectionError):
                await client.post("/", data=b"not repeated")

    rudp_sim(main)


def test_websockets_echo_ping_and_close_with_their_codes(
    network: Network, rudp_sim: Simulate
) -> None:
    message = random.Random(2).randbytes(BODY_BYTES)

    async def main() -> None:
        codes: list[int] = []

        async def talk(request: Any) -> Any:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for received in socket:
                if received.data == "bye":
                    await socket.close(code=4000, message=b"as you wish")
                else:
                    await socket.send_bytes(received.data)
            codes.append(socket.close_code)
            return socket

        async with serving(network, talk), session(network) as client:
            async with client.ws_connect("/", heartbeat=5) as socket:
                await socket.send_bytes(message)
                assert await socket.receive_bytes() == message
                await asyncio.sleep(60)  # only heartbeats
                assert not socket.closed
                await socket.send_str("bye")
                closing = await socket.receive()
                assert (closing.data, closing.extra) == (4000, "as you wish")
                assert socket.close_code == 4000
            async with client.ws_connect("/") as socket:
                await socket.close(code=4001)
            await asyncio.sleep(1)
            # The one who closes sees the code that aiohttp answers with, the other one the reason.
            assert (socket.close_code, sorted(codes)) == (1000, [1000, 4001])

    rudp_sim(main)


def test_a_routed_loop_serves_aiohttps_own_site_and_connector(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> None:
        app = web.Application()
        app.router.add_put("/", digest)
        runner = web.AppRunner(app)
        await runner.setup()
        with rudp.routed():
            with network.host("server"):
                await web.TCPSite(runner, "server", PORT).start()
            async with session(network) as client, client.put("/", data=b"here") as response:
                assert await response.read() == b"here"
        await runner.cleanup()

    rudp_sim(main)
