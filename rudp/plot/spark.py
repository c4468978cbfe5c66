"""A recording as lines of text: each number over time, in the height of a character."""

from __future__ import annotations

from rudp.plot.series import byte_unit
from rudp.telemetry.recording import Recording

__all__ = ["sparklines"]

_LEVELS = " ▁▂▃▄▅▆▇█"


def sparklines(recording: Recording, *, width: int = 60) -> str:
    """A line for each number that is known: its name, its course, its least and its most.

    Args:
        recording: With at least two rows.
        width: Columns of the course.

    Raises:
        ValueError: The recording is too short.
    """
    if len(recording.samples) < 2:
        raise ValueError("less than two rows, nothing to draw")
    unit = byte_unit(recording.column("cwnd"))
    rows: list[tuple[str, str, str, float]] = [
        ("cwnd", "cwnd", unit.name, unit.factor),
        ("in flight", "in_flight", unit.name, unit.factor),
        ("ssthresh", "ssthresh", unit.name, unit.factor),
        ("smoothed RTT", "srtt_s", "ms", 1e3),
        ("latest RTT", "latest_rtt_s", "ms", 1e3),
        ("acknowledged", "bytes_acked", unit.name, unit.factor),
        ("lost", "bytes_lost", unit.name, unit.factor),
        ("sent again", "bytes_retransmitted", unit.name, unit.factor),
    ]
    begin_s = recording.samples[0].t_s
    times_s = [t_s - begin_s for t_s in recording.column("t_s")]
    lines = [f"{recording.header.title}  {recording.duration_s:.3f} s".strip()]
    for name, column, unit_name, factor in rows:
        if recording.has(column):
            values = [None if v is None else v * factor for v in recording.column(column)]
            known = [value for value in values if value is not None]
            course = _course(times_s, values, width, max(known))
            span = f"{min(known):.4g} … {max(known):.4g} {unit_name}"
            lines.append(f"{name:>13} {course} {span}")
    return "\n".join(lines)


def _course(times_s: list[float], values: list[float | None], width: int, most: float) -> str:
    """The highest value in each of `width` equal parts of the time; a part without a row goes on
    as the last one ended."""
    parts: list[float | None] = [None] * width
    last: list[float | None] = [None] * width
    whole_s = times_s[-1] or 1.0
    for time_s, value in zip(times_s, values, strict=True):
        at = min(int(time_s / whole_s * width), width - 1)
        if value is not None:
            parts[at] = value if parts[at] is None else max(parts[at] or 0.0, value)
            last[at] = value
    held: float | None = None
    shown = []
    for part, end in zip(parts, last, strict=True):
        value = part if part is not None else held
        held = end if end is not None else held
        shown.append(_LEVELS[0] if not value else _LEVELS[max(1, round(value / most * 8))])
    return "".join(shown)
