"""The kernel's own emulator: the queueing discipline netem on a veth pair.

It differs from emulator.c where the discipline does: a packet is lost before it takes its time on
the wire, one that is reordered does not wait at all, the queue counts packets instead of bytes, and
there is no seed.
"""

from __future__ import annotations

import math
import shutil
import subprocess

from benchmarks.links.namespaces import DEVICE, Namespaces
from benchmarks.links.scenarios import IP_PACKET_BYTES, Scenario


def why_not() -> str | None:
    """What it lacks here, found by trying, as root; None if it works."""
    if shutil.which("tc") is None:
        return "there is no tc command (package iproute2)"
    with Namespaces() as namespaces:
        try:
            namespaces.add_veth_pair()
        except OSError as exc:
            return str(exc)
        done = _add(namespaces.names[0], ["delay", "1ms"])
    return f"no netem in this kernel: {done.stderr.strip()}" if done.returncode else None


def link(namespaces: Namespaces, scenario: Scenario) -> None:
    """Connect two namespaces, which have no device yet, by such a link.

    Raises `OSError` if the kernel refuses a setting.
    """
    namespaces.add_veth_pair()
    for name in namespaces.names:
        done = _add(name, arguments(scenario))
        if done.returncode:
            raise OSError(f"tc: {done.stderr.strip()}")


def arguments(scenario: Scenario) -> list[str]:
    """A scenario in the words of tc-netem(8)."""
    delay_ms, spread_ms = scenario.rtt_ms / 2, scenario.jitter_ms / 2
    if spread_ms:  # netem's is to both sides of the mean
        words = ["delay", f"{delay_ms + spread_ms:g}ms", f"{spread_ms:g}ms"]
    else:
        words = ["delay", f"{delay_ms:g}ms"]
    words += ["rate", f"{scenario.rate_mbit:g}mbit"]
    if scenario.loss:
        words += ["loss", "random", f"{100 * scenario.loss:g}%"]
    if scenario.burst is not None:
        start, end = scenario.burst
        words += ["loss", "gemodel", f"{100 * start:g}%", f"{100 * end:g}%"]
    for name in ("duplicate", "corrupt", "reorder"):
        if share := getattr(scenario, name):
            words += [name, f"{100 * share:g}%"]
    return [*words, "limit", str(_limit_packets(scenario))]


def _limit_packets(scenario: Scenario) -> int:
    """netem's limit holds for what waits and what is under way together."""
    delay_s = (scenario.rtt_ms / 2 + scenario.jitter_ms) / 1e3
    under_way_bytes = scenario.rate_mbit * 1e6 / 8 * delay_s
    return math.ceil((scenario.queue_kb * 1e3 + under_way_bytes) / IP_PACKET_BYTES)


def _add(namespace: str, words: list[str]) -> subprocess.CompletedProcess[str]:
    command = ["tc", "-n", namespace, "qdisc", "add", "dev", DEVICE, "root", "netem", *words]
    return subprocess.run(command, capture_output=True, text=True)
