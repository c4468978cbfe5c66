"""Where received files are put: under a temporary name, verified, then under their own."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from rudp.cli.transfer.folders import Folder, NotPlain
from rudp.cli.transfer.format import Outcome
from rudp.cli.transfer.names import part_name

if TYPE_CHECKING:
    from hashlib import _Hash

_HASH_STEP_BYTES = 1 << 20
_FOLDERS_KEPT = 32
_BUSY_STEP_S = 0.05
_DIFFERS = "what arrived is not what was sent: the digests differ"
_MODE_BITS = 0o777
"""Permissions that are kept; never set-user-id and its like."""


class Busy(OSError):
    """Another transfer is writing that file."""


class Store:
    """The tree below one directory.

    Args:
        root: The directory.
        overwrite: Replace files of the same name that have another content.
        patience_s: How long to wait for a transfer that is writing the same file: it may be the
            one that was interrupted, whose end has not been noticed yet.
        contended: Told again and again, meanwhile, which file is waited for.
        stopped: Asked between the steps of long work; True ends it with `InterruptedError`.
    """

    def __init__(
        self,
        root: Folder,
        *,
        overwrite: bool,
        patience_s: float = 0.0,
        contended: Callable[[tuple[str, ...]], None] = lambda path: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.overwrite = overwrite
        self._patience_s = patience_s
        self._contended = contended
        self._root = root
        self._stopped = stopped
        self._folders: OrderedDict[tuple[str, ...], Folder] = OrderedDict()

    def place(self, path: tuple[str, ...]) -> Place:
        """Where a file goes."""
        return Place(self, path)

    def folder(self, path: tuple[str, ...]) -> Folder:
        """The directory at `path`, made with those above it. Raises `OSError`."""
        if not path:
            return self._root
        known = self._folders.get(path)
        if known is not None:
            self._folders.move_to_end(path)
            return known
        made = self.folder(path[:-1]).enter(path[-1])
        self._folders[path] = made
        return made

    def waits(self, path: tuple[str, ...], since_s: float) -> bool:
        """Whether to try once more a file that is busy since `since_s`, after a while."""
        if time.monotonic() - since_s >= self._patience_s:
            return False
        self.check_stopped()
        self._contended(path)
        time.sleep(_BUSY_STEP_S)
        return True

    def check_stopped(self) -> None:
        """Raise `InterruptedError` if the work is to end."""
        if self._stopped():
            raise InterruptedError("stopped")

    def trim(self) -> None:
        """Close the directories that have not been used for longest. Not while one is in use: call
        it between two frames."""
        while len(self._folders) > _FOLDERS_KEPT:
            _, folder = self._folders.popitem(last=False)
            folder.close()

    def set_directory(self, path: tuple[str, ...], mode: int, mtime_ns: int) -> None:
        """Give a directory its permissions and time. Raises `OSError`."""
        self.folder(path).set_attributes(mode & _MODE_BITS, mtime_ns)

    def digest(self, descriptor: int, size: int) -> _Hash:
        """The hash of the first `size` bytes of a file. Raises `OSError`, also if it is shorter."""
        hasher = hashlib.sha256()
        os.lseek(descriptor, 0, os.SEEK_SET)
        while size:
            self.check_stopped()
            piece = os.read(descriptor, min(_HASH_STEP_BYTES, size))
            if not piece:
                raise OSError("the file has become shorter")
            hasher.update(piece)
            size -= len(piece)
        return hasher

    def close(self) -> None:
        """Close the directories but the root, which is the caller's."""
        for folder in self._folders.values():
            folder.close()
        self._folders.clear()


class Place:
    """A name in a directory, and the partial file that belongs to it."""

    def __init__(self, store: Store, path: tuple[str, ...]) -> None:
        self._store = store
        self._path = path
        self._name = path[-1]
        self._part = part_name(path[-1])

    @property
    def _folder(self) -> Folder:
        """The directory, which the store may have closed since it was last used."""
        return self._store.folder(self._path[:-1])

    def found(self) -> os.stat_result | None:
        """What has the name now. Raises `NotPlain` unless it is a file."""
        found = self._folder.stat(self._name)
        if found is not None and not stat.S_ISREG(found.st_mode):
            raise NotPlain(f"{self._name!r} is there and no plain file")
        return found

    def part_bytes(self) -> int:
        """How much of it an earlier transfer left."""
        found = self._folder.stat(self._part)
        return found.st_size if found is not None and stat.S_ISREG(found.st_mode) else 0

    def free_bytes(self) -> int:
        """Room for it."""
        return self._folder.free_bytes()

    def digest_of_found(self, size: int) -> bytes:
        """The digest of the file that has the name. Raises `OSError`."""
        descriptor = self._folder.open_file(self._name, os.O_RDONLY)
        try:
            return self._store.digest(descriptor, size).digest()
        finally:
            os.close(descriptor)

    def digest_of_part(self, size: int) -> _Hash:
        """The hash of the beginning of the partial file. Raises `OSError`."""
        descriptor = self._folder.open_file(self._part, os.O_RDONLY)
        try:
            return self._store.digest(descriptor, size)
        finally:
            os.close(descriptor)

    def begin(self, size: int, kept: int = 0, hasher: _Hash | None = None) -> PartFile:
        """Open the partial file for `size` bytes, of which `kept`, already in `hasher`, are there.

        Raises:
            Busy: Another transfer has it.
            OSError: It cannot be opened, or is not what it was.
        """
        since_s = time.monotonic()
        while True:
            try:
                descriptor = self._open_locked()
                break
            except Busy:
                if not self._store.waits(self._path, since_s):
                    raise
        try:
            if os.fstat(descriptor).st_size < kept:
                raise OSError("the partial file has become shorter")
            os.ftruncate(descriptor, kept)
            os.lseek(descriptor, kept, os.SEEK_SET)
        except BaseException:
            os.close(descriptor)
            raise
        return PartFile(self, descriptor, size, kept, hasher or hashlib.sha256())

    def _open_locked(self) -> int:
        """The partial file, ours alone. Raises `Busy`, `OSError`."""
        descriptor = self._open_part()
        try:
            self._lock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _open_part(self) -> int:
        folder = self._folder
        try:
            return folder.open_file(self._part, os.O_RDWR | os.O_CREAT)
        except NotPlain:
            # Planted, or left by a transfer that was killed between giving the file its name and
            # taking the temporary one away.
            folder.remove(self._part)
            return folder.open_file(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def _lock(self, descriptor: int) -> None:
        """Keep other transfers, of any process, off the partial file."""
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(f"{self._name!r} is being received by another transfer") from None
            except OSError as exc:  # a file system without locks
                if exc.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
                    raise
        now = self._folder.stat(self._part)
        if now is None or now.st_ino != os.fstat(descriptor).st_ino:
            raise Busy(f"{self._name!r} has just been received by another transfer")

    def holds(self, digest: bytes, size: int) -> bool:
        """Whether a file of that content has the name. Raises `NotPlain`, `OSError`."""
        found = self.found()
        return found is not None and found.st_size == size and self.digest_of_found(size) == digest

    def publish(self, digest: bytes, size: int) -> Outcome:
        """Give the verified partial file its name. Raises `FileExistsError`, `OSError`."""
        try:
            if self.holds(digest, size):
                self.discard()
                return Outcome.UNCHANGED
            self._folder.publish(self._part, self._name, replace=self._store.overwrite)
        except FileExistsError:
            self.discard()
            raise FileExistsError(f"{self._name!r} is there with another content") from None
        except NotPlain:
            self.discard()
            raise
        return Outcome.WRITTEN

    def discard(self) -> None:
        """Remove the partial file."""
        self._folder.remove(self._part)

    def set_attributes(self, mode: int, mtime_ns: int) -> None:
        """Set permissions and time of the file that has the name; not if it has other names too,
        which may be elsewhere. Raises `OSError`."""
        descriptor = self._folder.open_file(self._name, os.O_RDONLY)
        try:
            alone = os.fstat(descriptor).st_nlink == 1
            if alone:
                set_attributes(descriptor, mode, mtime_ns)
        finally:
            os.close(descriptor)
        if alone:
            self.set_time_by_name(mtime_ns)

    def set_time_by_name(self, mtime_ns: int) -> None:
        """Set the time where an open file's cannot be set (Windows). Raises `OSError`."""
        if os.utime not in os.supports_fd:
            self._folder.set_time(self._name, mtime_ns)


class Incoming(Protocol):
    """A file that is being received."""

    def write(self, data: bytes | memoryview) -> None:
        """Append. Raises `OSError`, such as ENOSPC."""

    def finish(self, digest: bytes, mode: int, mtime_ns: int) -> Outcome:
        """Verify, and give the file its name, permissions and time; it is closed in any case.

        Raises:
            ValueError: Its size or digest is not what the sender says; nothing is kept.
            OSError: It cannot have the name.
        """
        ...

    def keep(self) -> None:
        """Close it and leave what there is, for a later transfer to go on with."""

    def discard(self) -> None:
        """Close it and remove it."""


class HeldFile(Incoming):
    """A small file, in memory until it is complete: one that is there already costs no write."""

    __slots__ = ("_data", "_place")

    def __init__(self, place: Place) -> None:
        self._place = place
        self._data = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        """Append."""
        self._data += data

    def finish(self, digest: bytes, mode: int, mtime_ns: int) -> Outcome:
        """Verify, and write it unless it is there."""
        size = len(self._data)
        if hashlib.sha256(self._data).digest() != digest:
            raise ValueError(_DIFFERS)
        if self._place.holds(digest, size):
            self._place.set_attributes(mode, mtime_ns)
            return Outcome.UNCHANGED
        part = self._place.begin(size)
        try:
            part.write(memoryview(self._data))
        except OSError:
            part.discard()
            raise
        return part.finish(digest, mode, mtime_ns)

    def keep(self) -> None:
        """Nothing is on the disk."""

    def discard(self) -> None:
        """Nothing is on the disk."""


class PartFile(Incoming):
    """A file that is written as it comes, and hashed."""

    __slots__ = ("_descriptor", "_hasher", "_place", "_received", "_size")

    def __init__(
        self, place: Place, descriptor: int, size: int, received: int, hasher: _Hash
    ) -> None:
        self._received = received
        self._place = place
        self._descriptor = descriptor
        self._size = size
        self._hasher = hasher

    def write(self, data: bytes | memoryview) -> None:
        """Append."""
        self._hasher.update(data)
        self._received += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def finish(self, digest: bytes, mode: int, mtime_ns: int) -> Outcome:
        """Verify, and give the file its name."""
        try:
            if self._received != self._size or self._hasher.digest() != digest:
                self._place.discard()
                raise ValueError(_DIFFERS)
            set_attributes(self._descriptor, mode, mtime_ns)
            if sys.platform == "win32":  # an open file cannot be renamed there
                self.keep()
            outcome = self._place.publish(digest, self._size)
            self._place.set_time_by_name(mtime_ns)
            return outcome
        finally:
            self.keep()

    def keep(self) -> None:
        """Close it and leave what there is."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def discard(self) -> None:
        """Close it and remove it."""
        self.keep()
        self._place.discard()


def set_attributes(descriptor: int, mode: int, mtime_ns: int) -> None:
    """Set permissions and modification time of an open file, as far as the system has them."""
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, mode & _MODE_BITS)
    if os.utime in os.supports_fd:
        os.utime(descriptor, ns=(mtime_ns, mtime_ns))
