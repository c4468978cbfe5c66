"""What the core tells whoever watches a connection; costs nothing where nobody does."""

from __future__ import annotations

import enum
from collections.abc import Hashable, Sequence
from typing import NamedTuple, Protocol

from rudp.wire.segment import Segment
from rudp.wire.train import Train

Ranges = Sequence[tuple[int, int]]
"""Sequence numbers from first to beyond the last, unbounded: they do not wrap around."""


class Metrics(NamedTuple):
    """What recovery and congestion control go by. Bytes and seconds; None is not known yet."""

    cwnd: int
    in_flight: int
    ssthresh: int | None
    srtt_s: float | None
    rttvar_s: float | None
    min_rtt_s: float | None
    latest_rtt_s: float | None
    rto_s: float
    pacing_rate: float | None
    """Bytes a second; None where nothing is paced, or only by guess."""
    congestion_state: str
    """"slow_start", "congestion_avoidance" or "recovery", or the phase of a controller that has
    phases of its own."""


class StrayObserver(Protocol):
    """Receives what an endpoint gets and sends beside its connections: a SYN that nobody listens
    for, a segment of a connection that is gone, and the answers to them. Must not raise."""

    def stray_received(
        self, segment: Segment, size: int, ecn: int, peer: Hashable, now_s: float
    ) -> None:
        """A segment, or a run of them, that belongs to no connection; as
        `Observer.segment_received` has it."""

    def answer_sent(self, train: Train, peer: Hashable, now_s: float) -> None:
        """A segment that no connection sends is handed to the socket."""


class Observer:
    """Receives a connection's events; a subclass overrides those that it has use for.

    States and events are enums of `rudp.core.states`, times seconds of the endpoint's clock. A
    call that raises is the caller's loss: whoever attaches strangers wraps them in
    `rudp.telemetry.guard.Guarded`.
    """

    __slots__ = ()

    wants_metrics = False
    """Whether `lost` and `metrics_updated` are called: they have to be worked out first."""

    def state_changed(self, before: enum.IntEnum, after: enum.IntEnum, event: enum.Enum) -> None:
        """The connection followed an arrow of the state diagram."""

    def segment_received(self, segment: Segment, size: int, ecn: int, now_s: float) -> None:
        """A segment, or a run of alike ones, arrived, with the ECN field `ecn`.

        Of a run every segment but the last had `size` bytes of payload.
        """

    def train_sent(self, train: Train, ecn: int, now_s: float) -> None:
        """A train is handed to the socket, with the ECN field `ecn`."""

    def lost(self, ranges: Ranges, trigger: str, now_s: float) -> None:
        """What was sent in `ranges` is deemed lost; `trigger` is qlog's word for the reason."""

    def metrics_updated(self, metrics: Metrics, now_s: float) -> None:
        """Something was sent, received or timed out; the numbers may be those of last time."""

    def closed(self, reason: enum.Enum | None) -> None:
        """The connection is gone; None for an orderly end. Nothing follows."""
