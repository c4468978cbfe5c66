"""Requests, shares and latencies: what needs no network."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.cli.benchmark.plan import (
    MAX_BYTES,
    Latencies,
    Mode,
    Op,
    Plan,
    Request,
    parse_request,
)

RUN = "0" * 32


@given(
    st.sampled_from(Op),
    st.floats(0, 3600),
    st.none() | st.integers(0, MAX_BYTES),
    st.text("0123456789abcdef", min_size=32, max_size=32),
)
def test_a_request_comes_back_as_it_was(op: Op, seconds: float, size: int | None, run: str) -> None:
    request = Request(op, run, seconds, size)
    assert parse_request(request.encode()) == request


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_raise_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):
        parse_request(line)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("op", "run", "seconds", "size"), anything))
)
def test_no_values_do_more_than_raise_a_value_error(values: dict[str, Any]) -> None:
    line = json.dumps({"rudp-bench": 1, **values}).encode()
    with pytest.raises(ValueError):
        parse_request(line)


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": -1}, {"seconds": 3601}, {"seconds": math.nan}, {"seconds": "1"},
        {"size": -1}, {"size": 1.5}, {"size": MAX_BYTES + 1}, {"run": "0"}, {"op": "fly"},
        {"rudp-bench": 2},
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_refused(change: dict[str, Any]) -> None:
    good = json.loads(Request(Op.SOURCE, RUN, 1.0, 5).encode())
    assert parse_request(json.dumps(good).encode()).op is Op.SOURCE
    with pytest.raises(ValueError):
        parse_request(json.dumps({**good, **change}).encode())


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(ValueError):
        parse_request(b"[" * 1000)


@given(st.integers(0, 10_000), st.integers(1, 128))
def test_the_shares_are_the_whole(size: int, parallel: int) -> None:
    plan = Plan(size=size, parallel=parallel)
    shares = [plan.share(number) for number in range(parallel)]
    assert sum(share or 0 for share in shares) == size
    assert Plan(parallel=parallel).share(0) is None


@pytest.mark.parametrize(
    ("mode", "reverse", "op", "sends"),
    [
        (Mode.BULK, False, Op.SINK, True),
        (Mode.BULK, True, Op.SOURCE, False),
        (Mode.DUPLEX, False, Op.DUPLEX, True),
        (Mode.ECHO, False, Op.ECHO, False),
    ],
)
def test_who_does_what(mode: Mode, reverse: bool, op: Op, sends: bool) -> None:
    plan = Plan(mode=mode, reverse=reverse)
    assert (plan.op, plan.client_sends) == (op, sends)


def test_percentiles_are_right_to_a_hundredth_and_bounded() -> None:
    rng = random.Random(1)
    values_s = [rng.lognormvariate(-8, 1.5) for _ in range(20_000)]
    first, second = Latencies(), Latencies()
    for number, value_s in enumerate(values_s):
        (first if number % 2 else second).add(value_s)
    first.merge(second)
    ordered = sorted(values_s)
    for percent in (50, 90, 99, 99.9, 100):
        exact_s = ordered[math.ceil(len(ordered) * percent / 100) - 1]
        assert first.percentile_s(percent) == pytest.approx(exact_s, rel=0.0101)
    assert first.fields()["count"] == 20_000
    assert first.most_s == ordered[-1]
    assert len(first._buckets) < 2500
    assert Latencies().percentile_s(50) is None
    assert Latencies().fields()["p50_us"] is None
