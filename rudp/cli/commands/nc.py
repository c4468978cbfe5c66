"""`rudp nc`."""

from __future__ import annotations

import socket

import click

import rudp
from rudp.cli.address import HOST_PORT, HostPort, parse_where
from rudp.cli.netcat import Netcat
from rudp.cli.options import config_options
from rudp.cli.output import Output, output_options
from rudp.cli.parsing import DURATION
from rudp.cli.running import run

_EPILOG = """
\b
Examples:
  A file from one machine to another:
    there$ rudp nc --listen 7000 > file
    here$  rudp nc there.example 7000 < file
  A directory:
    there$ rudp nc -l 7000 | tar xzf -
    here$  tar czf - directory | rudp nc there.example 7000
  Talk (end with Ctrl-D):
    there$ rudp nc -l 7000
    here$  rudp nc there.example 7000
  A service: one process for each connection, any number of them:
    there$ rudp nc -l -k --exec 'sort | uniq -c' 7000
    here$  rudp nc there.example 7000 < words
  How the connection was:
    here$  rudp nc -v there.example 7000 < file

\b
Exit codes:
  0    both directions have ended in order; all that was read from stdin has arrived
  1    refused, reset, timed out, or stdout was closed
  2    wrong usage
  130  Ctrl-C; 143 SIGTERM (0 with --keep-open)
  With --exec but without --keep-open: the command's own.

The command of --exec finds the peer's address in RUDP_PEER. It is run by the shell; nothing that
the peer sends gets into its command line.
"""


@click.command(epilog=_EPILOG)
@click.argument("where", nargs=-1, required=True, metavar="[HOST] PORT")
@click.option("-l", "--listen", is_flag=True, help="Wait for a connection instead of dialling.")
@click.option("-k", "--keep-open", is_flag=True, help="Go on listening after a connection ended.")
@click.option("-e", "--exec", "command", metavar="CMD", help="Run CMD at this end (by /bin/sh).")
@click.option(
    "-w",
    "--timeout",
    "timeout_s",
    type=DURATION,
    help="Give up when the connection takes longer, or when nothing went either way so long.",
)
@click.option("--local", type=HOST_PORT, metavar="[HOST:]PORT", help="Address to dial from.")
@click.option(
    "--max-connections",
    type=click.IntRange(1),
    default=100,
    help="With --keep-open: connections at a time (100); further ones are reset.",
)
@click.option("-4", "family", flag_value=int(socket.AF_INET), type=int, help="IPv4 only.")
@click.option("-6", "family", flag_value=int(socket.AF_INET6), type=int, help="IPv6 only.")
@config_options(keepalive=15.0, connect_timeout=20.0)
@output_options(data_on_stdout=True)
def command(
    where: tuple[str, ...],
    listen: bool,
    keep_open: bool,
    command: str | None,
    timeout_s: float | None,
    local: HostPort | None,
    max_connections: int,
    family: int | None,
    config: rudp.Config,
    out: Output,
) -> None:
    """Connect stdin and stdout to a peer over rudp; netcat.

    What is read from stdin is sent, what is received is written to stdout, unchanged and of any
    length. The end of stdin ends the sending direction alone; the command is over when both
    directions are.

    Write HOST PORT (or HOST:PORT) to dial, and --listen [HOST] PORT to wait for a peer; without
    HOST at every interface, and PORT 0 is any free port, which is then told.
    """
    try:
        address = parse_where(where, listen=listen)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from None
    if keep_open and not listen:
        raise click.UsageError("--keep-open goes with --listen")
    if local is not None and listen:
        raise click.UsageError("--local goes with dialling; write --listen HOST PORT")
    netcat = Netcat(
        where=address,
        local=local,
        family=family or 0,
        command=command,
        keep_open=keep_open,
        max_connections=max_connections,
        timeout_s=timeout_s or None,
        config=config,
        out=out,
    )
    run(netcat.listen() if listen else netcat.connect(), out, until_stopped=keep_open)
