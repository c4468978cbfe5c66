"""redis-py, by the connection class of `examples/with_redis.py`, against a real Redis server."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import rudp

from .conftest import Relayed, RunReal

pytest.importorskip("redis")
from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

SERVER = shutil.which("redis-server")
pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(SERVER is None, reason="redis-server is not installed"),
]

VALUE = random.Random(6).randbytes(1 << 20)


@asynccontextmanager
async def redis_server(directory: Path) -> AsyncIterator[str]:
    """A Redis server on a Unix socket in an empty directory; the socket's path."""
    path = directory / "socket"
    process = await asyncio.create_subprocess_exec(
        str(SERVER),
        *("--port", "0", "--unixsocket", str(path), "--dir", str(directory), "--save", ""),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        while b"ready to accept" not in (line := await process.stdout.readline()):
            assert line, "redis-server ended"
        yield str(path)
    finally:
        process.terminate()
        await process.communicate()


@asynccontextmanager
async def clients(
    directory: Path, relayed: Relayed, **pool: Any
) -> AsyncIterator[tuple[Any, list[Any]]]:
    """A client over a lossy relay, and the server's ends of its connections."""
    from with_redis import RudpConnection, passing_on

    accepted: list[Any] = []
    async with redis_server(directory) as path:
        handler = passing_on(path)

        async def accept(reader: Any, writer: Any) -> None:
            accepted.append(writer)
            await handler(reader, writer)

        server = await rudp.start_server(accept, "127.0.0.1", 0)
        host, port = await relayed(server.sockets[0].getsockname())
        connections = redis.ConnectionPool(
            connection_class=RudpConnection, host=host, port=port, **pool
        )
        try:
            async with redis.Redis.from_pool(connections) as client:
                yield client, accepted
        finally:
            server.close()
            await handler.stop()


def test_values_pipelines_and_the_pool(tmp_path: Path, relayed: Relayed, run_real: RunReal) -> None:
    async def main() -> None:
        async with clients(tmp_path, relayed) as (client, accepted):

            async def store(name: str) -> None:
                await client.set(name, VALUE)
                assert await client.get(name) == VALUE

            await asyncio.gather(*(store(name) for name in "abc"))
            async with client.pipeline(transaction=True) as pipeline:
                for _ in range(100):
                    pipeline.incr("counter")
                assert (await pipeline.execute())[-1] == 100
            for _ in range(20):
                await client.ping()
            assert len(accepted) == 3

    run_real(main())


def test_messages_cancellation_and_lost_connections(
    tmp_path: Path, relayed: Relayed, run_real: RunReal
) -> None:
    async def main() -> None:
        retry = Retry(NoBackoff(), 3)
        async with clients(tmp_path, relayed, retry=retry) as (client, accepted):
            async with client.pubsub() as subscription:
                await subscription.subscribe("news")
                await subscription.get_message(timeout=5)
                await client.publish("news", b"here")
                message = await subscription.get_message(timeout=5)
                assert message["data"] == b"here"

            waiting = asyncio.create_task(client.blpop("nothing", timeout=0))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await client.ping()

            for writer in accepted:
                writer.transport.abort()
            assert await client.ping()  # on a new connection

    run_real(main())


async def test_nobody_listening_is_redis_own_error() -> None:
    from with_redis import RudpConnection

    pool = redis.ConnectionPool(
        connection_class=RudpConnection, host="127.0.0.1", port=1, retry=None
    )
    async with redis.Redis.from_pool(pool) as client:
        with pytest.raises(RedisConnectionError, match="Error 111"):
            await client.ping()
