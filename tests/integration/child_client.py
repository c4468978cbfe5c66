"""A client for one test.

Modes: `exchange` sends `--size` bytes while it receives, on `--count` connections at once;
`upload` only sends; `listen` only receives; `echo` sends `--size` bytes on each of `--count`
connections and compares what comes back; `turns` sends a line for each that it reads from stdin.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from child_common import config, exchange, failure, parser, pieces, receive, run, say, send

import rudp

if TYPE_CHECKING:
    import argparse

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _dial(args: argparse.Namespace) -> Streams:
    return await rudp.open_connection("127.0.0.1", args.port, config=config(args))


async def _exchange(args: argparse.Namespace, index: int) -> None:
    reader, writer = await _dial(args)
    say(connected=True)
    say(**await exchange(reader, writer, args.seed + index, args.size))


async def _upload(args: argparse.Namespace) -> None:
    reader, writer = await _dial(args)
    say(connected=True)
    began_s = time.monotonic()
    sent = await send(writer, args.seed, args.size)
    await reader.read()
    elapsed_s = time.monotonic() - began_s
    writer.close()
    await writer.wait_closed()
    say(sent=sent, elapsed_s=elapsed_s)


async def _listen(args: argparse.Namespace) -> None:
    reader, _ = await _dial(args)
    say(connected=True, first=len(await reader.readexactly(1)))
    await receive(reader)


async def _echo_one(args: argparse.Namespace, index: int) -> bool:
    data = b"".join(pieces(args.seed + index, args.size))
    reader, writer = await _dial(args)

    async def write() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    _, (received, _) = await asyncio.gather(write(), receive(reader))
    writer.close()
    await writer.wait_closed()
    return received == hashlib.sha256(data).hexdigest()


async def _echo(args: argparse.Namespace) -> None:
    began_s = time.monotonic()
    results = await asyncio.gather(
        *(_echo_one(args, index) for index in range(args.count)), return_exceptions=True
    )
    outcomes: Counter[Any] = Counter(
        repr(one) if isinstance(one, BaseException) else "same" if one else "different"
        for one in results
    )
    say(outcomes=outcomes, elapsed_s=time.monotonic() - began_s)


async def _turns(args: argparse.Namespace) -> None:
    reader, writer = await _dial(args)
    say(connected=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        writer.write(line.encode())
        say(answer=(await reader.readline()).decode())
    writer.close()
    await writer.wait_closed()


async def main(args: argparse.Namespace) -> None:
    """Do what the mode says; tell errors."""
    began_s = time.monotonic()
    try:
        if args.mode == "exchange":
            await asyncio.gather(*(_exchange(args, index) for index in range(args.count)))
        elif args.mode == "upload":
            await _upload(args)
        elif args.mode == "listen":
            await _listen(args)
        elif args.mode == "echo":
            await _echo(args)
        else:
            await _turns(args)
    except OSError as error:
        say(**failure(error), elapsed_s=time.monotonic() - began_s)
    say(ended=True)


if __name__ == "__main__":
    options = parser()
    options.add_argument("mode", choices=("exchange", "upload", "listen", "echo", "turns"))
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--size", type=int, default=0)
    options.add_argument("--seed", type=int, default=1000)
    options.add_argument("--count", type=int, default=1)
    run(main, options.parse_args())
