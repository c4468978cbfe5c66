"""Programs as a user runs them: their lines, their input, their end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

WAIT_S = 40.0


class Program:
    """A running program: its output line by line, its input, its end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.errors = b""
        self._read = 0
        self._news = asyncio.Event()
        self._outputs = asyncio.gather(self._collect(), self._collect_errors())

    async def _collect(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))
            self._news.set()

    async def _collect_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors = await self.process.stderr.read()

    async def expect(self, pattern: str) -> re.Match[str]:
        """The next line that matches; those before it are passed over."""
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    while self._read < len(self.lines):
                        self._read += 1
                        if match := re.search(pattern, self.lines[self._read - 1]):
                            return match
                    self._news.clear()
                    ended = self._outputs.done()
                    assert not ended, f"no {pattern!r} in {self.lines}, errors: {self.errors!r}"
                    done = asyncio.ensure_future(self._news.wait())
                    await asyncio.wait((done, self._outputs), return_when="FIRST_COMPLETED")
                    done.cancel()
        except TimeoutError:
            raise AssertionError(f"no {pattern!r} in {self.lines} so far") from None

    async def type(self, *lines: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(line + "\n" for line in lines).encode())
        await self.process.stdin.drain()

    def close_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def end(self, *, sent: signal.Signals | None = None) -> int:
        """Its exit status, after a signal if one is given."""
        if sent is not None:
            self.process.send_signal(sent)
        _, late = await asyncio.wait((self._outputs,), timeout=WAIT_S)
        assert not late, f"does not end; its lines: {self.lines}"
        return await self.process.wait()

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        await self._outputs


@contextlib.asynccontextmanager
async def programs() -> AsyncIterator[Callable[..., Awaitable[Program]]]:
    """Starts Python programs, each the leader of a process group; none outlives the block.

    The words after `python` are given; `env` replaces the environment.
    """
    started: list[Program] = []

    async def start(*words: object, env: dict[str, str] | None = None) -> Program:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "default",  # an unclosed socket or transport is said on standard error
            *map(str, words),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
            env=env,
        )
        started.append(Program(process))
        return started[-1]

    try:
        yield start
    finally:
        for program in started:
            await program.kill()


def group_lives(program: Program) -> bool:
    """Whether the program or any of its children still runs."""
    try:
        os.killpg(program.process.pid, 0)
    except ProcessLookupError:
        return False
    return True
