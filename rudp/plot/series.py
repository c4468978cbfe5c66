"""From a recording's rows to what is drawn: counters to rates, bytes and seconds to units."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rudp.telemetry.recording import Recording

__all__ = ["Bins", "Unit", "bins_of", "byte_unit", "numbers", "rate_unit", "shares", "steps_up"]

_MOST_BINS = 100
_BIN_ROUND_TRIPS = 4
"""Acknowledgements wait for the repair of a loss and then leap: a rate over one round trip would
show the leap."""
_BIN_SAMPLES = 2


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit to draw in: its name, and what a byte, or a byte a second, is in it."""

    name: str
    factor: float


def byte_unit(values: Iterable[float | None]) -> Unit:
    """The unit that gives the largest of some bytes one to three digits."""
    most = max((value for value in values if value is not None), default=0)
    return Unit("MB", 1e-6) if most >= 2e6 else Unit("kB", 1e-3)


def rate_unit(values: Iterable[float | None]) -> Unit:
    """Likewise for bytes a second, in bits."""
    most = max((value for value in values if value is not None), default=0)
    if most >= 2.5e8:
        return Unit("Gbit/s", 8e-9)
    return Unit("Mbit/s", 8e-6) if most >= 2.5e4 else Unit("kbit/s", 8e-3)


def numbers(values: Iterable[float | None], factor: float = 1.0) -> list[float]:
    """The values in a unit; what is not known is NaN, a gap in a line."""
    return [math.nan if value is None else value * factor for value in values]


@dataclass(frozen=True, slots=True)
class Bins:
    """A time axis in parts of `width_s` seconds, the last one up to half longer or shorter.

    `edges_s` is one more than there are parts.
    """

    width_s: float
    edges_s: tuple[float, ...]

    def increments(self, times_s: Sequence[float], counter: Sequence[float]) -> list[float]:
        """By how much a counter rose in each part; between two rows it is taken to rise evenly."""
        levels = [_at(edge_s, times_s, counter) for edge_s in self.edges_s]
        return [after - before for before, after in pairwise(levels)]

    def slopes(self, times_s: Sequence[float], counter: Sequence[float]) -> list[float]:
        """How fast a counter rose in each part, a second."""
        widths_s = [after - before for before, after in pairwise(self.edges_s)]
        rises = self.increments(times_s, counter)
        return [rise / width_s for rise, width_s in zip(rises, widths_s, strict=True)]


def _at(time_s: float, times_s: Sequence[float], values: Sequence[float]) -> float:
    right = bisect_right(times_s, time_s)
    if right == 0:
        return values[0]
    if right == len(times_s):
        return values[-1]
    before_s, after_s = times_s[right - 1], times_s[right]
    share = (time_s - before_s) / (after_s - before_s)
    return values[right - 1] + share * (values[right] - values[right - 1])


def bins_of(recordings: Sequence[Recording]) -> Bins:
    """The parts into which to divide the recordings' time, for rates and losses."""
    begin_s = min(recording.samples[0].t_s for recording in recordings)
    end_s = max(recording.samples[-1].t_s for recording in recordings)
    duration_s = end_s - begin_s
    if duration_s <= 0:
        return Bins(1.0, (begin_s, begin_s + 1.0))
    width_s = _round_up(max(duration_s / _MOST_BINS, *map(_finest_bin_s, recordings)))
    count = max(1, round(duration_s / width_s))
    inner = [begin_s + width_s * i for i in range(count)]
    return Bins(width_s, (*inner, end_s))


def _round_up(value: float) -> float:
    """The next of …, 1, 2, 5, 10, 20, 50, …"""
    power = 10.0 ** math.floor(math.log10(value))
    # Rounding must not make 0.2 into 0.5.
    return next(power * step for step in (1, 2, 5, 10) if power * step >= value * (1 - 1e-9))


def _finest_bin_s(recording: Recording) -> float:
    rtts_s = [rtt_s for rtt_s in recording.column("min_rtt_s") if rtt_s is not None]
    times_s = recording.column("t_s")
    interval_s = min((after - before for before, after in pairwise(times_s)), default=0.0)
    return max(_BIN_ROUND_TRIPS * min(rtts_s, default=0.0), _BIN_SAMPLES * interval_s)


def steps_up(recording: Recording, name: str) -> list[float]:
    """The times in seconds of the rows in which the counter `name` had risen."""
    levels = [value or 0 for value in recording.column(name)]
    times_s = recording.column("t_s")[1:]
    return [
        t_s
        for t_s, (before, after) in zip(times_s, pairwise(levels), strict=True)
        if after > before
    ]


def shares(recording: Recording, bins: Bins) -> dict[str, list[float]]:
    """For each cause of `limited_by`, the share of each part's time, 0 … 1."""
    rows = [sample for sample in recording.samples if sample.limited_by]
    times_s = [sample.t_s for sample in rows]
    causes = dict.fromkeys(cause for sample in rows for cause in sample.limited_by or ())
    parts: dict[str, list[float]] = {}
    for cause in causes:
        counter = [(sample.limited_by or {}).get(cause, 0.0) for sample in rows]
        slopes = bins.slopes(times_s, counter)
        parts[cause] = [min(1.0, max(0.0, slope)) for slope in slopes]
    return parts
