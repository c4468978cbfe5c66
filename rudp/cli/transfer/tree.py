"""What a sender has to offer: the files and directories below the paths that it was given."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rudp.cli.transfer.names import MAX_DEPTH
from rudp.cli.transfer.summary import describe


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory: where it is, and what it is called in the transfer.

    `inode` tells it from whatever is put in its place; 0 where the system does not say.
    """

    source: str
    path: bytes
    is_directory: bool
    size: int
    mode: int
    mtime_ns: int
    inode: int = 0


@dataclass(slots=True)
class Found:
    """Whom to tell of what is not sent: paths of links and special files, and errors."""

    skipped: Callable[[str], None]
    failed: Callable[[str, str], None]


def walk(paths: Sequence[Path], found: Found) -> Iterator[Entry]:
    """Every file and directory of `paths`, directories before what is in them.

    A path's last component is what it is called at the other end, so that `dir` and `dir/` both
    send a directory of that name. A link that was named is followed; links inside directories,
    which may lead anywhere, are not, nor are they sent.
    """
    for path in paths:
        try:
            name = path.name if path.name not in ("", "..") else path.resolve().name
            if not name:
                raise OSError("it has no name of its own")
            entry = _entry(str(path), os.fsencode(name), path.stat())
        except OSError as exc:
            found.failed(str(path), describe(exc))
            continue
        if entry is None:
            found.skipped(str(path))
            continue
        yield entry
        if entry.is_directory:
            yield from _below(entry, found)


def _below(directory: Entry, found: Found) -> Iterator[Entry]:
    """What is in a directory, depth first; one listing at a time is kept for each level."""
    try:
        if directory.path.count(b"/") + 1 >= MAX_DEPTH:
            raise OSError(f"what is more than {MAX_DEPTH} directories deep is not sent")
        with os.scandir(directory.source) as listing:
            children = sorted(listing, key=lambda child: child.name)
    except OSError as exc:
        found.failed(directory.source, describe(exc))
        return
    for child in children:
        try:
            path = directory.path + b"/" + os.fsencode(child.name)
            entry = _entry(child.path, path, child.stat(follow_symlinks=False))
        except OSError as exc:
            found.failed(child.path, describe(exc))
            continue
        if entry is None:
            found.skipped(child.path)
            continue
        yield entry
        if entry.is_directory:
            yield from _below(entry, found)


def _entry(source: str, path: bytes, status: os.stat_result) -> Entry | None:
    """None for what is neither a file nor a directory."""
    is_directory = stat.S_ISDIR(status.st_mode)
    if not is_directory and not stat.S_ISREG(status.st_mode):
        return None
    size = 0 if is_directory else status.st_size
    mode = stat.S_IMODE(status.st_mode)
    inode = status.st_ino
    return Entry(source, path, is_directory, size, mode, status.st_mtime_ns, inode)


class Source:
    """An open file that is being sent, hashed as it is read."""

    def __init__(self, entry: Entry) -> None:
        """Raises `OSError`, also if it is no longer what was offered."""
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        # A file that was swapped for a FIFO meanwhile must not stop us.
        self._descriptor = os.open(entry.source, flags | getattr(os, "O_NONBLOCK", 0))
        self._entry = entry
        try:
            self.check_unchanged()
        except BaseException:
            self.close()
            raise

    def read(self, size: int) -> bytes:
        """The next bytes; fewer at the end of the file. Raises `OSError`."""
        return os.read(self._descriptor, size)

    def check_unchanged(self) -> None:
        """Raise `OSError` if the file is another one, or was written to, since it was offered."""
        now = os.fstat(self._descriptor)
        entry = self._entry
        same = (now.st_size, now.st_mtime_ns) == (entry.size, entry.mtime_ns)
        if not same or not stat.S_ISREG(now.st_mode) or entry.inode not in (0, now.st_ino):
            raise OSError("it changed while it was being sent")

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)
