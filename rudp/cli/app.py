"""The command group: which subcommands there are, each loaded only when it is asked for."""

from __future__ import annotations

import importlib
import pkgutil
from typing import cast

try:
    import click
except ImportError as exc:  # pragma: no cover - the extra is installed wherever tests run
    raise SystemExit("the rudp command needs the extra: pip install 'asyncio-rudp[cli]'") from exc

import rudp
import rudp.cli.commands


class _Commands(click.Group):
    """Finds subcommands by name in `rudp.cli.commands`: the object `command` of each module."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The modules' names, sorted."""
        names = (module.name for module in pkgutil.iter_modules(rudp.cli.commands.__path__))
        return sorted(name for name in names if not name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of that name; None if there is none."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"rudp.cli.commands.{cmd_name}")
        return cast("click.Command", module.command)


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(rudp.__version__, prog_name="rudp")
def main() -> None:
    """Reliable byte streams over UDP, from the shell.

    Every subcommand explains itself, with examples: rudp COMMAND --help

    \b
    Exit codes of all of them:
      0    what was asked for is done
      1    the network or the peer did not do it (one line on stderr says why)
      2    the command line was wrong
      130  Ctrl-C; 143 SIGTERM (0 for servers, which end that way)
    """
