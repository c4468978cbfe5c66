"""The two processes of a benchmark cell: a server, and a client that measures. Not run by hand.

Each prints one line on standard output: the server its port, the client its sample as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

HOST = "127.0.0.1"
LIMIT_BYTES = 1 << 20
CHUNK = bytes(256 << 10)
MESSAGE = b"m" * 64
WARM_UP_ECHOES = 100
CONNECTIONS_AT_ONCE = 16
MAX_CONNECTIONS = 8000  # the kernel keeps each of TCP's in TIME-WAIT, and ports are finite

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Sample = dict[str, float]


@dataclass(frozen=True)
class Cell:
    """What one pair of processes measures."""

    test: str
    transport: str
    loop: str
    seconds: float
    config: dict[str, Any]

    def network(self) -> tuple[ModuleType, dict[str, Any]]:
        """The module with the stream functions, and the arguments that it takes more."""
        if self.transport == "tcp":
            return asyncio, {}
        import rudp

        return rudp, {"config": rudp.Config(**self.config)}

    def dump(self) -> str:
        """As a command line argument."""
        return json.dumps(asdict(self))


async def serve(cell: Cell) -> None:
    """Answer every kind of client until killed; the first byte says which it is."""
    network, options = cell.network()
    if cell.transport == "tcp":
        options["backlog"] = 1024
    server = await network.start_server(_answer, HOST, 0, limit=LIMIT_BYTES, **options)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _answer(reader: Reader, writer: Writer) -> None:
    try:
        kind = await reader.readexactly(1)
        if kind == b"B":
            writer.write(json.dumps(await _swallow(reader)).encode())
        elif kind == b"E":
            while data := await reader.read(65536):
                writer.write(data)
        else:
            writer.write(kind)
            await reader.read()
        writer.close()
        await writer.wait_closed()
    except (OSError, asyncio.IncompleteReadError):
        writer.close()


async def _swallow(reader: Reader) -> Sample:
    cpu_s = time.process_time()
    total = 0
    while data := await reader.read(LIMIT_BYTES):
        total += len(data)
    return {"bytes": total, "cpu_s": time.process_time() - cpu_s}


async def measure(cell: Cell, port: int) -> Sample:
    """Run the client's side of a cell."""
    network, options = cell.network()

    async def connect() -> tuple[Reader, Writer]:
        reader, writer = await network.open_connection(HOST, port, limit=LIMIT_BYTES, **options)
        return reader, writer

    return await _MEASURES[cell.test](connect, cell.seconds)


async def _bulk(connect: Any, seconds: float) -> Sample:
    """Write as fast as drain() allows for a time, until the server has read all of it."""
    reader, writer = await connect()
    start_s, cpu_s, total = time.perf_counter(), time.process_time(), 0
    writer.write(b"B")
    while time.perf_counter() - start_s < seconds:
        writer.write(CHUNK)
        await writer.drain()
        total += len(CHUNK)
    writer.write_eof()
    server = json.loads(await reader.read())
    took_s = time.perf_counter() - start_s
    cpu_s = time.process_time() - cpu_s
    writer.close()
    await writer.wait_closed()
    if server["bytes"] != total:
        raise RuntimeError(f"{total} bytes sent, {server['bytes']} received")
    gigabytes = total / 1e9
    return {
        "MB/s": total / took_s / 1e6,
        "sender CPU s/GB": cpu_s / gigabytes,
        "receiver CPU s/GB": server["cpu_s"] / gigabytes,
    }


async def _echo(connect: Any, seconds: float) -> Sample:
    """Send 64 bytes and wait for them to come back, again and again."""
    reader, writer = await connect()
    writer.write(b"E")
    for _ in range(WARM_UP_ECHOES):
        writer.write(MESSAGE)
        await reader.readexactly(len(MESSAGE))
    clock, latencies_s = time.perf_counter, []
    before_s = clock()
    end_s = before_s + seconds
    while before_s < end_s:
        writer.write(MESSAGE)
        await reader.readexactly(len(MESSAGE))
        now_s = clock()
        latencies_s.append(now_s - before_s)
        before_s = now_s
    writer.close()
    await writer.wait_closed()
    latencies_s.sort()
    return {
        "p50 µs": latencies_s[len(latencies_s) // 2] * 1e6,
        "p99 µs": latencies_s[len(latencies_s) * 99 // 100] * 1e6,
    }


async def _connections(connect: Any, seconds: float) -> Sample:
    """Open, get one byte back, close; several at once."""
    start_s, done = time.perf_counter(), 0

    async def worker() -> None:
        nonlocal done
        while time.perf_counter() - start_s < seconds and done < MAX_CONNECTIONS:
            reader, writer = await connect()
            writer.write(b"C")
            await reader.readexactly(1)
            writer.close()
            await writer.wait_closed()
            done += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CONNECTIONS_AT_ONCE):
            tasks.create_task(worker())
    return {"connections/s": done / (time.perf_counter() - start_s)}


_MEASURES = {"bulk": _bulk, "echo": _echo, "connections": _connections}
TESTS = tuple(_MEASURES)


def main() -> None:
    """Run as `_peer.py server CELL` or `_peer.py client CELL PORT`."""
    role, cell = sys.argv[1], Cell(**json.loads(sys.argv[2]))
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if cell.loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        if role == "server":
            runner.run(serve(cell))
        else:
            print(json.dumps(runner.run(measure(cell, int(sys.argv[3])))), flush=True)


if __name__ == "__main__":
    main()
