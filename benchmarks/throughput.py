"""rudp against the kernel's TCP, both through asyncio streams, in one run over loopback.

    python benchmarks/throughput.py                    # under a minute: both loops, three repeats
    python benchmarks/throughput.py --quick
    python benchmarks/throughput.py --loops uvloop --tests bulk --repeat 9 --seconds 4
    python benchmarks/throughput.py --config '{"max_datagram_size": 8192}'

Three tests, each between two processes that live for one measurement only:

bulk         as many bytes as fit into the time, until the receiver has read the last; MB/s, and the
             CPU seconds that each side spends on a gigabyte
echo         64 bytes there and back, one at a time; median and 99th percentile
connections  open, one byte, close, 16 at once; connections a second

TCP and rudp take turns, so that a machine that slows down slows both. The table shows medians, and
the ratio of rudp's to TCP's; every sample goes into a JSON file in benchmarks/results.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from _peer import TESTS, Cell
from _report import Samples, print_table, write_json
from rich.console import Console
from rich.progress import track

PEER = Path(__file__).with_name("_peer.py")
TRANSPORTS = ("tcp", "rudp")
LOOPS = ("uvloop", "asyncio")
SHARE = {"bulk": 1.0, "echo": 0.5, "connections": 0.5}  # of --seconds
GRACE_S = 20.0  # for a cell to start, and to drain what it has buffered


def run_cell(cell: Cell) -> dict[str, Any]:
    """Run one pair of processes; a sample, or what went wrong as {"error": …}."""
    command = (sys.executable, str(PEER))
    server = subprocess.Popen(
        (*command, "server", cell.dump()), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        if not port:
            server.kill()
            return {"error": _last_line(server.communicate()[1])}
        client = subprocess.run(
            (*command, "client", cell.dump(), port),
            capture_output=True,
            text=True,
            timeout=cell.seconds + GRACE_S,
        )
        if client.returncode:
            return {"error": _last_line(client.stderr)}
        sample: dict[str, Any] = json.loads(client.stdout)
        return sample
    except subprocess.TimeoutExpired:
        return {"error": f"not finished {GRACE_S:g} s after its time"}
    finally:
        server.kill()
        server.communicate()


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["ended without a word"])[-1]


def plan(args: argparse.Namespace) -> list[Cell]:
    """All cells of a run in their order: the repeats outermost, the transports taking turns."""
    return [
        Cell(test, transport, loop, args.seconds * SHARE[test], args.config)
        for _ in range(args.repeat)
        for loop in args.loops
        for test in args.tests
        for transport in args.transports
    ]


def _names(known: tuple[str, ...]) -> Any:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return names

    return parse


def _config(text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise argparse.ArgumentTypeError("not a JSON object")
    return config


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default_loops = LOOPS if importlib.util.find_spec("uvloop") else LOOPS[1:]
    parser.add_argument("--tests", type=_names(TESTS), default=list(TESTS))
    parser.add_argument("--transports", type=_names(TRANSPORTS), default=list(TRANSPORTS))
    parser.add_argument("--loops", type=_names(LOOPS), default=list(default_loops))
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="of a bulk cell (1); the others take half"
    )
    parser.add_argument("--quick", action="store_true", help="one repeat of 0.5 s")
    parser.add_argument("--config", type=_config, default={}, help="rudp.Config fields as JSON")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results there")
    args = parser.parse_args()
    if args.quick:
        args.repeat, args.seconds = 1, 0.5
    if args.repeat < 1 or args.seconds <= 0:
        parser.error("--repeat and --seconds must be positive")
    return args


def main() -> int:
    """Measure, print the table, write the file; 1 if a cell failed."""
    args = parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=110)
    samples: Samples = {}
    for cell in track(plan(args), "measuring", console=Console(stderr=True), transient=True):
        samples.setdefault((cell.loop, cell.test, cell.transport), []).append(run_cell(cell))
    print_table(samples, console)
    settings = {"repeat": args.repeat, "seconds": args.seconds, "rudp.Config": args.config}
    console.print(f"written to {write_json(samples, settings, args.json)}", soft_wrap=True)
    return 1 if any("error" in sample for runs in samples.values() for sample in runs) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
