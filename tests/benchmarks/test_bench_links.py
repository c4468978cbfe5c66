"""The emulated links, judged by the emulator's own counters, and the benchmark over them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.links import emulator, namespaces, netem
from benchmarks.links.emulator import Counters
from benchmarks.links.namespaces import ADDRESSES, Namespaces
from benchmarks.links.scenarios import Scenario
from benchmarks.machine import ROOT

WHY_NOT = namespaces.why_not() or emulator.why_not()
pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]

DATAGRAM_BYTES = 972
PACKET_BYTES = DATAGRAM_BYTES + 28
NO_RATE = {"rate_mbit": 0, "queue_kb": 0}
SEND = (
    "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    "for number in range(int(sys.argv[2])):\n"
    f"    s.sendto(bytes({DATAGRAM_BYTES}), (sys.argv[1], 9))"
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The emulator, compiled."""
    return emulator.build(tmp_path_factory.mktemp("emulator"))


@pytest.fixture
def pair() -> Iterator[Namespaces]:
    """Two namespaces, which must be gone afterwards."""
    with Namespaces() as made:
        yield made
    assert not any(Path("/run/netns", name).exists() for name in made.names)


def carry(
    program: Path, pair: Namespaces, scenario: Scenario, datagrams: int, seed: int = 1
) -> Counters:
    """Send datagrams of 1,000 bytes with their headers, as fast as it goes; forth's counters."""
    with emulator.link(program, pair, scenario, seed) as link:
        words = [sys.executable, "-c", SEND, ADDRESSES[1], str(datagrams)]
        subprocess.run(pair.inside(0, words), check=True, timeout=30)
        while arrived(pair) < datagrams:
            assert link.is_up()
        counters = link.stop()
    assert counters["forth"]["refused"] == 0
    forth: Counters = counters["forth"]
    assert forth["arrived"] == datagrams
    return forth


def arrived(pair: Namespaces) -> int:
    """How many packets the device of the sender has handed to the emulator."""
    words = ["ip", "-n", pair.names[0], "-j", "-s", "link", "show", namespaces.DEVICE]
    shown = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    count: int = shown[0]["stats64"]["tx"]["packets"]
    return count


def scenario(**settings: Any) -> Scenario:
    return Scenario("test", "", **({"rtt_ms": 0} | NO_RATE | settings))


def test_the_delay_is_what_was_asked_for(program: Path, pair: Namespaces) -> None:
    """How late the emulator was is its own figure, so that the machine does not matter."""
    forth = carry(program, pair, scenario(rtt_ms=0.5), 200)
    assert forth["delivered"] == 200
    assert forth["bytes"] == 200 * PACKET_BYTES
    assert forth["transit_min_ms"] >= 0.25
    assert forth["transit_ms"] - forth["late_ms"] == pytest.approx(0.25, abs=0.001)


def test_losses_are_the_share_that_was_asked_for_and_replay(
    program: Path, tmp_path: Path
) -> None:  # fmt: skip
    """What else happens to packets changes nothing about which of them are lost."""
    lost = []
    for seed, more in ((1, {}), (1, {"jitter_ms": 1.0, "duplicate": 0.1}), (2, {})):
        with Namespaces() as pair:
            forth = carry(program, pair, scenario(loss=0.1, **more), 2000, seed)
        assert forth["lost"] + forth["delivered"] == 2000 + forth["duplicated"]
        assert 140 <= forth["lost"] <= 260  # 200 ± 4.5 standard deviations
        lost.append(forth["lost"])
    assert lost[0] == lost[1]
    assert lost[0] != lost[2]


def test_bursts_lose_what_gilbert_and_elliott_say(program: Path, pair: Namespaces) -> None:
    """Spells of four packets on average, a twentieth of the time."""
    forth = carry(program, pair, scenario(burst=(0.0132, 0.25)), 4000)
    assert 100 <= forth["lost"] <= 330


def test_the_rate_and_the_queue_bound_what_gets_through(program: Path, pair: Namespaces) -> None:
    """Ten packets of 1,000 bytes wait at most, 10 ms at 8 Mbit/s; the rest finds no room."""
    forth = carry(program, pair, scenario(rate_mbit=8, queue_kb=10), 500)
    assert forth["overflowed"] + forth["delivered"] == 500
    assert forth["overflowed"] > 250
    assert 5 < forth["queue_max_ms"] <= 9.0 + 1e-6


def test_some_arrive_early_twice_or_damaged(program: Path, pair: Namespaces) -> None:
    settings = {"reorder": 0.1, "early_ms": 0.2, "duplicate": 0.2, "corrupt": 0.3}
    forth = carry(program, pair, scenario(rtt_ms=1.0, **settings), 1000)
    assert 60 <= forth["reordered"] <= 145
    assert 145 <= forth["duplicated"] <= 260
    copies = 1000 + forth["duplicated"]
    assert 0.24 * copies <= forth["corrupted"] <= 0.36 * copies
    assert forth["transit_min_ms"] >= 0.3
    planned = 0.5 - 0.2 * forth["reordered"] / 1000
    assert forth["transit_ms"] - forth["late_ms"] == pytest.approx(planned, abs=0.01)


def test_jitter_is_spread_evenly(program: Path, pair: Namespaces) -> None:
    forth = carry(program, pair, scenario(rtt_ms=1.0, jitter_ms=2.0), 2000)
    assert forth["transit_ms"] - forth["late_ms"] == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize(
    "words", [("loss", "much"), ("speed", "1"), ("loss", "-1"), ("loss",), ("loss", "nan")]
)
def test_nonsense_is_refused(program: Path, words: tuple[str, ...]) -> None:
    command = [str(program), "a", "d", "b", "d", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    assert done.returncode == 2
    assert "emulator: " in done.stderr or "usage" in done.stderr


def bench(*words: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks", "links", *words]


def test_transfers_over_a_link_in_small(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    words = ("--only", "loss1,fair", "--transports", "tcp-cubic,rudp,rudp+tcp-cubic")
    done = subprocess.run(
        bench(*words, "--seconds", "0.4", "--json", str(path), "--chart", str(tmp_path / "c.svg")),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = {one["transport"]: one for one in json.loads(path.read_text())["results"]}
    assert set(results) == {"tcp-cubic", "rudp", "rudp+tcp-cubic"}
    for name in ("tcp-cubic", "rudp"):
        summary = results[name]["summary"]
        assert 0 < summary["Mbit/s"]["median"] <= 100
        assert set(summary) >= {"% of possible", "queue ms", "link late p99 µs", "link CPU %"}
    shared = results["rudp+tcp-cubic"]["summary"]
    assert 0.5 <= shared["Jain's index"]["median"] <= 1
    assert shared["first Mbit/s"]["median"] > 0
    assert (tmp_path / "c.svg").read_text().startswith("<?xml")


def peers(family: list[psutil.Process]) -> int:
    """How many of the processes are ends of a transfer."""
    found = 0
    for process in family:
        with contextlib.suppress(psutil.Error):
            found += "benchmarks.links.peer" in process.cmdline()
    return found


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_a_run_that_is_stopped(sent: signal.Signals) -> None:
    """Namespaces, emulator, peers: all gone, with the shell's exit status."""
    running = subprocess.Popen(
        bench("--only", "clean", "--transports", "rudp", "--seconds", "60"),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        family = psutil.Process(running.pid).children(recursive=True)
        while peers(family) < 2:
            assert running.poll() is None
            family = psutil.Process(running.pid).children(recursive=True)
        names = [f"/run/netns/rudp-bench-{running.pid}-{side}" for side in "ab"]
        assert all(Path(name).exists() for name in names)
        running.send_signal(sent)
        assert running.wait(30) == 128 + sent
    finally:
        running.kill()
        running.wait()
    assert not any(Path(name).exists() for name in names)
    assert psutil.wait_procs(family, timeout=20)[1] == []


def test_what_a_killed_run_left_is_removed_by_the_next() -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = f"rudp-bench-{dead.pid}-a"
    namespaces.ip("netns", "add", left)
    mine = f"rudp-bench-{os.getpid()}-z"
    namespaces.ip("netns", "add", mine)  # not of the form that is ours to remove
    try:
        namespaces.remove_orphans()
        assert not Path("/run/netns", left).exists()
        assert Path("/run/netns", mine).exists()
    finally:
        namespaces.ip("netns", "delete", mine)


def test_netem_works_or_says_why_not() -> None:
    why = netem.why_not()
    if why is not None:
        assert "netem" in why or "tc" in why
        pytest.skip(why)
    with Namespaces() as pair:
        netem.link(pair, Scenario("test", "", rate_mbit=100, rtt_ms=2, queue_kb=100, loss=0.5))
        words = ["tc", "-n", pair.names[0], "-j", "qdisc", "show", "dev", namespaces.DEVICE]
        shown = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        assert json.loads(shown)[0]["kind"] == "netem"


def test_without_what_it_needs_the_benchmark_says_so_and_is_no_failure(tmp_path: Path) -> None:
    """Here a PATH with nothing on it; without root it is the same way out."""
    done = subprocess.run(
        bench("--only", "clean"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "skipped links: there is no ip command" in done.stdout
    assert shutil.which("ip")
