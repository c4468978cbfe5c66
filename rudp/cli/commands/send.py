"""`rudp send`."""

from __future__ import annotations

from pathlib import Path

import click

import rudp
from rudp.cli.address import DIALLED_PORT
from rudp.cli.options import config_options
from rudp.cli.output import Output, output_options
from rudp.cli.running import EXIT_FAILED, run
from rudp.cli.transfer.client import Sent, send_paths

_EPILOG = """
\b
Examples:
  rudp recv --listen 7777 --into incoming           at the other end
  rudp send big.iso server.example 7777
  rudp send photos notes.txt server.example 7777    a directory, and a file
  rudp send --json big.iso 192.0.2.1 7777

Sending again after an interruption, of either side, goes on where it stopped: files that are
there are compared, not sent, and a partial file is continued if what is there is its beginning.

Links inside directories and special files are not sent; a link that is named is followed. Modes
and times of modification are kept, owners are not. Nothing is encrypted.

\b
Exit codes:
  0    every file is at the other end, with the SHA-256 that it has here
  1    something was not sent or not taken, or the connection failed
  2    the command line was wrong
  130  Ctrl-C; 143 SIGTERM
"""


@click.command(epilog=_EPILOG)
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="PATH…"
)
@click.argument("host")
@click.argument("port", type=DIALLED_PORT)
@config_options(keepalive=10.0, keepalive_interval=5.0, user_timeout=30.0, connect_timeout=20.0)
@output_options()
def command(
    paths: tuple[Path, ...], host: str, port: int, config: rudp.Config, out: Output
) -> None:
    """Send files and directories to `rudp recv`, verified by SHA-256."""
    run(_send(paths, host, port, config, out), out)


async def _send(
    paths: tuple[Path, ...], host: str, port: int, config: rudp.Config, out: Output
) -> int:
    sent = await send_paths(paths, host, port, config, out)
    summary = sent.summary
    for path, reason in summary.failures:
        out.error(f"{path}: {reason}", path=path)
    rate = summary.bytes_moved / sent.seconds
    text = f"{summary.describe()} in {sent.seconds:.1f} s, {rate / 1e6:.1f} MB/s"
    out.say("transfer", text, **summary.fields(), **_measured(sent))
    return 0 if summary.all_verified else EXIT_FAILED


def _measured(sent: Sent) -> dict[str, object]:
    """What the connection has to tell, for JSON."""
    info = sent.info
    return {
        "seconds": sent.seconds,
        "bytes_per_s": sent.summary.bytes_moved / sent.seconds,
        "bytes_retransmitted": info.bytes_retransmitted,
        "srtt_s": info.srtt_s,
        "cwnd": info.cwnd,
        "congestion": info.congestion,
    }
