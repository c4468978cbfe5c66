"""A child process's stdin and stdout as one side of a bridge (`rudp nc --exec`)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any, cast

from rudp.cli.bridge import Side

_KILL_AFTER_S = 3.0


class ProcessSide(Side, asyncio.SubprocessProtocol):
    """What the process prints is sent, what is received is its input; stderr stays ours.

    The side is over when the process has ended and nobody holds its output any more. The
    process leads a group of its own, so that a reset reaches what it has started, too.
    """

    transport: asyncio.SubprocessTransport

    def __init__(self) -> None:
        super().__init__()
        self.returncode: int | None = None

    @classmethod
    async def start(
        cls, command: str, environment: Mapping[str, str], factory: Callable[[], ProcessSide]
    ) -> ProcessSide:
        """Run `command` by the shell, with `environment` added to ours. It is not read from yet.

        Raises `OSError` if it cannot be started.
        """
        loop = asyncio.get_running_loop()
        _, side = await loop.subprocess_shell(
            factory,
            command,
            stderr=None,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        return side

    # -- asyncio.SubprocessProtocol --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It runs."""
        self.transport = cast("asyncio.SubprocessTransport", transport)
        self.pause_reading()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It has printed something."""
        self.arrived(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """It has closed its output; that it reads no more input is its own affair."""
        if fd == 1:
            self.arrived_end()

    def process_exited(self) -> None:
        """It has ended; what it has started may still hold its output."""
        self.returncode = self.transport.get_returncode()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended, and so have its pipes."""
        self.end_received = True
        if self.bridge is not None:
            self.bridge.close()
        self.gone(exc)

    def pause_writing(self) -> None:
        """It does not read its input as fast as that comes."""
        self.full()

    def resume_writing(self) -> None:
        """It has read."""
        self.drained()

    # -- Side ------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Give it input; dropped once it takes none."""
        pipe = self._pipe(0)
        if pipe is not None and not pipe.is_closing():
            pipe.write(data)

    def write_eof(self) -> None:
        """End its input."""
        pipe = self._pipe(0)
        if pipe is not None:
            pipe.close()

    def pause_reading(self) -> None:
        """Let it wait with its output."""
        pipe = self._pipe(1)
        if pipe is not None and not pipe.is_closing():
            pipe.pause_reading()

    def resume_reading(self) -> None:
        """Take its output."""
        pipe = self._pipe(1)
        if pipe is not None and not pipe.is_closing():
            pipe.resume_reading()

    def close(self) -> None:
        """End its input, and wait until it ends by itself."""
        self.write_eof()

    def reset(self) -> None:
        """Nobody will hear it any more: terminate it."""
        self.write_eof()
        if not self.is_gone:
            self._signal_group(signal.SIGTERM)
            asyncio.get_running_loop().call_later(_KILL_AFTER_S, self._kill)

    def _kill(self) -> None:
        if not self.is_gone:
            self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.transport.get_pid(), number)

    def _pipe(self, fd: int) -> Any:
        return self.transport.get_pipe_transport(fd)
