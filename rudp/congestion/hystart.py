"""HyStart++: leave slow start before the queue overflows (RFC 9406)."""

from __future__ import annotations

import math

from rudp.congestion.controller import AckEvent

_MIN_RTT_THRESH_S = 0.004
_MAX_RTT_THRESH_S = 0.016
_MIN_RTT_DIVISOR = 8
_N_RTT_SAMPLE = 8
_CSS_GROWTH_DIVISOR = 4
_CSS_ROUNDS = 5


class HyStart:
    """Watches the round-trip times of the initial slow start; names are RFC 9406 §4.2's.

    A round whose shortest round trip is well above that of the round before ends slow start:
    first for a conservative one (CSS), which goes back if the delay was a passing one and ends
    after five rounds otherwise. Its limit L is infinite, because what the window lets out is
    paced (§4.3).

    §4.2 judges a round from eight samples on, a number that fits the ACK for every second
    segment that a TCP receiver sends (RFC 5681 §4.2). Here one ACK may answer a train; eight of
    them may not come in a round even at megabytes of window, and slow start would end by loss.
    Hence a sample counts for as many as the segments it acknowledges would have brought. The
    minimum is then taken over fewer, so jitter begins CSS more often; but the next undelayed
    sample ends that again within the round, while a missed exit loses half a window.
    """

    __slots__ = ("_css_baseline_s", "_css_rounds", "_current_s", "_last_s", "_samples")

    def __init__(self) -> None:
        self._css_baseline_s = math.inf
        self._css_rounds = 0
        self._current_s = math.inf
        self._last_s = math.inf
        self._samples = 0

    @property
    def in_css(self) -> bool:
        """Whether slow start is conservative at the moment."""
        return self._css_baseline_s < math.inf

    def growth(self, acked: int) -> int:
        """How many bytes the window grows for `acked` bytes (§4.2)."""
        return acked // _CSS_GROWTH_DIVISOR if self.in_css else acked

    def on_ack(self, event: AckEvent, mss: int) -> bool:
        """Take one acknowledgement of segments of `mss` bytes; True when slow start is to end.

        A partial round counts if CSS begins within it (§4.2).
        """
        if event.round_start:
            self._last_s, self._current_s, self._samples = self._current_s, math.inf, 0
            if self.in_css:
                self._css_rounds += 1
                if self._css_rounds >= _CSS_ROUNDS:
                    return True
        if event.rtt_s is not None:
            self._current_s = min(self._current_s, event.rtt_s)
            self._samples += max(1, event.delivered // (2 * mss))
        if self._samples >= _N_RTT_SAMPLE:
            self._judge()
        return False

    def _judge(self) -> None:
        """Begin CSS at a delay increase; end it when the delay was not the queue's (§4.2)."""
        if self.in_css:
            if self._current_s < self._css_baseline_s:
                self._css_baseline_s = math.inf
        elif self._last_s < math.inf:
            thresh_s = max(
                _MIN_RTT_THRESH_S, min(self._last_s / _MIN_RTT_DIVISOR, _MAX_RTT_THRESH_S)
            )
            if self._current_s >= self._last_s + thresh_s:
                self._css_baseline_s = self._current_s
                self._css_rounds = 0
