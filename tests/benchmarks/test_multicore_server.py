"""examples/multicore_server.py: one port, several processes, connections that stay with theirs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import re
import signal
import sys
from collections.abc import Iterator

import pytest

import rudp
from benchmarks.machine import ROOT
from benchmarks.processes import Child, descendants

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux spreads over a port's sockets"),
]

WAIT_S = 30.0
HOST = "127.0.0.1"
CLIENTS = 12


class Server:
    """The example while it runs, its port and its processes."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.pids = dict(map(self._process, range(2)))
        match = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)", child.hear(WAIT_S))
        assert match
        self.port = int(match[1])

    def _process(self, _: int) -> tuple[int, int]:
        match = re.fullmatch(r"process (\d): (\d+)", self.child.hear(WAIT_S))
        assert match
        return int(match[1]), int(match[2])

    def stop(self) -> list[int]:
        """Ctrl-C; how many connections each process has served."""
        os.kill(self.child.pid, signal.SIGINT)
        lines = self.child.finish(WAIT_S)
        found = [re.fullmatch(r"process \d: (\d+) connections served", line) for line in lines]
        assert all(found), lines
        return [int(match[1]) for match in found if match]

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection from a socket of its own."""
        return await rudp.open_connection(HOST, self.port, local_addr=(HOST, 0))


@pytest.fixture
def server() -> Iterator[Server]:
    """Two processes on a free port; none outlives the test."""
    script = str(ROOT / "examples" / "multicore_server.py")
    words = ("--listen", f"{HOST}:0", "--processes", "2", "--grace", str(WAIT_S))
    with Child([sys.executable, "-W", "error", script, *words]) as child:
        made = Server(child)
        pids = descendants(child.pid)
        yield made
        pids += descendants(child.pid)
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}/fd/0")]


async def echo(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], data: bytes) -> bytes:
    reader, writer = streams
    writer.write(data)
    return await reader.readexactly(len(data))


async def abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_clients_are_spread_and_each_gets_its_own_bytes_back(server: Server) -> None:
    """Over all of its life each is served by one process: the counts add up to the clients."""
    rng = random.Random(5)
    everyone = [await server.open() for _ in range(CLIENTS)]
    for _ in range(3):
        sent = [rng.randbytes(50_000) for _ in everyone]
        got = await asyncio.gather(*map(echo, everyone, sent))
        assert [hashlib.sha256(one).digest() for one in got] == [
            hashlib.sha256(one).digest() for one in sent
        ]
    for _, writer in everyone:
        writer.close()
        await writer.wait_closed()
    served = server.stop()
    assert sum(served) == CLIENTS
    assert len(served) == 2


async def test_a_process_that_dies_is_replaced_and_the_other_keeps_its_clients(
    server: Server,
) -> None:
    everyone = [await server.open() for _ in range(CLIENTS)]
    await asyncio.gather(*(echo(streams, b"before") for streams in everyone))
    os.kill(server.pids[1], signal.SIGKILL)
    assert server.child.hear(WAIT_S) == "process 1 died and is replaced"
    assert re.fullmatch(r"process 1: \d+", server.child.hear(WAIT_S))
    after = await asyncio.gather(*(echo(one, b"after") for one in everyone), return_exceptions=True)
    kept = [one for one in after if one == b"after"]
    lost = [one for one in after if isinstance(one, (ConnectionResetError, EOFError))]
    assert len(kept) + len(lost) == CLIENTS, after
    for _ in range(4):
        everyone.append(await server.open())
        assert await echo(everyone[-1], b"new") == b"new"
    for _, writer in everyone:
        await abort(writer)
    served = server.stop()
    assert len(served) == 2
    assert sum(served) == len(kept) + 4


async def test_open_connections_may_finish_when_it_is_stopped(server: Server) -> None:
    everyone = [await server.open() for _ in range(CLIENTS)]
    await asyncio.gather(*(echo(streams, b"one") for streams in everyone))
    stopping = asyncio.create_task(asyncio.to_thread(server.stop))
    with pytest.raises(ConnectionRefusedError):
        while True:  # until the signal has arrived
            _, other = await asyncio.wait_for(server.open(), WAIT_S)
            await abort(other)
    for streams in everyone:
        assert await echo(streams, b"two") == b"two"
        streams[1].close()
        await streams[1].wait_closed()
    served = await stopping
    assert min(served) > 0
    assert sum(served) >= CLIENTS
