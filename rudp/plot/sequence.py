"""A conversation as a time-sequence graph: what was sent when, and what became of it.

The graph that tcptrace made known: time across, sequence numbers up; data as it leaves,
retransmissions, the acknowledgements' staircase below and the window's edge above.
"""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from rudp.plot.figure import styled
from rudp.plot.panels import BLACK, BLUE, GREEN, PURPLE, RED
from rudp.plot.series import Unit, byte_unit
from rudp.telemetry.conversation import Conversation, Step
from rudp.wire.segment import ACK, RST, SYN

__all__ = ["draw"]

_Line = list[tuple[float, float]]
_LEAST_KB = 2000


@styled
def draw(conversation: Conversation, *, title: str | None = None) -> Figure:
    """A figure with a panel for each direction that carried data.

    Raises:
        ValueError: Nothing was sent in either direction.
    """
    ways = [
        outbound
        for outbound in (True, False)
        if any(step.length and step.outbound is outbound for step in conversation.steps)
    ]
    if not ways:
        raise ValueError("no segment carries data: there is nothing to draw")
    figure = Figure(figsize=(9.0, 1.2 + 3.4 * len(ways)), layout="constrained")
    axes = figure.subplots(len(ways), 1, sharex=True, squeeze=False)[:, 0]
    for one, outbound in zip(axes, ways, strict=True):
        _draw_way(one, conversation, outbound=outbound)
    axes[-1].set_xlabel("time, s")
    figure.suptitle(
        title if title is not None else f"{conversation.left}, {conversation.right}",
        x=0.012,
        ha="left",
        fontsize=11.5,
        fontweight="bold",
    )
    return figure


def _draw_way(axes: Axes, conversation: Conversation, *, outbound: bool) -> None:
    data = [step for step in conversation.steps if step.length and step.outbound is outbound]
    answers = [
        step
        for step in conversation.steps
        if step.outbound is not outbound and step.flags & ACK and not step.flags & RST
    ]
    last = max(step.seq + step.length for step in data)
    unit = byte_unit([last]) if last >= _LEAST_KB else Unit("bytes", 1.0)
    source, target = conversation.left, conversation.right
    if not outbound:
        source, target = target, source
    axes.set_title(f"{source} to {target}")
    axes.set_ylabel(f"sequence number, {unit.name}")
    acks = [(step.time_s, step.ack * unit.factor) for step in answers]
    edges = [(step.time_s, (step.ack + step.window) * unit.factor) for step in answers]
    _stairs(axes, edges, PURPLE, "window's edge")
    _stairs(axes, acks, GREEN, "acknowledged")
    _bars(axes, _segments(data, unit, again=False), BLUE, "data")
    _bars(axes, _segments(data, unit, again=True), RED, "again")
    _bars(axes, _selective(answers, unit), BLACK, "SACK", width=0.6)
    # The window is often far above: it must not squeeze what there is to see.
    axes.set_ylim(0, last * unit.factor * 1.12)
    axes.set_xlim(left=0)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.02), ncols=5)


def _stairs(axes: Axes, points: _Line, colour: str, label: str) -> None:
    if points:
        times, values = zip(*points, strict=True)
        axes.step(times, values, where="post", color=colour, linewidth=0.9, label=label)


def _bars(axes: Axes, lines: list[_Line], colour: str, label: str, *, width: float = 1.6) -> None:
    if lines:
        axes.add_collection(
            LineCollection(lines, colors=colour, linewidths=width, label=label, capstyle="butt")
        )


def _segments(data: Iterable[Step], unit: Unit, *, again: bool) -> list[_Line]:
    return [
        [
            (step.time_s, step.seq * unit.factor),
            (step.time_s, (step.seq + step.length) * unit.factor),
        ]
        for step in data
        if step.again is again and not step.flags & SYN
    ]


def _selective(answers: Iterable[Step], unit: Unit) -> list[_Line]:
    return [
        [(step.time_s, left * unit.factor), (step.time_s, right * unit.factor)]
        for step in answers
        for left, right in step.sack
    ]
