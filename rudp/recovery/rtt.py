"""Round-trip time and retransmission timeout (RFC 6298)."""

from __future__ import annotations

import math

_ALPHA, _BETA, _K = 1 / 8, 1 / 4, 4
_GRANULARITY_S = 0.001
"""G of RFC 6298 §2: event loops wake on the millisecond."""


class RttEstimator:
    """SRTT, RTTVAR, RTO with exponential backoff; all times in seconds.

    Args:
        initial_rto_s: RTO before the first measurement (RFC 6298 §2.1).
        min_rto_s: Least that the RTO exceeds the smoothed round-trip time by.
        max_rto_s: Ceiling of the RTO, backoff included.
    """

    __slots__ = ("_base_s", "_max_s", "_min_s", "backoff", "latest_s", "min_s", "srtt_s", "var_s")

    def __init__(self, initial_rto_s: float, min_rto_s: float, max_rto_s: float) -> None:
        self._base_s = min(initial_rto_s, max_rto_s)
        self._min_s = min_rto_s
        self._max_s = max_rto_s
        self.backoff = 0
        """How often the timer has expired since the last acknowledgement of new data."""
        self.srtt_s: float | None = None
        self.var_s = 0.0
        self.latest_s = math.nan
        self.min_s = math.inf

    @property
    def rto_s(self) -> float:
        """The timeout to arm now, backoff included (RFC 6298 §5.5)."""
        if not self.backoff:
            return self._base_s
        return min(self._base_s * (1 << min(self.backoff, 32)), self._max_s)

    def sample(self, rtt_s: float) -> None:
        """Take one measurement; it must not come from a retransmission without timestamps."""
        self.latest_s = rtt_s
        if rtt_s < self.min_s:
            self.min_s = rtt_s
        srtt_s = self.srtt_s
        if srtt_s is None:
            self.srtt_s = rtt_s
            self.var_s = rtt_s / 2
        else:
            # RTTVAR first, with the old SRTT (RFC 6298 §2.3).
            self.var_s += _BETA * (abs(srtt_s - rtt_s) - self.var_s)
            self.srtt_s = srtt_s + _ALPHA * (rtt_s - srtt_s)
        # With a sample an ACK, RTTVAR forgets within a fraction of a round trip what a queue can
        # add in the next one (RFC 7323 appendix G). So the floor is one of the variance's share,
        # as Linux has it: a queue may build that fast without a timeout.
        rto_s = self.srtt_s + max(_GRANULARITY_S, _K * self.var_s, self._min_s)
        self._base_s = min(rto_s, self._max_s)

    def on_timeout(self) -> None:
        """Back off: the timer expired (RFC 6298 §5.5)."""
        self.backoff += 1

    def on_new_ack(self) -> None:
        """Collapse the backoff: new data was acknowledged (RFC 6298 §5.3, Karn)."""
        self.backoff = 0

    def on_handshake_timeout(self, fallback_rto_s: float = 3.0) -> None:
        """Data starts with an RTO of 3 s if the SYN had to be repeated (RFC 6298 §5.7)."""
        if self.srtt_s is None:
            self._base_s = min(max(fallback_rto_s, self._base_s), self._max_s)
