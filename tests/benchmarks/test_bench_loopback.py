"""The loopback benchmark in small, as a user runs it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.machine import ROOT
from benchmarks.transports import find

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform == "win32", reason="the benchmarks are for Unix"),
]


def run(tmp_path: Path, *words: str, status: int = 0) -> tuple[dict[str, Any], str]:
    """Run the command; its JSON file and what it printed."""
    path = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words, "--json", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(path.read_text()), done.stdout


def summaries(result: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["test"], one["transport"]): one["summary"] for one in result["results"]}


FIGURES = {
    "bulk": {"MB/s", "sender CPU s/GB", "receiver CPU s/GB"},
    "echo": {"p50 µs", "p99 µs"},
    "connections": {"connections/s"},
    "idle": {"set-up s", "client KB each", "server KB each", "server RSS MB", "client CPU ms/s",
             "server CPU ms/s"},
}  # fmt: skip


def test_every_test_between_two_processes_reports_every_figure(tmp_path: Path) -> None:
    words = ("--seconds", "0.1", "--repeat", "1", "--connections", "30", "--loops", "asyncio")
    result, printed = run(
        tmp_path, "loopback", "--only", ",".join(FIGURES), "--transports", "tcp,rudp-1200", *words
    )
    found = summaries(result)
    assert set(found) == {(test, name) for test in FIGURES for name in ("tcp", "rudp-1200")}
    for (test, _), summary in found.items():
        assert set(summary) == FIGURES[test]
        assert all(math.isfinite(one["median"]) for one in summary.values())
    assert found["bulk", "rudp-1200"]["MB/s"]["median"] > 0
    assert found["bulk", "rudp-1200"]["MB/s"]["ratio"] > 0
    assert found["bulk", "tcp"]["MB/s"]["ratio"] is None
    echo = found["echo", "rudp-1200"]
    assert 0 < echo["p50 µs"]["median"] <= echo["p99 µs"]["median"]
    for test in FIGURES:
        assert f"{test}: one run; ×: over tcp" in printed


@pytest.mark.parametrize("name", ["aioquic", "enet", "kcptun"])
def test_each_peer_carries_bulk_and_echoes(name: str, tmp_path: Path) -> None:
    if why := find(name).why_not():
        pytest.skip(why)
    words = ("--only", "bulk,echo", "--loops", "asyncio", "--seconds", "0.1", "--repeat", "1")
    found = summaries(run(tmp_path, "loopback", *words, "--transports", name)[0])
    for test in ("bulk", "echo"):
        assert set(found[test, name]) == FIGURES[test]
        assert min(one["median"] for one in found[test, name].values()) >= 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux spreads over a port's sockets")
@pytest.mark.parametrize("name", ["tcp", "rudp"])
def test_server_processes_that_share_a_port(name: str, tmp_path: Path) -> None:
    """That each connection was served once, by one of them, is what the cell itself checks."""
    words = ("loopback", "--only", "cores", "--transports", name, "--seconds", "0.2")
    result, _ = run(tmp_path, *words, "--repeat", "1")
    groups = {one["group"]: one["summary"] for one in result["results"]}
    assert set(groups) == {"1 process", "2 processes"}
    assert groups["1 process"]["busiest process %"]["median"] == 100
    for summary in groups.values():
        assert summary["echoes/s"]["median"] > 0


def test_a_cell_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    words = ("--only", "echo", "--loops", "asyncio", "--seconds", "0.05", "--repeat", "1")
    broken = json.dumps({"congestion": "nobody's"})  # no process can know the name
    result, printed = run(
        tmp_path, "loopback", *words, "--transports", "rudp,tcp", "--config", broken, status=1
    )
    rudp, tcp = result["results"]
    assert rudp["samples"] == []
    assert rudp["errors"]
    assert tcp["samples"]
    assert "echo asyncio rudp: " in printed
