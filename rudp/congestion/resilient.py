"""BBR for lossy paths: tells random loss from congestion (docs/congestion.md, "resilient").

BBRv3 takes more than 2 % of loss for an overflowing queue. On a radio link, or where somebody
polices badly, that gives away the link. Three differences make it hold there:

- A loss is congestion if there is a queue: a full queue delays before it drops. Without a
  queue, loss is congestion only where it clearly exceeds what the path loses anyway.
- What the path loses anyway is measured where sending cannot be its cause: in ProbeBW_DOWN,
  which sends below the bandwidth. Pacing then makes up for it: to deliver `bw`, send
  `bw / (1 - loss)`. A policer, which drops only what exceeds its rate, shows no loss there, and
  is not answered by sending more.
- Startup is quicker (it grows by its pacing gain each round, from 32 segments, paced), and ends
  when a queue builds, not when it overflows. Probes for bandwidth end likewise.

Where somebody else keeps a queue full, it plays along (`competition`).
"""

from __future__ import annotations

import math
from typing import ClassVar

from rudp.congestion.average import AverageRate
from rudp.congestion.bbr import Bbr, Phase
from rudp.congestion.competition import Competition
from rudp.congestion.confirmed import ConfirmedPathModel
from rudp.congestion.controller import AckEvent, LossEvent
from rudp.congestion.delay import TypicalRtt, queue_threshold_s
from rudp.congestion.path_loss import PathLoss


class Resilient(Bbr):
    """BBRv3's machine with another notion of loss; the default.

    Args:
        mss: Bytes of payload in a full-sized segment.
    """

    name = "resilient"
    model_class = ConfirmedPathModel
    model: ConfirmedPathModel

    startup_cwnd_gain = 2.77
    pacing_margin = 0.0
    """Cruise slows down as far as it sees a queue: no need to do so where there is none."""
    excess_factor: ClassVar[float] = 2.0
    excess_share: ClassVar[float] = 0.05
    """Without a queue, loss means congestion beyond twice the path's own and 5 % more."""
    most_loss: ClassVar[float] = 0.3
    """Pacing makes up for no more than this: beyond it, a path is broken rather than lossy."""
    window_gain: ClassVar[float] = 1.25
    """Startup spreads its window over this part of a round trip."""
    growth: ClassVar[float] = 1.15
    """Of the bandwidth, in a round trip of holding Startup's window: the pipe is not full."""
    release: ClassVar[float] = 1.1
    """Growth of the short-term bounds in each round trip without loss or queue."""
    late: ClassVar[float] = 4.0
    """Mean deviations that a round trip may be longer than the typical one."""
    policed_share: ClassVar[float] = 0.2
    """Of a flight, lost in Startup without any growth of the bandwidth."""
    policed_segments: ClassVar[int] = 64
    no_loss: ClassVar[float] = 0.005
    """A path that loses less than this by itself is taken to lose nothing."""
    noise: ClassVar[float] = 2.0
    """Mean deviations of the round trip that are noise and no queue."""
    down_rounds: ClassVar[int] = 1
    yielding: ClassVar[float] = 0.5
    """How much slower than the bandwidth Cruise and Down pace for a queue of one round trip. The
    queue is seen a round trip late: from about 1.5 on it would swing between empty and long."""
    own_trains: ClassVar[float] = 1.0
    """What waits behind a train of one's own is no queue to yield to."""
    least_gain: ClassVar[float] = 0.82
    """They never yield more than this to a queue that others hold."""
    up_inflight_gain: ClassVar[float] = 1.25
    alone: ClassVar[float] = 0.95
    """Who gets less than this part of the bandwidth, although there is a queue, shares the link."""
    shared_rounds: ClassVar[int] = 4
    """A probe for more of a shared link lasts at least so many round trips: the bandwidth, an
    average of two, has to show what it has won from others."""
    headroom_gain: ClassVar[float] = 1.15

    __slots__ = (
        "_average",
        "_average_bw",
        "_competition",
        "_down_round",
        "_held_bw",
        "_held_rounds",
        "_loss",
        "_measured_round",
        "_round_bw",
        "_rtt",
        "_too_high",
        "_up_inflight",
        "_up_round",
    )

    def __init__(self, mss: int) -> None:
        self._average = AverageRate()
        self._rtt = TypicalRtt()
        self._loss = PathLoss()
        self._competition = Competition()
        self._down_round = 0
        self._measured_round: int | None = None
        self._too_high = False
        self._held_rounds = 0
        self._average_bw = 0.0
        self._held_bw = 0.0
        self._round_bw = 0.0
        self._up_inflight = 0.0
        self._up_round = 0
        super().__init__(mss)

    @staticmethod
    def initial_window(mss: int) -> int:
        """32 ordinary segments, as Google's QUIC has used: they are paced over the first round
        trip."""
        return min(32 * mss, max(2 * mss, 32 * 1460))

    @property
    def path_loss(self) -> float:
        """The share of packets that the path loses whatever is sent, 0 to 1."""
        return min(self._loss.share, self.most_loss)

    @property
    def is_contested(self) -> bool:
        """Whether somebody else keeps the queue full."""
        return self._competition.cubic is not None

    @property
    def queue_s(self) -> float:
        """The queueing delay now, in seconds."""
        return self._rtt.queue_s(self.model.min_rtt_s)

    def has_queue(self) -> bool:
        """Whether packets wait, beyond what noise explains."""
        return self.queue_s > self._least_queue_s()

    def _least_queue_s(self) -> float:
        return queue_threshold_s(self.model.min_rtt_s) + self.noise * self._rtt.deviation_s

    # -- what loss means ---------------------------------------------------------------------------

    def is_inflight_too_high(self, lost: int, tx_in_flight: int) -> bool:
        """More loss than the path's own: a little where a queue stands, else clearly more."""
        share = self.path_loss
        if self.has_queue():
            return lost > tx_in_flight * (self.loss_threshold + self.excess_factor * share)
        if not self._loss.is_known or self.phase is Phase.STARTUP:
            return False
        return lost > tx_in_flight * (self.excess_share + self.excess_factor * share)

    def _is_overflow(self) -> bool:
        """Whether any loss at all is the queue's: one stands, and the path loses nothing."""
        return self.path_loss < self.no_loss and self.has_queue()

    def adapt_lower_bounds(self) -> None:
        """The short-term model answers only such loss, and is let go where no queue is left."""
        model = self.model
        if self._too_high:
            super().adapt_lower_bounds()
        elif not self.has_queue():
            model.bw_shortterm *= self.release
            model.inflight_shortterm *= self.release
        self._too_high = False

    def max_inflight(self) -> float:
        """Room for round trips that vary: the window must not cut what is only late."""
        return super().max_inflight() + self.model.bw * self.late * self._rtt.deviation_s

    # -- events ------------------------------------------------------------------------------------

    def on_sent(self, now_s: float, size: int, in_flight: int) -> None:
        """Count what is sent while the path's own loss is measured."""
        self._loss.on_sent(size)
        super().on_sent(now_s, size, in_flight)

    def on_lost(self, event: LossEvent) -> None:
        """Count what is lost of that."""
        self._loss.on_lost(event.sent_s, event.size)
        super().on_lost(event)

    def on_ack(self, event: AckEvent) -> None:
        """Look at the delay first: what follows judges by it."""
        if event.rtt_s is not None:
            # An acknowledgement that overtakes others stands for all of them, and what they would
            # have told comes too late: of the oldest that it acknowledges nothing is lost.
            if self._rtt.sample(event.oldest_rtt_s or event.rtt_s, event.now_s):
                self.model.forget_min_rtt()
            self.model.deviation_s = self._rtt.deviation_s
            event = event._replace(rtt_s=self._rtt.median_s or event.rtt_s)
        if self.model.full_bw_reached:
            event = event._replace(rate=self._steady_rate(event))
        if self.has_queue():
            self._loss.cancel()
        self._loss.settle(event.now_s, event.srtt_s)
        overflow = event.lost > 0 and self._is_overflow()
        if overflow:
            self._competition.on_overflow(event.now_s)
        if self.is_sample_too_high(event) or (overflow and self.phase is Phase.CRUISE):
            self._too_high = True
        self._competition.on_ack(event, probing=self.phase is Phase.PROBE_RTT)
        super().on_ack(event)
        if self.phase is Phase.DOWN and self._measured_round is None and not self.has_queue():
            self._measured_round = self.model.round_count
            self._loss.begin(event.now_s)

    def yielding_gain(self) -> float:
        """How much slower than the bandwidth to cruise, so that a queue goes away: the estimate is
        a maximum, and its noise alone would keep one."""
        if self.is_contested or self.model.bw <= 0:
            return 1.0
        own_s = self.own_trains * self.send_quantum / self.model.bw
        excess_s = self.queue_s - self.noise * self._rtt.deviation_s - own_s
        gain = 1 - self.yielding * max(excess_s, 0.0) / self.model.min_rtt_s
        return max(self.least_gain, gain)

    def _steady_rate(self, event: AckEvent) -> float:
        """The delivery rate over two round trips and what they vary by: a maximum of samples as
        short as one takes bursts of acknowledgements for bandwidth."""
        span_s = 2 * (self._rtt.median_s or event.srtt_s) + self.late * self._rtt.deviation_s
        average = self._average.update(event.now_s, event.delivered_total, span_s)
        if average is None:
            return event.rate
        self._average_bw = average
        return min(event.rate, average)

    def on_idle(self, idle_s: float, rto_s: float) -> None:
        """Averages do not reach across a pause."""
        self._average.restart()
        super().on_idle(idle_s, rto_s)
        self._competition.end()

    def on_congestion(self, now_s: float, flight_size: int, *, marked: bool = False) -> None:
        """The model responds, and the window of the competition."""
        super().on_congestion(now_s, flight_size, marked=marked)
        self._competition.on_congestion(now_s, flight_size, marked=marked)

    def on_timeout(self, now_s: float, flight_size: int, *, first: bool) -> None:
        """Begin with a single segment, whoever else is there."""
        super().on_timeout(now_s, flight_size, first=first)
        self._competition.end()

    def on_spurious(self, now_s: float) -> None:
        """Take both responses back."""
        super().on_spurious(now_s)
        self._competition.on_spurious(now_s)

    def on_mss(self, mss: int) -> None:
        """Full-sized segments now carry `mss` bytes."""
        super().on_mss(mss)
        self._competition.on_mss(mss)

    # -- pacing and window -------------------------------------------------------------------------

    def set_pacing_rate(self, gain: float) -> None:
        """Make up for the path's own loss, but not while it is measured."""
        if self.phase in (Phase.CRUISE, Phase.DOWN):
            gain *= self.yielding_gain()
        if self._held_rounds and self.phase is Phase.STARTUP:
            rate = self.up_pacing_gain * self.model.bw
            self.pacing_rate = max(rate, self.min_pacing_segments * self.mss)
            return
        if self.phase not in (Phase.DOWN, Phase.DRAIN):
            gain /= 1 - self.path_loss
        super().set_pacing_rate(gain)
        if self.phase is not Phase.PROBE_RTT:
            self.pacing_rate = max(self.pacing_rate or 0.0, self._competition.pacing_rate)
        if self.phase is Phase.STARTUP and self.model.min_rtt_s < math.inf:
            window_rate = self.window_gain * self.cwnd / self.model.min_rtt_s
            self.pacing_rate = max(self.pacing_rate or 0.0, window_rate)

    def set_cwnd(self, event: AckEvent) -> None:
        """In Startup each byte that arrives lets out as many as the gain says: the bandwidth
        estimate is a round trip older than that. An unused window does not grow (RFC 7661)."""
        if self.phase is Phase.STARTUP:
            # Half in use is use enough: within the round the window multiplies.
            used = self.is_cwnd_limited or 2 * event.prior_in_flight >= self.cwnd
            if self._held_rounds or not used:
                return
            limit = max(
                self.bdp(self.startup_cwnd_gain**2),
                self.startup_cwnd_gain * self.initial_window(self.mss),
            )
            if self.cwnd < limit:
                self.cwnd += int((self.startup_cwnd_gain - 2) * event.delivered)
                self.cwnd += event.delivered
                return
        super().set_cwnd(event)
        if self.phase is not Phase.PROBE_RTT:
            self.cwnd = max(self.cwnd, self._competition.cwnd)

    def inflight_with_headroom(self) -> float:
        """Headroom for others, but never less than what keeps a lossy path full."""
        floor = self.bdp(self.headroom_gain) / (1 - self.path_loss)
        return max(super().inflight_with_headroom(), floor)

    # -- Startup -----------------------------------------------------------------------------------

    def check_startup_done(self, event: AckEvent) -> None:
        """Once a queue builds: hold the window for two round trips. If the bandwidth does not
        grow in the second, which is paced above it, the pipe is full."""
        if self.phase is Phase.STARTUP and not self.model.full_bw_reached:
            if event.round_start and self._is_policed(event):
                self.undo_phase = Phase.STARTUP
                self.model.full_bw_now = self.model.full_bw_reached = True
            elif not self.has_queue():
                self._held_rounds = 0
            elif not self._held_rounds:
                self._held_rounds = 1
            elif event.round_start:
                self._after_held_round()
        super().check_startup_done(event)

    def _is_policed(self, event: AckEvent) -> bool:
        """Much is lost, no queue builds, and the bandwidth does not grow: a policer, or a queue
        too short to be seen."""
        grown = self.model.max_bw > self.growth * self._round_bw
        self._round_bw = self.model.max_bw
        least = max(self.policed_share * event.tx_in_flight, self.policed_segments * self.mss)
        return not grown and event.lost_since_sent > least

    def _after_held_round(self) -> None:
        model = self.model
        self._held_rounds += 1
        if self._held_rounds == 2:
            self._held_bw = model.max_bw
        elif model.max_bw > self.growth * self._held_bw:
            self._held_bw = model.max_bw  # not a queue of ours: jitter, or somebody else's
        else:
            model.full_bw_now = model.full_bw_reached = True

    # -- ProbeBW -----------------------------------------------------------------------------------

    def start_down(self, now_s: float) -> None:
        """Slow down; once the queue is gone, what the path loses then is measured."""
        super().start_down(now_s)
        self._down_round = self.model.round_count
        self._measured_round = None

    def start_cruise(self) -> None:
        """What was sent until now is the sample."""
        super().start_cruise()
        self._loss.end(self._now_s)

    def start_refill(self, now_s: float) -> None:
        """As `start_cruise`, where a probe follows at once."""
        super().start_refill(now_s)
        self._loss.end(self._now_s)

    def is_time_to_cruise(self, event: AckEvent) -> bool:
        """Not before a round has shown what the path loses; a queue of others' may forbid it."""
        rounds = self.model.round_count
        if self._measured_round is None:
            ready = rounds > self._down_round + self.drain_rounds
        elif self._loss.is_due:
            ready = rounds > self._measured_round + self.down_rounds
        else:
            self._loss.skip()
            ready = True
        return ready and super().is_time_to_cruise(event)

    def start_up(self, event: AckEvent) -> None:
        """Note where the probe begins: what others have in the queue is no answer to it."""
        self._up_inflight = self.up_inflight_gain * max(event.in_flight, self.bdp())
        shared = self.has_queue() and self._average_bw < self.alone * self.model.max_bw
        self.model.is_shared = shared
        self._up_round = self.model.round_count + (self.shared_rounds if shared else 0)
        super().start_up(event)

    def is_time_to_go_down(self, event: AckEvent) -> bool:
        """A queue of a quarter of the volume has shown that there is no more."""
        if (
            self.has_queue()
            and event.round_start
            and event.in_flight >= self._up_inflight
            and self.model.round_count >= self._up_round
        ):
            return True
        return super().is_time_to_go_down(event)

    # -- ProbeRTT ----------------------------------------------------------------------------------

    def enter_probe_rtt(self, now_s: float) -> None:
        """What stands while little of ours is in flight is others'."""
        self._competition.begin_probe(self.model.min_rtt_s)
        super().enter_probe_rtt(now_s)

    def check_probe_rtt(self, event: AckEvent) -> None:
        """Look at the queue meanwhile."""
        if self.phase is Phase.PROBE_RTT and event.rtt_s is not None:
            self._competition.on_probe_rtt(event.rtt_s)
        super().check_probe_rtt(event)

    def check_probe_rtt_done(self, now_s: float) -> None:
        """Judge by it."""
        super().check_probe_rtt_done(now_s)
        if self.phase is not Phase.PROBE_RTT:
            self.model.measured_s = now_s
            self._competition.end_probe(now_s, self._least_queue_s(), self.mss, self.cwnd)
