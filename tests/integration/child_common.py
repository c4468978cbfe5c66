"""What the child processes share: their loop, their messages to the test, a stream of bytes."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import hashlib
import json
import random
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvloop

import rudp

PIECE_BYTES = 1 << 16
_POOL_BYTES = 1 << 24
_LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def say(**message: Any) -> None:
    """Tell the test something: one line of JSON."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def parser() -> argparse.ArgumentParser:
    """The options that every child has."""
    options = argparse.ArgumentParser()
    options.add_argument("--loop", choices=_LOOPS, default="asyncio")
    options.add_argument("--config", type=json.loads, default={}, help="fields of rudp.Config")
    return options


def config(args: argparse.Namespace) -> rudp.Config:
    """The settings that the test asked for."""
    return rudp.Config(**args.config)


def run(main: Callable[[argparse.Namespace], Coroutine[Any, Any, None]], args: Any) -> None:
    """Run `main` on the chosen loop."""
    with asyncio.Runner(loop_factory=_LOOPS[args.loop]) as runner:
        runner.run(main(args))


async def until_stdin_ends() -> None:
    """Wait for the test to close our input, which it does by ending, too."""
    await asyncio.to_thread(sys.stdin.read)


def pieces(seed: int, size: int) -> Iterator[bytes]:
    """`size` bytes that depend on `seed`, in pieces; cheap enough for gigabytes."""
    rng = random.Random(seed)
    pool = rng.randbytes(min(_POOL_BYTES, size) + PIECE_BYTES)
    while size > 0:
        start = rng.randrange(len(pool) - PIECE_BYTES + 1)
        piece = pool[start : start + min(PIECE_BYTES, size)]
        size -= len(piece)
        yield piece


async def send(writer: asyncio.StreamWriter, seed: int, size: int) -> str:
    """Send that many bytes, then EOF; their SHA-256."""
    digest = hashlib.sha256()
    for piece in pieces(seed, size):
        digest.update(piece)
        writer.write(piece)
        await writer.drain()
    writer.write_eof()
    return digest.hexdigest()


async def receive(reader: asyncio.StreamReader) -> tuple[str, int]:
    """Read up to EOF; SHA-256 and number of the bytes."""
    digest = hashlib.sha256()
    size = 0
    while piece := await reader.read(PIECE_BYTES):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seed: int, size: int
) -> dict[str, Any]:
    """Send and receive at once, then close; what there is to report."""
    sent, (received, received_bytes) = await asyncio.gather(
        send(writer, seed, size), receive(reader)
    )
    info = dataclasses.asdict(writer.get_extra_info("rudp_info"))
    writer.close()
    await writer.wait_closed()
    return {"sent": sent, "received": received, "received_bytes": received_bytes, "info": info}


def failure(error: BaseException) -> dict[str, Any]:
    """An error as it can be told to the test."""
    built_in = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
    reason = getattr(error, "reason", None)
    return {"error": built_in.__name__, "reason": reason.name if reason is not None else None}
