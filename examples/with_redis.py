"""redis-py over rudp: a client whose pool crosses a bad link to a Redis server that knows TCP only.

    python examples/with_redis.py serve --to 127.0.0.1:6379
    python examples/with_redis.py call --loss 5 --delay 20

What the client takes is `RudpConnection`. The server cannot be changed, so `serve` stands next to
it and passes streams on, to a port or to the path of a Unix socket. It serves PostgreSQL as well
(`--to 127.0.0.1:5432`): asyncpg asks the loop for connections, and inside
`with rudp.routed(servers=False):` its `connect(host=..., port=7083, ssl=False)` goes over rudp.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import random
import sys
from typing import Any

from _common import (
    Failure,
    Handler,
    address,
    format_address,
    program,
    run,
    through_link,
    until_stopped,
)

import rudp

try:
    import redis.asyncio as redis
    from redis.exceptions import RedisError
except ImportError:
    sys.exit("this example needs redis: pip install 'asyncio-rudp[examples]'")

READ_BYTES = 1 << 16
VALUE_BYTES = 1 << 20
KEEPALIVE = rudp.Config(keepalive=30.0, keepalive_interval=5.0, keepalive_probes=3)
"""What redis-py asks of TCP."""


class RudpConnection(redis.Connection):
    """A connection of redis-py's pools over rudp: `ConnectionPool(connection_class=...)`."""

    def __init__(self, *, config: rudp.Config = KEEPALIVE, **options: Any) -> None:
        super().__init__(**options)
        self._config = config

    async def _connect(self) -> None:
        async with asyncio.timeout(self.socket_connect_timeout):
            self._reader, self._writer = await rudp.open_connection(
                self.host, self.port, config=self._config
            )


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass one direction of a stream on, with its end."""
    while data := await reader.read(READ_BYTES):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def passing_on(target: str | tuple[str, int]) -> Handler:
    """A server's callback that passes its streams on to a TCP port or a Unix socket."""

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            opening = (
                asyncio.open_unix_connection(target)
                if isinstance(target, str)
                else asyncio.open_connection(*target)
            )
            there_reader, there_writer = await opening
            ends.append(there_writer)
            await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))
        except OSError:
            for end in ends:
                end.transport.abort()  # the other side is to know that it ended badly
        finally:
            for end in ends:
                end.close()
            for end in ends:
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    return Handler(serve_one)


# --- what it then carries ---------------------------------------------------------------------


async def serve(args: argparse.Namespace) -> int:
    """Pass streams on until stopped."""
    handler = passing_on(args.to)
    server = await rudp.start_server(handler, *args.listen)
    print(f"listening on {format_address(server.sockaddrs[0])}", flush=True)
    try:
        await until_stopped(server)
    finally:
        await handler.stop()
    return 0


async def call(args: argparse.Namespace) -> int:
    """Store values, fetch them, and count in a pipeline."""
    host, port = await through_link(args.server, args)
    pool = redis.ConnectionPool(connection_class=RudpConnection, host=host, port=port)
    key = f"rudp-example-{random.getrandbits(64):x}"
    try:
        async with redis.Redis.from_pool(pool) as client:

            async def store(number: int) -> None:
                value = random.randbytes(VALUE_BYTES)
                name = f"{key}-{number}"
                await client.set(name, value, ex=60)
                back = await client.getdel(name)
                if hashlib.sha256(back or b"").digest() != hashlib.sha256(value).digest():
                    raise Failure("what came back is not what was stored")

            await asyncio.gather(*(store(number) for number in range(args.values)))
            async with client.pipeline(transaction=True) as pipeline:
                for _ in range(100):
                    pipeline.incr(key)
                pipeline.delete(key)
                counted = (await pipeline.execute())[-2]
    except RedisError as error:
        raise Failure(str(error)) from error
    print(f"{args.values} values of {VALUE_BYTES} bytes, identical; counted to {counted}")
    return 0


def target(text: str) -> str | tuple[str, int]:
    """A path, or HOST:PORT; an argparse type."""
    return text if "/" in text else address(text)


if __name__ == "__main__":
    parser, serving, calling = program(__doc__, serve, call, port=7083)
    serving.add_argument(
        "--to", type=target, default="127.0.0.1:6379", metavar="HOST:PORT|PATH", help="the server"
    )
    calling.add_argument("--values", type=int, default=4, metavar="N")
    arguments = parser.parse_args()
    run(arguments.main, arguments, until_stopped=arguments.until_stopped)
