"""Fixtures of the tests with real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .processes import Children


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    """The loop that the children run on."""
    return str(request.param)


@pytest.fixture
async def children() -> AsyncIterator[Children]:
    """Starts child processes; none of them outlives the test."""
    async with Children() as started:
        yield started
