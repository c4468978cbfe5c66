"""Which paths a receiver takes from a sender: relative, plain, and harmless on this system."""

from __future__ import annotations

import hashlib
import os
import unicodedata

from rudp.cli.transfer.format import MAX_PATH_BYTES

MAX_DEPTH = 64
MAX_NAME_BYTES = 255
PART_PREFIX = ".rudp-part-"
"""Begins the names of files that are not complete."""

_FORBIDDEN_ON_WINDOWS = frozenset('<>:"\\|?*')
_PORTS = (port + digit for port in ("COM", "LPT") for digit in "123456789¹²³")
_DEVICES = frozenset(("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", *_PORTS))


class UnsafePath(ValueError):
    """A path that is not taken, and why."""


def parse_path(raw: bytes, *, windows: bool = os.name == "nt") -> tuple[str, ...]:
    """The components of a path from the wire.

    Args:
        raw: The path as it was sent, "/" between its components.
        windows: Hold names to what is safe on Windows: no drives, devices, or streams.

    Raises:
        UnsafePath: It is absolute, leads upwards, or has a component that is no plain name.
    """
    if not 0 < len(raw) <= MAX_PATH_BYTES:
        raise UnsafePath("a path must have 1 to 4096 bytes")
    components = raw.split(b"/")
    if len(components) > MAX_DEPTH:
        raise UnsafePath(f"a path may have {MAX_DEPTH} components, not {len(components)}")
    return tuple(_parse_name(component, windows) for component in components)


def _parse_name(raw: bytes, windows: bool) -> str:
    if raw in (b"", b".", b".."):
        raise UnsafePath(f"{raw.decode()!r} is not a name")
    if b"\0" in raw:
        raise UnsafePath("a name may not have NUL in it")
    if len(raw) > MAX_NAME_BYTES:
        raise UnsafePath(f"a name may have {MAX_NAME_BYTES} bytes, not {len(raw)}")
    try:
        name = raw.decode("utf-8", "strict" if windows else "surrogateescape")
    except UnicodeDecodeError:
        raise UnsafePath("the name is not UTF-8") from None
    if _folded(name).startswith(PART_PREFIX):
        raise UnsafePath(f"names with {PART_PREFIX} are the receiver's own")
    if windows:
        _check_for_windows(name)
    return name


def _folded(name: str) -> str:
    """What file systems that fold case, or ignore invisible characters, may take a name for."""
    if name.isascii():
        return name.lower()
    visible = "".join(char for char in name if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFKC", visible).casefold()


def _check_for_windows(name: str) -> None:
    if any(char in _FORBIDDEN_ON_WINDOWS or ord(char) < 32 for char in name):
        raise UnsafePath(f"{name!r} has a character that Windows forbids in names")
    if name[-1] in ". ":
        raise UnsafePath(f"{name!r} ends with a dot or a space, which Windows drops")
    if name.partition(".")[0].rstrip(" ").upper() in _DEVICES:
        raise UnsafePath(f"{name!r} is a device on Windows")


def part_name(name: str) -> str:
    """Under what name a file is kept while it is not complete: always the same, never long."""
    digest = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=12)
    return PART_PREFIX + digest.hexdigest()


def printable(path: bytes) -> str:
    """A path as it can be shown on a terminal: nothing in it is obeyed."""
    text = path.decode(errors="backslashreplace")
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
