"""One of several client processes against a server of several processes. Not run by hand.

`crowd TRANSPORT PORT SOCKETS SECONDS`: opens the connections, says how many, begins when it is told
to, as the other processes are, and says how many echoes came back. Each connection has a socket of
its own, since all that share one reach one process of the server.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import rudp
from benchmarks.loopback.clients import MESSAGE
from benchmarks.processes import end_with_parent, say

_HOST = "127.0.0.1"


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def crowd(
    transport: str, port: int, sockets: int, seconds: float, go: threading.Event
) -> None:
    """Echo 64 bytes over all connections for a time."""
    streams = [await _open(transport, port) for _ in range(sockets)]
    say({"connections": len(streams)})
    await asyncio.to_thread(go.wait)
    done = 0

    async def member(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal done
        end_s = time.perf_counter() + seconds
        while time.perf_counter() < end_s:
            writer.write(MESSAGE)
            await reader.readexactly(len(MESSAGE))
            done += 1

    async with asyncio.TaskGroup() as tasks:
        for one in streams:
            tasks.create_task(member(*one))
    say({"echoes": done})
    for _, writer in streams:
        writer.close()
        await writer.wait_closed()


async def _open(transport: str, port: int) -> Streams:
    if transport == "tcp":
        return await asyncio.open_connection(_HOST, port)
    return await rudp.open_connection(_HOST, port, local_addr=(_HOST, 0))


if __name__ == "__main__":
    told = end_with_parent()
    word, port, sockets, seconds = sys.argv[1:]
    asyncio.run(crowd(word, int(port), int(sockets), float(seconds), told))
