"""Run a whole program on a simulated network: `asyncio.run`, in no time and with a seed."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, TypeVar

from rudp.sim.loop import MAX_STEPS, MAX_VIRTUAL_S, SimLoop
from rudp.sim.network import Network

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["SimLeakError", "run"]

_T = TypeVar("_T")

# What leftover tasks may still do once they are cancelled.
_SHUTDOWN_STEPS = 1_000_000
_SHUTDOWN_S = 24 * 3600.0


class SimLeakError(RuntimeError):
    """The program ended, and left a task, a timer or a socket behind."""


def random_seed() -> int:
    """Return a seed that nobody chose."""
    return random.SystemRandom().randrange(1 << 32)


def run(
    main: Coroutine[Any, Any, _T],
    *,
    network: Network | None = None,
    seed: int | None = None,
    debug: bool = False,
    check_leaks: bool = True,
    check_errors: bool = True,
    max_virtual_s: float = MAX_VIRTUAL_S,
    max_steps: int = MAX_STEPS,
) -> _T:
    """Run a coroutine on a fresh `SimLoop`, like `asyncio.run`.

    When `main` is done the tasks that are left are cancelled, oldest first, asynchronous generators
    are closed, and so is the loop. An exception carries the seed in a note; the same program with
    the same seed takes the same course.

    Args:
        main: The program.
        network: The network it runs on; its hosts and links are kept, its time begins at zero.
        seed: Without a network: that of the network made for it, on which all links are perfect.
            None picks one.
        debug: Turns on asyncio's debug mode, as its environment variable does.
        check_leaks: Whether a timer, a socket or a task that is left after all that is an error.
        check_errors: Whether an exception that nobody handled (in a callback, a protocol or a task
            that nobody awaited) is an error, where asyncio only logs it. A program that sets an
            exception handler of its own handles them.
        max_virtual_s: The seconds of virtual time after which a program is held to be stuck.
        max_steps: The callbacks after which a program is held to be stuck.

    Returns:
        What `main` returns.

    Raises:
        SimDeadlock: `main` waits for something that cannot happen any more.
        SimLimitError: `max_virtual_s` or `max_steps` was exceeded.
        SimLeakError: See `check_leaks`.
        ExceptionGroup: The unhandled exceptions; see `check_errors`.
        RuntimeError: An event loop is running in this thread, or another one drives the network.
        TypeError: `main` is not a coroutine.
        ValueError: Both `network` and `seed` are given.
    """
    if not asyncio.iscoroutine(main):
        raise TypeError(f"main must be a coroutine, not {type(main).__name__}")
    try:
        network = _choose_network(network, seed)
        loop = SimLoop(network, max_virtual_s=max_virtual_s, max_steps=max_steps)
    except BaseException:
        main.close()
        raise
    if debug:
        loop.set_debug(True)
    try:
        try:
            result = loop.run_until_complete(main)
        finally:
            _shut_down(loop)
        if check_errors and loop.unhandled:
            raise BaseExceptionGroup("exceptions that nobody handled", loop.unhandled)
        if check_leaks and loop.leaks():
            raise SimLeakError("left behind:\n  " + "\n  ".join(loop.leaks()))
    except BaseException as error:
        _annotate(error, loop)
        raise
    return result


def _is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _choose_network(network: Network | None, seed: int | None) -> Network:
    if _is_running():
        raise RuntimeError("rudp.sim.run() cannot be called while an event loop is running")
    if network is None:
        return Network(random_seed() if seed is None else seed)
    if seed is not None:
        raise ValueError("seed and network cannot both be given: the network has a seed")
    return network


def _shut_down(loop: SimLoop) -> None:
    loop.max_steps = loop.steps + _SHUTDOWN_STEPS
    loop.max_virtual_s = loop.time() + _SHUTDOWN_S
    try:
        if tasks := loop.pending_tasks():
            loop.run_until_complete(_cancel(tasks))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.report_failed_tasks()
    finally:
        loop.close()


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _annotate(error: BaseException, loop: SimLoop) -> None:
    error.add_note(f"simulated network: seed {loop.network.seed}, {loop.time():.6f} s of its time")
    if not isinstance(error, BaseExceptionGroup):
        for unhandled in loop.unhandled:
            error.add_note(f"nobody handled: {unhandled!r}")
