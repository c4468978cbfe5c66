"""The `rudp` command as processes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.integration.programs import Program, programs

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def rudp_command() -> AsyncIterator[Callable[..., Awaitable[Program]]]:
    """Starts `rudp WORDS…`; keyword arguments are environment variables."""
    async with programs() as start:

        async def start_rudp(*words: object, **variables: object) -> Program:
            path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
            more = {name: str(value) for name, value in variables.items()}
            return await start("-m", "rudp", *words, env={**os.environ, "PYTHONPATH": path, **more})

        yield start_rudp
