"""An ASGI application under uvicorn, and httpx as a client without any hook."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import rudp
from rudp.sim import Network
from rudp.sim.pytest_plugin import Simulate

uvicorn = pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

BODY = random.Random(5).randbytes(1 << 20)
PORT = 80


@asynccontextmanager
async def serving(network: Network, app: Any) -> AsyncIterator[Any]:
    """The example's uvicorn server on the host "server"."""
    from with_asgi import Server

    server = Server(uvicorn.Config(app, "server", PORT, log_config=None))
    with network.host("server"):
        running = asyncio.create_task(server.serve())
    while not server.started:
        assert not running.done()
        await asyncio.sleep(0.01)
    try:
        yield server
    finally:
        server.should_exit = True
        await running
        await asyncio.sleep(10)  # uvicorn lets its keep-alive timers run out


@asynccontextmanager
async def client(network: Network, **options: Any) -> AsyncIterator[Any]:
    """An httpx client on the host "client", on a routed loop."""
    with network.host("client"), rudp.routed(servers=False):
        async with httpx.AsyncClient(base_url=f"http://server:{PORT}", **options) as opened:
            yield opened


def test_bodies_side_by_side_arrive_unchanged(
    network: Network, rudp_sim: Simulate, caplog: pytest.LogCaptureFixture
) -> None:
    from with_asgi import app

    async def main() -> None:
        limits = httpx.Limits(max_connections=3)
        async with serving(network, app), client(network, limits=limits, timeout=60) as http:

            async def post() -> None:
                response = await http.post("/", content=BODY)
                assert response.headers["x-sha256"] == hashlib.sha256(BODY).hexdigest()
                assert response.content == BODY
                assert response.headers["x-client"].startswith("10.0.0.1:")

            await asyncio.gather(*(post() for _ in range(5)))

    with caplog.at_level(logging.INFO, logger="uvicorn.access"):
        rudp_sim(main)
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert len(lines) == 5
    assert all(line.startswith("10.0.0.1:") and line.endswith(" 200") for line in lines)


def test_the_loop_is_as_before_once_the_server_listens(
    network: Network, rudp_sim: Simulate
) -> None:
    from with_asgi import app

    async def main() -> None:
        async with serving(network, app):
            assert "create_server" not in vars(asyncio.get_running_loop())

    rudp_sim(main)


def test_shutdown_finishes_what_is_under_way(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        started, go_on = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http", "uvicorn takes this for having no lifespan"
            started.set()
            await go_on.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": BODY})

        async with serving(network, app) as server, client(network, timeout=60) as http:
            under_way = asyncio.create_task(http.get("/"))
            await started.wait()
            server.should_exit = True
            await asyncio.sleep(1)
            with pytest.raises(httpx.ConnectError):
                await http.get("/")
            go_on.set()
            assert (await under_way).content == BODY

    rudp_sim(main)


def test_a_client_that_goes_away_is_told_to_the_application(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> None:
        waiting, told = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            assert scope["server"] == ("10.0.0.2", PORT)
            await receive()
            waiting.set()
            assert (await receive())["type"] == "http.disconnect"
            told.set()

        async with serving(network, app), client(network) as http:
            request = asyncio.create_task(http.get("/"))
            await waiting.wait()
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            async with asyncio.timeout(5):
                await told.wait()

    rudp_sim(main)


def test_httpx_has_its_own_errors_and_time_limits(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with client(network, timeout=httpx.Timeout(None, connect=2)) as http:
            with pytest.raises(httpx.ConnectError):
                await http.get("/")
            network.partition("client", "server")
            before_s = loop.time()
            with pytest.raises(httpx.ConnectTimeout):
                await http.get("/")
            assert loop.time() - before_s == pytest.approx(2, abs=0.1)

    rudp_sim(main)
