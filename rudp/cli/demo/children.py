"""The processes of the demonstration: started, read line by line, and ended with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Self

import rudp

LINE_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 2.0
_PACKAGE = Path(rudp.__file__).parent


class DemoFailed(OSError):
    """Something did not come about; the demonstration cannot go on."""


def example(name: str) -> str:
    """The path of one of the example programs.

    The chat is an example first, to be read and changed; a wheel carries a copy of it.
    """
    for directory in (_PACKAGE / "cli/demo/programs", _PACKAGE.parent / "examples"):
        if (directory / name).is_file():
            return str(directory / name)
    raise DemoFailed(f"the example {name} was not installed")


class Child:
    """A child process whose lines are awaited one by one."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self.transcript: list[str] = []
        self._read = 0  # how much of the transcript has been awaited
        self._news = asyncio.Event()
        self._ended = False
        self._reading = asyncio.create_task(self._collect())

    async def _collect(self) -> None:
        if self.process.stdout is not None:
            async for line in self.process.stdout:
                self.transcript.append(line.decode(errors="replace").rstrip("\n"))
                self._news.set()
        self._ended = True
        self._news.set()

    async def expect(self, text: str) -> str:
        """The next line that contains `text`; lines before it are passed over.

        Raises `DemoFailed` if it ends without, or takes too long.
        """
        try:
            async with asyncio.timeout(LINE_TIMEOUT_S):
                while True:
                    while self._read < len(self.transcript):
                        line = self.transcript[self._read]
                        self._read += 1
                        if text in line:
                            return line
                    if self._ended:
                        raise DemoFailed(f"{self.name} ended without {text!r}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise DemoFailed(f"{self.name} did not print {text!r}") from None

    async def say(self, line: str) -> None:
        """Type a line into the child."""
        if self.process.stdin is None:
            raise RuntimeError(f"{self.name} was started without an input")
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()

    async def end(self, timeout_s: float = LINE_TIMEOUT_S) -> int:
        """Close its input, and wait for its end and its last line; return its exit status."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(timeout_s):
                await self._reading
                return await self.process.wait()
        except TimeoutError:
            raise DemoFailed(f"{self.name} did not end") from None

    async def stop(self) -> None:
        """End it whatever it is doing, politely first."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            try:
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await self.process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self.process.kill()
                await self.process.wait()
        await asyncio.gather(self._reading, return_exceptions=True)


class Children:
    """The processes of a scene; leaving the block ends those that still live.

    `monitors` is the directory in which each of them tells of its connections (RUDP_TOP).
    """

    def __init__(self, monitors: Path) -> None:
        self._children: list[Child] = []
        path = [str(_PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "RUDP_TOP": str(monitors),
        }

    async def start(self, name: str, *words: str, typed: bool = False) -> Child:
        """Start a Python program as a process; `typed` gives it an input to type into."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *words,
            stdin=pipe if typed else asyncio.subprocess.DEVNULL,
            stdout=pipe,
            env=self._environment,
        )
        child = Child(name, process)
        self._children.append(child)
        return child

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.gather(*(child.stop() for child in reversed(self._children)))
