"""`python -m rudp.plot`: from options to files, and what it says when that is not possible."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from rudp.plot import command
from rudp.plot.scenario import Scenario
from rudp.telemetry.recording import Recording

BRIEF = ["--rate-mbit", "4", "--queue-kb", "30", "--seconds", "0.5"]


@pytest.fixture
def with_matplotlib() -> None:
    """Skips where it is missing."""
    pytest.importorskip("matplotlib", reason="the extra [plot] is not installed")


@pytest.fixture
def drawn(
    with_matplotlib: None, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[Any, dict[str, Any]]]:
    """What the figures were made of."""
    from rudp.plot import figure

    calls: list[tuple[Any, dict[str, Any]]] = []
    original = figure.draw

    def draw(recordings: Any, **options: Any) -> Any:
        calls.append((recordings, options))
        return original(recordings, **options)

    monkeypatch.setattr(figure, "draw", draw)
    return calls


def test_a_simulation_is_drawn_and_kept(
    drawn: list[tuple[Any, dict[str, Any]]], tmp_path: Path
) -> None:
    plot, kept = tmp_path / "plot.svg", tmp_path / "run.jsonl"
    arguments = ["simulate", *BRIEF, "-o", str(plot), "--save", str(kept)]
    assert command.main(arguments) == 0
    assert plot.read_bytes().startswith(b"<?xml")
    recording = Recording.load(kept)
    assert drawn == [([recording], {"title": recording.header.title, "shared": True})]
    assert recording.samples[-1].bytes_acked > 50_000


@pytest.mark.usefixtures("with_matplotlib")
def test_what_was_kept_is_drawn_the_same(tmp_path: Path) -> None:
    first, kept, second = tmp_path / "1.png", tmp_path / "run.jsonl", tmp_path / "2.png"
    assert command.main(["simulate", *BRIEF, "-o", str(first), "--save", str(kept)]) == 0
    assert command.main(["draw", str(kept), "-o", str(second)]) == 0
    assert first.read_bytes() == second.read_bytes()


def test_flows_are_kept_in_a_file_each_and_drawn_side_by_side(
    drawn: list[tuple[Any, dict[str, Any]]], tmp_path: Path
) -> None:
    kept, plot = tmp_path / "run.jsonl", str(tmp_path / "plot.svg")
    assert command.main(["simulate", *BRIEF, "--flows", "2", "--save", str(kept)]) == 0
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["run-1.jsonl", "run-2.jsonl"]
    assert command.main(["draw", *map(str, files), "--shared", "-o", plot]) == 0
    recordings, options = drawn[0]
    assert [one.header.title for one in recordings] == ["run-1", "run-2"]
    assert options == {"title": "2 recordings", "shared": True}


def test_the_options_make_the_scenario(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[Scenario] = []

    def simulate(scenario: Scenario) -> list[Recording]:
        made.append(scenario)
        return [Recording()]

    monkeypatch.setattr(command, "simulate", simulate)
    options = (
        "--rate-mbit 100 --rtt-ms 40 --queue-kb 500 --loss 0.01 --burst 0.005 0.3 --reorder 0.05 "
        "--jitter-ms 10 --seed 5 --congestion newreno --seconds 8 --flows 2 --stagger 1 "
        "--interval-ms 20"
    )
    assert command.main(["simulate", *options.split(), "--save", str(tmp_path / "x")]) == 0
    (scenario,) = made
    link = scenario.link
    assert (link.rate_bytes_per_s, link.delay_s, link.queue_bytes) == (12.5e6, 0.02, 500_000)
    assert (link.loss, link.burst_enter, link.burst_exit) == (0.01, 0.005, 0.3)
    assert (link.reorder, link.jitter_s) == (0.05, 0.01)
    assert (scenario.seed, scenario.congestion, scenario.seconds) == (5, "newreno", 8.0)
    assert (scenario.flows, scenario.stagger_s, scenario.interval_s) == (2, 1.0, 0.02)


def test_what_is_known_of_the_path_can_be_given(
    drawn: list[tuple[Any, dict[str, Any]]], recording: Recording, tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    recording.save(path)
    options = ["--rate-mbit", "8", "--rtt-ms", "50", "--title", "a title"]
    assert command.main(["draw", str(path), *options, "-o", str(tmp_path / "plot.png")]) == 0
    (given,), drawn_with = drawn[0]
    assert (given.header.link_rate, given.header.link_rtt_s) == (1e6, 0.05)
    assert drawn_with["title"] == "a title"


@pytest.mark.usefixtures("with_matplotlib")
def test_a_cut_recording_is_drawn_with_a_warning(
    recording: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, plot = tmp_path / "run.jsonl", tmp_path / "plot.png"
    recording.save(path)
    path.write_bytes(path.read_bytes()[:-10])
    assert command.main(["draw", str(path), "-o", str(plot)]) == 0
    assert plot.exists()
    assert "the last line was cut off" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file"),
        ("hello\n", "run.jsonl: line 1: not the header of a recording"),
        ("empty", "run.jsonl: less than two rows, nothing to draw"),
    ],
)
@pytest.mark.usefixtures("with_matplotlib")
def test_what_cannot_be_drawn_is_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str | None,
    complaint: str,
) -> None:
    path = tmp_path / "run.jsonl"
    if content == "empty":
        Recording().save(path)
    elif content is not None:
        path.write_text(content)
    assert command.main(["draw", str(path), "-o", str(tmp_path / "plot.png")]) == 1
    error = capsys.readouterr().err
    assert complaint in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["simulate"], "nothing to do"),
        (["simulate", "--save", "x", "--loss", "2"], "loss must be a probability"),
        (["simulate", "--save", "x", "--rate-mbit", "0"], "rate_bytes_per_s must be"),
        (["simulate", "--save", "x", "--flows", "0"], "flows must be at least 1"),
    ],
)
def test_impossible_options_are_told(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.main(arguments) == 1
    assert complaint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "COMMAND"),
        (["draw", "run.jsonl"], "-o"),
        (["draw", "run.jsonl", "-o", "plot.doc"], "'plot.doc' does not end in"),
        (["simulate", "-o", "plot.svg", "--congestion", "pigeon"], "invalid choice"),
    ],
)
def test_wrong_usage_is_told(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["simulate"], ["draw", "run.jsonl"]])
def test_a_missing_matplotlib_is_told_before_anything_is_done(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [*sys.modules]:
        if name.partition(".")[0] == "matplotlib":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "rudp.plot.figure", raising=False)
    monkeypatch.delattr("rudp.plot.figure", raising=False)
    monkeypatch.setattr(command, "simulate", lambda scenario: pytest.fail("it began"))
    assert command.main([*arguments, "-o", str(tmp_path / "plot.png")]) == 2
    assert "pip install 'asyncio-rudp[plot]'" in capsys.readouterr().err


def test_the_module_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = tmp_path / "run.jsonl"
    monkeypatch.setattr(sys, "argv", ["rudp.plot", "simulate", *BRIEF, "--save", str(kept)])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(Path(command.__file__).with_name("__main__.py")), run_name="__main__")
    assert exit_.value.code == 0
    assert Recording.load(kept).samples
