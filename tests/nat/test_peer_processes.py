"""examples/peer.py and examples/rendezvous.py as users run them: real processes on loopback."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform == "win32", reason="signals"),
]

EXAMPLES = Path(__file__).parents[2] / "examples"
END_S = 40.0

Process = subprocess.Popen[str]
Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts examples; none outlives the test."""
    started: list[Process] = []

    def start_one(script: str, *words: object) -> Process:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-W", "default", str(EXAMPLES / script), *map(str, words)],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def via(start: Start) -> Iterator[str]:
    """A rendezvous server; it ends well."""
    server = start("rendezvous.py", "--listen", "127.0.0.1:0")
    assert server.stdout is not None
    yield server.stdout.readline().removeprefix("listening on ").strip()
    server.send_signal(signal.SIGINT)
    _, errors = server.communicate(timeout=END_S)
    assert (server.returncode, errors) == (0, "")


def test_two_processes_talk_and_send_files_both_ways(
    start: Start, via: str, tmp_path: Path
) -> None:
    peers, files = [], {}
    for who in ("ada", "bob"):
        (tmp_path / who).mkdir()
        files[who] = tmp_path / f"from_{who}.bin"
        files[who].write_bytes(random.Random(who).randbytes(1_000_000))
        words = ("--send", files[who], "--into", tmp_path / who)
        peers.append(start("peer.py", "a room", "--via", via, "--bind", "127.0.0.1:0", *words))
    ada, bob = peers
    assert bob.stdin is not None
    bob.stdin.write("hi ada\n")
    bob.stdin.flush()
    assert ada.stdout is not None
    told = ""
    while "hi ada" not in told or "received" not in told:
        line = ada.stdout.readline()
        assert line, told
        told += line
    said, errors = ada.communicate("bye bob\n", timeout=END_S)
    assert (ada.returncode, errors) == (0, ""), said
    said, errors = bob.communicate(timeout=END_S)
    assert (bob.returncode, errors) == (0, ""), said
    assert "peer: bye bob" in said
    for who, other in (("ada", "bob"), ("bob", "ada")):
        assert (tmp_path / other / files[who].name).read_bytes() == files[who].read_bytes()


def test_who_waits_alone_can_leave(start: Start, via: str) -> None:
    alone = start("peer.py", "a room", "--via", via, "--bind", "127.0.0.1:0")
    assert alone.stdout is not None
    assert "waits in the room" in alone.stdout.readline()
    alone.send_signal(signal.SIGINT)
    _, errors = alone.communicate(timeout=END_S)
    assert (alone.returncode, errors) == (130, "")


def test_no_rendezvous_server(start: Start) -> None:
    lost = start("peer.py", "a room", "--via", "127.0.0.1:1", "--bind", "127.0.0.1:0")
    _, errors = lost.communicate(timeout=END_S)
    assert lost.returncode == 1
    assert errors.startswith("peer.py: ")
    assert len(errors.splitlines()) == 1
