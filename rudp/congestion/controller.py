"""The interface between a connection and its congestion controller."""

from __future__ import annotations

import abc
import math
from typing import ClassVar, NamedTuple


class AckEvent(NamedTuple):
    """What a controller learns from one acknowledgement. Bytes, seconds, bytes a second."""

    now_s: float
    delivered: int
    """Bytes that this acknowledgement showed to have arrived, cumulatively or selectively."""
    delivered_total: int
    prior_in_flight: int
    """Bytes in flight before this acknowledgement."""
    in_flight: int
    rtt_s: float | None
    """This acknowledgement's round-trip sample, if it gave one."""
    min_rtt_s: float
    rate: float
    """Delivery-rate sample; 0 if there is none."""
    rate_app_limited: bool
    in_recovery: bool


class CongestionController(abc.ABC):
    """Base of the controllers: how many bytes may be in flight, and how fast they may leave.

    The connection calls the `on_` methods, one call a train or an acknowledgement, and reads
    `cwnd` and `pacing_rate` after each. `cwnd` never falls below one segment.

    Args:
        mss: Bytes of payload in a full-sized segment.
    """

    __slots__ = ("cwnd", "mss", "pacing_rate", "ssthresh")

    name: ClassVar[str]

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

    @abc.abstractmethod
    def on_congestion(self, now_s: float, flight_size: int) -> None:
        """A loss (or a congestion mark) began a recovery episode: once a window of data.

        `flight_size` is RFC 5681's FlightSize: bytes sent and not cumulatively acknowledged.
        """

    def on_recovered(self, now_s: float) -> None:
        """All that was outstanding when the episode began is acknowledged."""

    @abc.abstractmethod
    def on_timeout(self, now_s: float, flight_size: int, *, first: bool) -> None:
        """The retransmission timer expired; `first` tells a first expiry from a repeated one."""

    def on_idle(self, idle_s: float, rto_s: float) -> None:
        """Sending resumes after `idle_s` seconds with nothing in flight."""

    def on_mss(self, mss: int) -> None:
        """Full-sized segments now carry `mss` bytes."""
        self.mss = mss
        self.cwnd = max(self.cwnd, mss)
