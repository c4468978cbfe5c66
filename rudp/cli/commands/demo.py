"""`rudp demo`."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from rudp.cli.demo.chat import chat
from rudp.cli.demo.children import DemoFailed
from rudp.cli.demo.copy import copy
from rudp.cli.demo.show import Options, Show
from rudp.cli.parsing import DURATION, SIZE
from rudp.cli.running import EXIT_FAILED, run
from rudp.congestion import CONTROLLERS
from rudp.sim import LinkConfig

_TOTAL_TIMEOUT_S = 150.0
_MTU_BYTES = 1472
"""As on Ethernet: over loopback itself a file would go in a few hundred datagrams."""
_EPILOG = """
\b
Examples:
  rudp demo
  rudp demo --loss 10 --delay 50ms --jitter 10ms
  rudp demo --only copy --size 50M --rate 20 --congestion cubic

What is lost, delayed, reordered and doubled is so in each direction. Nothing leaves the machine.

\b
Exit codes:
  0    everything that was checked holds
  1    something does not
  2    the command line was wrong
  130  Ctrl-C; 143 SIGTERM
"""
_PERCENT = click.FloatRange(0, 100)


@click.command(epilog=_EPILOG)
@click.option("--loss", type=_PERCENT, default=5.0, help="Percent lost (5).")
@click.option("--delay", "delay_s", type=DURATION, default=0.02, help="One way (20ms).")
@click.option("--jitter", "jitter_s", type=DURATION, default=0.0, help="Most extra delay (none).")
@click.option("--reorder", type=_PERCENT, default=2.0, help="Percent that overtake (2).")
@click.option("--duplicate", type=_PERCENT, default=1.0, help="Percent doubled (1).")
@click.option("--rate", "rate_mbit", type=click.FloatRange(0.1), help="Mbit/s of the link (any).")
@click.option("--size", type=SIZE, default=20_000_000, help="Bytes of the file (20 million).")
@click.option("--congestion", type=click.Choice(sorted(CONTROLLERS)), help="For the file.")
@click.option("--seed", type=int, help="Repeat the link's decisions of a run.")
@click.option("--only", type=click.Choice(("chat", "copy")), help="One of the two scenes.")
def command(
    loss: float,
    delay_s: float,
    jitter_s: float,
    reorder: float,
    duplicate: float,
    rate_mbit: float | None,
    size: int,
    congestion: str | None,
    seed: int | None,
    only: str | None,
) -> None:
    """A chat and a file over a bad link, in separate processes, everything checked.

    Three users talk, one of them is killed; a file of random data is sent and its SHA-256
    compared. Between the processes is a relay that loses, delays, reorders and doubles datagrams.
    """
    if max(delay_s, jitter_s) > 5:
        raise click.UsageError("--delay and --jitter may be up to 5s")
    if reorder and not delay_s:
        raise click.UsageError("--reorder needs a --delay: what comes at once is not overtaken")
    link = LinkConfig(
        rate_bytes_per_s=rate_mbit * 125e3 if rate_mbit is not None else None,
        delay_s=delay_s,
        jitter_s=jitter_s,
        loss=loss / 100,
        reorder=reorder / 100,
        duplicate=duplicate / 100,
        mtu=_MTU_BYTES,
    )
    if seed is None:
        seed = random.SystemRandom().getrandbits(32)
    options = Options(link=link, seed=seed, size_bytes=size, congestion=congestion, only=only)
    run(_play(options))


async def _play(options: Options) -> int:
    """Play the scenes and print what was measured."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    link = options.link
    console.print(
        f"each way: {link.loss:.1%} lost, {link.reorder:.1%} reordered, "
        f"{link.duplicate:.1%} duplicated, {link.delay_s * 1e3:g} ms; seed {options.seed}"
    )
    start_s = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="rudp-demo-") as name:
        directory = Path(name)
        show = Show(options, console, directory)
        with _live(show):
            try:
                async with asyncio.timeout(_TOTAL_TIMEOUT_S):
                    if options.only != "copy":
                        await chat(show)
                    if options.only != "chat":
                        await copy(show, directory)
            except TimeoutError:
                raise DemoFailed(f"not finished after {_TOTAL_TIMEOUT_S:g} s") from None
    show.title("what was measured")
    table = Table(show_header=False)
    for title, value in (*show.figures, ("in all", f"{time.perf_counter() - start_s:.1f} s")):
        table.add_row(title, value)
    console.print(table)
    console.print("[bold red]FAILED[/]" if show.failed else "[bold green]every check holds[/]")
    return EXIT_FAILED if show.failed else 0


@contextmanager
def _live(show: Show) -> Iterator[None]:
    """A panel below what is printed, on a terminal."""
    if not show.console.is_terminal:
        yield
        return
    with Live(console=show.console, transient=True, refresh_per_second=8) as show.live:
        yield
