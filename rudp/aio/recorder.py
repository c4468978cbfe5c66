"""Record a connection's numbers over time, on the event loop's clock, real or virtual."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from os import PathLike
from types import TracebackType
from typing import Any, Protocol

from rudp.telemetry.recording import Header, Recording, RecordingFile, Sample, sample_of

__all__ = ["Recorder", "record"]

_OVER = frozenset(("CLOSED", "TIME_WAIT"))
_QUIET_SAMPLES = 100
_QUIET_FACTOR = 10
"""After so many samples that are alike, they are taken so many times more rarely."""


class Source(Protocol):
    """What can be recorded: a transport of rudp, or the `StreamWriter` over one."""

    def get_extra_info(self, name: str, default: Any = None, /) -> Any:
        """As `asyncio.BaseTransport` has it."""


class _Sink(Protocol):
    def append(self, sample: Sample, /) -> None: ...
    def close(self) -> None: ...


def record(
    source: Source,
    to: str | PathLike[str] | Recording,
    interval: float = 0.01,
    *,
    header: Header | None = None,
    epoch_s: float | None = None,
) -> Recorder:
    """Begin to record a connection; draw the file with `python -m rudp.plot draw`.

    Either stop it, or use it as an asynchronous context manager, or let it end by itself when the
    connection has:

        async with record(writer, "upload.jsonl"):
            ...

    A connection that does nothing costs a glance every `10 * interval` and no space: rows that
    are alike are written once when they begin and once when they end. In `rudp.sim` it keeps the
    clock going, so that a program which waits in vain is found out later, by `max_virtual_s`.

    Args:
        source: A `StreamWriter` or transport of rudp.
        to: The file to write, in the format of `rudp.telemetry.recording`, overwritten if it
            exists; or a `Recording` to append to.
        interval: Seconds between samples.
        header: What to write about the connection and its path; the controller's name is filled
            in. A `Recording` has its own.
        epoch_s: The time on the loop's clock from which the rows count theirs; None is now. Give
            several recordings the same one to draw them on one time axis.

    Raises:
        OSError: The file cannot be opened. An error in writing it later ends the recording and
            goes to the loop's exception handler.
        RuntimeError: No event loop is running.
        TypeError: `source` is no connection of rudp.
        ValueError: `interval` is not a finite number above 0; or there is a header and a
            `Recording` too.
    """
    loop = asyncio.get_running_loop()
    if not (interval > 0 and math.isfinite(interval)):
        raise ValueError(f"interval must be a finite number of seconds above 0, not {interval!r}")
    info = source.get_extra_info("rudp_info")
    if info is None:
        raise TypeError(f"source must be a connection of rudp, not {source!r}")
    sink: _Sink
    if isinstance(to, Recording):
        if header is not None:
            raise ValueError("header and a Recording can not be given at the same time")
        sink = to
    else:
        given = header or Header()
        sink = RecordingFile(
            to,
            Header(
                title=given.title,
                congestion=given.congestion or info.congestion,
                link_rate=given.link_rate,
                link_rtt_s=given.link_rtt_s,
            ),
        )
    return Recorder(loop, source, sink, interval, loop.time() if epoch_s is None else epoch_s)


class Recorder:
    """A recording that is being made; see `record`."""

    __slots__ = (
        "_alike",
        "_epoch_s",
        "_handle",
        "_interval_s",
        "_last",
        "_loop",
        "_sink",
        "_source",
        "_unwritten",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        source: Source,
        sink: _Sink,
        interval_s: float,
        epoch_s: float,
    ) -> None:
        self._loop = loop
        self._source: Source | None = source
        self._sink = sink
        self._interval_s = interval_s
        self._epoch_s = epoch_s
        self._last: Sample | None = None
        self._unwritten = False
        self._alike = 0
        self._handle: asyncio.TimerHandle | None = None
        self._tick()

    def __repr__(self) -> str:
        return f"<Recorder {'running' if self.running else 'stopped'}>"

    @property
    def running(self) -> bool:
        """Whether samples are being taken."""
        return self._source is not None

    def stop(self) -> None:
        """Take a last sample and close the file. Does nothing if that has been done."""
        source = self._source
        if source is not None:
            self._guarded(lambda: self._sample(source))
            self._end()

    async def __aenter__(self) -> Recorder:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _tick(self) -> None:
        self._handle = None
        self._guarded(self._take)

    def _take(self) -> None:
        source = self._source
        if source is None:
            return
        if self._sample(source) in _OVER:
            self._end()
            return
        quiet = self._alike >= _QUIET_SAMPLES
        delay_s = self._interval_s * (_QUIET_FACTOR if quiet else 1)
        self._handle = self._loop.call_later(delay_s, self._tick)

    def _sample(self, source: Source) -> str:
        """Note how the connection is; its state."""
        info = source.get_extra_info("rudp_info")
        sample = sample_of(info, self._loop.time() - self._epoch_s)
        last, self._last = self._last, sample
        if last is not None and sample.is_like(last):
            self._alike += 1
            self._unwritten = True
        else:
            self._alike = 0
            if last is not None and self._unwritten:
                self._sink.append(last)
            self._unwritten = False
            self._sink.append(sample)
        state: str = info.state
        return state

    def _guarded(self, take: Callable[[], object]) -> None:
        """A sink that fails ends the recording, and the caller learns why."""
        try:
            take()
        except BaseException:
            self._source = None
            with contextlib.suppress(OSError):
                self._sink.close()
            raise

    def _end(self) -> None:
        self._source = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        try:
            if self._unwritten and self._last is not None:
                self._sink.append(self._last)
        finally:
            self._sink.close()
