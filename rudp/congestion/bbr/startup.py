"""Startup: double the rate each round until the pipe is full (§5.3.1)."""

from __future__ import annotations

from rudp.congestion.bbr.core import BbrCore, Phase
from rudp.congestion.controller import AckEvent


class Startup(BbrCore):
    """The exponential search for the bandwidth."""

    __slots__ = ()

    def enter_startup(self) -> None:
        """EnterStartup (§5.3.1.1)."""
        self.phase = Phase.STARTUP
        self.pacing_gain = self.startup_pacing_gain
        self.cwnd_gain = self.startup_cwnd_gain

    def check_startup_done(self, event: AckEvent) -> None:
        """CheckStartupDone: by a plateau (§5.3.1.2) or by losses (§5.3.1.3)."""
        if self.phase is not Phase.STARTUP:
            return
        self.check_startup_high_loss(event)
        if self.model.full_bw_reached:
            self.enter_drain()

    def check_startup_high_loss(self, event: AckEvent) -> None:
        """CheckStartupHighLoss (§5.3.1.3)."""
        if not self.startup_is_done_by_loss(event):
            return
        model = self.model
        self.undo_phase = Phase.STARTUP
        model.full_bw_now = model.full_bw_reached = True
        model.inflight_longterm = max(self.bdp(), model.inflight_latest)

    def startup_is_done_by_loss(self, event: AckEvent) -> bool:
        """Whether, after a full round in recovery, the round lost more than 2 %, in six ranges.

        A range is what `on_lost` was called for; an acknowledgement with marks counts as one.
        """
        return (
            self.model.loss_round_start
            and (event.in_recovery or self.marked_in_round > 0)
            and self.loss_events_in_round >= self.startup_full_loss_count
            and self.is_sample_too_high(event)
        )
