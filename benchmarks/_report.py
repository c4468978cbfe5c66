"""The table and the JSON file of a benchmark run."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Key = tuple[str, str, str]  # loop, test, transport
Samples = dict[Key, list[dict[str, Any]]]

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "rudp": _version("asyncio-rudp"),
        "uvloop": _version("uvloop"),
        "commit": _commit(),
    }


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
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def medians(samples: Samples) -> dict[Key, dict[str, float]]:
    """The median of every figure of every cell that has any."""
    return {
        key: {
            name: statistics.median(sample[name] for sample in good)
            for name in good[0]
        }
        for key, runs in samples.items()
        if (good := [sample for sample in runs if "error" not in sample])
    }  # fmt: skip


def ratios(samples: Samples) -> dict[str, float]:
    """rudp's median over TCP's, by "loop test figure"."""
    middle = medians(samples)
    found = {}
    for (loop, test, transport), figures in middle.items():
        base = middle.get((loop, test, "tcp"))
        if transport == "rudp" and base is not None:
            for name, value in figures.items():
                found[f"{loop} {test} {name}"] = value / base[name]
    return found


def print_table(samples: Samples, console: Console) -> None:
    """One row per figure: TCP, rudp, the ratio of their medians."""
    table = Table(title="medians (lowest – highest), two processes over loopback")
    for heading in ("loop", "test", "figure", "tcp", "rudp", "rudp/tcp"):
        table.add_column(heading, justify="left" if heading in ("loop", "test") else "right")
    middle, ratio = medians(samples), ratios(samples)
    cells = dict.fromkeys((loop, test) for loop, test, _ in samples)
    for loop, test in cells:
        names = dict.fromkeys(
            name
            for transport in ("tcp", "rudp")
            for name in middle.get((loop, test, transport), {})
        )
        for name in names:
            columns = [_figure(samples, (loop, test, peer), name) for peer in ("tcp", "rudp")]
            quotient = ratio.get(f"{loop} {test} {name}")
            shown = "" if quotient is None else f"{quotient:.3g}×"
            table.add_row(loop, test, name, *columns, shown)
        table.add_section()
    console.print(table)
    for (loop, test, transport), runs in samples.items():
        for error in {sample["error"] for sample in runs if "error" in sample}:
            console.print(f"[red]{loop} {test} {transport}: {error}[/]")


def _figure(samples: Samples, key: Key, name: str) -> str:
    values = [sample[name] for sample in samples.get(key, ()) if name in sample]
    if not values:
        return "–"
    spread = f" ({_number(min(values))} – {_number(max(values))})" if len(values) > 1 else ""
    return _number(statistics.median(values)) + spread


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write_json(samples: Samples, settings: dict[str, Any], path: Path | None) -> Path:
    """Write everything that was measured, and on what, to a file; return its path."""
    if path is None:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / time.strftime("throughput-%Y%m%dT%H%M%SZ.json", time.gmtime())
    cells = [
        {"loop": loop, "test": test, "transport": transport, "samples": runs,
         "median": medians(samples).get((loop, test, transport))}
        for (loop, test, transport), runs in samples.items()
    ]  # fmt: skip
    report = {
        "machine": machine(),
        "settings": settings,
        "cells": cells,
        "ratios rudp/tcp": ratios(samples),
    }
    path.write_text(json.dumps(report, indent=1) + "\n")
    return path
