"""The client's side of each loopback test: it drives the server, and measures both."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.figures import Sample, percentile
from benchmarks.loopback.cell import CHUNK_BYTES, LAST, MORE, Cell
from benchmarks.processes import cpu_s, resident_bytes, say
from benchmarks.transports.base import Connection
from benchmarks.transports.enet import Enet

Connect = Callable[[], Awaitable[Connection]]

MESSAGE = b"m" * 64
WARM_UP_ECHOES = 100
MOST_CONNECTIONS = 8000  # the kernel keeps each of TCP's in TIME-WAIT, and ports are finite
UNDRAINED_BYTES_A_SECOND = 12 << 20
"""Where `drain()` never waits, so much is written a second of test: a little under what such a
transport has been seen to carry, so that the test takes about its time."""
SETTLE_S = 1.0
"""After the last connection was opened: delayed acknowledgements and other ends of it."""


@dataclass(frozen=True)
class Sides:
    """The processes of the two sides; the first of each is the one with the connections."""

    client: list[int]
    server: list[int]

    def cpu_s(self) -> tuple[float, float]:
        """CPU seconds so far: the client's, the server's."""
        return cpu_s(self.client), cpu_s(self.server)

    def resident_bytes(self) -> tuple[int, int]:
        """Resident memory now: the client's, the server's."""
        return resident_bytes(self.client[0]), resident_bytes(self.server[0])


async def bulk(connect: Connect, seconds: float, sides: Sides, most: int | None) -> Sample:
    """Write for a time, or `most` bytes, until the server has read and counted all of it."""
    connection = await connect()
    reader, writer = connection.reader, connection.writer
    chunk, last = MORE.ljust(CHUNK_BYTES, b"b"), LAST.ljust(CHUNK_BYTES, b"b")
    start_s, cpu, total = time.perf_counter(), sides.cpu_s(), CHUNK_BYTES
    writer.write(b"B")
    while total < most if most is not None else time.perf_counter() - start_s < seconds:
        writer.write(chunk)
        await writer.drain()
        total += CHUNK_BYTES
    writer.write(last)
    received = int(await reader.readline())
    took_s = time.perf_counter() - start_s
    sample = bulk_figures(total, took_s, cpu, sides.cpu_s())
    await connection.close()
    if received != total:
        raise RuntimeError(f"{total} bytes sent, {received} received")
    return sample


def bulk_figures(
    size_bytes: int, took_s: float, before: tuple[float, float], after: tuple[float, float]
) -> Sample:
    """Goodput, and CPU time of the client and the server between two moments."""
    gigabytes = size_bytes / 1e9
    return {
        "MB/s": size_bytes / took_s / 1e6,
        "sender CPU s/GB": (after[0] - before[0]) / gigabytes,
        "receiver CPU s/GB": (after[1] - before[1]) / gigabytes,
    }


async def echo(connect: Connect, seconds: float) -> Sample:
    """Send 64 bytes and wait for them to come back, again and again."""
    connection = await connect()
    reader, writer = connection.reader, connection.writer
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
    await connection.close()
    return echo_figures(latencies_s)


def echo_figures(latencies_s: list[float]) -> Sample:
    """Percentiles of the latencies."""
    ordered = sorted(latencies_s)
    return {
        "p50 µs": percentile(ordered, 50) * 1e6,
        "p99 µs": percentile(ordered, 99) * 1e6,
    }


async def connections(connect: Connect, seconds: float, at_once: int) -> Sample:
    """Open, get one byte back, close; at most 16 at once."""

    async def one() -> None:
        connection = await connect()
        await _one_byte(connection)
        await connection.close()

    await one()  # what the first one costs, imports and all, is not what one costs
    start_s, done = time.perf_counter(), 0

    async def worker() -> None:
        nonlocal done
        while time.perf_counter() - start_s < seconds and done < MOST_CONNECTIONS:
            await one()
            done += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(16, at_once)):
            tasks.create_task(worker())
    return {"connections/s": done / (time.perf_counter() - start_s)}


async def idle(connect: Connect, count: int, at_once: int, seconds: float, sides: Sides) -> Sample:
    """Open many connections, use each for one byte, and watch them doing nothing."""

    async def opened() -> Connection:
        connection = await connect()
        await _one_byte(connection)
        return connection

    kept = [await opened()]  # what the first one costs is not what one costs
    before = sides.resident_bytes()
    start_s = time.perf_counter()
    while len(kept) <= count:
        turn = min(at_once, count + 1 - len(kept))
        kept += await asyncio.gather(*(opened() for _ in range(turn)))
    set_up_s = time.perf_counter() - start_s
    await asyncio.sleep(SETTLE_S)
    after, cpu, start_s = sides.resident_bytes(), sides.cpu_s(), time.perf_counter()
    await asyncio.sleep(seconds)
    idle_s = time.perf_counter() - start_s
    busy = [now - then for now, then in zip(sides.cpu_s(), cpu, strict=True)]
    grown = [now - then for now, then in zip(after, before, strict=True)]
    return {
        "set-up s": set_up_s,
        "client KB each": grown[0] / count / 1e3,
        "server KB each": grown[1] / count / 1e3,
        "server RSS MB": after[1] / 1e6,
        "client CPU ms/s": busy[0] / idle_s * 1e3,
        "server CPU ms/s": busy[1] / idle_s * 1e3,
    }


async def _one_byte(connection: Connection) -> None:
    connection.writer.write(b"C")
    await connection.reader.readexactly(1)


def without_asyncio(role: str, cell: Cell, transport: Enet, words: list[str]) -> None:
    """Both roles for ENet, which brings its own loop."""
    if role == "server":
        pids = transport.pids()
        return transport.serve_forever(lambda port: say({"port": port, "pids": pids}))
    port, sides = int(words[0]), Sides(transport.pids(), json.loads(words[1]))
    before = sides.cpu_s()
    measured = transport.measure(cell.test, port, cell.seconds)
    if isinstance(measured, tuple):
        return say(bulk_figures(*measured, before, sides.cpu_s()))
    return say(echo_figures(measured))
