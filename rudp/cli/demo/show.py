"""What the demonstration prints, has checked and has measured; a live panel on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rudp.aio.relay import LossyRelay
from rudp.cli.demo.children import Child
from rudp.cli.top.snapshots import NoProcess, Snapshot, fetch
from rudp.cli.top.table import Row, amount, rows
from rudp.sim import Link, LinkConfig

_REFRESH_S = 0.15
_LINE_S = 0.5
"""Between the lines that are printed where there is no terminal."""
_BARS = " ▁▂▃▄▅▆▇█"
_HISTORY = 60
_CONNECTIONS_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for."""

    link: LinkConfig
    seed: int
    size_bytes: int
    congestion: str | None = None
    only: str | None = None


@dataclass(slots=True)
class Show:
    """What is printed, what has been checked, what has been measured."""

    options: Options
    console: Console
    monitors: Path
    failed: bool = False
    figures: list[tuple[str, str]] = field(default_factory=list)
    live: Live | None = None

    def check(self, what: str, holds: bool) -> None:
        """Print one check and remember a failure."""
        self.failed = self.failed or not holds
        mark = "[bold green]✓[/]" if holds else "[bold red]✗[/]"
        self.console.print(f"  {mark} {escape(what)}")

    def title(self, text: str) -> None:
        """Begin a scene."""
        self.console.rule(f"[bold]{text}")

    def note(self, text: str) -> None:
        """Something beside the point."""
        self.console.print(Text(f"  {text}", style="dim"))

    def monitor(self, child: Child) -> Path:
        """The socket at which a child tells of its connections."""
        return self.monitors / f"{child.process.pid}.sock"


class BadLink:
    """The link that was asked for, between the clients of a scene and their server."""

    def __init__(self, options: Options, scene: str) -> None:
        self.to_server = Link(options.link, _seeded(options, f"{scene} to the server"))
        self.to_client = Link(options.link, _seeded(options, f"{scene} to the client"))

    @contextlib.asynccontextmanager
    async def relay(self, target: tuple[str, int]) -> AsyncIterator[tuple[str, int]]:
        """The address at which clients reach `target` over the link."""
        relay = await LossyRelay.start(target, to_server=self.to_server, to_client=self.to_client)
        async with relay:
            yield relay.address

    @property
    def lost(self) -> int:
        """Datagrams lost both ways."""
        return self.to_server.stats.lost + self.to_client.stats.lost

    def describe(self, link: Link) -> str:
        """What a direction did to what was sent."""
        stats = link.stats
        share = stats.lost / stats.sent if stats.sent else 0.0
        return (
            f"{stats.sent:,} datagrams: {stats.lost:,} lost ({share:.1%}), "
            f"{stats.reordered:,} reordered, {stats.duplicated:,} duplicated"
        )


def _seeded(options: Options, what: str) -> random.Random:
    return random.Random(f"{options.seed} {what}")  # noqa: S311 - to be repeated, not secret


class Watch:
    """Looks at the connections of a child while a scene goes on, and shows them: in the panel, or
    where there is none, `in_lines` if these are wanted."""

    def __init__(self, show: Show, child: Child, link: BadLink, *, in_lines: bool) -> None:
        self._in_lines = in_lines
        self._show = show
        self._path = show.monitor(child)
        self._link = link
        self._before: Snapshot | None = None
        self._rates: deque[float] = deque(maxlen=_HISTORY)
        self._start_s = asyncio.get_running_loop().time()

    async def look(self) -> list[Row]:
        """The child's connections now; none before it has any, or when it has ended."""
        try:
            now = await fetch(self._path)
        except (NoProcess, OSError):
            return []
        found = rows(now, self._before)
        self._before = now
        self._rates.append(sum(max(row.sent_rate or 0, row.received_rate or 0) for row in found))
        return found

    async def go_on(self) -> None:
        """Look and show until cancelled."""
        live = self._show.live
        while True:
            await asyncio.sleep(_LINE_S if live is None else _REFRESH_S)
            if live is None and not self._in_lines:
                continue
            found = await self.look()
            if live is not None:
                live.update(Panel(self._panel(found), title="the connections", expand=True))
            elif found:
                self._show.note(self._line(found))

    def _line(self, found: list[Row]) -> str:
        busiest = max(found, key=lambda row: row.cwnd)
        seconds = asyncio.get_running_loop().time() - self._start_s
        return (
            f"{seconds:4.1f} s: {self._rates[-1] / 1e6:6.2f} MB/s, "
            f"RTT {_milliseconds(busiest.rtt_s)}, cwnd {amount(busiest.cwnd)}, "
            f"in flight {amount(busiest.in_flight)}, "
            f"{busiest.retransmitted_share:.1%} sent again"
        )

    def _panel(self, found: list[Row]) -> RenderableType:
        table = Table(box=None, expand=True)
        for name in ("peer", "state", "RTT", "cwnd", "in flight", "throughput", "retransmitted"):
            table.add_column(name, justify="left" if name in ("peer", "state") else "right")
        for row in sorted(found, key=lambda row: -row.cwnd)[:_CONNECTIONS_SHOWN]:
            table.add_row(
                row.peer,
                row.state.lower().replace("_", "-"),
                _milliseconds(row.rtt_s),
                amount(row.cwnd),
                amount(row.in_flight),
                f"{amount(max(row.sent_rate or 0, row.received_rate or 0))}B/s",
                f"{row.retransmitted_share:.1%}",
            )
        link = self._link
        return Group(
            table,
            Text(f"throughput {sparkline(self._rates)}", style="cyan"),
            Text(f"link to the server  {link.describe(link.to_server)}", style="dim"),
            Text(f"link to the client  {link.describe(link.to_client)}", style="dim"),
        )


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1e3:.1f} ms"


def sparkline(values: deque[float]) -> str:
    """Values as bars, the highest full."""
    most = max(values, default=0.0) or 1.0
    return "".join(_BARS[round(value / most * (len(_BARS) - 1))] for value in values)


@contextlib.asynccontextmanager
async def watching(
    show: Show, child: Child, link: BadLink, *, in_lines: bool = False
) -> AsyncIterator[None]:
    """Show the connections of `child` as long as the block lasts."""
    task = asyncio.create_task(Watch(show, child, link, in_lines=in_lines).go_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if show.live is not None:
            show.live.update("")
