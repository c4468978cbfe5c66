"""Several observers, none of which can harm the connection."""

from __future__ import annotations

import enum
import logging
from typing import Any

import pytest

from rudp.core.states import Event, State
from rudp.sim import LinkConfig
from rudp.telemetry.guard import Guarded
from rudp.telemetry.observer import Metrics, Observer
from rudp.wire.segment import ACK, Segment, encode
from rudp.wire.train import Train

from .observed import transfer

SEGMENT = Segment(1, 2, 3, ACK, 4, 5, 6)
METRICS = Metrics(1, 2, None, None, None, None, None, 1.0, None, "slow_start")


class Notes(Observer):
    """Notes what it is told, and raises from the call named."""

    def __init__(self, raise_from: str = "", *, metrics: bool = False) -> None:
        self.told: list[str] = []
        self.wants_metrics = metrics
        self._raise_from = raise_from

    def _note(self, name: str) -> None:
        self.told.append(name)
        if name == self._raise_from:
            raise LookupError(name)

    def state_changed(self, before: enum.IntEnum, after: enum.IntEnum, event: enum.Enum) -> None:
        self._note("state")

    def segment_received(self, segment: Segment, size: int, ecn: int, now_s: float) -> None:
        self._note("received")

    def train_sent(self, train: Train, ecn: int, now_s: float) -> None:
        self._note("sent")

    def lost(self, ranges: Any, trigger: str, now_s: float) -> None:
        self._note("lost")

    def metrics_updated(self, metrics: Metrics, now_s: float) -> None:
        self._note("metrics")

    def closed(self, reason: enum.Enum | None) -> None:
        self._note("closed")


NAMES = ["state", "received", "sent", "lost", "metrics", "closed"]


def tell(observer: Observer) -> None:
    observer.state_changed(State.CLOSED, State.SYN_SENT, Event.ACTIVE_OPEN)
    observer.segment_received(SEGMENT, 0, 0, 1.0)
    observer.train_sent(Train([encode(SEGMENT)], 24, 1), 0, 1.0)
    observer.lost([(1, 2)], "time_threshold", 1.0)
    observer.metrics_updated(METRICS, 1.0)
    observer.closed(None)


def test_all_are_told_everything() -> None:
    first, second = Notes(), Notes()
    tell(Guarded([first, second]))
    assert first.told == second.told == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_one_that_raises_is_told_no_more(name: str, caplog: pytest.LogCaptureFixture) -> None:
    bad, good = Notes(name), Notes()
    tell(Guarded([bad, good]))
    assert good.told == NAMES
    assert bad.told == NAMES[: NAMES.index(name) + 1]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "observer failed"
    assert "LookupError" in record.__dict__["error"]


@pytest.mark.parametrize("name", NAMES)
def test_the_connection_does_not_notice(name: str) -> None:
    """Under loss, so that there is something to tell of everything."""
    bad = Notes(name, metrics=True)
    transfer(Guarded([bad]), 100_000, seed=2, link=LinkConfig(delay_s=0.01, loss=0.05))
    assert bad.told[-1] == name


@pytest.mark.parametrize("metrics", [False, True])
def test_losses_and_metrics_are_for_who_asks(metrics: bool) -> None:
    """They have to be worked out first."""
    notes = Notes(metrics=metrics)
    guarded = Guarded([notes, Notes()])
    assert guarded.wants_metrics is metrics
    transfer(guarded, 100_000, seed=2, link=LinkConfig(delay_s=0.01, loss=0.05))
    assert ("metrics" in notes.told) is metrics
    assert ("lost" in notes.told) is metrics
    assert {"state", "received", "sent", "closed"} <= set(notes.told)


def test_an_observer_need_not_override_anything() -> None:
    tell(Observer())
