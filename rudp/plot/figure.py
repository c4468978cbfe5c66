"""Draw recordings as a figure of stacked panels on one time axis. Needs matplotlib, no display.

The same recordings give the same SVG, byte for byte, on the same version of matplotlib: plots
that are kept under version control do not change for nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from rudp.plot import panels
from rudp.plot.series import bins_of, shares
from rudp.telemetry.recording import Recording

__all__ = ["SUFFIXES", "draw", "save"]

SUFFIXES = (".png", ".svg", ".pdf")
"""The kinds of files that `save` writes."""

_HEAD_IN = 0.6
_NEAR_ZERO = 0.1
"""A recording that begins this early in its own time is drawn from zero."""

_P = ParamSpec("_P")
_T = TypeVar("_T")

_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#777777",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "lines.linewidth": 1.3,
    "path.simplify_threshold": 0.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.3,
    "legend.borderaxespad": 0.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    # Text stays text: it can be searched and selected, and the file is a third of the size.
    "svg.fonttype": "none",
    "svg.hashsalt": "rudp",
}


def styled(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Draw in our style whatever the user's matplotlibrc says, and leave the user's alone."""

    @functools.wraps(function)
    def inner(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(_STYLE)  # type: ignore[arg-type]
            return function(*args, **kwargs)

    return inner


@styled
def draw(
    recordings: Sequence[Recording], *, title: str | None = None, shared: bool = False
) -> Figure:
    """A figure of one connection in full, or of several side by side.

    Its axes are labelled "window", "rtt", "rate", "losses" and, where the recording tells it,
    "limited by".

    Args:
        recordings: With at least two rows each.
        title: What stands above; None is the first recording's title.
        shared: The connections shared one link at the same time: say how fair they were.

    Raises:
        ValueError: There is no recording, or one is too short to be drawn.
    """
    if not recordings:
        raise ValueError("recordings must have at least one")
    for recording in recordings:
        if len(recording.samples) < 2:
            raise ValueError(f"recording {recording.header.title!r} has less than two rows")
    bins = bins_of(recordings)
    limited = shares(recordings[0], bins) if len(recordings) == 1 else {}
    names = ["window", "rtt", "rate", "losses", *(["limited by"] if limited else [])]
    axes = _stack(names)
    if len(recordings) == 1:
        recording = recordings[0]
        panels.draw_window(axes["window"], recording)
        panels.draw_rtt(axes["rtt"], recording)
        panels.draw_rate(axes["rate"], recording, bins)
        panels.draw_losses(axes["losses"], recording, bins)
        if limited:
            panels.draw_limits(axes["limited by"], limited, bins)
    else:
        panels.compare(axes, recordings, bins)
    _finish(axes, bins.edges_s)
    figure = axes["window"].get_figure(root=True)
    if figure is None:
        raise RuntimeError("an axes without a figure")
    head = recordings[0].header.title if title is None else title
    _write_head(figure, head, panels.summary(recordings, shared=shared))
    return figure


@styled
def save(figure: Figure, path: str | PathLike[str]) -> None:
    """Write the figure; the kind of file is that of the suffix.

    Raises:
        OSError: The file cannot be written.
        ValueError: The suffix is none of `SUFFIXES`.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"path must end in {', '.join(SUFFIXES)}, not {str(path)!r}")
    # What changes from run to run, or with matplotlib's version, says nothing about the plot.
    dated = {".svg": ("Date", "Creator"), ".pdf": ("CreationDate", "Creator", "Producer")}
    metadata = dict.fromkeys(dated.get(suffix, ("Software",)))
    figure.savefig(path, format=suffix[1:], dpi=150, metadata=metadata)


def _stack(names: Sequence[str]) -> dict[str, Axes]:
    heights = {"window": 1.35, "limited by": 0.4, "losses": 0.8}
    ratios = [heights.get(name, 1.0) for name in names]
    height_in = 1.0 + 1.85 * sum(ratios)
    layout = ConstrainedLayoutEngine(
        h_pad=0.06, hspace=0.03, rect=(0, 0, 1, 1 - _HEAD_IN / height_in)
    )
    figure = Figure(figsize=(9.0, height_in), layout=layout)
    grid = figure.subplots(len(names), 1, sharex=True, height_ratios=ratios, squeeze=False)
    axes: dict[str, Axes] = {}
    for name, one in zip(names, grid[:, 0], strict=True):
        one.set_label(name)
        axes[name] = one
    return axes


def _finish(axes: dict[str, Axes], edges_s: Sequence[float]) -> None:
    begin_s, end_s = edges_s[0], edges_s[-1]
    if 0 < begin_s < _NEAR_ZERO * end_s:
        begin_s = 0.0
    for one in axes.values():
        one.set_xlim(begin_s, end_s)
        one.set_ylim(bottom=0)
        handles, labels = one.get_legend_handles_labels()
        if handles:
            legend = one.legend(
                handles, labels, loc="lower right", bbox_to_anchor=(1.0, 1.02), ncols=len(handles)
            )
            legend.set_in_layout(False)  # a long one does not make the panels smaller
    last = list(axes.values())[-1]
    last.set_xlabel("time, s")


def _write_head(figure: Figure, title: str, summary: str) -> None:
    """The title, and the summary below it, in the space that `_stack` left for them."""
    height = figure.get_figheight()
    for text, below_in, style in (
        (title, 0.12, {"fontsize": 11.5, "fontweight": "bold"}),
        (summary, 0.36, {"color": "#444444"}),
    ):
        figure.text(0.012, 1 - below_in / height, text, ha="left", va="top", **style)
