"""Transfers between two network namespaces, over an emulated link; needs root."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from rich.progress import track

from benchmarks import options
from benchmarks.figures import Key, Sample, fairness_index
from benchmarks.links import emulator, namespaces, netem
from benchmarks.links.emulator import Counters
from benchmarks.links.namespaces import ADDRESSES, Namespaces
from benchmarks.links.scenarios import SCENARIOS, Scenario
from benchmarks.processes import Child, ChildFailed, python
from benchmarks.report import Report
from benchmarks.transports import find

BASELINE = "tcp-cubic"
FAIR = "fair"
DEVICES = ("emulator", "netem")
UNCOMPARED = ["% of possible", "queue ms", "queue drops %", "link late p99 µs", "link CPU %"]
_START_S = 20.0
_GRACE_S = 20.0
SHARING = 3.0

SHORT_SCENARIOS = ("clean", "loss1", "long2", FAIR)
SHORT_TRANSPORTS = ("tcp-cubic", "tcp-bbr", "rudp")
FULL_TRANSPORTS = ("tcp-cubic", "tcp-bbr", "rudp", "rudp-cubic", "rudp-bbr", "aioquic", "kcptun")
SHORT_PAIRS = ("rudp+rudp", "rudp+tcp-cubic")
FULL_PAIRS = ("tcp-cubic+tcp-cubic", *SHORT_PAIRS, "rudp-cubic+tcp-cubic", "rudp-bbr+tcp-bbr")

Open = Callable[[Namespaces, Scenario, int], AbstractContextManager[Callable[[], Counters | None]]]
"""Connects two namespaces by a link with a seed; what it gives takes the link down, for its
counters."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the link benchmark."""
    lines = "\n".join(f"  {name:8} {one.text}" for name, one in SCENARIOS.items())
    parser.description = f"{__doc__}\n\nlinks:\n{lines}"
    parser.add_argument("--only", type=options.names_of(SCENARIOS), metavar="LINK,…", help="links")
    parser.add_argument(
        "--transports",
        type=_flows,
        metavar="NAME,…",
        help="tcp-cubic, tcp-bbr, rudp, rudp-cubic, aioquic, kcptun, …; A+B are two flows at once, "
        "for the link fair",
    )
    parser.add_argument("--seed", type=options.positive_int, default=1, help="of the links (1)")
    parser.add_argument(
        "--device", choices=DEVICES, default=DEVICES[0], help="netem is the kernel's own"
    )


def run(args: argparse.Namespace) -> Report:
    """Run all transfers that the options ask for, taking turns, and collect the figures."""
    seconds = args.seconds or (8.0 if args.full else 3.0)
    repeat = args.repeat or (3 if args.full else 1)
    settings = {
        "form": "full" if args.full else "short",
        "seconds": seconds,
        "repeat": repeat,
        "seed": args.seed,
        "device": args.device,
    }
    report = Report("links", BASELINE, settings, uncompared=UNCOMPARED)
    why = namespaces.why_not() or (emulator if args.device == "emulator" else netem).why_not()
    if why:
        report.skipped["links"] = why
        return report
    keys = list(_possible(plan(args), report))
    # The repeats differ in what is lost; within one, all transports meet the same link.
    cells = [(args.seed + turn, key) for turn in range(repeat) for key in keys]
    with _opener(args.device) as open_link:
        shown = options.progress_console()
        for seed, key in track(cells, "measuring", console=shown, transient=True):
            try:
                report.add(key, measure(key, seconds, open_link, seed))
            except (ChildFailed, OSError) as exc:
                report.fail(key, str(exc))
    return report


def plan(args: argparse.Namespace) -> Iterator[Key]:
    """What one round has, in its order: for each link the transports one after the other."""
    for name in args.only or (SCENARIOS if args.full else SHORT_SCENARIOS):
        if name == FAIR:
            pairs = [one for one in args.transports or () if "+" in one]
            for pair in pairs or (FULL_PAIRS if args.full else SHORT_PAIRS):
                yield Key("fairness", name, pair)
        else:
            given = [one for one in args.transports or () if "+" not in one]
            for transport in given or (FULL_TRANSPORTS if args.full else SHORT_TRANSPORTS):
                yield Key("transfer", name, transport)


def _possible(keys: Iterable[Key], report: Report) -> Iterator[Key]:
    for key in keys:
        for name in key.transport.split("+"):
            transport = find(name)
            why = transport.why_not()
            if why is None and "links" not in transport.tests:
                why = "has no asyncio streams"
            if why is not None:
                report.skipped[name] = why
                break
        else:
            yield key


@contextmanager
def _opener(device: str) -> Iterator[Open]:
    """How links are made, for the length of a run."""

    @contextmanager
    def by_netem(pair: Namespaces, scenario: Scenario, _: int) -> Iterator[Callable[[], None]]:
        netem.link(pair, scenario)
        yield lambda: None

    if device == "netem":
        yield by_netem
        return
    with tempfile.TemporaryDirectory() as folder:
        program = emulator.build(Path(folder))

        @contextmanager
        def emulated(
            pair: Namespaces, scenario: Scenario, seed: int
        ) -> Iterator[Callable[[], Counters]]:
            with emulator.link(program, pair, scenario, seed) as up:
                yield up.stop

        yield emulated


def measure(key: Key, seconds: float, open_link: Open, seed: int) -> Sample:
    """One transfer, or two at once, over a fresh link.

    Raises `ChildFailed` or `OSError` if a process or the link fails.
    """
    scenario = SCENARIOS[key.group]
    names = key.transport.split("+")
    if len(names) > 1:
        seconds *= SHARING  # finding their shares takes flows longer than filling a link
    with ExitStack() as stack:
        pair = stack.enter_context(Namespaces())
        stop = stack.enter_context(open_link(pair, scenario, seed))
        sinks = []
        for name in names:
            words = python("benchmarks.links.peer", "sink", name, ADDRESSES[1], str(seconds))
            sinks.append(stack.enter_context(Child(pair.inside(1, words))))
        ports = [child.hear_json(_START_S)["port"] for child in sinks]
        for name, port in zip(names, ports, strict=True):
            words = ["source", name, ADDRESSES[1], str(port), str(seconds)]
            command = python("benchmarks.links.peer", *words)
            stack.enter_context(Child(pair.inside(0, command)))
        heard = [child.hear_json(seconds + _GRACE_S)["bytes"] for child in sinks]
        counters = stop()
    rates = [count * 8e-6 / seconds for count in heard]
    return _rates(rates, scenario) | (_of_the_link(counters) if counters is not None else {})


def _rates(mbit: list[float], scenario: Scenario) -> Sample:
    if len(mbit) == 1:
        return {"Mbit/s": mbit[0], "% of possible": 100 * mbit[0] / scenario.possible_mbit}
    first, second = mbit
    return {
        "first Mbit/s": first,
        "second Mbit/s": second,
        "Jain's index": fairness_index(mbit) if first or second else 0.0,
    }


def _of_the_link(counters: Counters) -> Sample:
    """What the emulator tells about the transfer, and about itself."""
    forth = counters["forth"]
    return {
        "queue ms": forth["queue_ms"],
        "queue drops %": 100 * forth["overflowed"] / max(1, forth["arrived"]),
        "link late p99 µs": float(forth["late_p99_us"]),
        "link CPU %": 100 * counters["cpu_s"] / counters["seconds"],
    }


def _flows(text: str) -> list[str]:
    """Transports, and pairs of them with a plus sign; an argparse type."""
    found = text.split(",")
    for one in found:
        names = one.split("+")
        if len(names) > 2:
            raise argparse.ArgumentTypeError(f"{one!r} is more than two flows")
        for name in names:
            options.check_transport(name)
    return found
