"""CUBIC (RFC 9438) with HyStart++ (RFC 9406), counting bytes."""

from __future__ import annotations

import math
from typing import NamedTuple

from rudp.congestion.controller import AckEvent
from rudp.congestion.hystart import HyStart
from rudp.congestion.window import WindowController

_C = 0.4
"""Segments a second cubed (RFC 9438 §5.1)."""
_BETA = 0.7
_ALPHA = 3 * (1 - _BETA) / (1 + _BETA)
"""Of W_est: with this and `_BETA`, AIMD takes the share that Reno takes (§4.3)."""
_MOST_GROWTH = 1.5
"""Of target: the window grows more slowly than in slow start (§4.2)."""


class _Undo(NamedTuple):
    """The state before a reduction, to return to if it was for nothing (§4.9.2)."""

    cwnd: int
    cwnd_prior: float
    ssthresh: float
    w_max: float
    k_s: float
    epoch_s: float | None
    w_est: float


class Cubic(WindowController):
    """The window is a cubic function of the time since the last reduction, whatever the RTT.

    Names are RFC 9438's, except that windows are in bytes: §4.1 gives them in segments. Fast
    convergence is on. A mark counts as a loss does (RFC 3168 §5); the milder reduction that the
    experimental RFC 8511 allows is not used.
    """

    __slots__ = (
        "_cwnd_prior",
        "_epoch_s",
        "_fraction",
        "_hystart",
        "_idled",
        "_k_s",
        "_last_ack_s",
        "_undo",
        "_w_est",
        "_w_max",
    )

    name = "cubic"

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self._hystart = HyStart()
        self._w_max = 0.0
        """0 while it is undefined: before the first loss, and after a timeout."""
        # No loss yet: §4.10 has cwnd_prior equal cwnd, so that alpha is 1. So it is with 0.
        self._cwnd_prior = 0.0
        self._k_s = 0.0
        self._epoch_s: float | None = None
        """When the congestion avoidance stage began, put off by the time it stood still."""
        self._w_est = 0.0
        self._fraction = 0.0
        """The part of a byte by which the window is larger than `cwnd`."""
        self._last_ack_s = 0.0
        self._idled = False
        self._undo: _Undo | None = None

    def on_ack(self, event: AckEvent) -> None:
        """Slow start (§4.10), or the larger of cubic and Reno-friendly growth (§4.2)."""
        if event.delivered and not event.in_recovery:
            if self.cwnd < self.ssthresh and not self._ends_slow_start(event):
                self._slow_start(event, self._hystart.growth(self._acked(event)))
            else:
                self._avoid(event)
        self._last_ack_s = event.now_s
        self._idled = False
        self._pace(event.srtt_s)

    def on_congestion(self, now_s: float, flight_size: int, *, marked: bool = False) -> None:
        """Multiplicative decrease (§4.6) with fast convergence (§4.7)."""
        self._save()
        if marked:
            self._undo = None
        cwnd = self.cwnd
        self._w_max = cwnd * (1 + _BETA) / 2 if cwnd < self._w_max else float(cwnd)
        self._leave_stage(flight_size, marked=marked)
        self._pace()

    def on_timeout(self, now_s: float, flight_size: int, *, first: bool) -> None:
        """Back to one segment; the next stage takes W_max from where it begins (§4.8)."""
        if first:
            self._save()
            self._leave_stage(flight_size, marked=False)
        self._w_max = 0.0
        self._epoch_s = None
        self._fraction = 0.0
        self.cwnd = self.mss
        self._pace()

    def on_spurious(self, now_s: float) -> None:
        """Take the last reduction back, unless the window is already larger again (§4.9).

        After a timeout, too: pacing spreads what RFC 4015 lets out slowly.
        """
        undo, self._undo = self._undo, None
        if undo is None or self.cwnd >= undo.cwnd:
            return
        self.cwnd, self._cwnd_prior, self.ssthresh = undo.cwnd, undo.cwnd_prior, undo.ssthresh
        self._w_max, self._k_s = undo.w_max, undo.k_s
        self._epoch_s, self._w_est = undo.epoch_s, undo.w_est
        self._fraction = 0.0
        self._hystart = HyStart()  # in case this was the initial slow start: the rounds are stale
        self._pace()

    def on_idle(self, idle_s: float, rto_s: float) -> None:
        """The restart window after more than an RTO (RFC 5681 §4.1), and a new stage when it has
        grown to `ssthresh`; the stage stands still over a shorter pause (§5.8)."""
        self._idled = True
        super().on_idle(idle_s, rto_s)

    def on_mss(self, mss: int) -> None:
        """Windows in bytes stay; a new stage begins, because K counts in segments."""
        super().on_mss(mss)
        self._restarted()

    def _ends_slow_start(self, event: AckEvent) -> bool:
        """HyStart++ for the initial slow start; later ones end at `ssthresh` (RFC 9406 §4.3)."""
        if self.ssthresh < math.inf or not self._hystart.on_ack(event, self.mss):
            return False
        self.ssthresh = self.cwnd
        return True

    def _avoid(self, event: AckEvent) -> None:
        """Congestion avoidance (§4.2 to §4.5).

        §4.4 and §4.5 add (target - cwnd) / cwnd for an ACK: here for each segment that it
        acknowledges, as Linux does, since one ACK may answer a train.
        """
        if self._idled or not event.cwnd_limited:
            self._stand_still(event.now_s)
        if not event.cwnd_limited:
            return
        epoch_s = self._epoch_s if self._epoch_s is not None else self._begin_stage(event.now_s)
        t_s = max(event.now_s - epoch_s, 0.0)
        cwnd = self.cwnd + self._fraction
        acked = self._acked(event)
        alpha = 1.0 if self._w_est >= self._cwnd_prior else _ALPHA
        self._w_est += alpha * self.mss * acked / cwnd
        if self._w_cubic(t_s) < self._w_est:
            window = max(cwnd, self._w_est)
        else:
            target = min(max(self._w_cubic(t_s + event.srtt_s), cwnd), _MOST_GROWTH * cwnd)
            window = cwnd + (target - cwnd) / cwnd * acked
        window = min(window, cwnd + acked)
        self.cwnd = int(window)
        self._fraction = window - self.cwnd

    def _stand_still(self, now_s: float) -> None:
        """Time in which the window was not used is no part of t (§4.2, §5.8)."""
        if self._epoch_s is not None:
            self._epoch_s += max(now_s - self._last_ack_s, 0.0)

    def _begin_stage(self, now_s: float) -> float:
        """Begin a congestion avoidance stage with its W_est and K; the time it begins (§4.2)."""
        cwnd = float(self.cwnd)
        self._w_est = cwnd
        if self._w_max > cwnd:
            self._k_s = math.cbrt((self._w_max - cwnd) / (_C * self.mss))
        else:  # §4.8, §4.10; or slow start has gone beyond the last W_max
            self._w_max = cwnd
            self._k_s = 0.0
        self._epoch_s = now_s
        return now_s

    def _w_cubic(self, t_s: float) -> float:
        """W_cubic(t), equation 1."""
        return _C * self.mss * (t_s - self._k_s) ** 3 + self._w_max

    def _leave_stage(self, flight_size: int, *, marked: bool) -> None:
        self._cwnd_prior = float(self.cwnd)
        self._epoch_s = None
        self._fraction = 0.0
        self._reduce(_BETA, flight_size, marked=marked)

    def _restarted(self) -> None:
        self._epoch_s = None
        self._fraction = 0.0
        self._undo = None

    def _save(self) -> None:
        self._undo = _Undo(
            self.cwnd,
            self._cwnd_prior,
            self.ssthresh,
            self._w_max,
            self._k_s,
            self._epoch_s,
            self._w_est,
        )
