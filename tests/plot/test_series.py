"""What is drawn of what was recorded: rates, units, marks."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from rudp.plot.series import (
    Bins,
    bins_of,
    byte_unit,
    numbers,
    rate_unit,
    shares,
    steps_up,
)
from rudp.telemetry.recording import Recording, Sample


def test_increments_add_up_and_rise_evenly_between_rows() -> None:
    bins = Bins(1.0, (0.0, 1.0, 2.0, 4.0))
    times_s, counter = [0.5, 1.5, 4.0], [10.0, 20.0, 70.0]
    assert bins.increments(times_s, counter) == pytest.approx([5.0, 15.0, 40.0])
    assert bins.slopes(times_s, counter) == pytest.approx([5.0, 15.0, 20.0])


def test_nothing_rises_outside_the_rows() -> None:
    assert Bins(1.0, (0.0, 1.0, 2.0, 3.0)).increments([1.0, 2.0], [5.0, 6.0]) == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("duration_s", "rtt_s", "interval_s", "width_s"),
    [
        (8.0, 0.04, 0.01, 0.2),  # four round trips, rounded up
        (8.0, 0.05, 0.01, 0.2),  # 0.2 exactly
        (100.0, 0.04, 0.01, 1.0),  # a hundred parts are enough
        (0.5, None, 0.01, 0.02),  # two samples
        (0.05, 0.2, 0.01, 1.0),  # shorter than a part
    ],
)
def test_parts_have_round_widths(
    duration_s: float, rtt_s: float | None, interval_s: float, width_s: float
) -> None:
    count = round(duration_s / interval_s)
    rows = [
        Sample(3.0 + i * interval_s, 1, 1, i, 0, 0, 0, min_rtt_s=rtt_s) for i in range(count + 1)
    ]
    bins = bins_of([Recording(samples=rows)])
    assert bins.width_s == pytest.approx(width_s)
    assert bins.edges_s[0] == 3.0
    assert bins.edges_s[-1] == rows[-1].t_s
    widths_s = [after - before for before, after in pairwise(bins.edges_s)]
    assert widths_s[:-1] == pytest.approx([width_s] * (len(widths_s) - 1))
    assert widths_s[-1] <= 1.5 * width_s
    assert len(widths_s) == 1 or widths_s[-1] >= 0.5 * width_s - 1e-9


def test_several_recordings_share_their_parts() -> None:
    early = Recording(samples=[Sample(t, 1, 1, 0, 0, 0, 0) for t in (1.0, 2.0)])
    late = Recording(samples=[Sample(t, 1, 1, 0, 0, 0, 0) for t in (5.0, 9.0)])
    edges_s = bins_of([early, late]).edges_s
    assert (edges_s[0], edges_s[-1]) == (1.0, 9.0)


def test_a_moment_has_one_part() -> None:
    row = Sample(1.0, 1, 1, 0, 0, 0, 0)
    assert bins_of([Recording(samples=[row, row])]).edges_s == (1.0, 2.0)


def test_units() -> None:
    assert byte_unit([None, 1.0, 1_999_999.0]).name == "kB"
    assert byte_unit([2e6]).name == "MB"
    assert byte_unit([]).name == "kB"
    assert [rate_unit([rate]).name for rate in (1e4, 1e6, 1e9)] == ["kbit/s", "Mbit/s", "Gbit/s"]
    for value in (1e3, 1e6, 1e9):
        assert value * rate_unit([value]).factor * {"k": 1e3, "M": 1e6, "G": 1e9}[
            rate_unit([value]).name[0]
        ] == pytest.approx(8 * value)


def test_what_is_not_known_is_a_gap() -> None:
    first, second = numbers([None, 2], 10.0)
    assert math.isnan(first)
    assert second == 20.0


def test_marks_are_where_a_counter_rose(recording: Recording) -> None:
    assert steps_up(recording, "timeouts") == [1.53]
    assert steps_up(recording, "bytes_lost") == [0.51, 1.51]
    assert steps_up(recording, "tail_probes") == []


def test_shares_of_time(recording: Recording) -> None:
    parts = shares(recording, Bins(1.0, (0.0, 1.0, 1.5, 2.0)))
    assert parts["cwnd"] == pytest.approx([1.0, 0.0, 0.0])
    assert parts["application"] == pytest.approx([0.0, 1.0, 1.0])
    assert shares(Recording(samples=[Sample(0.0, 1, 1, 0, 0, 0, 0)]), Bins(1.0, (0.0, 1.0))) == {}
