"""`rudp bench`."""

from __future__ import annotations

import click

import rudp
from rudp.cli.address import DIALLED_PORT, HOST_PORT, HostPort
from rudp.cli.benchmark.client import Run, Target
from rudp.cli.benchmark.plan import MAX_BYTES, MAX_PARALLEL, MAX_SECONDS, Mode, Plan
from rudp.cli.benchmark.server import Server
from rudp.cli.benchmark.shown import shown, summary
from rudp.cli.options import config_options
from rudp.cli.output import Output, output_options
from rudp.cli.parsing import DURATION, SIZE
from rudp.cli.running import run

_EPILOG = """
\b
Examples:
  rudp bench --listen 7778                           at the other end
  rudp bench server.example 7778                     10 seconds to the server
  rudp bench server.example 7778 --reverse           from the server
  rudp bench server.example 7778 --mode duplex --parallel 4 --seconds 5
  rudp bench server.example 7778 --mode echo --size 64
  rudp bench server.example 7778 --bytes 100M --json
  rudp bench server.example 7778 --tcp               the same over the kernel's TCP

The server takes rudp and TCP at the same port, from whoever reaches it. Rates are of what arrived,
as counted where it arrived, from the first byte to the last. Round trip, congestion window and
what was retransmitted are rudp's own figures, and Linux' TCP_INFO with --tcp.

\b
Exit codes:
  0    the test ran to its end (the server: stopped by Ctrl-C or SIGTERM)
  1    the server cannot be reached, or a connection broke
  2    the command line was wrong
  130  Ctrl-C; 143 SIGTERM
"""


@click.command(epilog=_EPILOG)
@click.argument("host", required=False)
@click.argument("port", required=False, type=DIALLED_PORT)
@click.option("--listen", type=HOST_PORT, metavar="[HOST:]PORT", help="Be the server.")
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    default="bulk",
    help="One way, both ways at once, or messages that come back (bulk).",
)
@click.option("--reverse", is_flag=True, help="In bulk mode the server sends.")
@click.option(
    "--parallel", type=click.IntRange(1, MAX_PARALLEL), default=1, help="Connections (1)."
)
@click.option("--seconds", type=DURATION, default=10.0, help="How long to send (10s).")
@click.option("--bytes", "total", type=SIZE, help="How much to send, whatever time it takes.")
@click.option("--size", "message", type=SIZE, default=64, help="Echo: bytes of a message (64).")
@click.option("--interval", "interval_s", type=DURATION, default=1.0, help="Of figures (1s).")
@click.option("--tcp", is_flag=True, help="Over the kernel's TCP, to compare.")
@config_options(keepalive=10.0, connect_timeout=20.0, user_timeout=30.0)
@output_options()
def command(
    host: str | None,
    port: int | None,
    listen: HostPort | None,
    mode: str,
    reverse: bool,
    parallel: int,
    seconds: float,
    total: int | None,
    message: int,
    interval_s: float,
    tcp: bool,
    config: rudp.Config,
    out: Output,
) -> None:
    """Measure throughput and latency to another machine."""
    if listen is not None:
        if host is not None:
            raise click.UsageError("write either --listen or HOST PORT")
        run(Server(out).serve(listen, config), out, until_stopped=True)
        return
    if host is None or port is None:
        raise click.UsageError("write HOST PORT, or --listen PORT to be the server")
    _check(mode, reverse, seconds, total, message, interval_s)
    plan = Plan(
        mode=Mode(mode),
        parallel=parallel,
        seconds=seconds,
        size=total,
        reverse=reverse,
        message_bytes=message,
    )
    run(_measure(Run(plan, Target(host, port, tcp, config)), out, interval_s), out)


def _check(
    mode: str, reverse: bool, seconds: float, total: int | None, message: int, interval_s: float
) -> None:
    """Raise a usage error for what makes no sense together."""
    if reverse and mode != "bulk":
        raise click.UsageError("--reverse goes with --mode bulk")
    if not 0 < seconds <= MAX_SECONDS:
        raise click.UsageError(f"--seconds must be more than 0 and at most {MAX_SECONDS:g}")
    if total is not None and not 0 < total <= MAX_BYTES:
        raise click.UsageError(f"--bytes must be from 1 to {MAX_BYTES}")
    if not 1 <= message <= 1 << 20:
        raise click.UsageError("--size must be from 1 to 1M")
    if interval_s <= 0:
        raise click.UsageError("--interval must be more than 0")


async def _measure(test: Run, out: Output, interval_s: float) -> None:
    async with shown(test, out, interval_s):
        await test.run()
    out.result("bench", summary(test), **test.report())
