"""How subcommands run: on the fastest loop there is, to an exit code, ended by Ctrl-C."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import click

EXIT_FAILED = 1
"""The network or the peer did not do what was asked for."""
EXIT_USAGE = 2
"""The command line was wrong (click's own)."""
EXIT_INTERRUPTED = 130
"""Ctrl-C, as shells have it: 128 and the signal's number."""


def run(main: Coroutine[Any, Any, int | None]) -> None:
    """Run `main` and exit with what it returns; None is success.

    An `OSError` becomes one line on stderr and exit code 1; Ctrl-C cancels `main`, so that what
    it holds is closed in order, and gives 130.
    """
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            code = runner.run(main)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except OSError as exc:
        click.echo(f"rudp: {str(exc) or type(exc).__name__}", err=True)
        code = EXIT_FAILED
    sys.exit(code or 0)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed; None is asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
