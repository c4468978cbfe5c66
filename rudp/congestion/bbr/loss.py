"""Losses, marks, timeouts, and their undoing (§5.5.10, §5.5.11, §5.6.4.4)."""

from __future__ import annotations

from rudp.congestion.bbr.core import BbrCore, Phase
from rudp.congestion.controller import AckEvent, LossEvent


class LossResponse(BbrCore):
    """Once a round the short-term model, once a probe the long-term model."""

    __slots__ = ()

    # -- what the connection tells -----------------------------------------------------------------

    def on_lost(self, event: LossEvent) -> None:
        """HandleLostPacket (§5.5.10.2)."""
        self._lost_s = event.now_s
        self.note_loss(event.now_s)
        self.loss_events_in_round += 1
        if self.is_bw_probe_sample and self.is_inflight_too_high(
            event.lost_since_sent, event.tx_in_flight
        ):
            self.handle_inflight_too_high(
                event.now_s, self.inflight_at_loss(event), app_limited=event.app_limited
            )

    def on_congestion(self, now_s: float, flight_size: int, *, marked: bool = False) -> None:
        """OnEnterFastRecovery: remember what to return to; it is the model that responds.

        An episode that no `on_lost` has announced (a mark, a repair by a tail loss probe, a peer
        without SACK) is the round's loss itself.
        """
        if self._lost_s != now_s:
            self.note_loss(now_s)
        if self.saved_s != now_s:
            self.save_state(now_s)
        self.in_fast_recovery = True

    def on_recovered(self, now_s: float) -> None:
        """The window as it was; the model bounds it on the acknowledgement that follows."""
        self.restore_cwnd()
        self.in_fast_recovery = self.in_timeout_recovery = False

    def on_timeout(self, now_s: float, flight_size: int, *, first: bool) -> None:
        """OnEnterRTO: a single segment, as everything in flight is deemed lost.

        The recovery ends when as much as was outstanding has arrived, or by `on_recovered`.
        """
        self.note_loss(now_s)
        if first and not self.in_fast_recovery and self.saved_s != now_s:
            self.save_state(now_s)
        else:
            self.save_cwnd()
        self.in_timeout_recovery = True
        self._timeout_end = self.model.delivered_total + flight_size
        self.cwnd = self.mss

    def check_timeout_recovered(self, event: AckEvent) -> None:
        """The end of what `on_timeout` began, where the connection does not tell (§5.6.4.4)."""
        if self.in_timeout_recovery and event.delivered_total >= self._timeout_end:
            self.on_recovered(event.now_s)

    def on_spurious(self, now_s: float) -> None:
        """HandleSpuriousLossDetection (§5.5.11.2)."""
        model = self.model
        self.restore_cwnd()
        self.in_fast_recovery = self.in_timeout_recovery = False
        model.is_loss_in_round = False
        model.reset_full_bw()
        model.bw_shortterm = max(model.bw_shortterm, self.undo_bw_shortterm)
        model.inflight_shortterm = max(model.inflight_shortterm, self.undo_inflight_shortterm)
        model.inflight_longterm = max(model.inflight_longterm, self.undo_inflight_longterm)
        if self.undo_phase is Phase.STARTUP and self.phase is not Phase.STARTUP:
            model.full_bw_reached = False
            if self.phase is not Phase.PROBE_RTT:
                self.enter_startup()
        elif self.undo_phase is Phase.UP and self.phase not in (Phase.UP, Phase.PROBE_RTT):
            self.start_refill(now_s)
        self.undo_phase = None

    # -- the responses -----------------------------------------------------------------------------

    def note_loss(self, now_s: float) -> None:
        """NoteLoss (§5.5.10.2).

        The state is saved once an episode, as §5.5.11.1 says in words. Its pseudocode saves in
        every round with a loss, which would make an undo forget the episode's first response.
        """
        if not (self.in_fast_recovery or self.in_timeout_recovery or self.saved_s == now_s):
            self.save_state(now_s)
        self.model.note_loss(now_s)

    def note_marks(self, event: AckEvent) -> None:
        """Bytes were marked Congestion Experienced.

        The draft leaves the response open, but wants marks treated as congestion (§3.6): each
        marked byte counts as lost (RFC 3168 §5), per round.
        """
        self.marked_in_round += event.marked
        self.loss_events_in_round += 1
        self.note_loss(event.now_s)
        if self.is_bw_probe_sample and self.is_sample_too_high(event):
            self.handle_inflight_too_high(
                event.now_s, event.tx_in_flight, app_limited=event.rate_app_limited
            )

    def handle_inflight_too_high(
        self, now_s: float, tx_in_flight: float, *, app_limited: bool
    ) -> None:
        """HandleInflightTooHigh (§5.5.10.2): the probe went too far; once a probe."""
        self.prev_probe_too_high = True
        self.is_bw_probe_sample = False
        if not app_limited:
            target = self.target_inflight() * self.beta
            self.model.inflight_longterm = max(tx_in_flight, target)
        if self.phase is Phase.UP:
            self.undo_phase = Phase.UP
            self.start_down(now_s)

    def inflight_at_loss(self, event: LossEvent) -> float:
        """InflightAtLoss (§5.5.10.2): at what volume the losses crossed the threshold.

        What was lost is a prefix of the transmission: not less than nothing, not more than it.
        """
        inflight_before = max(0, event.tx_in_flight - event.size)
        lost_before = event.lost_since_sent - event.size
        threshold = self.loss_threshold
        prefix = (threshold * inflight_before - lost_before) / (1 - threshold)
        return inflight_before + min(max(prefix, 0.0), event.size)

    def adapt_lower_bounds(self) -> None:
        """AdaptLowerBoundsFromCongestion (§5.5.10.3): once a round, unless probing."""
        if not self.is_probing_bw and self.model.is_loss_in_round:
            self.model.lower_short_term(self.beta, self.cwnd)

    def save_state(self, now_s: float) -> None:
        """SaveStateUponLoss (§5.5.11.1)."""
        model = self.model
        self.save_cwnd()
        self.saved_s = now_s
        self.undo_phase = None
        self.undo_bw_shortterm = model.bw_shortterm
        self.undo_inflight_shortterm = model.inflight_shortterm
        self.undo_inflight_longterm = model.inflight_longterm
