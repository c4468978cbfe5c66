"""A whole run: collected while it goes on, written as JSON, read again for a chart."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.figures import Key, Result, Sample, ratio

RESULTS = Path(__file__).parent / "results"
FORMAT = 1


@dataclass
class Report:
    """Results of one benchmark, with what they were measured on and how.

    Attributes:
        benchmark: "loopback" or "links".
        baseline: The transport that the others are divided by.
        settings: The options of the run.
        uncompared: Figures that are about the measurement, not about a transport.
        skipped: Transports and tests that could not run here, and why.
    """

    benchmark: str
    baseline: str
    settings: dict[str, Any]
    uncompared: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=machine.describe)
    started: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    skipped: dict[str, str] = field(default_factory=dict)
    results: dict[Key, Result] = field(default_factory=dict)

    def add(self, key: Key, sample: Sample) -> None:
        """Keep what a run has measured."""
        self._result(key).samples.append(sample)

    def fail(self, key: Key, error: str) -> None:
        """Keep why a run has measured nothing."""
        self._result(key).errors.append(error)

    def _result(self, key: Key) -> Result:
        return self.results.setdefault(key, Result(key))

    @property
    def failed(self) -> bool:
        """Whether any run failed, or nothing was measured at all."""
        results = self.results.values()
        return not results or any(result.errors for result in results)

    def ratio(self, result: Result, figure: str) -> float | None:
        """The median of a result over the baseline's in the same test and group, if any."""
        if figure in self.uncompared:
            return None
        return ratio(result, figure, self.results.values(), self.baseline)

    def as_json(self) -> dict[str, Any]:
        """Everything, samples and all; the summary beside them is for who reads the file."""
        return {
            "format": FORMAT,
            "benchmark": self.benchmark,
            "baseline": self.baseline,
            "started": self.started,
            "load_at_end": machine.load(),
            "machine": self.machine,
            "settings": self.settings,
            "uncompared": self.uncompared,
            "skipped": self.skipped,
            "results": [self._one(result) for result in self.results.values()],
        }

    def _one(self, result: Result) -> dict[str, Any]:
        summary = {}
        for figure in result.figures():
            spread = result.spread(figure)
            if spread is not None:
                summary[figure] = spread._asdict() | {"ratio": self.ratio(result, figure)}
        return {
            **result.key._asdict(),
            "summary": summary,
            "samples": result.samples,
            "errors": result.errors,
        }

    def write(self, path: Path | None = None) -> Path:
        """Write the JSON file, by default into benchmarks/results; returns its path."""
        if path is None:
            RESULTS.mkdir(exist_ok=True)
            stamp = self.started.replace("-", "").replace(":", "")
            path = RESULTS / f"{self.benchmark}-{stamp}.json"
        path.write_text(json.dumps(self.as_json(), indent=1) + "\n")
        return path


def read(path: Path) -> Report:
    """A report as it was written.

    Raises `OSError` if the file cannot be read and `ValueError` if it is not such a report.
    """
    try:
        data = json.loads(path.read_text())
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']!r} is not {FORMAT}")
        report = Report(
            data["benchmark"],
            data["baseline"],
            data["settings"],
            data["uncompared"],
            data["machine"],
            data["started"],
            data["skipped"],
        )
        for one in data["results"]:
            key = Key(one["test"], one["group"], one["transport"])
            report.results[key] = Result(key, one["samples"], one["errors"])
    except (KeyError, TypeError, ValueError) as exc:
        raise ValueError(f"{path} is not a benchmark report: {exc!r}") from exc
    return report


def latest() -> Path | None:
    """The newest file in benchmarks/results."""
    return max(RESULTS.glob("*.json"), key=lambda path: path.stat().st_mtime, default=None)
