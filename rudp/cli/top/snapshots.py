"""Finding a process that tells, and asking it (`rudp.aio.monitor`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
from pathlib import Path
from typing import Any

from rudp.aio import monitor

Snapshot = dict[str, Any]
"""What a monitor says, as documented in `rudp.aio.monitor`."""

_ANSWER_TIMEOUT_S = 5.0
_MAX_BYTES = 256 << 20


class NoProcess(OSError):
    """There is nothing to look at, or more than one."""


def find(target: str | None) -> Path:
    """The socket that a PID, a path or nothing stands for.

    Raises:
        NoProcess: No process tells, or several do and none was named.
    """
    try:
        monitor.check_supported()
    except NotImplementedError as exc:
        raise NoProcess(str(exc)) from None
    if target is None:
        return _the_only_one()
    if target.isascii() and target.isdigit() and not Path(target).exists():
        for directory in _directories():
            path = directory / f"{target}.sock"
            if path.exists():
                return path
        raise NoProcess(f"process {target} does not tell: start it with RUDP_TOP=1")
    return Path(target)


def _the_only_one() -> Path:
    where = os.environ.get("RUDP_TOP", "")
    if where not in ("", "1") and not Path(where).is_dir():
        return Path(where)
    found = [path for directory in _directories() for path in _sockets(directory)]
    if not found:
        raise NoProcess("no process tells: start one with RUDP_TOP=1, or name its socket")
    if len(found) > 1:
        names = ", ".join(sorted(path.stem for path in found))
        raise NoProcess(f"several processes tell, name one: {names}")
    return found[0]


def _directories() -> list[Path]:
    """Where sockets are that nobody named."""
    where = os.environ.get("RUDP_TOP", "")
    named = [Path(where)] if where not in ("", "1") and Path(where).is_dir() else []
    return [*named, monitor.default_directory()]


def _sockets(directory: Path) -> list[Path]:
    """The sockets of live processes; a killed one leaves its own behind."""
    try:
        paths = [path for path in directory.iterdir() if path.suffix == ".sock"]
    except OSError:
        return []
    return [path for path in paths if stat.S_ISSOCK(path.lstat().st_mode) and _lives(path)]


def _lives(path: Path) -> bool:
    pid = path.stem.partition("-")[0]
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, PermissionError):
        return True
    return True


async def fetch(path: Path) -> Snapshot:
    """Ask once.

    Raises:
        OSError: Nobody answers there, or not what a monitor says.
    """
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            text = await _read(path)
    except TimeoutError:
        raise TimeoutError(f"{path}: no answer") from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise NoProcess(f"{path}: no process answers there") from None
    try:
        snapshot = json.loads(text)
        if snapshot["version"] != monitor.VERSION:
            raise ValueError(f"version {snapshot['version']!r} is not understood")
        snapshot["endpoints"], snapshot["pid"], snapshot["time_s"]
    except (ValueError, KeyError, TypeError) as exc:
        raise NoProcess(f"{path}: this is not what rudp says ({exc})") from None
    checked: Snapshot = snapshot
    return checked


async def _read(path: Path) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        pieces: list[bytes] = []
        size = 0
        while piece := await reader.read(1 << 16):
            pieces.append(piece)
            size += len(piece)
            if size > _MAX_BYTES:
                raise NoProcess(f"{path}: the answer does not end")
        return b"".join(pieces)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
