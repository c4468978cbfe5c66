"""A server for one test: says its port, then what became of each connection, until EOF on stdin.

Modes: `echo` sends back what it gets; `exchange` sends `--size` bytes while it receives;
`swallow` only receives; `pour` sends until its client is gone.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from typing import TYPE_CHECKING

from child_common import (
    PIECE_BYTES,
    config,
    exchange,
    failure,
    parser,
    receive,
    run,
    say,
    until_stdin_ends,
)

import rudp

if TYPE_CHECKING:
    import argparse


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    digest = hashlib.sha256()
    while piece := await reader.read(PIECE_BYTES):
        digest.update(piece)
        writer.write(piece)
        await writer.drain()
    writer.close()
    await writer.wait_closed()
    say(received=digest.hexdigest())


async def _swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    received, size = await receive(reader)
    writer.close()
    await writer.wait_closed()
    say(received=received, received_bytes=size)


async def _pour(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(bytes(PIECE_BYTES))
        await writer.drain()


async def main(args: argparse.Namespace) -> None:
    """Serve until stdin ends."""
    seeds = itertools.count(args.seed)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if args.mode == "echo":
                await _echo(reader, writer)
            elif args.mode == "exchange":
                say(**await exchange(reader, writer, next(seeds), args.size))
            elif args.mode == "swallow":
                await _swallow(reader, writer)
            else:
                await _pour(writer)
        except OSError as error:
            say(**failure(error))

    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await rudp.start_server(
        accept, "127.0.0.1", args.port, backlog=args.backlog, config=config(args)
    )
    say(port=server.sockets[0].getsockname()[1])
    await until_stdin_ends()
    server.close()
    say(ended=True)


if __name__ == "__main__":
    options = parser()
    options.add_argument("mode", choices=("echo", "exchange", "swallow", "pour"))
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--size", type=int, default=0)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--backlog", type=int, default=100)
    run(main, options.parse_args())
