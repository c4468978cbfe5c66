"""Two sessions with a wire of bytes between them, and trees of files to compare."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from rudp.cli.transfer.folders import DescriptorFolder, Folder, PathFolder, open_root
from rudp.cli.transfer.format import Decoder, Frame, Hello, encode
from rudp.cli.transfer.receiving import ReceivingSession
from rudp.cli.transfer.sending import SendingSession
from rudp.cli.transfer.store import Store
from rudp.cli.transfer.summary import Summary
from rudp.cli.transfer.tree import Found, walk

ROOTS = {"descriptors": open_root, "paths": PathFolder}


class Transfer:
    """A sender and a receiver in one process, and what either has said that is under way."""

    def __init__(
        self,
        paths: Iterable[Path],
        into: Path,
        *,
        overwrite: bool = False,
        max_bytes: int | None = None,
        budget: int = 1 << 20,
    ) -> None:
        into.mkdir(exist_ok=True, parents=True)
        self.summary = Summary()
        found = Found(skipped=self._skipped, failed=self.summary.fail)
        self.root: Folder = open_root(into)
        self.sender = SendingSession(walk(list(paths), found), self.summary)
        self.receiver = ReceivingSession(Store(self.root, overwrite=overwrite), max_bytes=max_bytes)
        self.bytes_sent = 0
        self._budget = budget
        self._to_sender, self._to_receiver = Decoder(), Decoder()

    def _skipped(self, path: str) -> None:
        self.summary.skipped += 1

    def step(self, most: int | None = None) -> int:
        """One exchange; `most` bytes arrive and the connection breaks. What was sent, in bytes."""
        self.sender.handle(self._to_sender.feed(self.receiver.take_replies()))
        data = b"".join(self.sender.produce(self._budget))[:most]
        self.receiver.handle(self._to_receiver.feed(data))
        self.bytes_sent += len(data)
        return len(data)

    def run(self, most: int | None = None) -> bool:
        """Go on until it is over, or `most` bytes were sent; whether all was verified."""
        idle = 0
        while not self.sender.finished and idle < 3:
            left = None if most is None else most - self.bytes_sent
            idle = 0 if self.step(left) else idle + 1
            if left is not None and left <= 0:
                break
        assert most is not None or self.sender.finished, "it stands still"
        self.close()
        return self.sender.finished and self.summary.all_verified

    def close(self) -> None:
        self.sender.close()
        self.receiver.close()
        self.root.close()


class Hostile:
    """A receiver and somebody who sends it frames, or anything else."""

    def __init__(
        self, into: Path, *, overwrite: bool = False, kind: str = "descriptors", greet: bool = True
    ) -> None:
        root: Folder = ROOTS[kind](into)
        self.session = ReceivingSession(
            Store(root, overwrite=overwrite), max_bytes=1 << 20, max_files=2000
        )
        self._root = root
        self._decoder, self._replies = Decoder(), Decoder()
        if greet:
            self.say(Hello())

    def say(self, *frames: Frame) -> list[Frame]:
        """Send frames; the answers."""
        return self.say_bytes(b"".join(map(encode, frames)))

    def say_bytes(self, data: bytes) -> list[Frame]:
        self.session.handle(self._decoder.feed(data))
        return self._replies.feed(self.session.take_replies())

    def close(self) -> None:
        self.session.close()
        self._root.close()


def tree(root: Path) -> dict[str, tuple[int, int, str]]:
    """Mode, time and digest of everything below a directory, links not followed."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = "" if path.is_symlink() or path.is_dir() else digest(path)
        mtime_ns = 0 if path.is_symlink() else status.st_mtime_ns
        found[str(path.relative_to(root))] = (status.st_mode, mtime_ns, content)
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


__all__ = ["ROOTS", "DescriptorFolder", "Hostile", "Transfer", "descriptors", "digest", "tree"]
