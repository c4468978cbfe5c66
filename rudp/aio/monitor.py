"""Tell another process what the connections of this one are doing: what `rudp top` looks at.

    monitor = await rudp.aio.monitor.serve("/run/myapp/rudp.sock")

Or set the environment variable RUDP_TOP, and nothing in the program: to 1 for a socket named after
the process in the user's own directory, where `rudp top PID` finds it; to a directory for one in
there; or to the socket's path. Costs nothing when off, and nothing between two looks.

Whoever may connect to the Unix socket, which is its owner alone (mode 0600), is sent one line of
JSON, and the connection is closed. It has the names of `rudp.ConnectionInfo` and
`rudp.EndpointStats`; seconds and bytes; numbers that are not finite are null.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import json
import logging
import math
import os
import socket
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rudp.aio import registry
from rudp.core.stats import ConnectionInfo

if TYPE_CHECKING:
    from rudp.aio.endpoint import Endpoint
    from rudp.core.connection import Connection

__all__ = ["VERSION", "Monitor", "default_directory", "serve"]

VERSION = 1
"""Of the snapshots."""
MAX_CONNECTIONS = 1000
"""An endpoint's connections beyond these are counted, not listed."""
_MAX_READERS = 8
_READER_TIMEOUT_S = 5.0
_NAMES_TRIED = 100
_INFO_FIELDS = tuple(ConnectionInfo.__dataclass_fields__)

_logger = logging.getLogger("rudp")


class Monitor:
    """A socket that is being served. Closed with its event loop, if not before."""

    def __init__(self, known: registry.LoopEndpoints, path: Path) -> None:
        self.path = path
        self._known = known
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.AbstractServer | None = None
        self._readers: set[_Reader] = set()
        known.monitors.append(self)

    async def start(self, sock: socket.socket) -> None:
        """Serve a bound socket."""
        self._server = await self._loop.create_unix_server(lambda: _Reader(self), sock=sock)

    def close(self) -> None:
        """Stop, and remove the socket. No effect if that was done."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for reader in list(self._readers):
            reader.abort()
        self.remove()

    def remove(self) -> None:
        """Remove the socket, and forget that there was one."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        self._known.monitors.remove(self)

    def snapshot(self) -> dict[str, Any]:
        """What the endpoints and connections of the event loop are doing now."""
        now_s = self._loop.time()
        endpoints = list(self._known.endpoints)
        return {
            "version": VERSION,
            "pid": os.getpid(),
            "program": Path(sys.argv[0]).name if sys.argv else "",
            "time_s": now_s,
            "endpoints": [_endpoint(endpoint, now_s) for endpoint in endpoints],
        }

    def admit(self, reader: _Reader) -> bool:
        """Whether one more may be answered now."""
        if len(self._readers) >= _MAX_READERS:
            return False
        self._readers.add(reader)
        return True

    def forget(self, reader: _Reader) -> None:
        """It is gone."""
        self._readers.discard(reader)


class _Reader(asyncio.Protocol):
    """Somebody who looks: is sent one snapshot, and may not take for ever to read it."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._transport: asyncio.Transport | None = None
        self._timeout: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._monitor.admit(self):
            self._transport.abort()
            return
        loop = asyncio.get_running_loop()
        self._timeout = loop.call_later(_READER_TIMEOUT_S, self._transport.abort)
        line = json.dumps(self._monitor.snapshot(), allow_nan=False, default=str)
        self._transport.write(line.encode() + b"\n")
        self._transport.close()

    def abort(self) -> None:
        """Cut it off."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._monitor.forget(self)
        if self._timeout is not None:
            self._timeout.cancel()


def _endpoint(endpoint: Endpoint, now_s: float) -> dict[str, Any]:
    stats = endpoint.stats
    counters: dict[str, Any] = {
        name: getattr(stats, name) for name in type(stats).__dataclass_fields__
    }
    counters["malformed"] = {why.name.lower(): count for why, count in stats.malformed.items()}
    connections = itertools.islice(endpoint.core.connections.values(), MAX_CONNECTIONS)
    return {
        "sockname": endpoint.get_extra_info("sockname"),
        "stats": counters,
        "connection_count": endpoint.connection_count,
        "connections": [_connection(conn, now_s) for conn in connections],
    }


def _connection(conn: Connection, now_s: float) -> dict[str, Any]:
    info = conn.info(now_s)
    described: dict[str, Any] = {
        "id": f"{conn.local_cid:08x}",
        "peer": conn.peer,
        "passive": conn.passive,
    }
    for name in _INFO_FIELDS:
        value = getattr(info, name)
        finite = not isinstance(value, float) or math.isfinite(value)
        described[name] = value if finite else None
    return described


# -- opening -------------------------------------------------------------------------------------


async def serve(path: str | os.PathLike[str]) -> Monitor:
    """Answer at a Unix socket with snapshots of the running event loop's connections.

    Args:
        path: Where to make the socket; one that a process left behind is replaced.

    Returns:
        The monitor, which `close()` ends; so does the end of the event loop.

    Raises:
        OSError: The socket cannot be made there, or a process answers there
            (`errno.EADDRINUSE`).
        NotImplementedError: The system, or the event loop, has no Unix sockets.
    """
    return await _serve(await registry.of_running_loop(), Path(path))


def check_supported() -> None:
    """Raise `NotImplementedError` where there are no Unix sockets (Windows)."""
    if not hasattr(socket, "AF_UNIX"):
        raise NotImplementedError("this system has no Unix sockets")


async def _serve(known: registry.LoopEndpoints, path: Path) -> Monitor:
    check_supported()
    sock = _bind(path)
    monitor = Monitor(known, path)
    try:
        await monitor.start(sock)
    except BaseException:
        sock.close()
        monitor.remove()
        raise
    return monitor


def _bind(path: Path) -> socket.socket:
    """A socket at `path` for its owner alone: nobody can connect before it listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            sock.bind(str(path))
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or not _is_abandoned(path):
                raise
            path.unlink(missing_ok=True)
            sock.bind(str(path))
        path.chmod(0o600)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _is_abandoned(path: Path) -> bool:
    """Whether it is a socket at which nobody listens."""
    if not stat.S_ISSOCK(path.lstat().st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def default_directory() -> Path:
    """Where RUDP_TOP=1 makes its sockets: of the user's own, for nobody else."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime, "rudp")
    return Path("/tmp", f"rudp-{os.getuid()}")  # noqa: S108 - checked to be ours alone below


def _make_private(directory: Path) -> None:
    """Make a directory for ourselves. Raises `OSError` if it is somebody else's."""
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "it is not a directory of ours alone", str(directory))


async def serve_from_environment(known: registry.LoopEndpoints, where: str) -> None:
    """Do what RUDP_TOP asks for. That it fails is logged: the program has other things to do."""
    try:
        check_supported()
        directory = _directory(where)
        if directory is None:
            await _serve(known, Path(where))
        else:
            await _serve_in(known, directory)
    except (OSError, NotImplementedError, ValueError) as exc:
        _logger.warning("RUDP_TOP=%s: %s", where, exc)


def _directory(where: str) -> Path | None:
    """The directory that RUDP_TOP names; None if it names a socket."""
    if where == "1":
        directory = default_directory()
        _make_private(directory)
        return directory
    return Path(where) if Path(where).is_dir() else None


async def _serve_in(known: registry.LoopEndpoints, directory: Path) -> None:
    """A socket named after the process; a second event loop's has a number."""
    for number in range(1, _NAMES_TRIED):
        suffix = "" if number == 1 else f"-{number}"
        try:
            await _serve(known, directory / f"{os.getpid()}{suffix}.sock")
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
        else:
            return
