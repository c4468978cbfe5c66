"""Fixtures of the tests against the kernel's TCP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .kernel import Kernel


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """A network namespace with a TUN device, for one test."""
    with Kernel() as running:
        yield running
