"""What figures were measured on: a number without its machine says nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_PACKAGES = ("uvloop", "aioquic", "pyenet", "psutil", "matplotlib", "pytest-benchmark")


def describe() -> dict[str, Any]:
    """Processor, cores, kernel, load, Python, versions, and the commit that was measured."""
    return {
        "system": platform.platform(),
        "kernel": platform.release(),
        "processor": _processor(),
        "cores": _cores(),
        "load": load(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "commit": _commit(),
    }


def load() -> list[float] | None:
    """The load averages of 1, 5 and 15 minutes, where the system tells them."""
    return [round(one, 2) for one in os.getloadavg()] if hasattr(os, "getloadavg") else None


def _cores() -> int | None:
    """Cores that this process may use, which a container restricts."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout, which is the rudp that the benchmarks import."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
