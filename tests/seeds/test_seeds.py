"""Whole connections over a simulated bad network, seed by seed (design: "Tests").

Every byte arrives unchanged, every connection ends in CLOSED without an error, nothing is left.
`RUDP_SEED=n python -m pytest -q -m "not soak" tests/seeds` replays one seed.
"""

from __future__ import annotations

import os

import pytest

from rudp import Config
from rudp.congestion import CONTROLLERS

from . import on_asyncio, on_cores
from .conditions import LARGEST_BYTES, SEEDS, Ending, Runs, describe, scenario

_IN_EVERY_RUN = 100
_CHOSEN = os.environ.get("RUDP_SEED")
_FEW = [int(_CHOSEN, 0)] if _CHOSEN else range(_IN_EVERY_RUN)
_ALL = [int(_CHOSEN, 0)] if _CHOSEN else range(SEEDS)


@pytest.mark.parametrize("seed", _FEW)
def test_some_seeds(seed: int) -> None:
    check(seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", _ALL)
def test_every_seed(seed: int) -> None:
    check(seed)


@pytest.mark.parametrize("seed", [12, 97])
def test_a_seed_takes_the_same_course_every_time(seed: int) -> None:
    """To the byte, or a replay would not show what failed."""
    traces: list[list[object]] = [[], []]
    for trace in traces:
        case = scenario(seed)
        run = on_asyncio.run if case.runs is Runs.ASYNCIO else on_cores.run
        run(case, trace)
    assert len(traces[0]) > 100
    assert traces[0] == traces[1]


def test_the_scenarios_cover_what_they_are_meant_to() -> None:
    cases = [scenario(seed) for seed in range(SEEDS)]
    assert sum(case.runs is Runs.ASYNCIO for case in cases) == SEEDS / 2
    sides = [side for case in cases for one in case.exchanges for side in (one.client, one.server)]
    assert {side.ending for side in sides} == set(Ending)
    sizes = {len(side.data) for side in sides}
    assert (min(sizes), max(sizes)) == (0, LARGEST_BYTES)
    for share in (
        sum(case.partition is not None for case in cases),
        sum(case.forward.loss > 0.05 for case in cases),
        sum(case.forward.burst_enter > 0 for case in cases),
        sum(case.forward.reorder > 0 for case in cases),
        sum(case.forward.duplicate > 0 for case in cases),
        sum(case.forward.corrupt > 0 for case in cases),
        sum(case.forward.rate_bytes_per_s is not None for case in cases),
        sum(case.client.mss != case.server.mss for case in cases),
        sum(case.client.receive_buffer < 20_000 for case in cases),
        sum(not case.client.sack for case in cases),
        sum(len(case.exchanges) > 1 for case in cases),
        sum(bool(case.server_pauses) for case in cases),
        sum(case.near_wrap for case in cases),
        sum(case.ipv6 for case in cases),
        sum(case.patient for case in cases),
        sum(case.client.congestion != case.server.congestion for case in cases),
        *(sum(case.client.congestion == name for case in cases) for name in CONTROLLERS),
        *(sum(case.server.congestion == name for case in cases) for name in CONTROLLERS),
    ):
        assert SEEDS / 10 < share < SEEDS * 9 / 10
    hasty = [case for case in cases if not case.patient]
    assert any(case.partition is not None for case in hasty)
    usual = Config()
    for one in (side for case in hasty for side in (case.client, case.server)):
        assert one.connect_timeout == usual.connect_timeout
        assert one.retransmit_timeout == usual.retransmit_timeout
        assert one.time_wait == usual.time_wait


def check(seed: int) -> None:
    """Run the scenario of a seed; a failure says how to see it again."""
    case = scenario(seed)
    run = on_asyncio.run if case.runs is Runs.ASYNCIO else on_cores.run
    try:
        run(case)
    except BaseException as error:
        command = f'RUDP_SEED={seed} python -m pytest -q -m "not soak" tests/seeds'
        error.add_note(f"seed {seed}; replay with: {command}\n{describe(case)}")
        raise
