"""Path MTU discovery for datagrams (DPLPMTUD, RFC 8899, with ideas of RFC 4821).

A probe is a data segment that is larger than the ordinary ones (§4.1, "probing using application
data"). Whoever sends it also judges it: PROBE_TIMER is the connection's own loss detection, and
CONFIRMATION_TIMER is not used, as §5.1.1 wants it for a transport that has acknowledgements.

The search (§5.3) climbs a ladder of common sizes while probes arrive. A size has failed when
`MAX_PROBES` probes of it in a row were lost, so that 10 % random loss condemns a good size once in
a thousand times; then the range between the largest success and the smallest failure is halved.
Two things keep it cheap, because each size that fails costs three lost segments:

- above a common size, the next probe asks for the smallest gain that is worth having, and not for
  the middle: a path that took 1,472 bytes and refused 4,442 is most likely an Ethernet;
- it ends when less than 16 bytes or 1/64 of the size can be gained (§5.3.2).

RFC 8899 §5.3.1 ends the search at the first size that fails; here it goes on downwards. What was
missed by bad luck is found when PMTU_RAISE_TIMER expires.
"""

from __future__ import annotations

import enum
import math

MAX_PROBES = 3
"""Probes of a size that are lost in a row before the size has failed (RFC 8899 §5.1.2)."""

RAISE_S = 600.0
"""PMTU_RAISE_TIMER, seconds (RFC 8899 §5.1.1)."""

HOLD_S = 60.0
"""A size that turned black again within so many seconds of the last time is not tried again
before PMTU_RAISE_TIMER expires: the path is inconsistent (RFC 8899 §5.3.3)."""

BASE_PLPMTU = 1200
"""Expected to pass nearly everywhere (RFC 8899 §5.1.2)."""

MIN_PLPMTU = 548
"""What every IPv4 host takes: 576 less the IP and UDP headers (RFC 8899 §5.1.2, RFC 1122 §3.3.3).
IPv6 never needs it: 1,280 leave 1,232."""

BLACK_HOLE_TIMEOUTS = 2
"""Timeouts in a row that condemn a size above the base. RFC 8899 §4.3 leaves the number open; a
false alarm costs two round trips at the base size, one timeout more doubles the stall."""

COMMON_SIZES = (1452, 1472, 4442, 8952, 8972, 16_356, 32_740, 65_507)
"""UDP payloads: Ethernet under IPv6 and IPv4 (1,500), packet over SONET (4,470), jumbo frames
(9,000, both), loopback (16 K, 32 K, 64 K)."""

_MIN_GAIN_BYTES = 16
_MIN_GAIN_SHIFT = 6


class MtuState(enum.Enum):
    """RFC 8899 §5.2."""

    DISABLED = "not probing"
    BASE = "waiting until a segment of the base size is acknowledged"
    SEARCHING = "probing for more"
    SEARCH_COMPLETE = "found; waiting for PMTU_RAISE_TIMER"
    ERROR = "the base size does not pass: a smaller one is used, and the base probed"


class PathMtu:
    """How large a datagram may be; sizes are bytes of UDP payload, times seconds.

    No order of calls raises: a report about a probe that is not outstanding is ignored. Whoever
    uses it may send one segment larger than `size` when `probe_size` says so, repairs its loss
    with segments of `size`, and does not take that loss for congestion (RFC 8899 §3, items 1, 4
    and 7). An acknowledgement of bytes that were retransmitted meanwhile proves nothing of the
    probe: `on_probe_lost` has come before it.

    Args:
        base: BASE_PLPMTU, what is used until more is known to pass; capped by `ceiling`.
        ceiling: MAX_PLPMTU: the smaller of the own limit and what the peer takes.
        enabled: Without it `size` stays at `base`, unless the local socket refuses that.

    Raises:
        ValueError: `base` or `ceiling` is not positive.

    Attributes:
        size: PLPMTU, the size of full datagrams.
        state: The state of §5.2.
        probe: Size of the probe that is outstanding, or None.
        next_s: `probe_size` answers None before this; inf while a probe is outstanding or it
            takes another event to make one due.
    """

    __slots__ = (
        "_attempted",
        "_attempts",
        "_base",
        "_ceiling",
        "_confirmed",
        "_due_s",
        "_fell_s",
        "_floor",
        "_former",
        "_high",
        "_rounds",
        "_timeouts",
        "next_s",
        "probe",
        "size",
        "state",
    )

    def __init__(self, base: int, ceiling: int, *, enabled: bool = True) -> None:
        for name, value in (("base", base), ("ceiling", ceiling)):
            if value <= 0:
                raise ValueError(f"{name} must be positive, not {value}")
        self._ceiling = ceiling
        self._base = min(base, ceiling)
        self._floor = min(MIN_PLPMTU, self._base)
        self.state = MtuState.BASE if enabled else MtuState.DISABLED
        self._restart()

    def _restart(self) -> None:
        self.size = self._base
        self._high = self._ceiling + 1
        """No size from here on passes, as far as is known."""
        self._former = 0
        """The last size above the base that turned black; after an outage it passes again."""
        self._fell_s = -math.inf
        self._forget_doubts()

    def _forget_doubts(self) -> None:
        self.probe: int | None = None
        self._attempted = 0
        self._attempts = 0  # PROBE_COUNT, of the size `_attempted`
        self._timeouts = 0
        self._rounds = 0
        self._confirmed = False
        self._due_s = -math.inf
        self.next_s = math.inf

    def _arm(self) -> None:
        ready = self._confirmed and self.probe is None and self.state is not MtuState.DISABLED
        self.next_s = self._due_s if ready else math.inf

    # -- probing ---------------------------------------------------------------------------------

    def probe_size(self, now_s: float) -> int | None:
        """The size of the probe to send now, or None if none is due (RFC 8899 §5.3).

        Nothing is probed before a full segment was acknowledged, neither in BASE nor after a
        timeout: while nothing passes, a lost probe tells nothing of its size.
        """
        if now_s < self.next_s or self.next_s == math.inf:
            return None
        if self._due_s > -math.inf:  # PMTU_RAISE_TIMER has expired: everything may have changed
            self._due_s = self.next_s = -math.inf
            self._high = self._ceiling + 1
            if self.state is MtuState.SEARCH_COMPLETE:
                self.state = MtuState.SEARCHING
        size = self._candidate()
        if size is None:
            self._complete(now_s)
        return size

    def on_probe_sent(self, size: int, now_s: float) -> None:
        """A datagram of `size` bytes left as a probe; ignored if it can be none."""
        usable = self.probe is None and self.size < size <= self._ceiling
        if not usable or self.state is MtuState.DISABLED:
            return
        self.probe = size
        if size != self._attempted:
            self._attempted = size
            self._attempts = 0
        self._arm()

    def on_probe_acked(self, now_s: float) -> bool:
        """The probe arrived: `size` is its size now (RFC 8899 §5.2). True if `size` grew."""
        size = self.probe
        if size is None:
            return False
        self._forget_doubts()
        self.size = size
        if size >= self._high:
            self._high = self._ceiling + 1
        self._confirmed = True
        if size >= self._base:
            self.state = MtuState.SEARCHING
        self._advance(now_s)
        return True

    def on_probe_lost(self, now_s: float) -> None:
        """The probe is deemed lost; its size has failed if `MAX_PROBES` in a row are (§5.1.3)."""
        if self.probe is None:
            return
        self._attempts += 1
        if self._attempts >= MAX_PROBES:
            self._high = min(self._high, self.probe)
            self._attempts = 0
        self.probe = None
        self._advance(now_s)

    def _advance(self, now_s: float) -> None:
        searching = self.state is MtuState.SEARCHING or self.state is MtuState.ERROR
        if searching and self._due_s == -math.inf and self._candidate() is None:
            self._complete(now_s)
        else:
            self._arm()

    def _complete(self, now_s: float) -> None:
        if self.state is not MtuState.ERROR:
            self.state = MtuState.SEARCH_COMPLETE
        self._due_s = math.inf if self.size >= self._ceiling else now_s + RAISE_S
        self._arm()

    def _candidate(self) -> int | None:
        """The next size to ask for, between what passes and what does not; None if found."""
        low, high = self.size, self._high
        if low < self._base < high:  # ERROR: §5.2 wants the base confirmed before all else
            return self._base
        if low < self._former < high:
            return self._former
        if high > self._ceiling:
            if low >= self._ceiling:
                return None
            return next((size for size in COMMON_SIZES if low < size < high), self._ceiling)
        gain = max(_MIN_GAIN_BYTES, low >> _MIN_GAIN_SHIFT)
        if high - low <= gain:
            return None
        return low + gain if low in COMMON_SIZES else (low + high) // 2

    # -- doubts ----------------------------------------------------------------------------------

    def on_acked(self, size: int) -> None:
        """A segment in a datagram of `size` bytes was acknowledged; less than full counts not.

        It confirms the size: in BASE the search begins (RFC 8899 §5.1.4: "by using a PL
        mechanism"), elsewhere the suspicion of a black hole is gone.
        """
        if size < self.size or (self._confirmed and not self._rounds):
            return
        self._timeouts = self._rounds = 0
        self._confirmed = True
        if self.state is MtuState.BASE:
            self.state = MtuState.SEARCHING
        self._arm()

    def on_timeout(self, now_s: float) -> bool:
        """The retransmission timer expired with a full-sized segment outstanding.

        `BLACK_HOLE_TIMEOUTS` of them, or `MAX_PROBES` at the base size and below, with no full
        segment acknowledged in between, are a black hole (RFC 8899 §4.3; RFC 4821 §7.7).
        Returns whether `size` fell: everything unacknowledged has to be cut anew.
        """
        if self.state is MtuState.DISABLED:
            return False
        self._confirmed = False
        self._arm()
        self._timeouts += 1
        enough = BLACK_HOLE_TIMEOUTS if self.size > self._base else MAX_PROBES
        return self._timeouts >= enough and self._black_hole(now_s)

    def on_loss_suspicion(self, now_s: float) -> bool:
        """A round trip went by in which full segments were lost and none was acknowledged.

        For a path on which small segments keep arriving, so that no timer expires. Call it once a
        round trip at most; three in a row are a black hole. Returns whether `size` fell.
        """
        if self.state is MtuState.DISABLED:
            return False
        self._rounds += 1
        return self._rounds >= MAX_PROBES and self._black_hole(now_s)

    def on_too_big(self, size: int, now_s: float) -> bool:
        """Neither `size` nor more passes: the local socket, or a validated ICMP message, says so.

        Certain, so it counts at once. A probe of that size or more is over: report nothing of it
        any more. Below `MIN_PLPMTU` the report is not believed (RFC 8899 §4.6.2); if it is true,
        only fragmentation by IP helps. Returns whether `size` fell.
        """
        if size <= self._floor:
            return False
        self._high = min(self._high, size)
        if self.probe is not None and self.probe >= size:
            self.probe = None
        if size > self.size:
            self._advance(now_s)
            return False
        self._fall(size)
        return True

    def on_path_changed(self, now_s: float) -> bool:
        """Datagrams take another path now: start again at the base (RFC 8899 §5.2, "Start").

        Returns whether `size` changed.
        """
        before = self.size
        self._restart()
        if self.state is not MtuState.DISABLED:
            self.state = MtuState.BASE
        return self.size != before

    def _black_hole(self, now_s: float) -> bool:
        size = self.size
        self._timeouts = self._rounds = 0
        if size <= self._floor:
            return False
        if size > self._base:
            if size == self._former and now_s - self._fell_s < HOLD_S:
                self._high = min(self._high, size)
            self._former = size
            self._fell_s = now_s
        self._fall(size)
        return True

    def _fall(self, limit: int) -> None:
        """To the base, or if it is not below `limit`, to what every path has to carry (§4.6.2)."""
        self._forget_doubts()
        self.size = next(s for s in (self._base, BASE_PLPMTU, self._floor) if s < limit)
        if self.state is not MtuState.DISABLED:
            self.state = MtuState.BASE if self.size == self._base else MtuState.ERROR
