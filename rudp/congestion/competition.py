"""Holding one's own against flows that keep a queue full: Copa's competitive mode, with CUBIC.

A model of the path bounds what is in flight by the round trip *without* a queue. Against a flow
that fills a long queue until it overflows that is a small part of what is in flight, and the share
of the bandwidth is as small. So, while such a flow is there, the window is at least what CUBIC
would have: the share is then what CUBIC flows get among themselves, however long the queue is.

Two things together show such a flow: the queue overflows, and it stands while this flow holds
half of what the path takes (ProbeRTT). A few flows with a model of the path do not do the first
where the queue is long enough for it to matter, and give way in the second.
"""

from __future__ import annotations

import math
from typing import ClassVar

from rudp.congestion.controller import AckEvent
from rudp.congestion.cubic import Cubic


class Competition:
    """Whether somebody else keeps the queue full, and the window to answer with.

    After `longest_s` the evidence is old and has to be given anew: a path that has become longer
    looks like a queue that stands.
    """

    longest_s: ClassVar[float] = 30.0
    overflow_s: ClassVar[float] = 15.0
    """An overflow is evidence for this long: a CUBIC flow comes back to the top of a queue in
    some such time."""

    __slots__ = ("_began_s", "_lowest_s", "_overflow_s", "_shortest_s", "cubic")

    def __init__(self) -> None:
        self.cubic: Cubic | None = None
        """What the others are taken to play; None while nobody does."""
        self._began_s = 0.0
        self._overflow_s = -math.inf
        self._lowest_s = math.inf
        self._shortest_s = math.inf

    def on_overflow(self, now_s: float) -> None:
        """Something was lost to a full queue."""
        self._overflow_s = now_s

    def begin_probe(self, min_rtt_s: float) -> None:
        """ProbeRTT begins; without a queue a round trip takes `min_rtt_s` seconds."""
        self._lowest_s = math.inf
        # A minimum of ten seconds forgets the path under the queue that stands on it.
        self._shortest_s = min(self._shortest_s, min_rtt_s) if self.cubic else min_rtt_s

    def on_probe_rtt(self, rtt_s: float) -> None:
        """A round trip took `rtt_s` seconds while little was in flight."""
        self._lowest_s = min(self._lowest_s, rtt_s)

    def end_probe(self, now_s: float, queue_s: float, mss: int, window: int) -> None:
        """ProbeRTT ends: judge by what it saw.

        Args:
            now_s: The time in seconds.
            queue_s: By how much a round trip has to be longer to show a queue.
            mss: Bytes of payload in a full-sized segment.
            window: Bytes of the congestion window to go on from.
        """
        stands = self._shortest_s + queue_s < self._lowest_s < math.inf
        if not stands or (self.cubic and now_s > self._began_s + self.longest_s):
            self.cubic = None
        elif self.cubic is None and now_s < self._overflow_s + self.overflow_s:
            self._began_s = now_s
            self.cubic = Cubic(mss)
            self.cubic.cwnd = window
            self.cubic.ssthresh = window

    # -- the window --------------------------------------------------------------------------------

    @property
    def cwnd(self) -> int:
        """Bytes that CUBIC would have in flight; 0 without competition."""
        return self.cubic.cwnd if self.cubic is not None else 0

    @property
    def pacing_rate(self) -> float:
        """Bytes a second that spread this over a round trip; 0 without competition."""
        return self.cubic.pacing_rate or 0.0 if self.cubic is not None else 0.0

    def end(self) -> None:
        """After a timeout or a pause the window says nothing about the others any more."""
        self.cubic = None

    def on_ack(self, event: AckEvent, *, probing: bool) -> None:
        """Let the window grow as CUBIC's does, but not while ProbeRTT leaves it unused."""
        if self.cubic is not None:
            self.cubic.on_ack(event._replace(cwnd_limited=False) if probing else event)

    def on_congestion(self, now_s: float, flight_size: int, *, marked: bool) -> None:
        """The others' windows shrink as well."""
        if self.cubic is not None:
            self.cubic.on_congestion(now_s, flight_size, marked=marked)

    def on_spurious(self, now_s: float) -> None:
        """Nothing had been lost."""
        if self.cubic is not None:
            self.cubic.on_spurious(now_s)

    def on_mss(self, mss: int) -> None:
        """Full-sized segments now carry `mss` bytes."""
        if self.cubic is not None:
            self.cubic.on_mss(mss)
