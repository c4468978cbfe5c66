"""BBRv3: the steps of an event, in their order (§5.2)."""

from __future__ import annotations

import math

from rudp.congestion.bbr.core import Phase
from rudp.congestion.bbr.drain import Drain
from rudp.congestion.bbr.loss import LossResponse
from rudp.congestion.bbr.probe_bw import ProbeBw
from rudp.congestion.bbr.probe_rtt import ProbeRtt
from rudp.congestion.bbr.startup import Startup
from rudp.congestion.controller import AckEvent


class Bbr(Startup, Drain, ProbeBw, ProbeRtt, LossResponse):
    """BBRv3 (draft-ietf-ccwg-bbr): paces at the bandwidth that it measures, and holds in flight
    what the path takes at its shortest round-trip time.

    Up to 2 % of random loss a round trip leave the estimate of the bandwidth alone. Between two
    probes the rate sinks all the same in each round that loses: by the share that was lost and
    the pacing margin (§5.5.10.3), until the next probe restores it. At more than 2 % it gives
    way, as it cannot tell random loss from a queue that overflows: every probe ends at once.

    Args:
        mss: Bytes of payload in a full-sized segment.
        rng: Where the random part of the waits between probes comes from. By default a
            generator seeded by the numbers of the first acknowledgement: flows differ, a replay
            does not.
    """

    name = "bbr"

    __slots__ = ()

    def on_sent(self, now_s: float, size: int, in_flight: int) -> None:
        """Note whether the window is used up (C.is_cwnd_limited)."""
        self._tick(now_s)
        self._sent_s = now_s
        if in_flight + self.mss > self.cwnd:
            self._limited_now = True

    def on_ack(self, event: AckEvent) -> None:
        """UpdateOnACK (§5.2.3)."""
        self._tick(event.now_s)
        self._learn_rtt(event)
        model = self.model
        if event.prior_in_flight + self.mss > self.cwnd:
            self._limited_now = True
        if event.marked > 0:
            self.note_marks(event)
        if not event.delivered:
            model.update_min_rtt(event)
            return  # a handshake's, or a duplicate: no rate, no volume, no round
        if not 0 <= event.rate < math.inf:
            event = event._replace(rate=0.0)
        if event.prior_delivered <= model.app_limited_until and not event.rate_app_limited:
            event = event._replace(rate_app_limited=True)
        model.deliver(event)
        self.check_timeout_recovered(event)
        self.update_model_and_state(event)
        self.update_control_parameters(event)
        self._end_rounds()

    def on_idle(self, idle_s: float, rto_s: float) -> None:
        """HandleRestartFromIdle (§5.4.1): pace at the bandwidth; the window stays."""
        self.idle_restart = True
        now_s = max(self._now_s, self._sent_s + idle_s)
        if now_s == -math.inf:
            return  # before the first event of all: there is nothing to return to
        self.model.restart_aggregation(now_s)
        if self.in_probe_bw:
            self.set_pacing_rate(1.0)
        elif self.phase is Phase.PROBE_RTT:
            self.check_probe_rtt_done(now_s)

    def update_model_and_state(self, event: AckEvent) -> None:
        """UpdateModelAndState (§5.2.3)."""
        model = self.model
        model.update_latest(event)
        model.update_round(event)
        model.update_max_bw(event)
        if model.loss_round_start:
            self.adapt_lower_bounds()
            model.is_loss_in_round = False
        model.update_aggregation(event, self.cwnd)
        model.check_full_bw(event)
        self.check_startup_done(event)
        self.check_drain_done(event)
        self.update_probe_bw_phase(event)
        model.update_min_rtt(event)
        self.check_probe_rtt(event)
        model.advance_latest(event)
        model.bound_bw()

    def update_control_parameters(self, event: AckEvent) -> None:
        """UpdateControlParameters (§5.2.3)."""
        self.set_pacing_rate(self.pacing_gain)
        self.set_send_quantum()
        self.set_cwnd(event)

    def _tick(self, now_s: float) -> None:
        if self._now_s == -math.inf:
            self.model.start_clock(now_s)
        self._now_s = now_s

    def _learn_rtt(self, event: AckEvent) -> None:
        """The first round-trip time gives the initial pacing rate (§5.6.2)."""
        if self._rtt_seen:
            return
        rtt_s = event.srtt_s or event.rtt_s or 0.0
        if 0 < rtt_s < math.inf:
            self._rtt_seen = True
            self._seed = f"{event.now_s!r} {rtt_s!r} {event.delivered_total}"
            self.init_pacing_rate(rtt_s)

    def _end_rounds(self) -> None:
        """What is counted by the round begins anew after its last acknowledgement."""
        if self.model.round_start:
            self._limited_before = self._limited_now
            self._limited_now = False
            self.marked_in_round = 0
        if self.model.loss_round_start:
            self.loss_events_in_round = 0
