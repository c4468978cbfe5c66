"""The table at the end of a run: a section a group, a row a transport."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.figures import Key, Result
from benchmarks.report import Report


def show(report: Report, console: Console) -> None:
    """Print one table a test, then what was skipped and what failed."""
    for test in dict.fromkeys(key.test for key in report.results):
        results = [result for key, result in report.results.items() if key.test == test]
        runs = max(len(result.samples) for result in results)
        what = f"medians of {runs} (lowest – highest)" if runs > 1 else "one run"
        console.print(f"\n[bold]{escape(test)}[/]: {what}; ×: over {escape(report.baseline)}")
        console.print(_table(report, test))
    for what, why in report.skipped.items():
        console.print(f"[yellow]skipped {escape(what)}: {escape(why)}[/]")
    for key, result in report.results.items():
        for error in dict.fromkeys(result.errors):
            console.print(f"[red]{escape(' '.join(key))}: {escape(error)}[/]")


def _table(report: Report, test: str) -> Table:
    chosen = {key: result for key, result in report.results.items() if key.test == test}
    names = dict.fromkeys(name for result in chosen.values() for name in result.figures())
    table = Table()
    for heading in ("", "transport"):
        table.add_column(heading, no_wrap=True)
    for name in names:
        table.add_column(name, justify="right")
    for group in dict.fromkeys(key.group for key in chosen):
        shown = group
        for key, result in chosen.items():
            if key.group == group:
                table.add_row(shown, _name(key, result), *(_cell(report, result, n) for n in names))
                shown = ""
        table.add_section()
    return table


def _name(key: Key, result: Result) -> str:
    return escape(key.transport) + (f" [red]({len(result.errors)} failed)[/]" * bool(result.errors))


def _cell(report: Report, result: Result, figure: str) -> str:
    spread = result.spread(figure)
    if spread is None:
        return "–"
    text = number(spread.median)
    if len(result.samples) > 1:
        text += f" ({number(spread.low)} – {number(spread.high)})"
    quotient = report.ratio(result, figure)
    return text if quotient is None else f"{text} [bold]{number(quotient)}×[/]"


def number(value: float) -> str:
    """Three digits, or all before the point: enough for what a benchmark can tell."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")
