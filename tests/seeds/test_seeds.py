"""Whole connections over a simulated bad network, seed by seed (design: "Tests").

Every byte arrives unchanged, every connection ends in CLOSED without an error, nothing is left.
`RUDP_SEED=n python -m pytest -q -m "not soak" tests/seeds` replays one seed.
"""

from __future__ import annotations

import os

import pytest

from . import on_asyncio, on_cores
from .conditions import SEEDS, Runs, describe, scenario

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
