"""The client's side of `rudp bench`: opens the connections, runs the test, fetches the result."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rudp
from rudp.cli.benchmark.flows import Amount, Flow, Pinger
from rudp.cli.benchmark.plan import Latencies, Mode, Op, Plan, Request

_MAX_RESULT_BYTES = 1 << 20
_OPENED_AT_A_TIME = 16


@dataclass(slots=True)
class Target:
    """Whom to test, over what."""

    host: str
    port: int
    tcp: bool
    config: rudp.Config

    async def connect(self, factory: Callable[[], asyncio.BaseProtocol]) -> Any:
        """A connection: transport and protocol. Raises `OSError`."""
        if self.tcp:
            loop = asyncio.get_running_loop()
            return await loop.create_connection(factory, self.host, self.port)
        return await rudp.create_connection(factory, self.host, self.port, config=self.config)


class Run:
    """A test that is running, to be looked at; and what came of it."""

    def __init__(self, plan: Plan, target: Target) -> None:
        self.plan = plan
        self.target = target
        self.flows: list[Flow] = []
        self.seconds = 0.0
        self.theirs: list[dict[str, Any]] = []
        """What the server counted, a connection each."""
        self._id = secrets.token_hex(16)

    async def run(self) -> None:
        """Run it, and fetch the server's result.

        Raises:
            OSError: The server cannot be reached, or a connection broke.

        Cancellation aborts the connections.
        """
        try:
            await self._open()
            start_s = time.perf_counter()
            for number, flow in enumerate(self.flows):
                flow.transport.write(self._request(self.plan.op, number).encode())
                flow.start()
            await asyncio.gather(*(flow.over for flow in self.flows))
            self.seconds = time.perf_counter() - start_s
            self.theirs = await self._fetch()
        finally:
            for flow in self.flows:
                flow.transport.abort()

    async def _open(self) -> None:
        """Open all connections before any of them begins."""
        gate = asyncio.Semaphore(_OPENED_AT_A_TIME)

        async def open_one(number: int) -> None:
            async with gate:
                _, flow = await self.target.connect(lambda: self._flow(number))
            self.flows.append(flow)

        async with asyncio.TaskGroup() as opening:
            for number in range(self.plan.parallel):
                opening.create_task(open_one(number))

    def _flow(self, number: int) -> Flow:
        plan = self.plan
        amount = Amount(plan.seconds, plan.share(number))
        if plan.mode is Mode.ECHO:
            return Pinger(amount, plan.message_bytes)
        return Flow(amount if plan.client_sends else None)

    def _request(self, op: Op, number: int = 0) -> Request:
        return Request(op, self._id, self.plan.seconds, self.plan.share(number))

    async def _fetch(self) -> list[dict[str, Any]]:
        answer = _Answer()
        transport, _ = await self.target.connect(lambda: answer)
        try:
            transport.write(self._request(Op.RESULT).encode())
            return await answer.connections
        finally:
            transport.abort()

    # -- figures -----------------------------------------------------------------------------

    @property
    def latencies(self) -> Latencies:
        """Those of all connections."""
        found = Latencies()
        for flow in self.flows:
            if isinstance(flow, Pinger):
                found.merge(flow.latencies)
        return found

    def report(self) -> dict[str, Any]:
        """Everything that was measured, for JSON."""
        plan = self.plan
        report: dict[str, Any] = {
            "mode": plan.mode.value,
            "reverse": plan.reverse,
            "transport": "tcp" if self.target.tcp else "rudp",
            "parallel": plan.parallel,
            "seconds": self.seconds,
            "to_server": _direction(self.theirs, [flow.report() for flow in self.flows]),
            "to_client": _direction([flow.report() for flow in self.flows], self.theirs),
        }
        if plan.mode is Mode.ECHO:
            report["message_bytes"] = plan.message_bytes
            report["latency"] = self.latencies.fields()
        report["connections"] = [flow.report() for flow in self.flows]
        report["server_connections"] = self.theirs
        return report


def _direction(receivers: list[dict[str, Any]], senders: list[dict[str, Any]]) -> dict[str, Any]:
    """What went one way: as counted where it arrived, and what its senders had to repeat.

    The rate is over the time from the first byte that arrived to the last, of all connections'
    longest: neither the opening nor the closing counts.
    """
    size = sum(one["received"] for one in receivers)
    seconds = max((one["receiving_s"] for one in receivers), default=0.0)
    repeated = [one["bytes_retransmitted"] for one in senders]
    known = [count for count in repeated if count is not None]
    return {
        "bytes": size,
        "bytes_per_s": size / seconds if seconds > 0 else None,
        "bytes_retransmitted": sum(known) if known else None,
    }


class _Answer(asyncio.Protocol):
    """The server's line of JSON."""

    def __init__(self) -> None:
        self.connections: asyncio.Future[list[dict[str, Any]]] = (
            asyncio.get_running_loop().create_future()
        )
        self._line = bytearray()

    def data_received(self, data: bytes) -> None:
        self._line += data
        if not self.connections.done() and (
            data.endswith(b"\n") or len(self._line) > _MAX_RESULT_BYTES
        ):
            try:
                self.connections.set_result(_checked(json.loads(self._line)))
            except (ValueError, KeyError, TypeError):
                self.connections.set_exception(OSError("the server's result makes no sense"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.connections.done():
            error = exc or ConnectionAbortedError("the server did not tell its result")
            self.connections.set_exception(error)


_COUNTS = ("sent", "received", "receiving_s")
_MEASURES = ("srtt_s", "cwnd", "bytes_retransmitted", "bytes_acked")


def _checked(message: Any) -> list[dict[str, Any]]:
    """A result whose figures are figures. Raises `ValueError`, `KeyError`, `TypeError`."""
    connections: list[dict[str, Any]] = message["connections"]
    for one in connections:
        figures = [one[name] for name in _COUNTS]
        figures += [one[name] for name in _MEASURES if one[name] is not None]
        if not all(type(figure) in (int, float) for figure in figures):
            raise ValueError("a figure is none")
    return connections
