"""The panels of a figure, each drawn on axes that are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rudp.plot.series import Bins, Unit, byte_unit, numbers, rate_unit, steps_up
from rudp.telemetry.recording import Recording

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "compare",
    "draw_limits",
    "draw_losses",
    "draw_rate",
    "draw_rtt",
    "draw_window",
    "summary",
]

# Okabe and Ito's palette, which people tell apart whatever their eyes' receptors.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, RED, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#666666"
_FLOWS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK)
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
"""With more flows than colours, the lines' patterns change too."""

_KNOWN = {"color": GREY, "linestyle": (0, (5, 3)), "linewidth": 1.1}
"""How what is known of the path is drawn, in contrast to what was measured."""

_MARKS = (
    ("tail_probes", "|", BLUE, "tail probe"),
    ("spurious_recoveries", "|", GREEN, "undone"),
    ("timeouts", "v", PURPLE, "timeout"),
)
"""What is marked above the losses: the counter, the mark, its colour and its name."""

_MOST_NAMED = 10
_LABEL_CHARS = 24
_UNLISTED = "_nolegend_"
"""matplotlib's label of what has no entry in the legend."""


def draw_window(axes: Axes, recording: Recording) -> None:
    """Congestion window, bytes in flight, slow-start threshold; the path's BDP."""
    times_s = recording.column("t_s")
    unit = byte_unit(recording.column("cwnd"))
    flying = numbers(recording.column("in_flight"), unit.factor)
    axes.fill_between(times_s, flying, color=SKY, alpha=0.35, linewidth=0)
    axes.plot(times_s, flying, color=SKY, label="in flight", linewidth=0.9)
    window = numbers(recording.column("cwnd"), unit.factor)
    axes.plot(times_s, window, color=BLUE, label="cwnd")
    if recording.has("ssthresh"):
        # A threshold of before, or one that was never meant to be reached, would set the scale.
        top = 1.15 * max(*window, *flying)
        bounds = numbers(recording.column("ssthresh"), unit.factor)
        shown = [value if value <= top else float("nan") for value in bounds]
        axes.plot(times_s, shown, color=RED, label="ssthresh", linestyle=":", linewidth=1.4)
    if recording.header.bdp is not None:
        axes.axhline(recording.header.bdp * unit.factor, label="BDP", **_KNOWN)  # type: ignore[arg-type]
    axes.set_title(f"Window, {unit.name}")


def draw_rtt(axes: Axes, recording: Recording) -> None:
    """Round-trip time: latest, smoothed, smallest; that of the empty path."""
    times_s = recording.column("t_s")
    for name, color, label, width in (
        ("latest_rtt_s", SKY, "latest", 0.9),
        ("srtt_s", BLUE, "smoothed", 1.3),
        ("min_rtt_s", GREEN, "smallest", 1.3),
    ):
        if recording.has(name):
            values = numbers(recording.column(name), 1e3)
            axes.plot(times_s, values, color=color, label=label, linewidth=width)
    if recording.header.link_rtt_s is not None:
        axes.axhline(recording.header.link_rtt_s * 1e3, label="empty path", **_KNOWN)  # type: ignore[arg-type]
    axes.set_title("Round-trip time, ms")


def draw_rate(axes: Axes, recording: Recording, bins: Bins) -> None:
    """What was acknowledged in each part of the time; the estimate, the pacing, the link."""
    times_s = recording.column("t_s")
    acked = _rates(recording, bins)
    unit = _unit_of_rates([acked], recording)
    label = f"acknowledged, mean of {_milliseconds(bins.width_s)}"
    scaled = numbers(acked, unit.factor)
    axes.stairs(scaled, bins.edges_s, fill=True, color=SKY, alpha=0.35)
    axes.stairs(scaled, bins.edges_s, color=BLUE, label=label, linewidth=1.3)
    for name, color, text in (
        ("delivery_rate", GREEN, "delivery rate"),
        ("pacing_rate", ORANGE, "pacing rate"),
    ):
        if recording.has(name):
            rates = numbers(recording.column(name), unit.factor)
            axes.plot(times_s, rates, color=color, label=text, linewidth=1.0)
    if recording.header.link_rate is not None:
        axes.axhline(recording.header.link_rate * unit.factor, label="link", **_KNOWN)  # type: ignore[arg-type]
        # A pacer's start may be many times the link's rate; the rest of the panel matters more.
        axes.set_ylim(top=min(axes.get_ylim()[1], 1.8 * recording.header.link_rate * unit.factor))
    axes.set_title(f"Rate, {unit.name}")


def draw_losses(axes: Axes, recording: Recording, bins: Bins) -> None:
    """Bytes deemed lost and bytes sent again in each part of the time; timeouts, tail loss
    probes and recoveries that were undone as marks."""
    times_s = recording.column("t_s")
    lost = bins.increments(times_s, recording.column("bytes_lost"))
    again = bins.increments(times_s, recording.column("bytes_retransmitted"))
    unit = byte_unit(lost + again)
    edges_s = bins.edges_s
    axes.stairs(numbers(lost, unit.factor), edges_s, fill=True, color=RED, alpha=0.45, label="lost")
    axes.stairs(numbers(again, unit.factor), edges_s, color=BLACK, label="sent again")
    for name, marker, color, label in _MARKS:
        if recording.has(name):
            _mark(axes, recording, name, marker=marker, color=color, label=label)
    if not any(lost) and not any(again):
        axes.set_ylim(top=1.0)
    axes.set_title(f"Losses per {_milliseconds(bins.width_s)}, {unit.name}")


def draw_limits(axes: Axes, parts: dict[str, list[float]], bins: Bins) -> None:
    """What kept the connection from sending more: each cause's share of the time, stacked."""
    below = [0.0] * (len(bins.edges_s) - 1)
    colors = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
    for i, (cause, part) in enumerate(parts.items()):
        above = [low + high for low, high in zip(below, part, strict=True)]
        axes.stairs(
            [value * 100 for value in above],
            bins.edges_s,
            baseline=[value * 100 for value in below],
            fill=True,
            color=colors[i % len(colors)],
            alpha=0.75,
            label=cause.replace("_", " ") if any(part) else _UNLISTED,
        )
        below = above
    axes.set_ylim(0, 100)
    axes.set_title("Limited by, % of time")


def compare(axes: dict[str, Axes], recordings: Sequence[Recording], bins: Bins) -> None:
    """Several connections: one line each in every panel, one colour each in all of them."""
    cwnds = [cwnd for recording in recordings for cwnd in recording.column("cwnd")]
    window, losses = byte_unit(cwnds), byte_unit(_totals(recordings, "bytes_lost"))
    all_rates = [_rates(recording, bins) for recording in recordings]
    rate = _unit_of_rates(all_rates, recordings[0])
    for i, (recording, rates) in enumerate(zip(recordings, all_rates, strict=True)):
        color, dashes = _FLOWS[i % len(_FLOWS)], _DASHES[i // len(_FLOWS) % len(_DASHES)]
        label = _short(recording.header.title) or str(i + 1)
        times_s = recording.column("t_s")
        for name, column, factor in (
            ("window", "cwnd", window.factor),
            ("rtt", "srtt_s", 1e3),
            ("losses", "bytes_lost", losses.factor),
        ):
            values = numbers(recording.column(column), factor)
            axes[name].plot(
                times_s,
                values,
                color=color,
                linestyle=dashes,
                label=label if name == "window" and i < _MOST_NAMED else _UNLISTED,
            )
        scaled = numbers(rates, rate.factor)
        axes["rate"].stairs(scaled, bins.edges_s, color=color, linestyle=dashes)
        _mark(axes["losses"], recording, "timeouts", marker="v", color=color, label=_UNLISTED)
    link_rate = recordings[0].header.link_rate
    if link_rate is not None:
        axes["rate"].axhline(link_rate * rate.factor, label="link", **_KNOWN)  # type: ignore[arg-type]
    axes["window"].set_title(f"cwnd, {window.name}")
    axes["rtt"].set_title("Smoothed round-trip time, ms")
    axes["rate"].set_title(f"Acknowledged, mean of {_milliseconds(bins.width_s)}, {rate.name}")
    axes["losses"].set_title(f"Lost in all, {losses.name}")


def summary(recordings: Sequence[Recording], *, shared: bool) -> str:
    """The whole course in a line: mean rates, losses, timeouts; how fair they were if `shared`."""
    rates = [_mean_rate(recording) for recording in recordings]
    unit = rate_unit(rates)
    lost, acked = sum(_totals(recordings, "bytes_lost")), sum(_totals(recordings, "bytes_acked"))
    timeouts = int(sum(_totals(recordings, "timeouts")))
    means = " + ".join(f"{rate * unit.factor:.3g}" for rate in rates)
    parts = [f"{means} {unit.name} acknowledged on average"]
    if shared and len(rates) > 1 and any(rates):
        # Jain, Chiu and Hawe, DEC-TR-301: 1 is equal shares.
        jain = sum(rates) ** 2 / (len(rates) * sum(rate * rate for rate in rates))
        parts.append(f"Jain index {jain:.3f}")
    share = 100 * lost / (acked + lost) if acked + lost else 0.0
    parts.append(f"{share:.2g} % deemed lost")
    parts.append(f"{timeouts} timeout{'' if timeouts == 1 else 's'}")
    return ", ".join(parts)


def _mark(axes: Axes, recording: Recording, name: str, **style: str) -> None:
    """A mark at the top of the panel wherever a counter rose."""
    times_s = steps_up(recording, name)
    if times_s:
        axes.plot(
            times_s,
            [0.93] * len(times_s),
            linestyle="",
            markersize=6,
            markeredgecolor=BLACK if style["marker"] == "v" else style["color"],
            markeredgewidth=0.5 if style["marker"] == "v" else 1.0,
            transform=axes.get_xaxis_transform(),
            **style,  # type: ignore[arg-type]
        )


def _short(title: str) -> str:
    return title if len(title) <= _LABEL_CHARS else title[: _LABEL_CHARS - 1] + "…"


def _rates(recording: Recording, bins: Bins) -> list[float]:
    return bins.slopes(recording.column("t_s"), recording.column("bytes_acked"))


def _unit_of_rates(rates: Sequence[Sequence[float]], recording: Recording) -> Unit:
    return rate_unit([recording.header.link_rate, *(rate for flow in rates for rate in flow)])


def _totals(recordings: Sequence[Recording], name: str) -> list[float]:
    """How much a counter rose over each recording."""
    columns = [recording.column(name) for recording in recordings]
    return [column[-1] - column[0] for column in columns]


def _mean_rate(recording: Recording) -> float:
    acked = _totals([recording], "bytes_acked")[0]
    return acked / recording.duration_s if recording.duration_s else 0.0


def _milliseconds(width_s: float) -> str:
    return f"{width_s * 1e3:.3g} ms" if width_s < 1 else f"{width_s:.3g} s"
