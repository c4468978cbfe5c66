"""BBR's model of the network path: how fast it delivers, how long it is, how much it holds.

Section numbers are those of draft-ietf-ccwg-bbr in the working group's text of August 2026.
"""

from __future__ import annotations

import math
from typing import ClassVar

from rudp.congestion.bbr.filter import WindowedMax
from rudp.congestion.controller import AckEvent


class PathModel:
    """What BBR estimates (§2.8, §2.9, §5.5). Bytes, seconds, bytes a second."""

    max_bw_cycles: ClassVar[int] = 2
    """MaxBwFilterLen: `max_bw` covers this probing cycle and the one before."""
    extra_acked_rounds: ClassVar[int] = 10
    """ExtraAckedFilterLen, once the pipe was full; a single round in Startup."""
    min_rtt_window_s: ClassVar[float] = 10.0
    """MinRTTFilterLen."""
    probe_rtt_interval_s: ClassVar[float] = 5.0
    """ProbeRTTInterval."""
    full_bw_growth: ClassVar[float] = 1.25
    """A round whose rate grew by less than this factor counts towards a full pipe."""
    full_bw_rounds: ClassVar[int] = 3

    __slots__ = (
        "_aggregation",
        "_aggregation_delivered",
        "_aggregation_start_s",
        "_bandwidth",
        "_cycle_count",
        "_loss_noted_s",
        "_round_started_s",
        "app_limited_until",
        "bw",
        "bw_latest",
        "bw_shortterm",
        "delivered_total",
        "extra_acked",
        "full_bw",
        "full_bw_count",
        "full_bw_now",
        "full_bw_reached",
        "inflight_latest",
        "inflight_longterm",
        "inflight_shortterm",
        "is_loss_in_round",
        "loss_round_delivered",
        "loss_round_start",
        "max_bw",
        "min_rtt_s",
        "min_rtt_stamp_s",
        "next_round_delivered",
        "probe_rtt_expired",
        "probe_rtt_min_delay_s",
        "probe_rtt_min_stamp_s",
        "round_count",
        "round_start",
        "rounds_since_probe_up",
    )

    def __init__(self) -> None:
        self.delivered_total = 0
        """C.delivered, as of the last acknowledgement."""
        self.app_limited_until = -1
        """Samples of what was sent before this much was delivered are application-limited."""
        self._init_rounds()
        self._init_bandwidth()
        self._init_min_rtt()
        self.inflight_longterm: float = math.inf
        """The most in flight that was seen to be safe, while probing (§2.9)."""
        self.inflight_shortterm: float = math.inf
        """The same for this probing cycle, lowered by losses outside the probe (§2.9)."""
        self._aggregation = WindowedMax()
        self._aggregation_start_s = 0.0
        self._aggregation_delivered = 0
        self.extra_acked: float = 0

    def _init_rounds(self) -> None:
        self.round_count = 0
        self.round_start = False
        self.next_round_delivered = 0
        self._round_started_s = -math.inf
        self.rounds_since_probe_up = 0
        self.is_loss_in_round = False
        self.loss_round_start = False
        self.loss_round_delivered = 0
        self._loss_noted_s = -math.inf

    def _init_bandwidth(self) -> None:
        self._bandwidth = WindowedMax()
        self._cycle_count = 0
        self.max_bw = 0.0
        self.bw_shortterm = math.inf
        self.bw = 0.0
        """The smaller of the two: what to send at."""
        self.bw_latest = 0.0
        self.inflight_latest = 0
        self.full_bw_reached = False
        """The pipe was full once in this connection's life."""
        self.reset_full_bw()

    def _init_min_rtt(self) -> None:
        self.min_rtt_s = math.inf
        self.min_rtt_stamp_s = 0.0
        self.probe_rtt_min_delay_s = math.inf
        self.probe_rtt_min_stamp_s = 0.0
        self.probe_rtt_expired = False

    def start_clock(self, now_s: float) -> None:
        """The connection's first event: wall-clock intervals count from here (§5.2.1)."""
        self.min_rtt_stamp_s = self.probe_rtt_min_stamp_s = now_s
        self.restart_aggregation(now_s)

    # -- rounds, §5.5.1 --------------------------------------------------------------------------

    def start_round(self, now_s: float) -> None:
        """A round begins: it ends when something is delivered that is sent from here on."""
        self.next_round_delivered = self.delivered_total
        self._round_started_s = now_s

    def note_loss(self, now_s: float) -> bool:
        """A loss was noticed; true if it is the first of its round (NoteLoss, §5.5.10.2)."""
        first = not self.is_loss_in_round
        if first:
            self.loss_round_delivered = self.delivered_total
            self._loss_noted_s = now_s
            self.is_loss_in_round = True
        return first

    def deliver(self, event: AckEvent) -> None:
        """Take in C.delivered.

        Losses are told before the acknowledgement that revealed them, so rounds that they began
        were counted from the value before it. What it acknowledges was sent before them, too.
        """
        self.delivered_total = event.delivered_total
        if self._loss_noted_s == event.now_s:
            self.loss_round_delivered = event.delivered_total
        if self._round_started_s == event.now_s:
            self.next_round_delivered = event.delivered_total

    def update_round(self, event: AckEvent) -> None:
        """UpdateRound (§5.5.1)."""
        self.round_start = event.prior_delivered >= self.next_round_delivered
        if self.round_start:
            self.start_round(event.now_s)
            self.round_count += 1
            self.rounds_since_probe_up += 1

    # -- bandwidth, §5.5.2 to §5.5.6 and §5.5.10.3 -----------------------------------------------

    def update_max_bw(self, event: AckEvent) -> None:
        """UpdateMaxBw: an application-limited sample counts only if it raises the estimate."""
        rate = event.rate
        if rate > 0 and (rate >= self.max_bw or not event.rate_app_limited):
            self.max_bw = self._bandwidth.update(rate, self._cycle_count, self.max_bw_cycles)

    def advance_max_bw_filter(self) -> None:
        """AdvanceMaxBwFilter (§5.5.6)."""
        self._cycle_count += 1

    def update_latest(self, event: AckEvent) -> None:
        """UpdateLatestDeliverySignals: what this loss round has delivered at most."""
        delivered = sample_delivered(event)
        self.bw_latest = max(self.bw_latest, event.rate)
        self.inflight_latest = max(self.inflight_latest, delivered)
        self.loss_round_start = event.prior_delivered >= self.loss_round_delivered
        if self.loss_round_start:
            self.loss_round_delivered = event.delivered_total

    def advance_latest(self, event: AckEvent) -> None:
        """AdvanceLatestDeliverySignals."""
        if self.loss_round_start:
            self.bw_latest = event.rate
            self.inflight_latest = sample_delivered(event)

    def reset_congestion_signals(self) -> None:
        """ResetCongestionSignals."""
        self.is_loss_in_round = False
        self.bw_latest = 0.0
        self.inflight_latest = 0

    def lower_short_term(self, beta: float, cwnd: int) -> None:
        """InitLowerBounds and LossLowerBounds: towards what the last round delivered."""
        if self.bw_shortterm == math.inf:
            self.bw_shortterm = self.max_bw
        if self.inflight_shortterm == math.inf:
            self.inflight_shortterm = cwnd
        self.bw_shortterm = max(self.bw_latest, beta * self.bw_shortterm)
        self.inflight_shortterm = max(self.inflight_latest, beta * self.inflight_shortterm)

    def reset_short_term(self) -> None:
        """ResetShortTermModel."""
        self.bw_shortterm = self.inflight_shortterm = math.inf

    def bound_bw(self) -> None:
        """BoundBWForModel."""
        self.bw = min(self.max_bw, self.bw_shortterm)

    # -- a full pipe, §5.3.1.2 -------------------------------------------------------------------

    def reset_full_bw(self, baseline: float = 0.0) -> None:
        """ResetFullBW: look for a plateau anew, above `baseline` bytes a second."""
        self.full_bw = baseline
        self.full_bw_count = 0
        self.full_bw_now = False

    def check_full_bw(self, event: AckEvent) -> None:
        """CheckFullBWReached: three rounds without a quarter more mean that the pipe is full."""
        if self.full_bw_now or not self.round_start or event.rate_app_limited:
            return
        if event.rate <= 0:
            return  # no valid sample: that says nothing of a plateau
        if event.rate >= self.full_bw * self.full_bw_growth:
            self.reset_full_bw(event.rate)
            return
        self.full_bw_count += 1
        self.full_bw_now = self.full_bw_count >= self.full_bw_rounds
        if self.full_bw_now:
            self.full_bw_reached = True

    # -- aggregation, §5.5.9 ---------------------------------------------------------------------

    def restart_aggregation(self, now_s: float) -> None:
        """What is delivered in excess of `bw` is counted from now on."""
        self._aggregation_start_s = now_s

    def update_aggregation(self, event: AckEvent, cwnd: int) -> None:
        """UpdateACKAggregation."""
        expected = self.bw * max(0.0, event.now_s - self._aggregation_start_s)
        if self._aggregation_delivered <= expected:
            self._aggregation_delivered = 0
            self._aggregation_start_s = event.now_s
            expected = 0.0
        self._aggregation_delivered += event.delivered
        extra = min(self._aggregation_delivered - expected, cwnd)
        length = self.extra_acked_rounds if self.full_bw_reached else 1
        self.extra_acked = self._aggregation.update(extra, self.round_count, length)

    # -- the round-trip time, §5.3.4.3 and §5.5.7 ------------------------------------------------

    def update_min_rtt(self, event: AckEvent) -> None:
        """UpdateMinRTT: the minimum of ten seconds, refreshed by the minimum of five."""
        now_s, rtt_s = event.now_s, event.rtt_s
        self.probe_rtt_expired = now_s > self.probe_rtt_min_stamp_s + self.probe_rtt_interval_s
        if rtt_s is not None and (rtt_s < self.probe_rtt_min_delay_s or self.probe_rtt_expired):
            self.probe_rtt_min_delay_s = rtt_s
            self.probe_rtt_min_stamp_s = now_s
        min_rtt_expired = now_s > self.min_rtt_stamp_s + self.min_rtt_window_s
        if self.probe_rtt_min_delay_s < self.min_rtt_s or min_rtt_expired:
            self.min_rtt_s = self.probe_rtt_min_delay_s
            self.min_rtt_stamp_s = self.probe_rtt_min_stamp_s


def sample_delivered(event: AckEvent) -> int:
    """RS.delivered: what arrived while the newest of what was acknowledged was on its way; 0
    where the acknowledgement gives no sample (§4.1.2.3)."""
    if not event.rate and not event.tx_in_flight:
        return 0
    return max(0, event.delivered_total - event.prior_delivered)
