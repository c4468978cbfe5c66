"""NewReno (RFC 5681, RFC 6582), counting bytes (RFC 3465)."""

from __future__ import annotations

from rudp.congestion.controller import AckEvent, CongestionController


class NewReno(CongestionController):
    """Additive increase, multiplicative decrease.

    Growth counts bytes delivered, not acknowledgements: one acknowledgement stands for a whole
    train here, so RFC 3465's limit L of two segments an ACK is applied per segment, which the
    byte count already is. During recovery the window stays at `ssthresh` and the bytes in
    flight decide what may be sent (RFC 6675 §5), which replaces RFC 6582's inflation.
    """

    __slots__ = ("_grown",)

    name = "newreno"

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self._grown = 0

    def on_ack(self, event: AckEvent) -> None:
        """Slow start or congestion avoidance (RFC 5681 §3.1)."""
        if event.in_recovery or not event.delivered:
            return
        if self.cwnd < self.ssthresh:
            # Unused window says nothing about the path (RFC 7661 §4.2; Linux uses the factor 2).
            if 2 * event.prior_in_flight >= self.cwnd:
                # After a timeout one ACK may cover a window that had arrived all along; what
                # was in flight bounds the growth (RFC 3465 §2.3).
                grown = min(event.delivered, max(event.prior_in_flight, self.mss))
                self.cwnd = int(min(self.cwnd + grown, max(self.ssthresh, self.cwnd)))
        elif event.prior_in_flight + 2 * self.mss >= self.cwnd:
            self._grown += event.delivered
            if self._grown >= self.cwnd:
                self._grown -= self.cwnd
                self.cwnd += self.mss

    def on_congestion(self, now_s: float, flight_size: int, *, marked: bool = False) -> None:
        """Halve (RFC 5681 §3.2, equation 4)."""
        self.ssthresh = max(flight_size // 2, 2 * self.mss)
        self.cwnd = int(self.ssthresh)
        self._grown = 0

    def on_timeout(self, now_s: float, flight_size: int, *, first: bool) -> None:
        """Back to the loss window of one segment (RFC 5681 §3.1)."""
        if first:
            self.ssthresh = max(flight_size // 2, 2 * self.mss)
        self.cwnd = self.mss
        self._grown = 0

    def on_idle(self, idle_s: float, rto_s: float) -> None:
        """After more than an RTO of silence start from the restart window (RFC 5681 §4.1)."""
        if idle_s > rto_s:
            self.cwnd = min(self.cwnd, self.initial_window(self.mss))
