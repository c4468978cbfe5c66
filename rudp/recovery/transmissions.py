"""Transmissions: what is noted when a train leaves, and all of them in the order of leaving."""

from __future__ import annotations

from typing import NamedTuple


class Counters(NamedTuple):
    """What delivery-rate estimation notes when something is sent (draft-ietf-ccwg-bbr, "Delivery
    Rate Samples"): C.first_sent_time, C.delivered, C.delivered_time, C.lost and whether the
    application had nothing more to send."""

    first_sent_s: float
    delivered: int
    delivered_s: float
    lost: int
    app_limited: bool


_NO_COUNTERS = Counters(0.0, 0, 0.0, 0, False)


class Entry:
    """One transmission of the sequence numbers [start, end)."""

    __slots__ = (
        "again_s",
        "at",
        "end",
        "marked",
        "next",
        "prev",
        "sent_s",
        "start",
        "tx_in_flight",
    )

    def __init__(
        self,
        start: int,
        end: int,
        sent_s: float,
        at: Counters,
        tx_in_flight: int,
        again_s: float | None = None,
    ) -> None:
        self.start = start
        self.end = end
        self.sent_s = sent_s
        self.again_s = again_s
        """When this was sent again for the first time; None if it never was."""
        self.at = at
        self.tx_in_flight = tx_in_flight
        """Bytes in flight once it was sent, itself included."""
        self.marked = False
        """It left with an ECN mark."""
        self.prev: Entry | None = None
        self.next: Entry | None = None

    @property
    def retransmitted(self) -> bool:
        """Whether this is not the first transmission."""
        return self.again_s is not None

    def tail(self, start: int) -> Entry:
        """The same transmission's part from `start` on; in no order yet."""
        part = Entry(start, self.end, self.sent_s, self.at, self.tx_in_flight, self.again_s)
        part.marked = self.marked
        return part


class TimeOrder:
    """Transmissions whose fate is open, oldest first: a ring, so that each leaves in O(1).

    RFC 8985 §6.2, step 5, wants the segments in the order of their (re)transmission; sorting
    them on every acknowledgement is what the ring spares.
    """

    __slots__ = ("_ends",)

    def __init__(self) -> None:
        ends = Entry(0, 0, 0.0, _NO_COUNTERS, 0)
        ends.prev = ends.next = ends
        self._ends = ends

    def first(self) -> Entry | None:
        """The oldest transmission."""
        return self.after(self._ends)

    def after(self, entry: Entry) -> Entry | None:
        """The transmission that followed `entry`."""
        following = entry.next
        return following if following is not self._ends else None

    def append(self, entry: Entry) -> None:
        """`entry` has just been sent."""
        last = self._ends.prev
        if last is not None:
            self._link(entry, last)

    def merge(self, entries: list[Entry]) -> None:
        """Put back `entries`, which are in none, oldest first, where their times belong."""
        before, following = self._ends, self.first()
        for entry in entries:
            key = (entry.sent_s, entry.start)
            while following is not None and (following.sent_s, following.start) <= key:
                before, following = following, self.after(following)
            self._link(entry, before)
            before = entry

    def insert_after(self, entry: Entry, before: Entry) -> None:
        """`entry` was split off from `before`, if that is still in the order."""
        if before.next is not None:
            self._link(entry, before)

    @staticmethod
    def _link(entry: Entry, before: Entry) -> None:
        following = before.next
        entry.prev, entry.next = before, following
        before.next = entry
        if following is not None:
            following.prev = entry

    @staticmethod
    def remove(entry: Entry) -> None:
        """The fate of `entry` is known; it may have been removed before."""
        before, following = entry.prev, entry.next
        if before is not None and following is not None:
            before.next, following.prev = following, before
            entry.prev = entry.next = None

    def close(self) -> None:
        """Break the ring, which is a reference cycle; nothing is asked of it any more."""
        entry: Entry | None = self._ends
        while entry is not None:
            following = entry.next
            entry.prev = entry.next = None
            entry = following
