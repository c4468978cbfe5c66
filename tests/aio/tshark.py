"""tshark as a judge of what was written; tests that need it are skipped without."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

_TSHARK = shutil.which("tshark")
needs_tshark = pytest.mark.skipif(_TSHARK is None, reason="tshark is not installed")
_CHECKED = ("-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE")
_SECONDS = 60.0


def run(path: Path, *options: str) -> str:
    """What tshark prints about a file. It must not complain about the file."""
    assert _TSHARK is not None
    done = subprocess.run(
        [_TSHARK, "-r", str(path), *_CHECKED, *options],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if "Running as user" not in line]
    assert (done.returncode, complaints) == (0, [])
    return done.stdout


def fields(path: Path, *names: str) -> list[dict[str, str]]:
    """Those fields of each packet; "" where a packet has it not."""
    wanted = [part for name in names for part in ("-e", name)]
    printed = run(path, "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", *wanted)
    return [
        dict(zip(names, line.split("\t"), strict=True))
        for line in printed.removesuffix("\n").split("\n")
    ]


def follow(path: Path, stream: int = 0) -> tuple[bytes, bytes]:
    """The bytes of a stream: from who dialled, to who dialled."""
    printed = run(path, "-q", "-z", f"follow,tcp,raw,{stream}")
    there, back = bytearray(), bytearray()
    for line in printed.splitlines():
        digits = line.strip()
        if digits and all(letter in "0123456789abcdef" for letter in digits):
            (back if line.startswith("\t") else there).extend(bytes.fromhex(digits))
    return bytes(there), bytes(back)


def number(value: Any) -> int:
    """A field's number, hexadecimal or not."""
    return int(value, 0)
