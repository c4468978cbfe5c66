"""Recording connections to files: what to open, when to write, and what may go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from rudp.aio import udp
from rudp.config import Config, Tracer
from rudp.telemetry.capture import Capture, Ends, Route
from rudp.telemetry.events import get_logger, observe
from rudp.telemetry.guard import Guarded
from rudp.telemetry.observer import Observer
from rudp.telemetry.qlog import Framing, QlogFile
from rudp.telemetry.qlog_observer import QlogObserver
from rudp.wire.segment import Segment
from rudp.wire.train import Train

__all__ = ["TraceFile"]

ENVIRONMENT = "RUDP_TRACE"
PAYLOAD_ENVIRONMENT = "RUDP_TRACE_PAYLOAD"

_WAITING_BYTES = 1 << 16
_WAITING_S = 1.0
"""What is recorded waits for so much company, and for so long if more is recorded then."""
_QLOG: dict[str, Framing] = {".sqlog": "json-seq", ".qlog": "json"}
_directories = itertools.count(1)
_loops = itertools.count(1)


class _Output:
    """A file that is written in large pieces, and given up at the first error.

    With `hold` it is opened at once, which may raise `OSError`, and stays open; otherwise it is
    opened for each piece: a directory of a thousand connections' files must not use up the
    program's descriptors.
    """

    def __init__(self, path: Path, *, hold: bool) -> None:
        self._path = path
        self._waiting: list[bytes] = []
        self._size = 0
        self._due_s = time.monotonic() + _WAITING_S
        self._is_open = True
        self._mode = "wb"
        self._file: BinaryIO | None = None
        if hold:
            self._file = open(path, "wb")  # noqa: SIM115 - held for longer than this call

    def write(self, data: bytes) -> None:
        """Take `data`. Never raises `OSError`."""
        if not self._is_open:
            return
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= _WAITING_BYTES or time.monotonic() >= self._due_s:
            self.flush()

    def flush(self) -> None:
        """Write what waits. Never raises `OSError`."""
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        self._due_s = time.monotonic() + _WAITING_S
        if not data or not self._is_open:
            return
        try:
            if self._file is not None:
                self._file.write(data)
                self._file.flush()
            else:
                with open(self._path, self._mode) as file:
                    file.write(data)
                self._mode = "ab"
        except OSError as exc:
            get_logger().warning("trace ended", path=str(self._path), error=str(exc))
            self._end()

    def close(self) -> None:
        """Write what waits and take no more."""
        self.flush()
        self._end()

    def _end(self) -> None:
        self._is_open = False
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()


class TraceFile:
    """Records connections: `rudp.Config(trace=rudp.TraceFile("upload.pcapng"))`.

    Give one to any number of endpoints and connections of one event loop; close it, or use it as
    a context manager, when they are done. A path in `Config.trace` does without: its file is
    complete whenever a connection ends, and closed with the event loop.

    The payload is in a `.pcapng`: whoever has the file reads what was transferred.

    A file that cannot be written any more, because the disk is full, ends the trace with one
    line in the log, never a connection. Writing blocks the loop as long as the disk does.

    Args:
        path: A file that ends in `.pcapng`, for Wireshark; in `.sqlog` (JSON text sequences) or
            `.qlog` (JSON, complete only when it is closed), for qvis; or a directory, made if
            need be, which gets a `.pcapng` of all connections and a `.sqlog` of each. What
            exists is overwritten.
        payload_bytes: Most bytes of each segment's payload to keep in a `.pcapng`, 0 for none;
            None keeps all.

    Raises:
        OSError: The file cannot be opened.
        ValueError: `path` ends in another suffix, or `payload_bytes` is negative.
    """

    def __init__(self, path: str | os.PathLike[str], *, payload_bytes: int | None = None) -> None:
        if payload_bytes is not None and payload_bytes < 0:
            raise ValueError(f"payload_bytes must not be negative, not {payload_bytes}")
        self.path = Path(path)
        self._payload_bytes = payload_bytes
        self._capture: Capture | None = None
        self._qlog: QlogFile | None = None
        self._closed = False
        self._directory: Path | None = None
        target = self.path
        if target.is_dir() or not target.suffix:
            target.mkdir(parents=True, exist_ok=True)
            self._directory = target
            target = target / f"rudp-{os.getpid()}-{next(_directories)}.pcapng"
        elif target.suffix != ".pcapng" and target.suffix not in _QLOG:
            raise ValueError(f"path must end in .pcapng, .sqlog or .qlog, not {str(path)!r}")
        self._framing = _QLOG.get(target.suffix)
        self._output = _Output(target, hold=True)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {str(self.path)!r}{' closed' if self._closed else ''}>"

    def __enter__(self) -> TraceFile:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def observe(self, connection_id: int, local: udp.Address, peer: udp.Address) -> Observer | None:
        """The observer of a connection that begins, in the running event loop."""
        if self._closed:
            return None
        ends = Ends(connection_id, local[:2], peer[:2])
        capture = self.capture_file()
        if capture is None:
            if self._qlog is None:
                self._qlog = self._qlog_file(self._output, self._framing or "json-seq", None)
            return QlogObserver(self._qlog, ends)
        captured = capture.observer(ends)
        if self._directory is None:
            return captured
        output = _Output(self._directory / f"{connection_id:08x}.sqlog", hold=False)
        return Guarded((captured, QlogObserver(self._qlog_file(output, "json-seq", ends), ends)))

    def capture_file(self) -> Capture | None:
        """The capture, if this is one that is open."""
        if self._closed or self._framing is not None:
            return None
        if self._capture is None:
            self._capture = Capture(
                self._output,
                epoch_ns=_epoch_ns(),
                payload_bytes=self._payload_bytes,
                application=_application(),
            )
        return self._capture

    def _qlog_file(self, output: _Output, framing: Framing, single: Ends | None) -> QlogFile:
        return QlogFile(
            output,
            epoch_ns=_epoch_ns(),
            framing=framing,
            single=single,
            application=_application(),
        )

    def flush(self) -> None:
        """Write what waits in memory, at most 64 KiB and, while there is traffic, a second."""
        self._output.flush()

    def close(self) -> None:
        """Write what waits, and record no more. May be called twice."""
        if not self._closed:
            self._closed = True
            if self._qlog is not None:
                self._qlog.end()
            self._output.close()


class Traces:
    """The traces of one event loop's connections."""

    def __init__(self, always: Tracer | None = None) -> None:
        """`always` records every connection, whatever its settings say."""
        self._always = always
        self._by_path: dict[str, TraceFile] = {}
        self._given: weakref.WeakSet[TraceFile] = weakref.WeakSet()

    def open(self, config: Config) -> None:
        """Open what `config.trace` names, unless it is open. Raises `OSError` and `ValueError`."""
        self._of(config)

    def _of(self, config: Config) -> list[Tracer]:
        found = [self._always] if self._always is not None else []
        trace = config.trace
        if isinstance(trace, (str, os.PathLike)):
            path = os.path.abspath(trace)
            if path not in self._by_path:
                self._by_path[path] = TraceFile(path)
            found.append(self._by_path[path])
        elif trace is not None:
            if isinstance(trace, TraceFile):
                self._given.add(trace)
            found.append(trace)
        return found

    def observers(
        self, connection_id: int, local: udp.Address, peer: udp.Address, config: Config
    ) -> list[Observer]:
        """Those of a connection that begins. Never raises."""
        found = []
        try:
            for tracer in self._of(config):
                observer = tracer.observe(connection_id, local, peer)
                if observer is not None:
                    found.append(observer)
        except Exception as exc:  # noqa: BLE001 - a connection does not fail for its trace
            get_logger().warning("nothing is traced", trace=repr(config.trace), error=repr(exc))
        return found

    def captures(self, config: Config) -> list[Capture]:
        """Those that take what belongs to no connection, too."""
        files = [tracer for tracer in self._of(config) if isinstance(tracer, TraceFile)]
        return [found for file in files if (found := file.capture_file()) is not None]

    @property
    def any_always(self) -> bool:
        """Whether connections are recorded that do not ask for it."""
        return self._always is not None

    def close(self) -> None:
        """The loop ends: close what was opened here, and what the program holds is written."""
        for trace in self._given:
            trace.flush()
        for trace in self._by_path.values():
            trace.close()
        if isinstance(self._always, TraceFile):
            self._always.close()


class Observing:
    """Gives the new connections of one socket their observers: logging, and their traces."""

    __slots__ = ("_address_for", "_captures", "_is_real", "_sockname", "_traces")

    def __init__(self, traces: Traces) -> None:
        self._traces = traces
        self._sockname: udp.Address = ("0.0.0.0", 0)  # noqa: S104 - nothing is bound here
        self._is_real = False
        self._address_for: Callable[[str], str] | None = None
        self._captures: list[Capture] = []

    def bound(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there."""
        self._sockname = transport.get_extra_info("sockname") or self._sockname
        self._is_real = transport.get_extra_info("socket") is not None
        origin = udp.origin_of(asyncio.get_running_loop())
        self._address_for = getattr(origin, "address_for", None)  # a simulated host's

    def __call__(self, connection_id: int, peer: object, config: Config) -> Observer | None:
        log = observe(connection_id, peer)
        if config.trace is None and not self._traces.any_always:
            return log
        if not isinstance(peer, tuple):
            return log
        local = self._local_address(peer)
        traced = self._traces.observers(connection_id, local, peer, config)
        if not traced:
            return log
        return Guarded(traced if log is None else [log, *traced])

    def strays_of(self, config: Config) -> Observing | None:
        """Itself, if an endpoint with these settings records what belongs to no connection."""
        self._captures = self._traces.captures(config)
        return self if self._captures else None

    def stray_received(
        self, segment: Segment, size: int, ecn: int, peer: object, now_s: float
    ) -> None:
        """As `rudp.telemetry.observer.StrayObserver` has it, and so has the other one."""
        self._record(peer, lambda to, ends: to.stray_received(segment, size, ecn, ends, now_s))

    def answer_sent(self, train: Train, peer: object, now_s: float) -> None:
        """Record what is sent to a stranger."""
        self._record(peer, lambda to, ends: to.answer_sent(train, ends, now_s))

    def _record(self, peer: object, call: Callable[[Capture, Callable[[], Route]], None]) -> None:
        if not isinstance(peer, tuple):
            return
        for capture in self._captures:
            try:
                call(capture, lambda: (self._local_address(peer)[:2], peer[:2]))
            except Exception as exc:  # noqa: BLE001 - an endpoint does not fail for its trace
                self._captures = []
                get_logger().error("observer failed", observer=repr(capture), error=repr(exc))

    def _local_address(self, peer: udp.Address) -> udp.Address:
        name = self._sockname
        if name[0] not in udp.ANY_ADDRESS:
            return name
        if self._is_real:
            return udp.local_address(name, peer)
        return (self._address_for(peer[0]), *name[1:]) if self._address_for is not None else name


def of_environment() -> Traces:
    """What RUDP_TRACE asks for, for a new event loop; a warning tells why that is not possible.

    `%p` in it is the process' id. Of several event loops of a process the second's file is
    numbered 2, and so on: the first's is not overwritten.
    """
    asked = os.environ.get(ENVIRONMENT)
    if not asked:
        return Traces()
    path = Path(asked.replace("%p", str(os.getpid())))
    try:
        payload = os.environ.get(PAYLOAD_ENVIRONMENT)
        payload_bytes = int(payload) if payload else None
        if path.suffix and not path.is_dir() and (number := next(_loops)) > 1:
            path = path.with_stem(f"{path.stem}-{number}")
        return Traces(TraceFile(path, payload_bytes=payload_bytes))
    except (OSError, ValueError) as exc:
        told = f"nothing is traced: {ENVIRONMENT}={asked}: {exc}"
        warnings.warn(told, RuntimeWarning, stacklevel=2)
        return Traces()


def _epoch_ns() -> int:
    """Nanoseconds from 1970 to the zero of the connections' clock, which in a simulation is 1970:
    the same seed gives the same times."""
    if udp.has_own_network(asyncio.get_running_loop()):
        return 0
    return time.time_ns() - time.monotonic_ns()


def _application() -> str:
    from rudp import __version__  # not before: this module is loaded while rudp is

    return f"rudp {__version__}"
