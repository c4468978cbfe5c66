"""What became of a transfer, on either side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_FAILURES_KEPT = 1000


@dataclass(slots=True)
class Summary:
    """Counters of one transfer; bytes are of file contents.

    `verified` files are in their place with the digest that the sender computed, `unchanged` of
    them were there before; `bytes_resumed` of partial and `bytes_unchanged` of whole files did not
    have to be sent; `skipped` are links and special files, which never are. `failures` keeps the
    first thousand.
    """

    verified: int = 0
    unchanged: int = 0
    directories: int = 0
    bytes_verified: int = 0
    bytes_moved: int = 0
    bytes_resumed: int = 0
    bytes_unchanged: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)

    def fail(self, path: str, reason: str) -> None:
        """Note that something was not transferred."""
        self.failed += 1
        if len(self.failures) < _FAILURES_KEPT:
            self.failures.append((path, reason))

    @property
    def all_verified(self) -> bool:
        """Whether everything that was to be transferred was."""
        return self.failed == 0

    def describe(self) -> str:
        """One line for people."""
        parts = [f"{self.verified:,} files verified, {self.bytes_verified:,} bytes"]
        for count, what in (
            (self.unchanged, "files were there"),
            (self.bytes_resumed, "bytes resumed"),
            (self.skipped, "skipped"),
            (self.failed, "FAILED"),
        ):
            if count:
                parts.append(f"{count:,} {what}")
        return ", ".join(parts)

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "files": self.verified,
            "unchanged": self.unchanged,
            "directories": self.directories,
            "bytes": self.bytes_verified,
            "bytes_moved": self.bytes_moved,
            "bytes_resumed": self.bytes_resumed,
            "bytes_unchanged": self.bytes_unchanged,
            "skipped": self.skipped,
            "failed": self.failed,
            "failures": [{"path": path, "reason": why} for path, why in self.failures],
        }


def describe(error: BaseException) -> str:
    """One line for an error, without the paths of this machine."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
