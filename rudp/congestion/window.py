"""What newreno and cubic share: the rate follows from the window, growth counts bytes."""

from __future__ import annotations

from rudp.congestion.controller import AckEvent, CongestionController

_SLOW_START_GAIN = 2.0
_AVOIDANCE_GAIN = 1.2
_SHORTEST_RTT_S = 1e-6
"""The unit of timestamps: no round trip is measured to be shorter."""


def pacing_rate(cwnd: int, ssthresh: float, srtt_s: float) -> float | None:
    """Bytes a second at which a window of `cwnd` bytes is spread over a round trip.

    Faster than `cwnd` in a round trip, so that the pacer shapes bursts and the window stays what
    limits: the factors are Linux's (`tcp_update_pacing_rate`), 2 in slow start, because the
    window doubles within the round, and 1.2 from half of `ssthresh` on. None as long as
    `srtt_s` is 0, which is to say unknown.
    """
    if srtt_s <= 0.0:
        return None
    gain = _SLOW_START_GAIN if cwnd < ssthresh / 2 else _AVOIDANCE_GAIN
    return gain * cwnd / max(srtt_s, _SHORTEST_RTT_S)


class WindowController(CongestionController):
    """Base of the controllers that have a window and derive the rate from it.

    A window grows only while it is what limits the sender, because an unused one says nothing
    about the path (RFC 7661, RFC 9438 §5.8). `AckEvent.cwnd_limited` tells: the connection
    saw whether the window was full in the round that is being acknowledged. The bytes in flight
    before an acknowledgement could not, where acknowledgements come bunched.

    What RFC 7661 adds for a reduction while the application sends little is not done: the
    reduction goes by what was in flight (RFC 5681 §3.1), the lower of the two.
    """

    __slots__ = ("_srtt_s",)

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self._srtt_s = 0.0

    def on_idle(self, idle_s: float, rto_s: float) -> None:
        """After more than an RTO of silence start from the restart window (RFC 5681 §4.1)."""
        if idle_s > rto_s:
            self.cwnd = min(self.cwnd, self.initial_window(self.mss))
            self._restarted()
            self._pace()

    def on_mss(self, mss: int) -> None:
        """Full-sized segments now carry `mss` bytes; the window in bytes stays."""
        super().on_mss(mss)
        self._pace()

    def _restarted(self) -> None:
        """What the controller knew of the window before an idle period no longer counts."""

    def _pace(self, srtt_s: float = 0.0) -> None:
        """`pacing_rate` for the present window, and for a newer `srtt_s` unless it is 0."""
        if srtt_s > 0.0:
            self._srtt_s = srtt_s
        self.pacing_rate = pacing_rate(self.cwnd, self.ssthresh, self._srtt_s)

    def _acked(self, event: AckEvent) -> int:
        """The bytes of an acknowledgement that may open the window.

        RFC 3465 §2.3 limits the growth that one ACK brings to L segments, and to one in the slow
        start after a timeout, when an ACK may cover a window that had arrived all along. Here one
        ACK stands for a train, and pacing prevents the burst that L is about; so instead of a
        constant what was in flight bounds the growth: no more can have left the network.
        """
        return min(event.delivered, max(event.prior_in_flight, self.mss))

    def _slow_start(self, event: AckEvent, grown: int) -> None:
        """Open the window by `grown` bytes, up to `ssthresh` (RFC 5681 §3.1)."""
        if event.cwnd_limited:
            self.cwnd = int(min(self.cwnd + grown, self.ssthresh))

    def _reduce(self, beta: float, flight_size: int, *, marked: bool) -> None:
        """Multiplicative decrease to `beta` of the window in use (RFC 5681 §3.2).

        FlightSize must leave out what was sent beyond the window on duplicate ACKs (RFC 5681
        §3.2, step 2): hence no more than `cwnd`. The floor is two segments, of `cwnd` one if the
        signal was a mark (RFC 3168 §6.1.2, RFC 9438 §4.6).
        """
        window = int(min(flight_size, self.cwnd) * beta)
        self.ssthresh = max(window, 2 * self.mss)
        self.cwnd = max(window, self.mss if marked else 2 * self.mss)
