"""BBR's model of a path, for a path with jitter and with others on it."""

from __future__ import annotations

import math
from typing import ClassVar

from rudp.congestion.bbr import PathModel
from rudp.congestion.controller import AckEvent
from rudp.congestion.delay import queue_threshold_s


class ConfirmedPathModel(PathModel):
    """A round trip that is as short as the shortest but for noise confirms that one, so that
    ProbeRTT is needed only where a queue stands.

    Where packets are lost, that holds for ten seconds: a queue that is always full gives equal
    round trips, too, and its drops look like the path's own loss.
    """

    refresh_factor: ClassVar[float] = 1.03

    __slots__ = ("_lost_s", "deviation_s", "is_shared", "measured_s")

    def __init__(self) -> None:
        super().__init__()
        self._lost_s = -math.inf
        self.deviation_s = 0.0
        """Mean deviation of the round trips from their median, in seconds."""
        self.is_shared = False
        """Others use the link too, as of the last probe for bandwidth."""
        self.measured_s = -math.inf
        """When the shortest round trip was seen, or ProbeRTT looked for a shorter one."""

    def forget_min_rtt(self) -> None:
        """Samples were single until now; from now on they are typical."""
        self.min_rtt_s = self.probe_rtt_min_delay_s = math.inf

    def advance_max_bw_filter(self) -> None:
        """AdvanceMaxBwFilter; what a shared link delivered before the last probe is somebody
        else's now, and held on to it would take as long again to share alike."""
        super().advance_max_bw_filter()
        if self.is_shared:
            super().advance_max_bw_filter()

    def _confirming_s(self) -> float:
        """The longest round trip that is short; what would count as a queue is not."""
        if self.min_rtt_s == math.inf:
            return 0.0
        noise_s = min(self.deviation_s, queue_threshold_s(self.min_rtt_s))
        return self.min_rtt_s * self.refresh_factor + noise_s

    def update_min_rtt(self, event: AckEvent) -> None:
        """UpdateMinRTT, with confirmation."""
        now_s, rtt_s = event.now_s, event.rtt_s
        if event.lost:
            self._lost_s = now_s
        if rtt_s is not None and rtt_s < self.min_rtt_s:
            self.measured_s = now_s
        window_s = self.min_rtt_window_s
        trusted = now_s > self._lost_s + window_s or now_s < self.measured_s + window_s
        if trusted and rtt_s is not None and rtt_s <= self._confirming_s():
            self.probe_rtt_min_stamp_s = self.min_rtt_stamp_s = now_s
        super().update_min_rtt(event)
