"""`rudp doctor`."""

from __future__ import annotations

import click

import rudp
from rudp.cli.address import HostPort, parse_where
from rudp.cli.doctor.check import all_well, draw
from rudp.cli.doctor.local import check_machine
from rudp.cli.doctor.service import serve
from rudp.cli.doctor.verdicts import check_path
from rudp.cli.options import config_options
from rudp.cli.output import Output, output_options
from rudp.cli.running import EXIT_FAILED, run

_EPILOG = """
\b
Examples:
  What can this machine do?
    here$  rudp doctor
  Does UDP get from here to there and back, and how well?
    there$ rudp doctor --listen 7000
    here$  rudp doctor there.example 7000
  For a script:
    here$  rudp doctor --quiet --json there.example 7000 | jq .ok

\b
Verdicts:
  ok    as it should be
  note  worth knowing, nothing to change
  warn  it works, but not as well as it could: the line says what to change
  fail  it does not work

\b
Exit codes:
  0    all is well: no line says warn or fail (and of --listen when it is stopped)
  1    something is to be changed, or the address could not be bound
  2    wrong usage
  130  Ctrl-C; 143 SIGTERM
"""


@click.command(epilog=_EPILOG)
@click.argument("where", nargs=-1, metavar="[HOST PORT]")
@click.option("-l", "--listen", is_flag=True, help="Be the other end: answer measurements.")
@config_options(connect_timeout=5.0)
@output_options()
def command(where: tuple[str, ...], listen: bool, config: rudp.Config, out: Output) -> None:
    """Look at this machine, and at the path to another one.

    Without HOST it tells of this machine alone: kernel, event loop, socket buffers, what its UDP
    sockets can do, and whether rudp works over the loopback. With HOST PORT, where rudp doctor
    --listen PORT runs, it also measures the way there and back: whether UDP passes, addresses,
    round trip, loss, path MTU and ECN. That takes a few seconds and some megabytes.
    """
    address: HostPort | None = None
    try:
        if where or listen:
            address = parse_where(where, listen=listen)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from None
    if listen and address is not None:
        run(serve(address, config, out), out, until_stopped=True)
    else:
        run(_examine(address, config, out), out)


async def _examine(to: HostPort | None, config: rudp.Config, out: Output) -> int:
    """Tell everything; the exit code."""
    checks = await check_machine(config)
    title = "this machine"
    if to is not None:
        out.say("measuring", f"measuring the path to {to} …", to=str(to))
        checks += await check_path(to, config)
        title = f"this machine, and the path to {to}"
    well = all_well(checks)
    out.result("report", draw(title, checks), ok=well, checks=[check.to_json() for check in checks])
    return 0 if well else EXIT_FAILED
