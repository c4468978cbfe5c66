"""Statistics of the benchmarks on input whose answer is known."""

from __future__ import annotations

import pytest

from benchmarks.figures import Key, Result, Spread, fairness_index, percentile, ratio


def test_percentiles_are_by_nearest_rank() -> None:
    ordered = [15, 20, 35, 40, 50]
    assert [percentile(ordered, p) for p in (5, 30, 40, 50, 100)] == [15, 20, 20, 35, 50]
    assert percentile(range(1, 101), 99) == 99
    assert percentile([7], 1) == 7


@pytest.mark.parametrize("percent", [0, -1, 100.1])
def test_a_percentile_that_is_none_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="percent"):
        percentile([1], percent)
    with pytest.raises(ValueError, match="ordered"):
        percentile([], 50)


def test_jains_index() -> None:
    assert fairness_index([5, 5]) == pytest.approx(1)
    assert fairness_index([1, 0, 0, 0]) == pytest.approx(1 / 4)
    assert fairness_index([3, 1]) == pytest.approx(16 / 20)
    with pytest.raises(ValueError, match="shares"):
        fairness_index([0, 0])


def test_a_spread_is_the_median_and_the_bounds_of_the_runs_that_have_the_figure() -> None:
    key = Key("bulk", "uvloop", "tcp")
    result = Result(key, [{"MB/s": 3.0}, {"MB/s": 10.0, "other": 1.0}, {"MB/s": 4.0}])
    assert result.spread("MB/s") == Spread(4, 3, 10)
    assert result.spread("other") == Spread(1, 1, 1)
    assert result.spread("none") is None
    assert result.figures() == ["MB/s", "other"]


def test_a_ratio_is_between_medians_of_the_same_test_and_group() -> None:
    tcp = Result(Key("bulk", "uvloop", "tcp"), [{"MB/s": 2.0}, {"MB/s": 4.0}, {"MB/s": 100.0}])
    rudp = Result(Key("bulk", "uvloop", "rudp"), [{"MB/s": 6.0, "new": 1.0}])
    elsewhere = Result(Key("bulk", "asyncio", "tcp"), [{"MB/s": 1.0}])
    still = Result(Key("bulk", "still", "tcp"), [{"MB/s": 0.0}])
    on_still = Result(Key("bulk", "still", "rudp"), [{"MB/s": 1.0}])
    results = [elsewhere, tcp, rudp, still, on_still]
    assert ratio(rudp, "MB/s", results, "tcp") == 1.5
    assert ratio(tcp, "MB/s", results, "tcp") is None
    assert ratio(rudp, "new", results, "tcp") is None
    assert ratio(on_still, "MB/s", results, "tcp") is None
