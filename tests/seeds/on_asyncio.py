"""Run a scenario as asyncio programs on a simulated network."""

from __future__ import annotations

import asyncio
import hashlib
import random
from unittest import mock

import rudp
from rudp.aio import registry
from rudp.core.states import State
from rudp.core.timers import Timer
from rudp.sim import LinkConfig, Network, SimLoop
from rudp.sim import run as simulate

from .conditions import Ending, Scenario, Side, number_source

_PORT = 7000
_LONGEST_S = 6 * 3600.0
_QUIET_S = 1800.0

Pauses = tuple[tuple[float, float], ...]


class Talk:
    """One side of a connection: a reader, a writer, and what it is to do with them."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        side: Side,
        pauses: Pauses,
    ) -> None:
        self.transport = writer.transport
        self.side = side
        self._reader = reader
        self._writer = writer
        self._pauses = pauses
        self._received = hashlib.sha256()
        self._heard_all = asyncio.Event()

    @property
    def digests(self) -> tuple[str, str]:
        """SHA-256 of what was sent and of what was received."""
        return hashlib.sha256(self.side.data).hexdigest(), self._received.hexdigest()

    async def hold(self) -> None:
        """Talk until both directions have ended and the connection is closed."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read())
            group.create_task(self._write())
        self._writer.close()
        await self._writer.wait_closed()

    async def _read(self) -> None:
        while True:
            await self._wait_out_pause()
            data = await self._reader.read(self.side.read_bytes)
            if not data:
                break
            self._received.update(data)
        self._heard_all.set()

    async def _wait_out_pause(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for start_s, length_s in self._pauses:
            if start_s <= now_s < start_s + length_s:
                await asyncio.sleep(start_s + length_s - now_s)

    async def _write(self) -> None:
        data, size, ending = self.side.data, self.side.write_bytes, self.side.ending
        if ending is Ending.REPLY:
            await self._heard_all.wait()
        for start in range(0, len(data), size):
            self._writer.write(data[start : start + size])
            await self._writer.drain()
        if ending is not Ending.AT_ONCE:
            await self._heard_all.wait()
        if ending is not Ending.AFTER_EOF_CLOSED:
            self._writer.write_eof()


class Program:
    """A server and its clients, on two hosts."""

    def __init__(self, case: Scenario) -> None:
        self._case = case
        self._clients: list[Talk] = []
        self._servers: list[Talk] = []
        self._server_tasks: list[asyncio.Task[None]] = []
        addresses = ("fd00::1", "fd00::2") if case.ipv6 else ("10.0.0.1", "10.0.0.2")
        self.network = Network(case.seed, LinkConfig())
        self._client_host = self.network.add_host(addresses[0], name="client")
        self._server_host = self.network.add_host(addresses[1], name="server")
        self.network.set_link("client", "server", case.forward, both=False)
        self.network.set_link("server", "client", case.back, both=False)

    async def main(self) -> None:
        """Run the scenario to its end, and see that nothing is left of it."""
        case, network = self._case, self.network
        self._disturb()
        with network.host(self._server_host):
            server = await rudp.start_server(
                self._accept, "server", _PORT, limit=case.stream_limit, config=case.server
            )
        with network.host(self._client_host):
            async with asyncio.TaskGroup() as group:
                for exchange in case.exchanges:
                    group.create_task(self._dial(exchange.start_s, exchange.client))
        await asyncio.gather(*self._server_tasks)
        server.close()
        await server.wait_closed()
        await self._check_nothing_left()
        self._check_talks()

    async def _dial(self, start_s: float, side: Side) -> None:
        case = self._case
        await asyncio.sleep(start_s)
        reader, writer = await rudp.open_connection(
            "server", _PORT, limit=case.stream_limit, config=case.client
        )
        talk = Talk(reader, writer, side, case.client_pauses)
        self._clients.append(talk)
        await talk.hold()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        side = self._case.exchanges[len(self._servers)].server
        talk = Talk(reader, writer, side, self._case.server_pauses)
        self._servers.append(talk)
        task = asyncio.current_task()
        assert task is not None
        self._server_tasks.append(task)
        await talk.hold()

    def _disturb(self) -> None:
        """Plan the partition."""
        if self._case.partition is not None:
            loop, network = asyncio.get_running_loop(), self.network
            start_s, length_s = self._case.partition
            hosts = (self._client_host, self._server_host)
            loop.call_later(start_s, network.partition, *hosts)
            loop.call_later(start_s + length_s, network.heal, *hosts)

    def _check_talks(self) -> None:
        assert len(self._servers) == len(self._case.exchanges)
        sent_and_received = sorted(talk.digests for talk in self._clients)
        received_and_sent = sorted(talk.digests[::-1] for talk in self._servers)
        assert sent_and_received == received_and_sent
        for talk in (*self._clients, *self._servers):
            assert talk.transport.get_write_buffer_size() == 0
            conn = talk.transport._conn  # type: ignore[attr-defined]
            assert conn.state is State.CLOSED
            assert conn.reason is None
            assert not any(conn.timers.is_set(timer) for timer in Timer)
            assert len(conn.sender.buffer) == 0
            assert conn.receiver.held_bytes == conn.receiver.held_chunks == 0

    async def _check_nothing_left(self) -> None:
        """All sockets go by themselves once TIME-WAIT is over, and with them all else."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        task = asyncio.current_task()
        assert task is not None
        deadline_s = loop.time() + _QUIET_S
        while len(loop.leaks()) > 1 and loop.time() < deadline_s:
            await asyncio.sleep(10.0)
        left = [leak for leak in loop.leaks() if not leak.startswith(f"task {task.get_name()}:")]
        assert left == []
        assert not (await registry.of_running_loop()).endpoints


def run(case: Scenario, trace: list[object] | None = None) -> None:
    """Run `case`; raises `AssertionError` for whatever is not as promised.

    Every datagram that is sent is appended to `trace`, if given.
    """
    program = Program(case)
    if trace is not None:
        program.network.tap = lambda *event: trace.append(event)
    rng = random.Random(case.seed)
    with mock.patch("secrets.randbits", lambda bits: number_source(case, rng, bits)):
        simulate(program.main(), network=program.network, max_virtual_s=_LONGEST_S)
