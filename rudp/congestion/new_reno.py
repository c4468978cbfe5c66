"""NewReno (RFC 5681, RFC 6582), counting bytes (RFC 3465)."""

from __future__ import annotations

from rudp.congestion.controller import AckEvent
from rudp.congestion.window import WindowController

_BETA = 0.5


class NewReno(WindowController):
    """Additive increase, multiplicative decrease.

    Growth counts bytes delivered, not acknowledgements (RFC 3465 §2.1, §2.2): one
    acknowledgement stands for a whole train here. During recovery the window stays at `ssthresh`
    and the bytes in flight decide what may be sent (RFC 6675 §5), which replaces RFC 6582's
    inflation.
    """

    __slots__ = ("_grown", "_undo")

    name = "newreno"

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self._grown = 0
        self._undo: tuple[int, float] | None = None

    def on_ack(self, event: AckEvent) -> None:
        """Slow start or congestion avoidance (RFC 5681 §3.1)."""
        if event.delivered and not event.in_recovery:
            if self.cwnd < self.ssthresh:
                self._slow_start(event, self._acked(event))
            elif event.cwnd_limited:
                self._avoid(self._acked(event))
        self._pace(event.srtt_s)

    def on_congestion(self, now_s: float, flight_size: int, *, marked: bool = False) -> None:
        """Halve (RFC 5681 §3.2, equation 4); a mark counts as a loss does (RFC 3168 §5)."""
        self._undo = None if marked else (self.cwnd, self.ssthresh)
        self._grown = 0
        self._reduce(_BETA, flight_size, marked=marked)
        self._pace()

    def on_timeout(self, now_s: float, flight_size: int, *, first: bool) -> None:
        """Back to the loss window of one segment (RFC 5681 §3.1)."""
        if first:
            self._undo = (self.cwnd, self.ssthresh)
            self._reduce(_BETA, flight_size, marked=False)
        self._grown = 0
        self.cwnd = self.mss
        self._pace()

    def on_spurious(self, now_s: float) -> None:
        """Take the last reduction back, in one step: pacing spreads what RFC 4015 lets out
        slowly. Nothing happens if the window is already larger again."""
        undo, self._undo = self._undo, None
        if undo is not None and self.cwnd < undo[0]:
            self.cwnd, self.ssthresh = undo
            self._pace()

    def _avoid(self, acked: int) -> None:
        """One segment more for each window of bytes acknowledged (RFC 3465 §2.1)."""
        self._grown += acked
        if self._grown >= self.cwnd:
            self._grown -= self.cwnd
            self.cwnd += self.mss

    def _restarted(self) -> None:
        self._grown = 0
        self._undo = None
