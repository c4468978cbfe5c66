"""Child processes of a benchmark: they say lines of JSON, and none outlives the run."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from typing import IO, Any, Self

import psutil

from benchmarks.machine import ROOT

_PATIENCE_S = 5.0


class ChildFailed(Exception):
    """A child ended or fell silent where it should have said something; the text says why."""


class Child:
    """A child process; as a context manager, it is gone when the block is left.

    Its stdin is a pipe, whose end tells it that the parent has gone, however that went.
    """

    def __init__(self, command: Sequence[str]) -> None:
        # A pipe could fill and block it. Closed by kill().
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            start_new_session=True,  # a Ctrl-C is for the parent, which then ends its children
        )
        self._buffer = b""
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    def hear(self, wait_s: float) -> str:
        """Its next line. Raises `ChildFailed` if it ends, or says nothing for `wait_s` seconds."""
        end_s = time.monotonic() + wait_s
        out = self._process.stdout
        assert out is not None
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([out], [], [], max(0.0, end_s - time.monotonic()))
            if not ready:
                raise ChildFailed(f"nothing heard for {wait_s:g} s")
            data = os.read(out.fileno(), 1 << 16)
            if not data:
                raise ChildFailed(self._last_words())
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def hear_json(self, wait_s: float) -> dict[str, Any]:
        """Its next line, which is a JSON object. Raises `ChildFailed` as `hear()` does."""
        line = self.hear(wait_s)
        try:
            message = json.loads(line)
        except ValueError:
            raise ChildFailed(f"said {line!r}") from None
        if not isinstance(message, dict):
            raise ChildFailed(f"said {line!r}")
        return message

    def go(self) -> None:
        """Tell it to begin, where it waits for that."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")

    def finish(self, wait_s: float = _PATIENCE_S) -> list[str]:
        """Ask it to end by closing its stdin; the lines that it says before it does."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        lines = []
        with contextlib.suppress(ChildFailed):
            while True:
                lines.append(self.hear(wait_s))
        return lines

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """End it now, and whatever it has started."""
        family = [self.pid, *descendants(self.pid)]
        for pid in family if self.is_running() else family[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._errors.close()

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE_S)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"ended with status {self._process.returncode}"


def python(module: str, *words: str) -> list[str]:
    """The command that runs a module of the benchmarks with this Python."""
    return [sys.executable, "-m", module, *words]


def say(message: dict[str, Any]) -> None:
    """In a child: tell the parent."""
    print(json.dumps(message), flush=True)


def end_with_parent() -> threading.Event:
    """In a child: exit as soon as stdin ends, and end what this process has started.

    Returns an event that is set when the parent says `go()`.
    """
    told = threading.Event()

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                told.set()
        for pid in descendants(os.getpid()):
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
    return told


def descendants(pid: int) -> list[int]:
    """The processes that `pid` has started, and those that they have."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds that the processes have used so far, user and system, to 10 ms."""
    total = 0.0
    for pid in pids:
        times = psutil.Process(pid).cpu_times()
        total += times.user + times.system
    return total


def resident_bytes(pid: int) -> int:
    """Resident memory of a process. What its sockets take in the kernel is not in it."""
    resident: int = psutil.Process(pid).memory_info().rss
    return resident
