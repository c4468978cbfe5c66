"""Child processes of a test: started, heard, watched, and gone when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
WAIT_S = 60.0


class Child:
    """A running child script. Its messages are read one by one; it ends when its stdin does."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self._name = name
        self.pid = process.pid

    async def hear(self, wait_s: float = WAIT_S) -> dict[str, Any]:
        """The next message; fails if there is none within `wait_s`, or the child is gone."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), wait_s)
        assert line, f"{self._name} ended without a word"
        message: dict[str, Any] = json.loads(line)
        return message

    async def port(self) -> int:
        """The port that a server or relay says it has."""
        return int((await self.hear())["port"])

    async def tell(self, line: str) -> None:
        """Write a line to its stdin."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()

    async def finish(self, wait_s: float = WAIT_S) -> list[dict[str, Any]]:
        """Close its stdin and wait for an orderly end; the messages that were left."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        rest = await asyncio.wait_for(self._process.stdout.read(), wait_s)
        assert await asyncio.wait_for(self._process.wait(), wait_s) == 0, self._name
        return [json.loads(line) for line in rest.splitlines()]

    async def kill(self) -> None:
        """SIGKILL: no goodbye to anybody."""
        os.kill(self.pid, signal.SIGKILL)
        await self._process.wait()

    async def clean_up(self) -> None:
        """Kill it if it still runs."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                await self.kill()

    def resident_bytes(self) -> int:
        """Its resident memory now, from /proc."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"{self._name} has no VmRSS")


class Children:
    """Starts children, and ends them all when the test ends."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for child in self._children:
            await child.clean_up()

    async def start(self, script: str, *args: str, **options: object) -> Child:
        """Start `child_<script>.py`; options become `--name value`, mappings as JSON."""
        command = [sys.executable, str(HERE / f"child_{script}.py"), *args]
        for name, value in options.items():
            text = json.dumps(value) if isinstance(value, dict) else str(value)
            command += [f"--{name}", text]
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
        child = Child(process, " ".join(command[1:]))
        self._children.append(child)
        return child
