"""`rudp recv`."""

from __future__ import annotations

from pathlib import Path

import click

import rudp
from rudp.cli.address import HOST_PORT, HostPort
from rudp.cli.options import config_options
from rudp.cli.output import Output, output_options
from rudp.cli.parsing import SIZE
from rudp.cli.running import EXIT_FAILED, run
from rudp.cli.transfer.server import Receiver

_EPILOG = """
\b
Examples:
  rudp recv --listen 7777 --into incoming
  rudp recv --listen 127.0.0.1:7777 --into incoming --once
  rudp recv --listen 7777 --into incoming --max-bytes 10G --json

Whoever reaches the port may send: nothing is encrypted and nobody is asked who they are. Whatever
a sender says, nothing is written outside the directory, links in it are not followed, and a file
that is there keeps its content unless --overwrite is given. A file has its name only when it is
whole and verified; until then it is called .rudp-part-…, and a later transfer goes on with it.

\b
Exit codes:
  0    with --once: everything that the sender offered arrived and was verified;
       without: stopped by Ctrl-C or SIGTERM
  1    something was not, or the address could not be bound
  2    the command line was wrong
  130  Ctrl-C with --once; 143 SIGTERM
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--listen", type=HOST_PORT, required=True, metavar="[HOST:]PORT", help="Where to listen."
)
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="The directory that everything goes into; made if it is not there.",
)
@click.option("--once", is_flag=True, help="End after one sender.")
@click.option("--overwrite", is_flag=True, help="Replace files that have another content.")
@click.option("--max-bytes", type=SIZE, help="Most bytes to write for one sender (no limit).")
@click.option("--max-files", type=click.IntRange(1), help="Most files, likewise (no limit).")
@click.option(
    "--max-senders", type=click.IntRange(1, 1024), default=16, help="Most at a time (16)."
)
@config_options(keepalive=10.0, keepalive_interval=5.0, user_timeout=30.0)
@output_options()
def command(
    listen: HostPort,
    into: Path,
    once: bool,
    overwrite: bool,
    max_bytes: int | None,
    max_files: int | None,
    max_senders: int,
    config: rudp.Config,
    out: Output,
) -> None:
    """Receive files and directories from `rudp send` into a directory."""

    async def receive() -> int:
        receiver = Receiver(
            into,
            out,
            overwrite=overwrite,
            max_bytes=max_bytes,
            max_files=max_files,
            max_senders=max_senders,
            once=once,
        )
        return 0 if await receiver.serve(listen, config) else EXIT_FAILED

    run(receive(), out, until_stopped=not once)
