"""What a run leaves: the JSON file, the table, the chart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import chart, machine, table
from benchmarks.figures import Key
from benchmarks.report import Report, read


@pytest.fixture
def report() -> Report:
    """Two transports, one of them twice and once in vain, and one that is not there."""
    made = Report("loopback", "tcp", {"repeat": 2}, uncompared=["own %"])
    made.add(Key("bulk", "uvloop", "tcp"), {"MB/s": 1000.0, "own %": 1.0})
    made.add(Key("bulk", "uvloop", "rudp"), {"MB/s": 400.0, "own %": 2.0})
    made.add(Key("bulk", "uvloop", "rudp"), {"MB/s": 600.0, "own %": 2.0})
    made.fail(Key("bulk", "uvloop", "rudp"), "[bold] fell silent")
    made.fail(Key("echo", "uvloop", "rudp"), "never began")
    made.skipped["kcptun"] = "there is no kcptun-client"
    return made


def test_the_file_has_samples_summary_machine_and_reasons(report: Report, tmp_path: Path) -> None:
    data = json.loads(report.write(tmp_path / "report.json").read_text())
    assert data["benchmark"] == "loopback"
    assert data["skipped"] == {"kcptun": "there is no kcptun-client"}
    for name in ("system", "kernel", "processor", "cores", "load", "python", "packages", "commit"):
        assert name in data["machine"]
    tcp, rudp, echo = data["results"]
    assert (rudp["test"], rudp["group"], rudp["transport"]) == ("bulk", "uvloop", "rudp")
    assert rudp["samples"] == [{"MB/s": 400.0, "own %": 2.0}, {"MB/s": 600.0, "own %": 2.0}]
    assert rudp["errors"] == ["[bold] fell silent"]
    assert rudp["summary"]["MB/s"] == {"median": 500, "low": 400, "high": 600, "ratio": 0.5}
    assert rudp["summary"]["own %"]["ratio"] is None
    assert tcp["summary"]["MB/s"]["ratio"] is None
    assert echo["summary"] == {}


def test_a_file_is_read_as_it_was_written(report: Report, tmp_path: Path) -> None:
    path = report.write(tmp_path / "report.json")
    assert read(path) == report


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', '{"format": 1}'])
def test_another_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.json is not a benchmark report"):
        read(path)


def test_a_run_has_failed_if_any_cell_has_or_there_is_none(report: Report) -> None:
    assert report.failed
    assert Report("loopback", "tcp", {}).failed
    sound = Report("loopback", "tcp", {})
    sound.add(Key("bulk", "uvloop", "tcp"), {"MB/s": 1.0})
    assert not sound.failed


def test_the_table_has_spreads_ratios_skips_and_errors(report: Report) -> None:
    console = Console(width=120, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        table.show(report, console)
    text = console.export_text()
    assert "500 (400 – 600) 0.500×" in text
    assert "rudp (1 failed)" in text
    assert "2.00 (2.00 – 2.00)" in text
    assert "skipped kcptun: there is no kcptun-client" in text
    assert "bulk uvloop rudp: [bold] fell silent" in text
    assert "echo uvloop rudp: never began" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.01234, "0.0123"), (1.0, "1.00"), (12.34, "12.3"), (99.94, "99.9"),
     (1234.5, "1,234"), (100.4, "100")],
)  # fmt: skip
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert table.number(value) == shown


@pytest.mark.parametrize(("suffix", "magic"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_the_chart_is_drawn_by_its_name(
    report: Report, tmp_path: Path, suffix: str, magic: bytes
) -> None:
    path = tmp_path / f"chart.{suffix}"
    chart.save(report, path)
    assert path.read_bytes().startswith(magic)


def test_the_chart_has_a_bar_for_every_median(report: Report) -> None:
    (panel,) = chart.draw(report).axes
    assert sorted(bar.get_height() for bar in panel.patches) == [500, 1000]
    assert panel.get_ylabel() == "MB/s"


def test_a_panel_with_many_bars_has_a_row_to_itself(report: Report) -> None:
    for number in range(chart.WIDE_FROM_BARS):
        report.add(Key("bulk", "uvloop", f"rudp-{1200 + number}"), {"MB/s": 1.0 + number})
    for test in ("echo", "idle"):
        report.add(Key(test, "uvloop", "tcp"), {"p50 µs": 2.0})
    wide, left, right = (axis.get_position(original=True) for axis in chart.draw(report).axes)
    assert wide.width > 1.8 * left.width
    assert (left.y0, left.width) == pytest.approx((right.y0, right.width))
    assert wide.y0 > left.y1


def test_nothing_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        chart.draw(Report("loopback", "tcp", {}))


def test_the_commit_is_of_this_checkout() -> None:
    commit = machine.describe()["commit"]
    if not (machine.ROOT / ".git").exists():
        assert commit is None
    else:
        assert len(commit.removesuffix("-dirty").rsplit("-g")[-1]) >= 7
