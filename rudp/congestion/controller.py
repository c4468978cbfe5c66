"""The interface between a connection and its congestion controller."""

from __future__ import annotations

import abc
import math
from typing import ClassVar, NamedTuple


class AckEvent(NamedTuple):
    """What a controller learns from one acknowledgement. Bytes, seconds, bytes a second.

    `RS.` and `C.` name the fields of draft-ietf-ccwg-bbr, "Delivery Rate Samples".
    """

    now_s: float
    delivered: int
    """Bytes that this acknowledgement showed to have arrived, cumulatively or selectively."""
    delivered_total: int
    """C.delivered, this acknowledgement included."""
    prior_in_flight: int
    """Bytes in flight before this acknowledgement."""
    in_flight: int
    rtt_s: float | None
    """This acknowledgement's round-trip sample, if it gave one."""
    min_rtt_s: float
    """The smallest sample of the connection; `math.inf` before the first."""
    rate: float
    """RS.delivery_rate; 0 if there is no valid sample."""
    rate_app_limited: bool
    in_recovery: bool
    srtt_s: float = 0.0
    """Smoothed round-trip time; 0 before the first sample."""
    round_start: bool = False
    """A packet-timed round trip ended: what was sent after the last one's end is acknowledged."""
    cwnd_limited: bool = True
    """`cwnd`, not the application or the peer's window, bounded what was sent (RFC 7661)."""
    lost: int = 0
    """Bytes that were deemed lost with this acknowledgement."""
    lost_total: int = 0
    """C.lost, those included."""
    prior_delivered: int = 0
    """RS.prior_delivered: `delivered_total` when the newest of what arrived was sent."""
    tx_in_flight: int = 0
    """RS.tx_in_flight: bytes in flight when that was sent, itself included."""
    lost_since_sent: int = 0
    """RS.lost: bytes deemed lost between that sending and now."""
    marked: int = 0
    """Bytes that the peer newly reported as marked Congestion Experienced (RFC 3168)."""
    oldest_rtt_s: float | None = None
    """Round-trip time of the oldest data that arrived and was sent once; `rtt_s` is the newest's.
    They differ where acknowledgements overtake each other, or come in lumps."""


class LossEvent(NamedTuple):
    """A range that was deemed lost: one transmission's, or a part of it. Bytes and seconds."""

    now_s: float
    size: int
    tx_in_flight: int
    """Bytes in flight when it was sent, itself included."""
    lost_since_sent: int
    """Bytes deemed lost between its sending and now, itself included."""
    app_limited: bool
    """The application had nothing more to send then."""
    sent_s: float = 0.0
    """When it was sent."""


class CongestionController(abc.ABC):
    """Base of the controllers: how many bytes may be in flight, and how fast they may leave.

    The connection calls the `on_` methods, one call a train or an acknowledgement, and reads
    `cwnd` and `pacing_rate` after each. `cwnd` never falls below one segment. For one
    acknowledgement the order is `on_lost`, `on_recovered`, `on_congestion`, `on_ack`, each only
    where it applies.

    Args:
        mss: Bytes of payload in a full-sized segment.
    """

    __slots__ = ("cwnd", "mss", "pacing_rate", "ssthresh")

    name: ClassVar[str]
    uses_prr: ClassVar[bool] = True
    """Whether recovery sends by proportional rate reduction towards `ssthresh` (RFC 9937);
    otherwise by `cwnd` as it is."""

    def __init__(self, mss: int) -> None:
        self.mss = mss
        self.cwnd = self.initial_window(mss)
        self.ssthresh: float = math.inf
        self.pacing_rate: float | None = None
        """Bytes a second, or None to send whenever `cwnd` allows."""

    @staticmethod
    def initial_window(mss: int) -> int:
        """The initial window in bytes (RFC 6928 §2)."""
        return min(10 * mss, max(2 * mss, 14_600))

    def on_sent(self, now_s: float, size: int, in_flight: int) -> None:
        """`size` bytes were sent; `in_flight` counts them."""

    @abc.abstractmethod
    def on_ack(self, event: AckEvent) -> None:
        """Bytes were acknowledged."""

    def on_lost(self, event: LossEvent) -> None:
        """Bytes were deemed lost; called for every loss, also inside a recovery episode."""

    @abc.abstractmethod
    def on_congestion(self, now_s: float, flight_size: int, *, marked: bool = False) -> None:
        """A loss (or, with `marked`, an ECN mark) began a recovery episode: once a window.

        `flight_size` is RFC 5681's FlightSize: bytes sent and not cumulatively acknowledged.
        """

    def on_recovered(self, now_s: float) -> None:
        """All that was outstanding when the episode began is acknowledged."""

    @abc.abstractmethod
    def on_timeout(self, now_s: float, flight_size: int, *, first: bool) -> None:
        """The retransmission timer expired; `first` tells a first expiry from a repeated one."""

    def on_spurious(self, now_s: float) -> None:
        """What the last `on_congestion` or `on_timeout` was told of had not been lost: undo."""

    def on_idle(self, idle_s: float, rto_s: float) -> None:
        """Sending resumes after `idle_s` seconds with nothing in flight."""

    def on_mss(self, mss: int) -> None:
        """Full-sized segments now carry `mss` bytes."""
        self.mss = mss
        self.cwnd = max(self.cwnd, mss)
