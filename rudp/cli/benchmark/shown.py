"""A test as people see it: a line for each interval while it runs, a table at its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table

from rudp.cli.benchmark.client import Run
from rudp.cli.benchmark.measured import measure
from rudp.cli.benchmark.plan import Mode, Op
from rudp.cli.output import Output
from rudp.cli.top.table import amount

_LINES_SHOWN = 15


@dataclass(frozen=True, slots=True)
class Interval:
    """What happened between two looks; bytes, seconds; None where that is not known."""

    end_s: float
    seconds: float
    sent: int
    received: int
    exchanges: int
    retransmitted: int | None
    srtt_s: float | None
    cwnd: int | None

    def fields(self) -> dict[str, object]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class _Totals:
    sent: int
    received: int
    exchanges: int
    retransmitted: int | None


class Watch:
    """Turns a run's counters into intervals."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._start_s = self._at_s = asyncio.get_running_loop().time()
        self._before = _Totals(0, 0, 0, None)

    def look(self) -> Interval:
        """What has happened since the last look."""
        now_s = asyncio.get_running_loop().time()
        open_flows = [flow for flow in self._run.flows if not flow.over.done()]
        measured = [measure(flow.transport) for flow in open_flows]
        known = [one.bytes_retransmitted for one in measured if one.bytes_retransmitted is not None]
        rtts = [one.srtt_s for one in measured if one.srtt_s is not None]
        cwnds = [one.cwnd for one in measured if one.cwnd is not None]
        # What is acknowledged was delivered; what the kernel does not tell counts when written.
        totals = _Totals(
            sum(one.bytes_acked if one.bytes_acked is not None else flow.sent
                for one, flow in zip(measured, open_flows, strict=True)),
            sum(flow.received for flow in self._run.flows),
            self._run.latencies.count,
            sum(known) if known else None,
        )  # fmt: skip
        before, self._before = self._before, totals
        again = None
        if totals.retransmitted is not None:
            again = max(0, totals.retransmitted - (before.retransmitted or 0))
        interval = Interval(
            now_s - self._start_s,
            now_s - self._at_s,
            max(0, totals.sent - before.sent),
            totals.received - before.received,
            totals.exchanges - before.exchanges,
            again,
            sum(rtts) / len(rtts) if rtts else None,
            sum(cwnds) if cwnds else None,
        )
        self._at_s = now_s
        return interval


@contextlib.asynccontextmanager
async def shown(run: Run, out: Output, interval_s: float) -> AsyncIterator[None]:
    """Show a run while it lasts: a live table on a terminal, a line an interval elsewhere."""
    watch = Watch(run)
    lines: list[Interval] = []

    async def every_interval(tell: Callable[[Interval], None]) -> None:
        while True:
            await asyncio.sleep(interval_s)
            lines.append(watch.look())
            tell(lines[-1])

    async with contextlib.AsyncExitStack() as stack:
        if out.wants_live:
            live = stack.enter_context(Live(console=out.console, transient=True))
            task = asyncio.create_task(
                every_interval(lambda _: live.update(_table(run, lines[-_LINES_SHOWN:])))
            )
        else:
            task = asyncio.create_task(every_interval(lambda one: _say(run, out, one)))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _say(run: Run, out: Output, one: Interval) -> None:
    text = "  ".join(f"{name} {value}" for name, value in _cells(run, one))
    out.say("interval", text, **one.fields())


def _cells(run: Run, one: Interval) -> list[tuple[str, str]]:
    """Names and values of one interval's line."""
    cells = [("at", f"{one.end_s:.1f} s")]
    if run.plan.mode is Mode.ECHO:
        cells.append(("exchanges/s", f"{one.exchanges / one.seconds:,.0f}"))
    else:
        ways = (
            ("sent", one.sent, run.plan.client_sends),
            ("received", one.received, run.plan.op is not Op.SINK),
        )
        for name, size, moves in ways:
            if moves:
                cells.append((name, f"{size / one.seconds / 1e6:.2f} MB/s"))
    cells.append(("RTT", "–" if one.srtt_s is None else f"{one.srtt_s * 1e3:.2f} ms"))
    cells.append(("cwnd", amount(one.cwnd)))
    cells.append(("retransmitted", amount(one.retransmitted)))
    return cells


def _table(run: Run, lines: list[Interval]) -> Table:
    table = Table(box=None)
    rows = [dict(_cells(run, one)) for one in lines]
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(row.get(name, "") for name in names))
    return table


def summary(run: Run) -> RenderableType:
    """The result for people."""
    report = run.report()
    table = Table(show_header=False, box=None)
    over = report["transport"]
    table.add_row("over", f"{over}, {run.plan.parallel} connections, {run.seconds:.2f} s")
    for name, title in (("to_server", "to the server"), ("to_client", "from the server")):
        way = report[name]
        if way["bytes"] and way["bytes_per_s"]:
            rate = f"{way['bytes'] / 1e6:,.1f} MB, {way['bytes_per_s'] / 1e6:,.2f} MB/s"
            table.add_row(title, f"{rate}, retransmitted {amount(way['bytes_retransmitted'])}")
    if run.plan.mode is Mode.ECHO:
        latency = report["latency"]
        values = ", ".join(
            f"{name.removesuffix('_us')} {value:g}" for name, value in latency.items() if value
        )
        table.add_row(f"{run.plan.message_bytes} bytes and back, µs", values)
    return Group(table, _connections(run))


def _connections(run: Run) -> Table:
    """A line a connection: what either side sent, its last round trip and window."""
    table = Table(box=None)
    for name in ("connection", "side", "sent", "received", "RTT ms", "cwnd", "retransmitted"):
        table.add_column(name, justify="right")
    sides = [("client", flow.report()) for flow in run.flows]
    sides += [("server", one) for one in run.theirs]
    for number, (side, one) in enumerate(sides):
        rtt_s = one["srtt_s"]
        table.add_row(
            str(number % max(1, run.plan.parallel) + 1),
            side,
            amount(one["sent"]),
            amount(one["received"]),
            "–" if rtt_s is None else f"{rtt_s * 1e3:.2f}",
            amount(one["cwnd"]),
            amount(one["bytes_retransmitted"]),
        )
    return table
