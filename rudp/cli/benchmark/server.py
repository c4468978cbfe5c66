"""The server's side of `rudp bench`: does with each connection what its first line asks for."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from typing import Any, cast

import rudp
from rudp.cli.address import HostPort, format_address
from rudp.cli.benchmark.flows import Amount, Flow
from rudp.cli.benchmark.plan import MAX_PARALLEL, MAX_REQUEST_BYTES, Op, Request, parse_request
from rudp.cli.output import Output

_REQUEST_TIMEOUT_S = 10.0
_RESULT_TIMEOUT_S = 15.0
_MAX_CONNECTIONS = 2 * MAX_PARALLEL
_RUNS_KEPT = 64
_PORT_TRIES = 50


class Server:
    """Serves tests over rudp and over TCP, at the same port, until cancelled."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._runs: OrderedDict[str, list[Flow]] = OrderedDict()
        """The connections of the latest tests."""
        self._open = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, listen: HostPort, config: rudp.Config) -> None:
        """Serve until cancelled. Raises `OSError` if the port is not free, of UDP and of TCP."""
        server, tcp = await self._bind(listen, config)
        try:
            where = format_address(server.sockaddrs[0])
            self._out.say("listening", f"listening on {where}, rudp and TCP", addresses=[where])
            await asyncio.Event().wait()
        finally:
            tcp.close()
            server.close()
            for task in self._tasks:
                task.cancel()
            for flows in self._runs.values():
                for flow in flows:
                    flow.transport.abort()

    async def _bind(
        self, listen: HostPort, config: rudp.Config
    ) -> tuple[rudp.Server, asyncio.AbstractServer]:
        """The same port of UDP and of TCP; one that the system chose may be taken in the other."""
        loop = asyncio.get_running_loop()
        tries = 1 if listen.port else _PORT_TRIES
        while True:
            tries -= 1
            server = await rudp.create_server(
                lambda: _Asked(self), listen.host, listen.port, config=config
            )
            try:
                port = server.sockaddrs[0][1]
                return server, await loop.create_server(lambda: _Asked(self), listen.host, port)
            except OSError:
                server.close()
                if not tries:
                    raise

    def admit(self) -> bool:
        """Whether one more connection may be served."""
        if self._open >= _MAX_CONNECTIONS:
            return False
        self._open += 1
        return True

    def release(self) -> None:
        """One of those that were admitted is over."""
        self._open -= 1

    def begin(self, request: Request) -> Flow:
        """The flow that a request asks for. Raises `ValueError` if the run has enough."""
        flows = self._runs.setdefault(request.run, [])
        if len(flows) >= MAX_PARALLEL:
            raise ValueError(f"a run may have {MAX_PARALLEL} connections")
        while len(self._runs) > _RUNS_KEPT:
            self._runs.popitem(last=False)
        sends = request.op in (Op.SOURCE, Op.DUPLEX)
        amount = Amount(request.seconds, request.size) if sends else None
        flow = Flow(amount, echo=request.op is Op.ECHO)
        flow.over.add_done_callback(lambda _: self.release())
        flows.append(flow)
        return flow

    def answer(self, transport: asyncio.Transport, request: Request) -> None:
        """Tell the result of a run, once its connections are over; in a task of its own."""
        task = asyncio.get_running_loop().create_task(self._answer(transport, request.run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self.release())

    async def _answer(self, transport: asyncio.Transport, run: str) -> None:
        flows = self._runs.get(run, [])
        if flows:
            await asyncio.wait([flow.over for flow in flows], timeout=_RESULT_TIMEOUT_S)
        self._runs.pop(run, None)
        report: dict[str, Any] = {"connections": [flow.report() for flow in flows]}
        transport.write(json.dumps(report).encode() + b"\n")
        transport.close()
        moved = sum(flow.sent + flow.received for flow in flows)
        peer = format_address(transport.get_extra_info("peername"))
        text = f"{peer}: {len(flows)} connections, {moved:,} bytes"
        self._out.say("run", text, peer=peer, **report)


class _Asked(asyncio.Protocol):
    """A connection whose request has not come yet."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._line = bytearray()
        self._admitted = False
        self._timeout: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._admitted = self._server.admit()
        if not self._admitted:
            self._transport.abort()
            return
        loop = asyncio.get_running_loop()
        self._timeout = loop.call_later(_REQUEST_TIMEOUT_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        if not self._admitted:
            return
        self._line += data
        line, newline, rest = self._line.partition(b"\n")
        if len(line) > MAX_REQUEST_BYTES:
            self._transport.abort()
            return
        if not newline:
            return
        try:
            self._obey(parse_request(bytes(line)), bytes(rest))
        except ValueError:
            self._transport.abort()

    def _obey(self, request: Request, rest: bytes) -> None:
        """Hand the connection on to whoever serves it from now on."""
        transport = self._transport
        if request.op is Op.RESULT:
            self._stop_waiting()
            transport.set_protocol(asyncio.Protocol())
            self._server.answer(transport, request)
            return
        flow = self._server.begin(request)
        self._stop_waiting()
        transport.set_protocol(flow)
        flow.connection_made(transport)
        if rest:
            flow.data_received(rest)
        flow.start()

    def _stop_waiting(self) -> None:
        """The connection, and its place, are another protocol's now."""
        self._admitted = False
        if self._timeout is not None:
            self._timeout.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._admitted:
            self._stop_waiting()
            self._server.release()
