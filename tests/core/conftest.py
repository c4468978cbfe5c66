"""A failing test of the core prints its exchange as a sequence diagram."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from .diagram import RECENT


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    report = yield
    if report.when == "call" and report.failed:
        for diagram in RECENT[-4:]:
            report.sections.append(("Sequence diagram", str(diagram)))
    return report


@pytest.fixture(autouse=True)
def _fresh_diagrams() -> None:
    RECENT.clear()
