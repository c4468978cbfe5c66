"""What was looked at, what was found, and what to do about it."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table
from rich.text import Text


class Verdict(enum.Enum):
    """How well it is; only the last two call for a change."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    FAIL = "fail"


_STYLES = {
    Verdict.OK: "green",
    Verdict.NOTE: "cyan",
    Verdict.WARN: "yellow",
    Verdict.FAIL: "bold red",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report.

    Attributes:
        name: What was looked at.
        verdict: How well it is.
        found: What was found, for people.
        advice: What to change; empty if there is nothing.
        values: What was found, for programs.
    """

    name: str
    verdict: Verdict
    found: str
    advice: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The line as a JSON object."""
        return {
            "name": self.name,
            "verdict": self.verdict.value,
            "found": self.found,
            "advice": self.advice,
            **self.values,
        }


def all_well(checks: Sequence[Check]) -> bool:
    """Whether there is nothing to change."""
    return all(check.verdict in (Verdict.OK, Verdict.NOTE) for check in checks)


def draw(title: str, checks: Sequence[Check]) -> Table:
    """The report as a table."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("found")
    for check in checks:
        found = Text(check.found)
        if check.advice:
            found.append(f"\n{check.advice}", style="italic")
        table.add_row(Text(check.verdict.value, style=_STYLES[check.verdict]), check.name, found)
    return table
