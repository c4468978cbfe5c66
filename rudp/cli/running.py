"""How subcommands run: on the fastest loop there is, to an exit code, ended by signals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from rudp.cli.output import Output

EXIT_FAILED = 1
"""The network or the peer did not do what was asked for."""
EXIT_USAGE = 2
"""The command line was wrong (click's own)."""
EXIT_INTERRUPTED = 130
"""Ctrl-C, as shells have it: 128 and the signal's number."""
EXIT_TERMINATED = 143
"""SIGTERM, likewise."""


def run(
    main: Coroutine[Any, Any, int | None], out: Output | None = None, *, until_stopped: bool = False
) -> None:
    """Run `main` and exit with what it returns; None is success.

    An `OSError` becomes one line on stderr and exit code 1. Ctrl-C and SIGTERM cancel `main`, so
    that what it holds is closed in order, and give 130 and 143.

    Args:
        main: What to do.
        out: How to speak.
        until_stopped: Being stopped is how this command ends: that is success.
    """
    out = out or Output()
    _reserve_standard_descriptors()
    stopped: list[int] = []
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            code = runner.run(_until_terminated(main, stopped))
    except KeyboardInterrupt:
        code = 0 if until_stopped else EXIT_INTERRUPTED
    except asyncio.CancelledError:
        if not stopped:
            raise
        code = 0 if until_stopped else EXIT_TERMINATED
    except (OSError, EOFError) as exc:
        out.error(reason(exc))
        code = EXIT_FAILED
    except BaseExceptionGroup as group:
        if group.split((OSError, EOFError))[1] is not None:
            raise
        out.error(reason(group))
        code = EXIT_FAILED
    _flush_stdout()
    sys.exit(code or 0)


async def _until_terminated(
    main: Coroutine[Any, Any, int | None], stopped: list[int]
) -> int | None:
    """`main`, cancelled by SIGTERM; Ctrl-C is `asyncio.Runner`'s."""
    work = asyncio.ensure_future(main)

    def terminate() -> None:
        stopped.append(signal.SIGTERM)
        work.cancel()

    with contextlib.suppress(NotImplementedError):  # Windows ends a process without asking it
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    return await work


def _reserve_standard_descriptors() -> None:
    """Keep the numbers of stdin, stdout and stderr from being given to something else.

    Where the shell has closed them (`<&-`, `>&-`), the next socket would be taken for them, and
    libuv aborts the process for less. Here stdin is then empty, and writing to stdout fails.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free


def _flush_stdout() -> None:
    """Who reads stdout may have gone; Python would complain about that at its very end."""
    stdout = sys.__stdout__
    if stdout is None:
        return
    try:
        stdout.flush()
    except OSError:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), stdout.fileno())


def reason(error: BaseException) -> str:
    """One readable line for an error: the first one's of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
        return f"{text}: {error.filename}" if error.filename is not None else text
    return str(error) or type(error).__name__


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed; None is asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
