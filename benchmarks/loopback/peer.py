"""The two child processes of a loopback measurement. Not run by hand.

`server CELL` says its port and its processes; `client CELL PORT PIDS` says what it measured.
"""

from __future__ import annotations

import asyncio
import json
import sys

from benchmarks.figures import Sample
from benchmarks.loopback import clients
from benchmarks.loopback.cell import CHUNK_BYTES, LAST, Cell
from benchmarks.loops import loop_factory
from benchmarks.processes import end_with_parent, say
from benchmarks.transports.base import LIMIT_BYTES, Connection, Transport
from benchmarks.transports.enet import Enet

HOST = "127.0.0.1"


async def serve(transport: Transport) -> None:
    """Answer every kind of client until killed."""
    port = await transport.serve(_answer, HOST)
    say({"port": port, "pids": transport.pids()})
    await asyncio.Event().wait()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The first byte says what the client wants: bulk, echo, or one byte and silence."""
    try:
        kind = await reader.readexactly(1)
        if kind == b"B":
            writer.write(b"%d\n" % await _swallow(reader))
            await reader.read()
        elif kind == b"E":
            while data := await reader.read(65536):
                writer.write(data)
        else:
            writer.write(kind)
            await reader.read()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def _swallow(reader: asyncio.StreamReader) -> int:
    """Read chunks to the end of the last one; how many bytes that were."""
    total = chunk_at = 0
    last = False
    while not last or total < chunk_at:
        data = await reader.read(LIMIT_BYTES)
        if not data:
            raise asyncio.IncompleteReadError(b"", None)
        while chunk_at < total + len(data):
            last = data[chunk_at - total : chunk_at - total + 1] == LAST
            chunk_at += CHUNK_BYTES
        total += len(data)
    return total


async def measure(cell: Cell, transport: Transport, port: int, server: list[int]) -> Sample:
    """Run the client's side of a cell against the server, whose processes are `server`."""
    dial = await transport.prepare(HOST, port)

    async def connect() -> Connection:
        return await transport.connect(HOST, dial)

    both = clients.Sides(transport.pids(), server)
    if cell.test == "bulk":
        most = None if transport.drains else int(cell.seconds * clients.UNDRAINED_BYTES_A_SECOND)
        return await clients.bulk(connect, cell.seconds, both, most)
    if cell.test == "echo":
        return await clients.echo(connect, cell.seconds)
    if cell.test == "connections":
        return await clients.connections(connect, cell.seconds, transport.connects_at_once)
    at_once = transport.connects_at_once
    return await clients.idle(connect, cell.connections, at_once, cell.seconds, both)


async def report(cell: Cell, transport: Transport, port: int, server: list[int]) -> None:
    """Measure, and tell the parent, which then ends both."""
    say(await measure(cell, transport, port, server))


def main() -> None:
    """Be the server or the client."""
    end_with_parent()
    role, cell = sys.argv[1], Cell.load(sys.argv[2])
    transport = cell.find()
    if isinstance(transport, Enet):
        return clients.without_asyncio(role, cell, transport, sys.argv[3:])
    with asyncio.Runner(loop_factory=loop_factory(cell.loop)) as runner:
        if role == "server":
            runner.run(serve(transport))
        else:
            # Said before the loop closes, which may wait for thousands of connections.
            runner.run(report(cell, transport, int(sys.argv[3]), json.loads(sys.argv[4])))
    return None


if __name__ == "__main__":
    main()
