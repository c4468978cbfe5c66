"""`rudp top`."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass

import click
from rich.console import Console, RenderableType
from rich.live import Live

from rudp.cli.output import Output
from rudp.cli.parsing import DURATION
from rudp.cli.running import run
from rudp.cli.top.snapshots import NoProcess, Snapshot, fetch, find
from rudp.cli.top.table import SORTS, draw

_EPILOG = """
\b
Examples:
  RUDP_TOP=1 python server.py &      a process that tells
  rudp top                           the only one that does
  rudp top 4711                      by its process id
  rudp top /run/myapp/rudp.sock      by its socket
  rudp top --once --json | jq '.endpoints[].connections[].srtt_s'

A process tells if RUDP_TOP is set where it was started (to 1, to a directory, or to the path of
a socket), or if it calls rudp.aio.monitor.serve(path). Only its own user can look. "again" is what
was retransmitted of all that was sent; "←" are connections that the peer opened.

\b
Exit codes:
  0    with --once: there was an answer
  1    nobody answers, or the process has ended
  2    the command line was wrong
  130  Ctrl-C
"""


@click.command(epilog=_EPILOG)
@click.argument("target", required=False, metavar="[PATH|PID]")
@click.option("--once", is_flag=True, help="Look once.")
@click.option("--json", "as_json", is_flag=True, help="Snapshots as JSON, one a line.")
@click.option("--interval", "interval_s", type=DURATION, default=1.0, help="Between looks (1s).")
@click.option(
    "--sort",
    type=click.Choice(sorted(SORTS)),
    default="rate",
    help="By what, the most first (rate).",
)
@click.option("--lines", type=click.IntRange(1), help="Connections to show (what fits).")
def command(
    target: str | None, once: bool, as_json: bool, interval_s: float, sort: str, lines: int | None
) -> None:
    """Watch the connections of a running process."""
    out = Output(json=as_json)
    if interval_s <= 0:
        raise click.UsageError("--interval must be more than nothing")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    run(_Top(console, once, as_json, interval_s, sort, lines).watch(target), out)


@dataclass(slots=True)
class _Top:
    """What is being watched, and how it is shown."""

    console: Console
    once: bool
    as_json: bool
    interval_s: float
    sort: str
    lines: int | None

    async def watch(self, target: str | None) -> None:
        """Look until stopped. Raises `OSError` when nobody answers any more."""
        path = find(target)
        now = await fetch(path)
        if self.as_json or self.once or not self.console.is_terminal:
            self._print(now, None)
            while not self.once:
                await asyncio.sleep(self.interval_s)
                before, now = now, await fetch(path)
                self._print(now, before)
            return
        with Live(
            self._draw(now, None), console=self.console, auto_refresh=False, screen=True
        ) as live:
            while True:
                await asyncio.sleep(self.interval_s)
                before, now = now, await fetch(path)
                live.update(self._draw(now, before), refresh=True)

    def _print(self, now: Snapshot, before: Snapshot | None) -> None:
        if self.as_json:
            click.echo(json.dumps(now))
        else:
            self.console.print(self._draw(now, before))

    def _draw(self, now: Snapshot, before: Snapshot | None) -> RenderableType:
        most = self.lines
        if most is None:
            most = max(1, self.console.height - 4) if self.console.is_terminal else 1 << 30
        try:
            return draw(now, before, sort=self.sort, most=most)
        except (KeyError, TypeError, AttributeError) as exc:
            raise NoProcess(f"the process tells something else than this rudp: {exc!r}") from None
