"""`rudp tunnel`."""

from __future__ import annotations

import click

import rudp
from rudp.cli.address import DIALLED_STREAM_ADDRESS, STREAM_ADDRESS, StreamAddress
from rudp.cli.options import config_options
from rudp.cli.output import Output, output_options
from rudp.cli.running import run
from rudp.cli.tunnel import Tunnel

_EPILOG = """
\b
Examples:
  A web server behind a lossy link, for a browser here:
    there$ rudp tunnel --listen rudp:0.0.0.0:7000 --to tcp:127.0.0.1:80
    here$  rudp tunnel --listen tcp:127.0.0.1:8080 --to rudp:there.example:7000
    here$  curl http://127.0.0.1:8080/
  ssh, and what runs over ssh (rsync, git, sftp):
    there$ rudp tunnel --listen rudp:7000 --to tcp:127.0.0.1:22
    here$  rudp tunnel --listen tcp:127.0.0.1:2222 --to rudp:there.example:7000
    here$  ssh -p 2222 127.0.0.1
  A rudp server for programs that speak TCP only:
    here$  rudp tunnel --listen tcp:127.0.0.1:5000 --to rudp:there.example:5000
  What has it carried so far?
    here$  kill -USR1 PID

\b
Exit codes:
  0    stopped by Ctrl-C or SIGTERM, which is how it ends
  1    the address could not be bound
  2    wrong usage

The bytes are not encrypted: carry ssh or TLS, or use a private network.
"""


@click.command(epilog=_EPILOG)
@click.option(
    "-l",
    "--listen",
    "at",
    required=True,
    type=STREAM_ADDRESS,
    metavar="ADDRESS",
    help="Where clients connect: tcp:[HOST:]PORT or rudp:[HOST:]PORT; without HOST at every "
    "interface.",
)
@click.option(
    "-t",
    "--to",
    required=True,
    type=DIALLED_STREAM_ADDRESS,
    metavar="ADDRESS",
    help="Where they are connected to: tcp:HOST:PORT or rudp:HOST:PORT.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(1),
    default=10_000,
    help="Clients at a time (10,000); further ones are reset.",
)
@config_options(
    keepalive=10.0,
    keepalive_interval=5.0,
    user_timeout=30.0,
    connect_timeout=10.0,
)
@output_options()
def command(
    at: StreamAddress, to: StreamAddress, max_connections: int, config: rudp.Config, out: Output
) -> None:
    """Carry connections from one address to another, over TCP or rudp on either side.

    Every client of --listen gets a connection of its own to --to. Half-close and resets are
    carried through, and so is backpressure. A client whose upstream cannot be reached is reset.
    A peer that dies without a word is noticed by keepalive after 30 seconds (--keepalive,
    --set keepalive_interval=…, --set keepalive_probes=…); with data under way, by --user-timeout.

    Statistics are told on SIGUSR1, and at the end.
    """
    tunnel = Tunnel(at, to, config, max_connections, out)
    run(tunnel.serve(), out, until_stopped=True)
