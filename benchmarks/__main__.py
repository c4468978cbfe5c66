"""Benchmarks of rudp beside kernel TCP, QUIC (aioquic), ENet (pyenet) and KCP (kcptun).

    python -m benchmarks loopback                            # about two minutes
    python -m benchmarks loopback --only bulk,echo --repeat 5
    python -m benchmarks links                               # needs root: network namespaces
    python -m benchmarks links --only clean,loss1 --transports tcp-bbr,rudp,rudp-cubic
    python -m benchmarks chart benchmarks/results/FILE.json -o chart.svg

Transports take turns, each measurement has processes of its own, and the table has medians with the
lowest and the highest: what counts is the ratio between two transports of one run, since machines
differ, and the same machine differs from hour to hour. Every sample, the machine and the commit go
into a JSON file in benchmarks/results.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from rich.console import Console

from benchmarks import options, report, table
from benchmarks.links import command as links
from benchmarks.loopback import command as loopback


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in (("loopback", loopback), ("links", links)):
        command = commands.add_parser(name, help=(module.__doc__ or "").strip())
        options.add_common(command)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    drawing = commands.add_parser("chart", help="Draw a results file.")
    drawing.add_argument("file", type=Path, nargs="?", help="default: the newest in results/")
    drawing.add_argument("-o", "--output", type=Path, help="default: FILE with .svg")
    return parser.parse_args()


def measure(args: argparse.Namespace) -> int:
    """Run a benchmark, print its table, write its file; 1 if anything failed."""
    found: report.Report = args.run(args)
    console = Console() if sys.stdout.isatty() else Console(width=160)
    table.show(found, console)
    if not found.results:
        return 0 if found.skipped else 1
    console.print(f"written to {found.write(args.json)}", soft_wrap=True)
    if args.chart is not None:
        draw(found, args.chart, console)
    return 1 if found.failed else 0


def draw(found: report.Report, output: Path, console: Console) -> None:
    """Write the chart of a report."""
    from benchmarks import chart  # matplotlib takes its time

    chart.save(found, output)
    console.print(f"drawn as {output}", soft_wrap=True)


def main() -> int:
    """Do what the command line says; the exit status."""
    # So that what a run has made, children and namespaces, is taken down on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    args = parse_args()
    if args.command != "chart":
        return measure(args)
    path = args.file or report.latest()
    if path is None:
        sys.exit("there are no results yet: run one of the benchmarks first")
    try:
        draw(report.read(path), args.output or path.with_suffix(".svg"), Console())
    except (OSError, ValueError) as exc:
        sys.exit(str(exc))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
