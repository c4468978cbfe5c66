"""The `rudp` command as a user runs it: a real process, its words as JSON, its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

WAIT_S = 30.0
ROOT = Path(__file__).parents[2]


class Command:
    """A running `rudp … --json -v`. `nc` speaks on stderr, its stdout is for the test to read."""

    def __init__(self, process: asyncio.subprocess.Process, words: str, *, nc: bool) -> None:
        self.process = process
        self.pid = process.pid
        self._words = words
        self._events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.said: list[dict[str, Any]] = []
        self.complaints = b""
        streams = [process.stderr] if nc else [process.stderr, process.stdout]
        self._listener = asyncio.ensure_future(self._hear_all(streams))

    async def _hear_all(self, streams: list[asyncio.StreamReader | None]) -> None:
        await asyncio.gather(*(self._hear(stream) for stream in streams if stream is not None))
        self._events.put_nowait(None)

    async def _hear(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            try:
                self._events.put_nowait(json.loads(line))
            except ValueError:
                self.complaints += line

    async def event(self, name: str) -> dict[str, Any]:
        """The next event of that name; those before it are kept in `said`."""
        async with asyncio.timeout(WAIT_S):
            while (event := await self._events.get()) is not None:
                self.said.append(event)
                if event["event"] == name:
                    return event
        raise AssertionError(f"{self._words}: no {name!r}, but {self.said} {self.complaints!r}")

    async def address(self) -> tuple[str, int]:
        """Where it listens."""
        where = (await self.event("listening"))["addresses"][0]
        host, port = where.removeprefix("tcp:").removeprefix("rudp:").rsplit(":", 1)
        return host, int(port)

    async def end(self, sent: int | None = None) -> int:
        """Its exit code, after a signal if one is given."""
        if sent is not None:
            self.process.send_signal(sent)
        async with asyncio.timeout(WAIT_S):
            code = await self.process.wait()
            await self._listener
        while (event := await self._events.get()) is not None:
            self.said.append(event)
        assert b"Traceback" not in self.complaints, self.complaints.decode()
        return code

    @property
    def errors(self) -> list[str]:
        """What it complained about."""
        return [event["message"] for event in self.said if event["event"] == "error"]

    def descriptors(self) -> int:
        """How many files it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    async def clean_up(self) -> None:
        """Kill it if it still runs."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        self._listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listener
        if self.process.stdin is not None:
            self.process.stdin.close()


class Commands:
    """Starts commands, and ends them all when the test ends."""

    def __init__(self) -> None:
        self._commands: list[Command] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for command in self._commands:
            await command.clean_up()

    async def start(
        self, *words: object, stdin: Any = subprocess.DEVNULL, stdout: Any = subprocess.PIPE
    ) -> Command:
        """Run `rudp WORDS --json -v`."""
        texts = [sys.executable, "-m", "rudp.cli", *map(str, words), "--json", "-v"]
        process = await asyncio.create_subprocess_exec(
            *texts,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        command = Command(process, " ".join(texts[2:]), nc=words[0] == "nc")
        self._commands.append(command)
        return command
