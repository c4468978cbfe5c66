"""From samples to figures: percentiles, medians with their spread, ratios to a baseline."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Sample = dict[str, float]
"""What one run measured: values by the name of the figure, which ends with the unit."""


class Key(NamedTuple):
    """Which of its runs are repeats of each other."""

    test: str
    group: str
    """What is held equal between transports: the event loop, or the link."""
    transport: str


@dataclass
class Result:
    """All runs of one key, and why those failed that did."""

    key: Key
    samples: list[Sample] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def spread(self, figure: str) -> Spread | None:
        """The median of a figure and its bounds; None if no run has it."""
        values = [sample[figure] for sample in self.samples if figure in sample]
        if not values:
            return None
        return Spread(statistics.median(values), min(values), max(values))

    def figures(self) -> list[str]:
        """The names of all figures, in the order in which they were measured first."""
        return list(dict.fromkeys(name for sample in self.samples for name in sample))


class Spread(NamedTuple):
    """The median of several runs, the lowest and the highest."""

    median: float
    low: float
    high: float


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of the `ordered` values that `percent` of them do not exceed (nearest rank).

    Raises `ValueError` if there are no values or `percent` is not above 0 and up to 100.
    """
    if not ordered:
        raise ValueError("ordered must have at least one value")
    if not 0 < percent <= 100:
        raise ValueError(f"percent must be above 0 and up to 100, not {percent}")
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]


def fairness_index(shares: Sequence[float]) -> float:
    """Jain's index: 1 if all shares are equal, 1/n if one has everything (RFC 5166 §3).

    Raises `ValueError` if there is no share above zero.
    """
    squares = sum(share * share for share in shares)
    if not squares:
        raise ValueError("shares must have one above zero")
    return sum(shares) ** 2 / (len(shares) * squares)


def ratio(result: Result, figure: str, results: Iterable[Result], baseline: str) -> float | None:
    """The median of `result` over the baseline transport's in the same test and group.

    None for the baseline itself, and where one of the two has no such figure or is zero.
    """
    test, group, transport = result.key
    if transport == baseline:
        return None
    mine = result.spread(figure)
    for other in results:
        if other.key == Key(test, group, baseline):
            theirs = other.spread(figure)
            if mine is not None and theirs is not None and theirs.median:
                return mine.median / theirs.median
    return None
