"""ProbeBW: down, cruise, refill, up – the steady state's cycle (§5.3.3)."""

from __future__ import annotations

import math

from rudp.congestion.bbr.core import AckPhase, BbrCore, Phase
from rudp.congestion.controller import AckEvent

_LONGEST_SLOPE = 30


class ProbeBw(BbrCore):
    """The four states of the cycle, and the long-term model that the probes adapt."""

    __slots__ = ()

    # -- entering each state, §5.3.3.9 -------------------------------------------------------------

    def enter_probe_bw(self, now_s: float) -> None:
        """EnterProbeBW."""
        self.start_down(now_s)

    def start_down(self, now_s: float) -> None:
        """StartProbeBW_DOWN: decelerate, and draw when to probe next."""
        self.model.reset_congestion_signals()
        self.probe_up_acked_per_inc = math.inf
        self.pick_probe_wait()
        self.cycle_stamp_s = now_s
        self.ack_phase = AckPhase.PROBE_STOPPING
        self.model.start_round(now_s)
        self._set_state(Phase.DOWN, self.down_pacing_gain, self.cwnd_gain_default)

    def start_cruise(self) -> None:
        """StartProbeBW_CRUISE: send as fast as the path delivers."""
        self._set_state(Phase.CRUISE, self.cruise_pacing_gain, self.cwnd_gain_default)

    def start_refill(self, now_s: float) -> None:
        """StartProbeBW_REFILL: forget the short term and fill the pipe for a round."""
        self.model.reset_short_term()
        self.bw_probe_up_rounds = 0
        self.bw_probe_up_acked = 0
        self.prev_probe_precautionary = False
        self.ack_phase = AckPhase.REFILLING
        self.model.start_round(now_s)
        self._set_state(Phase.REFILL, self.cruise_pacing_gain, self.cwnd_gain_default)

    def start_up(self, event: AckEvent) -> None:
        """StartProbeBW_UP: accelerate."""
        self.ack_phase = AckPhase.PROBE_STARTING
        self.model.start_round(event.now_s)
        self.model.reset_full_bw(event.rate)
        self._set_state(Phase.UP, self.up_pacing_gain, self.up_cwnd_gain)
        self._raise_longterm_slope()

    def _set_state(self, phase: Phase, pacing_gain: float, cwnd_gain: float) -> None:
        self.phase = phase
        self.pacing_gain = pacing_gain
        self.cwnd_gain = cwnd_gain

    # -- the machine -------------------------------------------------------------------------------

    def update_probe_bw_phase(self, event: AckEvent) -> None:
        """UpdateProbeBWCyclePhase."""
        if not self.model.full_bw_reached or self.adapt_long_term_model(event):
            return
        phase = self.phase
        if phase is Phase.DOWN:
            if self.is_time_to_probe_bw(event.now_s):
                self.start_refill(event.now_s)
            elif self.is_time_to_cruise(event):
                self.start_cruise()
        elif phase is Phase.CRUISE:
            if self.is_time_to_probe_bw(event.now_s):
                self.start_refill(event.now_s)
        elif phase is Phase.REFILL:
            if self.model.round_start:
                self.is_bw_probe_sample = True
                self.start_up(event)
        elif phase is Phase.UP and self.is_time_to_go_down(event):
            self.prev_probe_too_high = False
            self.start_down(event.now_s)

    def adapt_long_term_model(self, event: AckEvent) -> bool:
        """AdaptLongTermModel; true if it has decided about the next state."""
        model = self.model
        if self.ack_phase is AckPhase.PROBE_STARTING and model.round_start:
            self.ack_phase = AckPhase.PROBE_FEEDBACK
        if self.ack_phase is AckPhase.PROBE_STOPPING and model.round_start:
            self.is_bw_probe_sample = False
            self.ack_phase = AckPhase.INIT
            if self.in_probe_bw:
                if not event.rate_app_limited:
                    model.advance_max_bw_filter()
                if self.prev_probe_precautionary and not self.prev_probe_too_high:
                    self.start_refill(event.now_s)
                    return True
        if model.inflight_longterm != math.inf and not self.is_sample_too_high(event):
            model.inflight_longterm = max(model.inflight_longterm, event.tx_in_flight)
            if self.phase is Phase.UP:
                self._probe_longterm_upward(event)
        return False

    # -- when to move on ---------------------------------------------------------------------------

    def pick_probe_wait(self) -> None:
        """PickProbeWait (§5.3.3.8.3)."""
        rng = self.rng()
        shortest_s, longest_s = self.probe_wait_s
        self.model.rounds_since_probe_up = rng.randint(0, 1)
        self.bw_probe_wait_s = shortest_s + (longest_s - shortest_s) * rng.random()

    def is_time_to_probe_bw(self, now_s: float) -> bool:
        """IsTimeToProbeBW: by the clock, or after as many rounds as Reno would need."""
        if now_s > self.cycle_stamp_s + self.bw_probe_wait_s:
            return True
        rounds = min(self.target_inflight() / self.mss, self.reno_rounds)
        return self.model.rounds_since_probe_up >= rounds

    def is_time_to_cruise(self, event: AckEvent) -> bool:
        """IsTimeToCruise: the queue is drained, and headroom left."""
        return event.in_flight <= self.inflight_with_headroom() and event.in_flight <= (
            self.inflight(1.0, self.model.max_bw)
        )

    def is_time_to_go_down(self, event: AckEvent) -> bool:
        """IsTimeToGoDown: the bandwidth is used up, or caution asks for it (§5.3.3.6, §5.3.3.7).

        C.inflight is taken before this acknowledgement, which has just freed a train's worth: a
        window that can take no further segment counts as reached.
        """
        model = self.model
        reached = event.prior_in_flight + self.mss > model.inflight_longterm
        if self.prev_probe_too_high and reached:
            self.prev_probe_precautionary = True
            return True
        if self.is_cwnd_limited and self.cwnd >= model.inflight_longterm:
            model.reset_full_bw(event.rate)
            return False
        return model.full_bw_now

    # -- raising the long-term bound, §5.3.3.5 -----------------------------------------------------

    def _raise_longterm_slope(self) -> None:
        """RaiseInflightLongtermSlope: 1, 2, 4 … segments a round, spread over it."""
        growth = 1 << self.bw_probe_up_rounds
        self.bw_probe_up_rounds = min(self.bw_probe_up_rounds + 1, _LONGEST_SLOPE)
        self.probe_up_acked_per_inc = max(self.cwnd // growth, self.mss)

    def _probe_longterm_upward(self, event: AckEvent) -> None:
        """ProbeInflightLongtermUpward."""
        model = self.model
        if not self.is_cwnd_limited or self.cwnd < model.inflight_longterm:
            return
        self.bw_probe_up_acked += event.delivered
        increments = int(self.bw_probe_up_acked // self.probe_up_acked_per_inc)
        if increments:
            self.bw_probe_up_acked -= int(increments * self.probe_up_acked_per_inc)
            model.inflight_longterm += increments * self.mss
        if model.round_start:
            self._raise_longterm_slope()
