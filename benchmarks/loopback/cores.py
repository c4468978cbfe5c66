"""Several server processes on one port: examples/multicore_server.py under load."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack

from benchmarks.figures import Sample
from benchmarks.machine import ROOT
from benchmarks.processes import Child, ChildFailed, cpu_s, descendants, python

CLIENTS = 2
SOCKETS = 16
"""Of each client: enough for the hash to spread them."""
_START_S = 20.0
_STOP_S = 12.0


def measure(transport: str, processes: int, seconds: float) -> Sample:
    """Echoes a second against so many server processes, and how they shared the connections.

    On a machine with few cores the clients compete with the server for them.

    Raises `ChildFailed` if a process fails.
    """
    script = str(ROOT / "examples" / "multicore_server.py")
    words = ("--listen", "127.0.0.1:0", "--transport", transport, "--processes", str(processes))
    with ExitStack() as stack:
        server = stack.enter_context(Child([sys.executable, script, *words]))
        while not (match := re.match(r"listening on .*:(\d+)", server.hear(_START_S))):
            pass
        workers = descendants(server.pid)
        command = python("benchmarks.loopback.crowd", transport, match[1], str(SOCKETS))
        crowds = [stack.enter_context(Child([*command, str(seconds)])) for _ in range(CLIENTS)]
        for child in crowds:
            child.hear(_START_S)
        before_s = cpu_s(workers)
        for child in crowds:
            child.go()
        echoes = sum(child.hear_json(_START_S + seconds)["echoes"] for child in crowds)
        busy_s = cpu_s(workers) - before_s
        server.terminate()
        served = _served(server)
    if len(served) != processes or sum(served) != CLIENTS * SOCKETS:
        raise ChildFailed(f"{CLIENTS * SOCKETS} connections made, {served} served")
    return {
        "echoes/s": echoes / seconds,
        "server CPU µs/echo": busy_s / echoes * 1e6,
        "busiest process %": 100 * max(served) / sum(served),
    }


def _served(server: Child) -> list[int]:
    """How many connections each process says that it has had."""
    found = re.findall(r"(\d+) connections served", "\n".join(server.finish(_STOP_S)))
    return [int(count) for count in found]
