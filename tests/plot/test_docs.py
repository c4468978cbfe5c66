"""docs/congestion.md shows each controller on both links; `make plots` makes the plots."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rudp.congestion import CONTROLLERS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "congestion.md"


@pytest.mark.parametrize("name", CONTROLLERS)
@pytest.mark.parametrize("link", ["clean", "loss1"])
def test_each_controller_is_shown(name: str, link: str) -> None:
    plot = f"plots/{name}-{link}.svg"
    assert f"({plot})" in PAGE.read_text(encoding="utf-8")
    assert f">{name}: 20 Mbit/s" in (DOCS / plot).read_text(encoding="utf-8")


def test_every_plot_that_is_shown_exists_and_none_is_left_over() -> None:
    shown = set(re.findall(r"\(plots/([^)]+)\)", PAGE.read_text(encoding="utf-8")))
    assert shown == {path.name for path in (DOCS / "plots").iterdir()}
