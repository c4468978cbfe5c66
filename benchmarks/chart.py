"""A chart of a results file: a panel a figure, bars of the medians, whiskers to the bounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

from benchmarks.figures import Spread
from benchmarks.report import Report
from benchmarks.table import number

WIDE_FROM_BARS = 20
"""A panel with more bars than this takes a row to itself."""
LOGARITHMIC_FROM = 30.0
"""Where the largest bar is so many times the smallest, both can be read on a logarithm only."""
_PANEL_INCHES = 7.5, 3.6
_FOOT_INCHES = 0.5
_CLUSTER = 0.84  # of the distance between groups


def save(report: Report, output: Path) -> None:
    """Draw a report; the name's ending says as what: .svg, .png, .pdf.

    Raises `ValueError` for an ending that matplotlib does not know, or if there is nothing to
    draw, and `OSError` if the file cannot be written.
    """
    # The same results make the same file, wherever it is drawn.
    with mpl.rc_context({"svg.hashsalt": "rudp", "axes.spines.top": False}):
        metadata = {"Date": None} if output.suffix == ".svg" else None
        draw(report).savefig(output, metadata=metadata, dpi=110)


def draw(report: Report) -> Figure:
    """The chart as a matplotlib figure. Raises `ValueError` if there is nothing to draw."""
    from matplotlib.figure import Figure  # without pyplot, which would want a display
    from matplotlib.patches import Patch

    panels = [
        (test, figure)
        for test in dict.fromkeys(key.test for key in report.results)
        for figure in _figures(report, test)
    ]
    if not panels:
        raise ValueError("nothing was measured, so there is nothing to draw")
    rows = _rows(report, panels)
    width, height = _PANEL_INCHES
    size = (2 * width, len(rows) * height + _FOOT_INCHES)
    chart = Figure(figsize=size, layout="constrained")
    grid = chart.add_gridspec(len(rows), 2)
    for at, row in enumerate(rows):
        for place, (test, figure) in enumerate(row):
            where = grid[at, place] if len(row) > 1 else grid[at, :]
            _panel(chart.add_subplot(where), report, test, figure)
    patches = [Patch(color=colour, label=name) for name, colour in _colours(report).items()]
    chart.legend(
        handles=patches,
        loc="outside upper center",
        ncols=7,
        frameon=False,
        fontsize=8,
        title=f"{report.benchmark}: medians, and the lowest and highest of all runs",
    )
    chart.supxlabel(_origin(report), fontsize=8)
    return chart


_PanelName = tuple[str, str]
"""A test and a figure of it."""


def _rows(report: Report, panels: list[_PanelName]) -> list[list[_PanelName]]:
    """The panels, one or two a row."""
    rows: list[list[_PanelName]] = []
    room = False
    for test, figure in panels:
        bars = sum(
            figure in one.figures() for key, one in report.results.items() if key.test == test
        )
        wide = bars > WIDE_FROM_BARS
        if room and not wide:
            rows[-1].append((test, figure))
            room = False
        else:
            rows.append([(test, figure)])
            room = not wide
    return rows


def _figures(report: Report, test: str) -> list[str]:
    """The figures of a test that are about the transports."""
    results = (result for key, result in report.results.items() if key.test == test)
    names = dict.fromkeys(name for result in results for name in result.figures())
    return [name for name in names if name not in report.uncompared]


def _colours(report: Report) -> dict[str, Any]:
    """A colour for each transport, the same in every panel."""
    names = list(dict.fromkeys(key.transport for key in report.results))
    palette = mpl.colormaps["tab10" if len(names) <= 10 else "tab20"]
    return {name: palette(index % palette.N) for index, name in enumerate(names)}


def _panel(axis: Axes, report: Report, test: str, figure: str) -> None:
    chosen = {
        key: spread
        for key, result in report.results.items()
        if key.test == test and (spread := result.spread(figure)) is not None
    }
    groups = list(dict.fromkeys(key.group for key in chosen))
    crowd = max(sum(key.group == group for key in chosen) for group in groups)
    width = _CLUSTER / crowd
    colours = _colours(report)
    for place, group in enumerate(groups):
        members = [key for key in chosen if key.group == group]
        for index, key in enumerate(members):
            at = place + (index - (len(members) - 1) / 2) * width
            _bar(axis, at, width, chosen[key], colours[key.transport])
    heights = [spread.median for spread in chosen.values()]
    if min(heights) > 0 and max(heights) > LOGARITHMIC_FROM * min(heights):
        axis.set_yscale("log")
    elif not max(heights):
        axis.set_ylim(0, 1)
    axis.set_xticks(range(len(groups)), groups)
    axis.margins(y=0.12)
    axis.set_ylabel(figure)
    axis.set_title(test, fontsize=10)


def _bar(axis: Axes, at: float, width: float, spread: Spread, colour: Any) -> None:
    whiskers = [[spread.median - spread.low], [spread.high - spread.median]]
    thin = {"elinewidth": 0.8}
    bar = axis.bar([at], [spread.median], 0.92 * width, color=colour, yerr=whiskers, error_kw=thin)
    axis.bar_label(bar, [number(spread.median)], fontsize=6, padding=2)


def _origin(report: Report) -> str:
    """Where and when the figures were measured."""
    machine: dict[str, Any] = report.machine
    return (
        f"{machine['processor']}, {machine['cores']} cores, kernel {machine['kernel']}, "
        f"{machine['python']}, commit {machine['commit']}, {report.started}"
    )
