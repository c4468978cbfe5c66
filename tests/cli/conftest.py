"""Fixtures: commands that end with their test, and bytes to carry."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.integration.programs import Program, programs

from .command import Commands

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def commands() -> AsyncIterator[Commands]:
    """Starts `rudp` processes."""
    async with Commands() as started:
        yield started


@pytest.fixture
async def rudp_command() -> AsyncIterator[Callable[..., Awaitable[Program]]]:
    """Starts `rudp WORDS…` as a person does, whose lines are read as they are.

    Keyword arguments are environment variables.
    """
    async with programs() as start:

        async def start_rudp(*words: object, **variables: object) -> Program:
            path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
            more = {name: str(value) for name, value in variables.items()}
            return await start("-m", "rudp", *words, env={**os.environ, "PYTHONPATH": path, **more})

        yield start_rudp


@pytest.fixture(scope="session")
def payload() -> bytes:
    """Bytes that cannot be mistaken: 3 MB of them, from seed 1."""
    return random.Random(1).randbytes(3_000_000)
