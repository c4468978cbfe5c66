"""stdin and stdout as one side of a bridge.

Threads do the reading and writing: a loop cannot wait for a regular file or for /dev/null, and
to make a terminal or an inherited pipe non-blocking would do so for every process that has it.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
import os
import queue
import select
import threading
from collections.abc import Callable

from rudp.cli.bridge import Side

_READ_BYTES = 1 << 18
_READS_AHEAD = 4
"""Chunks read and not yet passed on: the disk works while the network does."""
_HIGH_WATER_BYTES = 1 << 20
_LOW_WATER_BYTES = 1 << 18


class StdoutClosed(BrokenPipeError):
    """Nobody reads what is written to stdout any more."""

    def __init__(self) -> None:
        super().__init__(errno.EPIPE, "standard output was closed")


class StdioSide(Side):
    """What is read from stdin is sent, what is received is written to stdout.

    Args:
        shared: Several connections follow one another: the end of one of them is not the end of
            stdin and stdout.
        stdin: Descriptor to read from.
        stdout: Descriptor to write to.
    """

    def __init__(self, *, shared: bool = False, stdin: int = 0, stdout: int = 1) -> None:
        super().__init__()
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._reader = _Reader(stdin, self._loop, self._on_read)
        self._writer = _Writer(stdout, self._loop, self._on_written)
        self._ahead: collections.deque[bytes | Exception] = collections.deque()
        self._paused = True
        self._full = False
        self._closing = False

    def renew(self) -> None:
        """Serve another connection, once the last one is over; the end of stdin holds for all."""
        self.is_gone = self._closing = self._full = False
        self._paused = True
        self.error = None
        self.bytes_received = 0

    # -- Side ------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write `data` to stdout."""
        if self._closing:
            return
        self._writer.put(data)
        if self._writer.pending_bytes > _HIGH_WATER_BYTES and not self._full:
            self._full = True
            self.full()

    def write_eof(self) -> None:
        """Close stdout, so that who reads it goes on while stdin is still open."""
        if not self._shared and not self._closing:
            self._writer.put(None)

    def pause_reading(self) -> None:
        """Leave what comes in stdin."""
        self._paused = True

    def resume_reading(self) -> None:
        """Take what comes in stdin."""
        self._paused = False
        self._reader.start()
        self._pass_on()

    def close(self) -> None:
        """Read no more; end when everything is written."""
        self._closing = True
        self._paused = True
        self._finish_if_written()

    def reset(self) -> None:
        """As `close`: what was received before a reset is still worth reading."""
        self.close()

    # -- from the threads ------------------------------------------------------------------------

    def _on_read(self, chunk: bytes | Exception) -> None:
        self._ahead.append(chunk)
        self._pass_on()

    def _pass_on(self) -> None:
        while self._ahead and not self._paused and not self.is_gone:
            chunk = self._ahead.popleft()
            if isinstance(chunk, Exception):
                self.error = chunk
                self.gone(chunk)
            elif chunk:
                self._reader.taken()
                self.arrived(chunk)
            else:
                self.arrived_end()

    def _on_written(self, error: Exception | None) -> None:
        if error is not None:
            self._closing = True
            self.gone(error)
            return
        if self._full and self._writer.pending_bytes <= _LOW_WATER_BYTES:
            self._full = False
            self.drained()
        self._finish_if_written()

    def _finish_if_written(self) -> None:
        if self._closing and not self._writer.pending_bytes:
            self.gone(self.error)


class _Reader:
    """A thread that reads a descriptor, `_READS_AHEAD` chunks ahead at most."""

    def __init__(
        self,
        fd: int,
        loop: asyncio.AbstractEventLoop,
        on_read: Callable[[bytes | Exception], None],
    ) -> None:
        self._fd = fd
        self._loop = loop
        self._on_read = on_read
        self._room = threading.Semaphore(_READS_AHEAD)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to read, if that has not begun yet."""
        if self._thread is None:
            # A daemon: a read that nothing ends must not keep the process.
            self._thread = threading.Thread(target=self._run, name="stdin", daemon=True)
            self._thread.start()

    def taken(self) -> None:
        """A chunk was passed on."""
        self._room.release()

    def _run(self) -> None:
        chunk: bytes | Exception = b"-"
        while chunk and not isinstance(chunk, Exception):
            self._room.acquire()
            chunk = self._read()
            if not _call(self._loop, self._on_read, chunk):
                return

    def _read(self) -> bytes | Exception:
        while True:
            try:
                return os.read(self._fd, _READ_BYTES)
            except BlockingIOError:  # somebody else made it non-blocking
                select.select([self._fd], [], [])
            except OSError as exc:
                return exc


class _Writer:
    """A thread that writes to a descriptor, in order."""

    def __init__(
        self,
        fd: int,
        loop: asyncio.AbstractEventLoop,
        on_written: Callable[[Exception | None], None],
    ) -> None:
        self._fd = fd
        self._loop = loop
        self._on_written = on_written
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.pending_bytes = 0
        """Given to the thread and not written yet; a close counts as one."""

    def put(self, data: bytes | None) -> None:
        """Write `data` after what came before; None closes the descriptor."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="stdout", daemon=True)
            self._thread.start()
        self.pending_bytes += 1 if data is None else len(data)
        self._queue.put(data)

    def _run(self) -> None:
        error: Exception | None = None
        while error is None:
            data = self._queue.get()
            try:
                if data is None:
                    _replace_by_nothing(self._fd)
                else:
                    self._write(data)
            except OSError as exc:
                error = StdoutClosed() if exc.errno in (errno.EPIPE, errno.EBADF) else exc
            if not _call(self._loop, self._done, 1 if data is None else len(data), error):
                return

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                select.select([], [self._fd], [])

    def _done(self, size: int, error: Exception | None) -> None:
        self.pending_bytes -= size
        self._on_written(error)


def _replace_by_nothing(fd: int) -> None:
    """Close a descriptor, and keep its number from being given to something else."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        os.dup2(nowhere, fd)
    finally:
        os.close(nowhere)


def _call(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: object) -> bool:
    """Call back in the loop's thread; False if the loop has ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *args)
        return True
    return False
