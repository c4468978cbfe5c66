"""`rudp trace`: show what a trace recorded, as a sequence diagram, a graph, or in numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rudp.plot.spark import sparklines
from rudp.telemetry import diagram, pcapng, qlog_reader
from rudp.telemetry.conversation import Conversation, conversations_of
from rudp.telemetry.recording import Recording

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_IMAGES = (".png", ".svg", ".pdf")
_QLOG = (".sqlog", ".qlog")
_SHOWN_ARROWS = 200

_EPILOG = """\b
Examples:
  rudp trace upload.pcapng                     the streams, or the only one's diagram
  rudp trace upload.pcapng --stream 1          the second stream's diagram
  rudp trace upload.pcapng -o upload.svg       its time-sequence graph
  rudp trace c087c100.sqlog --numbers          window and round trips, in the terminal
  rudp trace c087c100.sqlog -o metrics.png --numbers
  rudp trace recording.jsonl -o recording.png

\b
A trace is made by rudp.Config(trace="upload.pcapng"), or, without a change to a
program, by RUDP_TRACE=upload.pcapng in its environment; a .jsonl by
rudp.aio.recorder.record(). Wireshark opens a .pcapng, qvis a .sqlog.

\b
Exit codes:
  0    the trace was shown, or drawn
  1    the file cannot be read, or is no trace
  2    the command line was wrong
"""


@click.command(epilog=_EPILOG)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--stream", type=click.IntRange(0), metavar="N", help="Of several, the one to show.")
@click.option("--numbers", is_flag=True, help="Window, round trips and losses instead of segments.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw to this .png, .svg or .pdf. Needs the extra [plot].",
)
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=_SHOWN_ARROWS,
    show_default=True,
    help="Most lines of a diagram in the terminal; 0 shows all.",
)
def command(file: Path, stream: int | None, numbers: bool, output: Path | None, limit: int) -> None:
    """Show a recorded trace: FILE is a .pcapng, .sqlog, .qlog or .jsonl.

    Segments are shown as a sequence diagram, those of a train as one arrow; with --output as a
    time-sequence graph. What is sent by the side that was traced goes from left to right.
    """
    if output is not None and output.suffix.lower() not in _IMAGES:
        raise click.BadParameter(f"must end in {', '.join(_IMAGES)}", param_hint="--output")
    try:
        if numbers or file.suffix == ".jsonl":
            _show_numbers(_recordings(file), stream, output)
        else:
            _show_segments(_conversations(file), stream, output, limit)
    except ValueError as exc:
        raise click.ClickException(f"{file}: {exc}") from None
    except OSError as exc:
        raise click.ClickException(str(exc)) from None


def _conversations(file: Path) -> list[Conversation]:
    if file.suffix in _QLOG:
        connections = _qlog(file)
        return [connection.conversation() for connection in connections]
    reading = pcapng.Reading(file.read_bytes())
    found = conversations_of(reading)
    if reading.truncated:
        _tell_truncated(file)
    return found


def _recordings(file: Path) -> list[Recording]:
    if file.suffix == ".pcapng":
        raise ValueError("a capture does not have the sender's numbers; record a .sqlog")
    if file.suffix in _QLOG:
        return [connection.recording() for connection in _qlog(file)]
    recording = Recording.load(file)
    if recording.truncated:
        _tell_truncated(file)
    return [recording]


def _qlog(file: Path) -> list[qlog_reader.QlogConnection]:
    connections = qlog_reader.read(file.read_text(encoding="utf-8", errors="replace"))
    if any(connection.truncated for connection in connections):
        _tell_truncated(file)
    return connections


def _tell_truncated(file: Path) -> None:
    click.echo(f"{file}: its end was cut off; shown up to there", err=True)


def _show_segments(
    found: list[Conversation], stream: int | None, output: Path | None, limit: int
) -> None:
    if stream is None and output is None and len(found) > 1:
        for number, one in enumerate(found):
            click.echo(f"{number:>4}  {one.summary()}")
        click.echo("Choose one with --stream N.")
        return
    one = found[_index(len(found), stream)]
    if output is not None:
        from rudp.plot import sequence

        _save(sequence.draw(one), output)
        return
    arrows = list(one.arrows())
    shown = arrows[:limit] if limit else arrows
    click.echo(diagram.draw(shown, one.left, one.right))
    if len(shown) < len(arrows):
        click.echo(f"… and {len(arrows) - len(shown)} more lines: --limit 0 shows all.")
    click.echo(one.summary())


def _show_numbers(found: list[Recording], stream: int | None, output: Path | None) -> None:
    if output is None:
        for one in found if stream is None else [found[_index(len(found), stream)]]:
            click.echo(sparklines(one))
        return
    from rudp.plot import figure

    _save(figure.draw([found[_index(len(found), stream)]]), output)


def _index(count: int, stream: int | None) -> int:
    if not count:
        raise ValueError("no connection is in it")
    if stream is None and count > 1:
        raise ValueError(f"{count} connections are in it: choose one with --stream N")
    if stream is not None and stream >= count:
        raise ValueError(f"--stream must be below {count}")
    return stream or 0


def _save(drawn: Figure, output: Path) -> None:
    from rudp.plot import figure

    figure.save(drawn, output)
    click.echo(str(output))
