"""The emulator in C (emulator.c): built when it is needed, started, asked for its counters."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.links.namespaces import DEVICE, Namespaces
from benchmarks.links.scenarios import Scenario
from benchmarks.processes import Child

SOURCE = Path(__file__).with_name("emulator.c")
_TUN = Path("/dev/net/tun")
_START_S = 10.0

Counters = dict[str, Any]
"""What the emulator reports: "forth" and "back", each with its counts, "cpu_s", "seconds"."""


def why_not() -> str | None:
    """What it lacks here, but for root; None if it can be built and run."""
    if shutil.which("cc") is None:
        return "there is no C compiler (cc) to build the emulator with"
    if not _TUN.exists():
        return f"there is no {_TUN}"
    return None


def build(folder: Path) -> Path:
    """Compile the emulator into a folder; its path.

    Raises `OSError` with the compiler's words if it does not compile.
    """
    program = folder / "emulator"
    command = ["cc", "-O2", "-std=c17", "-Wall", "-Wextra", "-o", str(program), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"emulator.c does not compile: {done.stderr.strip()}")
    return program


class Emulated:
    """A link while it is up."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def is_up(self) -> bool:
        """Whether the emulator still runs."""
        return self._child.is_running()

    def stop(self) -> Counters:
        """Take the link down; what it has counted."""
        self._child.terminate()
        return self._child.hear_json(_START_S)


@contextmanager
def link(
    program: Path, namespaces: Namespaces, scenario: Scenario, seed: int
) -> Iterator[Emulated]:
    """Connect two namespaces, which have no device yet, by an emulated link.

    Raises `ChildFailed` if the emulator does not start.
    """
    namespaces.add_tun_devices()
    first, second = namespaces.names
    words = [first, DEVICE, second, DEVICE, *arguments(scenario, seed)]
    with Child([str(program), *words]) as child:
        child.hear(_START_S)
        yield Emulated(child)


def arguments(scenario: Scenario, seed: int) -> list[str]:
    """A scenario in the emulator's words and units."""
    burst_start, burst_end = scenario.burst or (0.0, 1.0)
    options = {
        "rate_bps": scenario.rate_mbit * 1e6,
        "queue_bytes": scenario.queue_kb * 1e3,
        "delay_us": scenario.rtt_ms * 1e3 / 2,
        "jitter_us": scenario.jitter_ms * 1e3,
        "loss": scenario.loss,
        "duplicate": scenario.duplicate,
        "corrupt": scenario.corrupt,
        "burst_start": burst_start,
        "burst_end": burst_end,
        "reorder": scenario.reorder,
        "early_us": scenario.early_ms * 1e3,
        "seed": seed,
    }
    return [word for name, value in options.items() for word in (name, repr(value))]
