"""The loopback benchmark: which cells there are, in which order, and running one."""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.progress import track

from benchmarks import options
from benchmarks.figures import Sample
from benchmarks.loopback import cores
from benchmarks.loopback.cell import TESTS, Cell
from benchmarks.processes import Child, ChildFailed, python
from benchmarks.report import Report

BASELINE = "tcp"
LOOPS = ("uvloop", "asyncio")
RUDPS = ("rudp", "rudp-1200", "rudp-1452", "rudp-stock", "rudp-stock-1200", "rudp-stock-1452")
PEERS = ("aioquic", "enet", "kcptun")
_START_S = 20.0
_GRACE_S = 60.0
_PEER_CONNECTIONS = 100
"""Of transports that take long to open one."""
_CORES = ("tcp", "rudp")


@dataclass(frozen=True)
class Form:
    """How much of everything a run has, where the command line does not say.

    Attributes:
        tests: Which tests.
        transports: Of each test, on the first loop.
        others: Of each test on the other loops.
        once: Tests and transports that are run once where the others are repeated.
        repeat: How often each cell is run.
        seconds: What a bulk cell takes; other tests take their share of it.
        idle: Connections of the test idle.
    """

    tests: tuple[str, ...]
    transports: dict[str, tuple[str, ...]]
    others: dict[str, tuple[str, ...]]
    once: frozenset[str]
    repeat: int
    seconds: float
    idle: int


MANY = 10_000
"""Connections of the test many."""
SHARE = {"bulk": 1.0, "echo": 0.5, "connections": 0.5, "idle": 2.0, "many": 2.0, "cores": 2.0}
"""Of the seconds of a bulk cell, what each test takes."""
_FEW = ("tcp", "rudp")

SHORT = Form(
    tests=("bulk", "echo", "connections", "idle", "cores"),
    transports={
        "bulk": ("tcp", "rudp", "rudp-1200", "rudp-stock-1200", *PEERS),
        "echo": ("tcp", "rudp", "rudp-stock", *PEERS),
        "connections": ("tcp", "rudp", "rudp-stock", "aioquic"),
        "idle": ("tcp", "rudp", "aioquic"),
        "cores": _CORES,
    },
    others={"bulk": _FEW, "echo": _FEW, "connections": _FEW},
    once=frozenset({"idle", "cores", *PEERS}),
    repeat=3,
    seconds=0.5,
    idle=1000,
)
FULL = Form(
    tests=tuple(TESTS),
    transports={
        "bulk": ("tcp", *RUDPS, *PEERS),
        "echo": ("tcp", "rudp", "rudp-1200", "rudp-stock", *PEERS),
        "connections": ("tcp", "rudp", "rudp-stock", "aioquic"),
        "idle": ("tcp", "rudp", "rudp-stock", "aioquic"),
        "many": _FEW,
        "cores": _CORES,
    },
    others={
        "bulk": ("tcp", *RUDPS, "aioquic"),
        "echo": ("tcp", "rudp", "rudp-1200", "rudp-stock", "aioquic"),
        "connections": ("tcp", "rudp", "rudp-stock", "aioquic"),
        "idle": ("tcp", "rudp"),
    },
    once=frozenset(),
    repeat=5,
    seconds=2.0,
    idle=1000,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the loopback benchmark."""
    tests = "\n".join(f"  {name:12} {text}" for name, text in TESTS.items())
    parser.description = f"{__doc__}\n\ntests:\n{tests}"
    parser.add_argument("--only", type=options.names_of(TESTS), metavar="TEST,…", help="tests")
    parser.add_argument(
        "--transports",
        type=options.transport_names,
        metavar="NAME,…",
        help="tcp, rudp, rudp-1200, rudp-stock-1452, rudp-cubic, aioquic, enet, kcptun, …",
    )
    loops = LOOPS if importlib.util.find_spec("uvloop") else LOOPS[1:]
    parser.add_argument(
        "--loops", type=options.names_of(loops), default=list(loops), help="default: all"
    )
    parser.add_argument(
        "--connections", type=options.positive_int, metavar="N", help="of the tests idle and many"
    )
    parser.add_argument(
        "--config", type=options.config, default={}, help="fields of rudp.Config as JSON"
    )


def run(args: argparse.Namespace) -> Report:
    """Run all cells that the options ask for, taking turns, and collect what they measured."""
    raise_file_limit()
    form = FULL if args.full else SHORT
    settings = {
        "form": "full" if args.full else "short",
        "seconds": args.seconds or form.seconds,
        "repeat": args.repeat or form.repeat,
        "rudp.Config": args.config,
    }
    report = Report("loopback", BASELINE, settings, uncompared=["busiest process %"])
    cells = list(possible(plan(args, form), report))
    for cell in track(cells, "measuring", console=options.progress_console(), transient=True):
        try:
            report.add(cell.key, measure(cell))
        except ChildFailed as exc:
            report.fail(cell.key, str(exc))
    return report


def plan(args: argparse.Namespace, form: Form) -> Iterator[Cell]:
    """All cells in their order: repeats outermost, so that a machine that slows down slows all."""
    for turn in range(args.repeat or form.repeat):
        for test in args.only or form.tests:
            for cell in _cores(args, form) if test == "cores" else _pairs(args, form, test):
                if not turn or args.repeat or not form.once & {test, cell.transport}:
                    yield cell


def _cores(args: argparse.Namespace, form: Form) -> Iterator[Cell]:
    for processes in (1, 2):
        for name in args.transports or _CORES:
            seconds = (args.seconds or form.seconds) * SHARE["cores"]
            yield Cell("cores", name, "asyncio", seconds, processes=processes)


def _pairs(args: argparse.Namespace, form: Form, test: str) -> Iterator[Cell]:
    """The cells of a test between one server process and one client process."""
    source = form if test in form.tests else FULL
    seconds = (args.seconds or form.seconds) * SHARE[test]
    count = args.connections or (MANY if test == "many" else form.idle)
    for index, loop in enumerate(args.loops):
        chosen = source.others.get(test, ()) if index else source.transports[test]
        for name in args.transports or chosen:
            some = min(count, _PEER_CONNECTIONS) if name in PEERS else count
            yield Cell(test, name, loop, seconds, some, config=args.config)


def possible(cells: Iterable[Cell], report: Report) -> Iterator[Cell]:
    """Those of the cells that this machine can run; the report is told about the others."""
    for cell in cells:
        transport = cell.find()
        if why := transport.why_not():
            report.skipped[cell.transport] = why
        elif cell.test == "cores" and cell.transport not in _CORES:
            report.skipped[f"cores {cell.transport}"] = "the example knows tcp and rudp"
        elif cell.test != "cores" and cell.test not in transport.tests:
            report.skipped[f"{cell.test} {cell.transport}"] = "would not measure this transport"
        else:
            yield cell


def measure(cell: Cell) -> Sample:
    """Run one pair of processes. Raises `ChildFailed` if one of them fails."""
    if cell.test == "cores":
        return cores.measure(cell.transport, cell.processes, cell.seconds)
    command = python("benchmarks.loopback.peer")
    with Child([*command, "server", cell.dump()]) as server:
        heard = server.hear_json(_START_S)
        words = (cell.dump(), str(heard["port"]), json.dumps(heard["pids"]))
        with Child([*command, "client", *words]) as client:
            return client.hear_json(cell.seconds + _GRACE_S)


def raise_file_limit() -> None:
    """Let the children have a descriptor for each of thousands of kernel TCP's connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
