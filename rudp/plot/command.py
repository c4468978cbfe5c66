"""The command line: simulate and draw, or draw what was recorded."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rudp.config import Config
from rudp.congestion import CONTROLLERS
from rudp.plot.scenario import Scenario, simulate
from rudp.sim import LinkConfig
from rudp.telemetry.recording import Recording

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["main"]

_NO_MATPLOTLIB = """\
rudp.plot draws with matplotlib, which is not installed: pip install 'asyncio-rudp[plot]'
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    parser = _make_parser()
    options = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except (OSError, ValueError) as exc:
        sys.stderr.write(f"{parser.prog}: {exc}\n")
        return 1


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rudp.plot", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_simulate(commands.add_parser("simulate", help="run a transfer in virtual time"))
    _add_draw(commands.add_parser("draw", help="draw recordings"))
    return parser


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    parser.description = "A bulk transfer over a simulated link, both directions alike."
    parser.set_defaults(run=_simulate)
    _add_output(parser, required=False)
    parser.add_argument(
        "--save",
        metavar="FILE",
        type=Path,
        help="keep the recording (JSON Lines); of several flows, FILE-1, FILE-2, …",
    )
    add = parser.add_argument_group("the path").add_argument
    add("--rate-mbit", type=float, default=100.0, help="rate of the bottleneck (%(default)s)")
    add("--rtt-ms", type=float, default=40.0, help="round trip of the empty path (%(default)s)")
    add("--queue-kb", type=float, default=500.0, help="drop-tail queue (%(default)s)")
    add("--mtu", type=int, default=1472, help="largest datagram in bytes (%(default)s)")
    add("--loss", type=float, default=0.0, help="probability of a loss, each way (%(default)s)")
    add(
        "--burst",
        type=float,
        nargs=2,
        default=(0.0, 1.0),
        metavar=("ENTER", "EXIT"),
        help="probabilities that a burst of losses begins, and ends, with a datagram",
    )
    add("--reorder", type=float, default=0.0, help="probability of being early (%(default)s)")
    add("--jitter-ms", type=float, default=0.0, help="most extra delay, each way (%(default)s)")
    add("--seed", type=int, default=1, help="where the path's randomness begins (%(default)s)")
    add = parser.add_argument_group("the transfer").add_argument
    add(
        "--congestion",
        choices=sorted(CONTROLLERS),
        default=Config().congestion,
        help="controller (%(default)s)",
    )
    add("--seconds", type=float, default=10.0, help="of virtual time (%(default)s)")
    add("--flows", type=int, default=1, help="connections at the same time (%(default)s)")
    add("--stagger", type=float, default=0.0, help="seconds from flow to flow (%(default)s)")
    add("--interval-ms", type=float, default=10.0, help="between samples (%(default)s)")


def _add_draw(parser: argparse.ArgumentParser) -> None:
    parser.description = "Draw what rudp.aio.recorder.record() wrote; several files side by side."
    parser.set_defaults(run=_draw)
    parser.add_argument("recordings", nargs="+", metavar="RECORDING", type=Path)
    _add_output(parser, required=True)
    parser.add_argument(
        "--shared", action="store_true", help="they shared one link at the same time: how fairly"
    )
    parser.add_argument("--rate-mbit", type=float, help="the link's rate, to draw beside")
    parser.add_argument("--rtt-ms", type=float, help="the empty path's, to draw beside")


def _add_output(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "-o", "--output", required=required, type=_image, metavar="FILE", help=".png, .svg or .pdf"
    )
    parser.add_argument("--title", help="what stands above the plot")


def _image(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .png, .svg or .pdf")
    return path


def _simulate(options: argparse.Namespace) -> int:
    if options.output is None and options.save is None:
        raise ValueError("nothing to do: give --output, or --save, or both")
    # Before the simulation: who has no matplotlib shall not wait to hear of it.
    figure = _figure_module() if options.output is not None else None
    if options.output is not None and figure is None:
        return 2
    scenario = _scenario_of(options)
    recordings = simulate(scenario)
    if options.save is not None:
        for path, recording in zip(_names(options.save, len(recordings)), recordings, strict=True):
            recording.save(path)
    if figure is not None:
        title = scenario.describe() if options.title is None else options.title
        figure.save(figure.draw(recordings, title=title, shared=True), options.output)
    return 0


def _scenario_of(options: argparse.Namespace) -> Scenario:
    enter, leave = options.burst
    link = LinkConfig(
        rate_bytes_per_s=options.rate_mbit * 125e3,
        queue_bytes=round(options.queue_kb * 1e3),
        mtu=options.mtu,
        delay_s=options.rtt_ms / 2e3,
        jitter_s=options.jitter_ms / 1e3,
        loss=options.loss,
        burst_enter=enter,
        burst_exit=leave,
        reorder=options.reorder,
    )
    return Scenario(
        link=link,
        seconds=options.seconds,
        congestion=options.congestion,
        seed=options.seed,
        flows=options.flows,
        stagger_s=options.stagger,
        interval_s=options.interval_ms / 1e3,
    )


def _names(path: Path, count: int) -> list[Path]:
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{i}{path.suffix}") for i in range(1, count + 1)]


def _draw(options: argparse.Namespace) -> int:
    figure = _figure_module()
    if figure is None:
        return 2
    recordings = [_load(path, options) for path in options.recordings]
    title = options.title
    if len(recordings) > 1:
        for path, recording in zip(options.recordings, recordings, strict=True):
            recording.header = dataclasses.replace(recording.header, title=path.stem)
        title = f"{len(recordings)} recordings" if title is None else title
    figure.save(figure.draw(recordings, title=title, shared=options.shared), options.output)
    return 0


def _load(path: Path, options: argparse.Namespace) -> Recording:
    try:
        recording = Recording.load(path)
    except ValueError as exc:
        raise ValueError(f"{path}: {exc}") from None
    if recording.truncated:
        sys.stderr.write(f"{path}: the last line was cut off; drawn up to there\n")
    if len(recording.samples) < 2:
        raise ValueError(f"{path}: less than two rows, nothing to draw")
    header = recording.header
    changes: dict[str, object] = {"title": header.title or path.stem}
    if options.rate_mbit is not None:
        changes["link_rate"] = options.rate_mbit * 125e3
    if options.rtt_ms is not None:
        changes["link_rtt_s"] = options.rtt_ms / 1e3
    recording.header = dataclasses.replace(header, **changes)  # type: ignore[arg-type]
    return recording


def _figure_module() -> ModuleType | None:
    """`rudp.plot.figure`, or None and a word to the user where matplotlib is missing."""
    try:
        from rudp.plot import figure
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] != "matplotlib":
            raise
        sys.stderr.write(_NO_MATPLOTLIB)
        return None
    return figure
