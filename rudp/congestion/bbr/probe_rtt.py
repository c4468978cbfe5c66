"""ProbeRTT: half the path's volume for 200 ms, to see its round-trip time (§5.3.4)."""

from __future__ import annotations

from rudp.congestion.bbr.core import AckPhase, BbrCore, Phase
from rudp.congestion.controller import AckEvent


class ProbeRtt(BbrCore):
    """Entered when no smaller round-trip time was seen for five seconds."""

    __slots__ = ()

    def check_probe_rtt(self, event: AckEvent) -> None:
        """CheckProbeRTT: idleness has drained the queue as well, and excuses from it."""
        if self.phase is not Phase.PROBE_RTT and (
            self.model.probe_rtt_expired and not self.idle_restart
        ):
            self.enter_probe_rtt(event.now_s)
        if self.phase is Phase.PROBE_RTT:
            self._handle_probe_rtt(event)
        if event.delivered > 0:
            self.idle_restart = False

    def enter_probe_rtt(self, now_s: float) -> None:
        """EnterProbeRTT."""
        # Before the state changes: afterwards it would count as modulated (§5.6.4.4).
        self.save_cwnd()
        self.phase = Phase.PROBE_RTT
        self.pacing_gain = 1.0
        self.cwnd_gain = self.probe_rtt_cwnd_gain
        self.probe_rtt_done_stamp_s = None
        self.ack_phase = AckPhase.PROBE_STOPPING
        self.model.start_round(now_s)

    def _handle_probe_rtt(self, event: AckEvent) -> None:
        """HandleProbeRTT: 200 ms and a round from when the flight is that small."""
        # MarkConnectionAppLimited: this little in flight says nothing about the bandwidth.
        self.model.app_limited_until = event.delivered_total + event.in_flight
        if self.probe_rtt_done_stamp_s is None:
            if event.in_flight <= self.probe_rtt_cwnd():
                self.probe_rtt_done_stamp_s = event.now_s + self.probe_rtt_duration_s
                self.probe_rtt_round_done = False
                self.model.start_round(event.now_s)
            return
        if self.model.round_start:
            self.probe_rtt_round_done = True
        if self.probe_rtt_round_done:
            self.check_probe_rtt_done(event.now_s)

    def check_probe_rtt_done(self, now_s: float) -> None:
        """CheckProbeRTTDone and ExitProbeRTT (§5.3.4.4)."""
        if self.probe_rtt_done_stamp_s is None or now_s <= self.probe_rtt_done_stamp_s:
            return
        self.model.probe_rtt_min_stamp_s = now_s
        self.restore_cwnd()
        self.model.reset_short_term()
        if self.model.full_bw_reached:
            self.start_down(now_s)
            self.start_cruise()
        else:
            self.enter_startup()
