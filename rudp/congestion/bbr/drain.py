"""Drain: empty the queue that Startup has built (§5.3.2)."""

from __future__ import annotations

from rudp.congestion.bbr.core import BbrCore, Phase
from rudp.congestion.controller import AckEvent


class Drain(BbrCore):
    """Half the bandwidth until no more is in flight than the path holds."""

    __slots__ = ()

    def enter_drain(self) -> None:
        """EnterDrain."""
        self.phase = Phase.DRAIN
        self.pacing_gain = self.drain_pacing_gain
        self.cwnd_gain = self.startup_cwnd_gain
        self.drain_start_round = self.model.round_count

    def check_drain_done(self, event: AckEvent) -> None:
        """CheckDrainDone: drained, or after three rounds if the bandwidth was overestimated."""
        if self.phase is Phase.DRAIN and (
            event.in_flight <= self.inflight()
            or self.model.round_count > self.drain_start_round + self.drain_rounds
        ):
            self.enter_probe_bw(event.now_s)
