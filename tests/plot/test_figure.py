"""The figure shows what was recorded, and is the same each time. No display is needed."""

from __future__ import annotations

import dataclasses
import math
import random
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rudp.telemetry.recording import Header, Recording, Sample

matplotlib = pytest.importorskip("matplotlib", reason="the extra [plot] is not installed")

from rudp.plot.figure import SUFFIXES, draw, save  # noqa: E402

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


def panel(figure: Figure, name: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_label() == name)


def line(figure: Figure, name: str, label: str) -> Line2D:
    return next(one for one in panel(figure, name).get_lines() if one.get_label() == label)


def points(figure: Figure, name: str, label: str) -> tuple[list[float], list[float]]:
    one = line(figure, name, label)
    return list(one.get_xdata()), list(one.get_ydata())  # type: ignore[arg-type]


def legend(figure: Figure, name: str) -> list[str]:
    shown = panel(figure, name).get_legend()
    return [text.get_text() for text in shown.get_texts()] if shown is not None else []


def stairs(figure: Figure, name: str, label: str) -> tuple[list[float], list[float]]:
    patches = panel(figure, name).patches
    data = next(one for one in patches if one.get_label() == label).get_data()  # type: ignore[attr-defined]
    return list(data.values), list(data.edges)


@pytest.mark.parametrize(
    ("name", "label", "column", "factor"),
    [
        ("window", "cwnd", "cwnd", 1e-3),
        ("window", "in flight", "in_flight", 1e-3),
        ("window", "ssthresh", "ssthresh", 1e-3),
        ("rtt", "latest", "latest_rtt_s", 1e3),
        ("rtt", "smoothed", "srtt_s", 1e3),
        ("rtt", "smallest", "min_rtt_s", 1e3),
        ("rate", "delivery rate", "delivery_rate", 8e-6),
        ("rate", "pacing rate", "pacing_rate", 8e-6),
    ],
)
def test_a_line_is_what_was_recorded(
    recording: Recording, name: str, label: str, column: str, factor: float
) -> None:
    times_s, values = points(draw([recording]), name, label)
    assert times_s == recording.column("t_s")
    expected = [math.nan if v is None else v * factor for v in recording.column(column)]
    assert values == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("name", "label", "value"),
    [("window", "BDP", 50.0), ("rtt", "empty path", 40.0), ("rate", "link", 10.0)],
)
def test_what_is_known_of_the_path_is_drawn(
    recording: Recording, name: str, label: str, value: float
) -> None:
    assert points(draw([recording]), name, label)[1] == pytest.approx([value, value])
    recording.header = Header()
    assert label not in legend(draw([recording]), name)


def test_rates_are_means_of_what_was_acknowledged(recording: Recording) -> None:
    values, edges_s = stairs(draw([recording]), "rate", "acknowledged, mean of 200 ms")
    assert edges_s == pytest.approx([i / 5 for i in range(11)])
    assert values == pytest.approx([8.0] * 10)  # 10 kB in 10 ms are 8 Mbit/s


def test_losses_are_drawn_where_they_were(recording: Recording) -> None:
    figure = draw([recording])
    lost, _ = stairs(figure, "losses", "lost")
    assert lost == pytest.approx([0, 0, 1.2, 0, 0, 0, 0, 1.2, 0, 0])
    assert stairs(figure, "losses", "sent again")[0] == pytest.approx(lost)
    assert points(figure, "losses", "timeout")[0] == [1.53]
    assert points(figure, "losses", "undone")[0] == [1.81]
    assert legend(figure, "losses") == ["lost", "sent again", "undone", "timeout"]


def test_limits_are_stacked_to_the_whole_time(recording: Recording) -> None:
    figure = draw([recording])
    assert legend(figure, "limited by") == ["cwnd", "application"]
    assert stairs(figure, "limited by", "cwnd")[0] == pytest.approx([100] * 5 + [0] * 5)
    assert stairs(figure, "limited by", "application")[0] == pytest.approx([100] * 10)


def test_what_was_not_recorded_is_not_drawn() -> None:
    rows = [Sample(i / 10, 10_000, 5_000, 1000 * i, 0, 0, 0) for i in range(20)]
    figure = draw([Recording(samples=rows)])
    assert [axes.get_label() for axes in figure.axes] == ["window", "rtt", "rate", "losses"]
    assert legend(figure, "window") == ["in flight", "cwnd"]
    assert legend(figure, "rtt") == []
    assert len(legend(figure, "rate")) == 1


def test_a_threshold_out_of_reach_does_not_set_the_scale(recording: Recording) -> None:
    recording.samples = [row._replace(ssthresh=1 << 30) for row in recording.samples]
    figure = draw([recording])
    assert all(math.isnan(value) for value in points(figure, "window", "ssthresh")[1])
    assert panel(figure, "window").get_ylim()[1] < 100


def test_the_panels_share_the_time(recording: Recording) -> None:
    recording.samples = recording.samples[10:]
    limits = {axes.get_xlim() for axes in draw([recording]).axes}
    assert limits == {(0.0, 2.0)}  # it began early enough to be drawn from zero
    recording.samples = recording.samples[100:]
    assert {axes.get_xlim() for axes in draw([recording]).axes} == {(1.1, 2.0)}


def test_several_connections_have_a_line_each(recording: Recording) -> None:
    other = Recording(Header(title="the other"), [s._replace(cwnd=5000) for s in recording.samples])
    figure = draw([recording, other], title="two of them", shared=True)
    assert legend(figure, "window") == ["made by hand", "the other"]
    assert points(figure, "window", "the other")[1] == pytest.approx([5.0] * 201)
    colors = [one.get_color() for one in panel(figure, "window").get_lines()]
    assert len(set(colors)) == 2
    texts = [text.get_text() for text in figure.texts]
    assert texts[0] == "two of them"
    assert "8 + 8 Mbit/s" in texts[1]
    assert "Jain index 1.000" in texts[1]
    assert "2 timeouts" in texts[1]


def test_jains_index_is_of_those_who_shared_a_link(recording: Recording) -> None:
    slow = Recording(samples=[s._replace(bytes_acked=0) for s in recording.samples])
    assert "Jain index 0.500" in draw([recording, slow], shared=True).texts[1].get_text()
    assert "Jain" not in draw([recording, slow]).texts[1].get_text()
    assert "Jain" not in draw([recording], shared=True).texts[1].get_text()


def test_many_connections_do_not_fill_the_legend(recording: Recording) -> None:
    many = [
        Recording(dataclasses.replace(recording.header, title=f"{i} {'x' * 50}"), recording.samples)
        for i in range(30)
    ]
    figure = draw(many)
    assert len(panel(figure, "window").get_lines()) == 30
    named = legend(figure, "window")
    assert len(named) == 10
    assert all(len(name) <= 24 for name in named)
    looks = {
        (one.get_color(), str(one.get_linestyle())) for one in panel(figure, "rtt").get_lines()
    }
    assert len(looks) > 7


def test_the_summary_says_what_happened(recording: Recording) -> None:
    head, summary = (text.get_text() for text in draw([recording]).texts)
    assert head == "made by hand"
    assert summary == "8 Mbit/s acknowledged on average, 0.12 % deemed lost, 1 timeout"


@pytest.mark.parametrize("rows", [0, 1])
def test_too_short_a_recording_is_refused(recording: Recording, rows: int) -> None:
    recording.samples = recording.samples[:rows]
    with pytest.raises(ValueError, match="less than two rows"):
        draw([recording])


def test_no_recording_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        draw([])


def test_a_connection_that_did_nothing_can_be_drawn(tmp_path: Path) -> None:
    rows = [Sample(t_s, 10_000, 0, 0, 0, 0, 0) for t_s in (0.0, 0.0)]
    save(draw([Recording(samples=rows)]), tmp_path / "idle.svg")
    assert (tmp_path / "idle.svg").stat().st_size > 1000


# --- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")]
)
def test_files_are_of_the_kind_of_their_suffix(
    recording: Recording, tmp_path: Path, suffix: str, magic: bytes
) -> None:
    path = tmp_path / f"plot{suffix.upper()}"
    save(draw([recording]), path)
    assert path.read_bytes().startswith(magic)
    assert suffix in SUFFIXES


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_recording_gives_the_same_file(
    recording: Recording, tmp_path: Path, suffix: str
) -> None:
    """Whatever the user's settings and Python's own random generator say."""
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    save(draw([recording]), first)
    random.seed(99)
    with matplotlib.rc_context({"svg.hashsalt": None, "font.size": 20, "axes.grid": False}):
        save(draw([recording]), second)
        assert matplotlib.rcParams["font.size"] == 20  # the user's settings are as they were
    assert first.read_bytes() == second.read_bytes()


def test_an_svg_has_its_words_as_text_and_no_date(recording: Recording, tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    save(draw([recording]), path)
    root = ET.parse(path).getroot()  # noqa: S314 - we wrote it
    words = {node.text for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"made by hand", "cwnd", "Window, kB", "Round-trip time, ms", "time, s"} <= words
    assert "date" not in path.read_text().lower()


def test_other_suffixes_are_refused(recording: Recording, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.png, \.svg, \.pdf"):
        save(draw([recording]), tmp_path / "plot.doc")
