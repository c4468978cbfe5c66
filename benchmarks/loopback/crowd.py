"""One of several client processes against a server of several processes. Not run by hand.

`crowd TRANSPORT PORT SOCKETS SECONDS`: each connection has a socket of its own, since all that
share one socket reach one process of the server.
"""

from __future__ import annotations

import asyncio
import sys
import time

import rudp
from benchmarks.loopback.clients import MESSAGE
from benchmarks.processes import end_with_parent, say

_HOST = "127.0.0.1"


async def crowd(transport: str, port: int, sockets: int, seconds: float) -> int:
    """Echoes of 64 bytes that all connections together got back within the time."""
    done = 0

    async def member(ready: asyncio.Barrier) -> None:
        nonlocal done
        if transport == "tcp":
            reader, writer = await asyncio.open_connection(_HOST, port)
        else:
            reader, writer = await rudp.open_connection(_HOST, port, local_addr=(_HOST, 0))
        await ready.wait()
        end_s = time.perf_counter() + seconds
        while time.perf_counter() < end_s:
            writer.write(MESSAGE)
            await reader.readexactly(len(MESSAGE))
            done += 1
        writer.close()
        await writer.wait_closed()

    ready = asyncio.Barrier(sockets)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(sockets):
            tasks.create_task(member(ready))
    return done


if __name__ == "__main__":
    end_with_parent()
    word, port, sockets, seconds = sys.argv[1:]
    say({"echoes": asyncio.run(crowd(word, int(port), int(sockets), float(seconds)))})
