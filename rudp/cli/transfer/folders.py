"""Directories that nothing leads out of: every step is taken from an open directory.

Where the system has it (`dir_fd`, O_NOFOLLOW), a folder is a descriptor and each name is looked up
in it without following links, so that nothing planted or swapped meanwhile is followed. Elsewhere
(Windows) a folder is a path whose every step is checked first, which somebody who can write into
the directory at the same moment could undercut.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from abc import ABC, abstractmethod
from pathlib import Path

_FILE_FLAGS = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO in the way must not stop us
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
_HAS_DIR_FD = {os.open, os.mkdir, os.stat, os.unlink, os.rename, os.link} <= os.supports_dir_fd


class NotPlain(OSError):
    """Something other than a file or directory is in the way."""


class Folder(ABC):
    """A directory; names are single components."""

    @abstractmethod
    def enter(self, name: str, *, create: bool = True) -> Folder:
        """A directory in this one, made if it is not there. Raises `OSError`; links are not
        followed."""

    @abstractmethod
    def stat(self, name: str) -> os.stat_result | None:
        """What is there under that name, a link itself; None if nothing is."""

    @abstractmethod
    def _open(self, name: str, flags: int) -> int:
        """Open a file with permissions for the owner alone."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file; no effect if it is not there."""

    @abstractmethod
    def _link(self, source: str, target: str) -> None:
        """Give a file another name, unless that is taken (`FileExistsError`)."""

    @abstractmethod
    def _replace(self, source: str, target: str) -> None:
        """Give a file another name, whatever has it."""

    @abstractmethod
    def set_attributes(self, mode: int, mtime_ns: int) -> None:
        """Set the directory's own permissions and time."""

    @abstractmethod
    def set_time(self, name: str, mtime_ns: int) -> None:
        """Set the time of a file, for systems that cannot do so for an open one."""

    @abstractmethod
    def free_bytes(self) -> int:
        """Room on the file system, in bytes."""

    @abstractmethod
    def close(self) -> None:
        """Let go of it."""

    def open_file(self, name: str, flags: int) -> int:
        """A descriptor of a regular file that has this name only.

        Raises `NotPlain` for anything else: a link, a device, a file that another name leads to.
        """
        try:
            descriptor = self._open(name, flags | _FILE_FLAGS)
        except OSError as exc:
            if exc.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):
                raise NotPlain(f"{name!r} is there and no plain file") from None
            raise
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or (flags & os.O_RDWR and found.st_nlink != 1):
            os.close(descriptor)
            raise NotPlain(f"{name!r} is there and no plain file of our own")
        return descriptor

    def publish(self, part: str, name: str, *, replace: bool) -> None:
        """Give a finished file its name; `FileExistsError` if that is taken and not `replace`."""
        if replace:
            self._replace(part, name)
            return
        try:
            self._link(part, name)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            if self.stat(name) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
            self._replace(part, name)
        else:
            self.remove(part)


class DescriptorFolder(Folder):
    """A directory as an open descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._fd = descriptor

    def enter(self, name: str, *, create: bool = True) -> Folder:
        """A directory in this one."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return DescriptorFolder(os.open(name, flags, dir_fd=self._fd))
        except FileNotFoundError:
            if not create:
                raise
        except OSError as exc:
            if exc.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
                raise NotPlain(f"{name!r} is there and no directory") from None
            raise
        try:
            os.mkdir(name, 0o777, dir_fd=self._fd)
        except FileExistsError:
            pass
        return self.enter(name, create=False)

    def stat(self, name: str) -> os.stat_result | None:
        """What is there under that name."""
        try:
            return os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _open(self, name: str, flags: int) -> int:
        return os.open(name, flags, 0o600, dir_fd=self._fd)

    def remove(self, name: str) -> None:
        """Remove a file."""
        try:
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            pass

    def _link(self, source: str, target: str) -> None:
        os.link(source, target, src_dir_fd=self._fd, dst_dir_fd=self._fd, follow_symlinks=False)

    def _replace(self, source: str, target: str) -> None:
        os.rename(source, target, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def set_attributes(self, mode: int, mtime_ns: int) -> None:
        """Set the directory's own permissions and time."""
        os.fchmod(self._fd, mode)
        os.utime(self._fd, ns=(mtime_ns, mtime_ns))

    def set_time(self, name: str, mtime_ns: int) -> None:
        """Set the time of a file, a link itself."""
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=self._fd, follow_symlinks=False)

    def free_bytes(self) -> int:
        """Room on the file system, in bytes."""
        found = os.fstatvfs(self._fd)
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)


class PathFolder(Folder):
    """A directory as a path, for systems that cannot open one.

    Every use looks at the whole way there again: it may have become a link meanwhile.
    """

    def __init__(self, path: Path, parent: PathFolder | None = None) -> None:
        self._where = path
        self._parent = parent

    def _checked(self) -> Path:
        """The directory. Raises `NotPlain` if it is none any more, or a link."""
        if self._parent is not None:
            name = self._parent._checked() / self._where.name
            found = name.lstat()
            if not stat.S_ISDIR(found.st_mode) or _leads_elsewhere(found):
                raise NotPlain(f"{self._where.name!r} is there and no directory")
        return self._where

    def enter(self, name: str, *, create: bool = True) -> Folder:
        """A directory in this one."""
        path = self._checked() / name
        if create:
            path.mkdir(exist_ok=True)
        entered = PathFolder(path, self)
        entered._checked()
        return entered

    def stat(self, name: str) -> os.stat_result | None:
        """What is there under that name."""
        try:
            return (self._checked() / name).lstat()
        except FileNotFoundError:
            return None

    def _open(self, name: str, flags: int) -> int:
        found = self.stat(name)
        if found is not None and (not stat.S_ISREG(found.st_mode) or _leads_elsewhere(found)):
            raise NotPlain(f"{name!r} is there and no plain file")
        return os.open(self._checked() / name, flags, 0o600)

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self._checked() / name).unlink(missing_ok=True)

    def _link(self, source: str, target: str) -> None:
        os.link(self._checked() / source, self._checked() / target)

    def _replace(self, source: str, target: str) -> None:
        (self._checked() / source).replace(self._checked() / target)

    def set_attributes(self, mode: int, mtime_ns: int) -> None:
        """Set the directory's own permissions and time."""
        self._checked().chmod(mode)
        os.utime(self._checked(), ns=(mtime_ns, mtime_ns))

    def set_time(self, name: str, mtime_ns: int) -> None:
        """Set the time of a file."""
        os.utime(self._checked() / name, ns=(mtime_ns, mtime_ns))

    def free_bytes(self) -> int:
        """Room on the file system, in bytes."""
        return shutil.disk_usage(self._checked()).free

    def close(self) -> None:
        """Nothing is held."""


def _leads_elsewhere(found: os.stat_result) -> bool:
    """Whether it is a link, or what Windows has in their place (junctions)."""
    attributes = getattr(found, "st_file_attributes", 0)
    return stat.S_ISLNK(found.st_mode) or bool(attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT)


def open_root(path: Path) -> Folder:
    """The directory to receive into, made if it is not there. Raises `OSError`.

    That path is the user's own word: links in it are followed.
    """
    path.mkdir(parents=True, exist_ok=True)
    if _HAS_DIR_FD:
        return DescriptorFolder(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    return PathFolder(path.resolve(strict=True))
