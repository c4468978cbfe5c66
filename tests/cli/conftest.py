"""Fixtures: commands that end with their test, and bytes to carry."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest

from .command import Commands


@pytest.fixture
async def commands() -> AsyncIterator[Commands]:
    """Starts `rudp` processes."""
    async with Commands() as started:
        yield started


@pytest.fixture(scope="session")
def payload() -> bytes:
    """Bytes that cannot be mistaken: 3 MB of them, from seed 1."""
    return random.Random(1).randbytes(3_000_000)
