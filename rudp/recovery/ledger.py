"""The ledger of what is in flight: ranges of sequence space with the facts of their sending.

One entry stands for a train, not for a segment. Which bytes are selectively acknowledged and
which are lost is kept in range sets beside the entries (RFC 6675's scoreboard), so that the
bytes in flight are a subtraction. Each entry remembers what delivery-rate estimation needs
(draft-ietf-ccwg-bbr, "Delivery Rate Samples").
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

from rudp.buffers.rangeset import RangeSet

_start_of = attrgetter("start")


class Entry:
    """One transmission of the sequence numbers [start, end)."""

    __slots__ = (
        "app_limited",
        "delivered",
        "delivered_s",
        "end",
        "first_sent_s",
        "retransmitted",
        "sent_s",
        "start",
    )

    def __init__(self, start: int, end: int, sent_s: float, ledger: Ledger, *, again: bool) -> None:
        self.start = start
        self.end = end
        self.sent_s = sent_s
        self.retransmitted = again
        self.first_sent_s = ledger.first_sent_s
        self.delivered = ledger.delivered
        self.delivered_s = ledger.delivered_s
        self.app_limited = ledger.delivered < ledger.app_limited_until

    def tail(self, start: int) -> Entry:
        """The same transmission's part from `start` on."""
        part: Entry = Entry.__new__(Entry)
        for name in Entry.__slots__:
            setattr(part, name, getattr(self, name))
        part.start = start
        return part


class Delivery(NamedTuple):
    """What one acknowledgement told.

    `delivered` counts bytes that are known to have arrived only now, cumulatively or
    selectively; `rate` is the delivery rate in bytes a second (0 where there is no sample).
    """

    advanced: int
    delivered: int
    newly_sacked: bool
    rate: float
    rate_app_limited: bool
    newest_sent_s: float
    newest_retransmitted: bool


class Ledger:
    """Everything sent and not yet acknowledged, from `snd_una` up to `snd_nxt`."""

    __slots__ = (
        "_entries",
        "app_limited_until",
        "assumed_left",
        "delivered",
        "delivered_s",
        "first_sent_s",
        "lost",
        "lost_total",
        "retransmitted_total",
        "sacked",
        "snd_nxt",
        "snd_una",
    )

    def __init__(self, start: int) -> None:
        self.snd_una = start
        self.snd_nxt = start
        self.sacked = RangeSet()
        self.lost = RangeSet()
        """Deemed lost and not sent again yet."""
        self.assumed_left = 0
        """Bytes that duplicate ACKs of a peer without SACK stand for (RFC 6582)."""
        self._entries: list[Entry] = []
        self.delivered = 0
        self.delivered_s = 0.0
        self.first_sent_s = 0.0
        self.app_limited_until = 0
        self.lost_total = 0
        self.retransmitted_total = 0

    @property
    def in_flight(self) -> int:
        """Bytes believed to be in the network: RFC 6675's pipe."""
        outstanding = self.snd_nxt - self.snd_una - self.sacked.size - self.lost.size
        return max(0, outstanding - self.assumed_left)

    @property
    def oldest_sent_s(self) -> float | None:
        """When the oldest unacknowledged byte was last sent."""
        return self._entries[0].sent_s if self._entries else None

    def sent(self, end: int, now_s: float) -> None:
        """[snd_nxt, end) was sent for the first time."""
        if self.snd_nxt == self.snd_una:
            self.first_sent_s = self.delivered_s = now_s
        self._entries.append(Entry(self.snd_nxt, end, now_s, self, again=False))
        self.snd_nxt = end

    def sent_again(self, start: int, end: int, now_s: float) -> None:
        """[start, end), part of what is outstanding, was sent once more."""
        self.lost.discard(start, end)
        self.retransmitted_total += end - start
        entries = self._entries
        low = bisect_right(entries, start, key=_start_of) - 1
        high = low
        while high < len(entries) and entries[high].start < end:
            high += 1
        fresh = Entry(start, end, now_s, self, again=True)
        replacement = [fresh]
        if entries[high - 1].end > end:
            replacement.append(entries[high - 1].tail(end))
        if entries[low].start < start:
            entries[low].end = start
            low += 1
        entries[low:high] = replacement

    def mark_app_limited(self) -> None:
        """The application has nothing to send: samples until then understate the path."""
        self.app_limited_until = self.delivered + self.in_flight + 1

    def acknowledge(self, una: int, blocks: Iterable[tuple[int, int]], now_s: float) -> Delivery:
        """Take in a cumulative acknowledgement and SACK blocks of (una, snd_nxt]."""
        newest: Entry | None = None
        before = self.delivered
        newly_sacked = False
        for start, end in blocks:
            for left, right in self.sacked.add(start, end):
                newly_sacked = True
                self.delivered += right - left
                self.lost.discard(left, right)
                newest = self._newest_within(left, right, newest)
        advanced = una - self.snd_una
        if advanced:
            for left, right in self.sacked.gaps(self.snd_una, una):
                self.delivered += right - left
                newest = self._newest_within(left, right, newest)
            self.sacked.discard_below(una)
            self.lost.discard_below(una)
            self.assumed_left = max(0, self.assumed_left - advanced)
            self.snd_una = una
            self._drop_below(una)
        if newest is None or self.delivered == before:
            return Delivery(advanced, 0, newly_sacked, 0.0, False, 0.0, False)
        rate = self._rate(newest, now_s)
        return Delivery(
            advanced,
            self.delivered - before,
            newly_sacked,
            rate,
            newest.app_limited,
            newest.sent_s,
            newest.retransmitted,
        )

    def mark_lost(self, start: int, end: int) -> int:
        """Deem what is not selectively acknowledged in [start, end) lost; returns the bytes."""
        marked = 0
        for left, right in self.sacked.gaps(max(start, self.snd_una), min(end, self.snd_nxt)):
            for low, high in self.lost.add(left, right):
                marked += high - low
        self.lost_total += marked
        return marked

    def forget_sacks(self) -> None:
        """The receiver may have reneged: rely on cumulative ACKs alone (RFC 2018 §8)."""
        self.delivered -= self.sacked.size
        self.sacked.clear()
        self.assumed_left = 0

    def _rate(self, newest: Entry, now_s: float) -> float:
        self.delivered_s = now_s
        self.first_sent_s = newest.sent_s
        interval_s = max(newest.sent_s - newest.first_sent_s, now_s - newest.delivered_s)
        if interval_s <= 0:
            return 0.0
        return max(0, self.delivered - newest.delivered) / interval_s

    def _newest_within(self, start: int, end: int, newest: Entry | None) -> Entry | None:
        """Of the entries that touch [start, end) and `newest`, the one sent last."""
        entries = self._entries
        index = max(0, bisect_right(entries, start, key=_start_of) - 1)
        while index < len(entries) and entries[index].start < end:
            entry = entries[index]
            if entry.end > start and (newest is None or entry.sent_s >= newest.sent_s):
                newest = entry
            index += 1
        return newest

    def _drop_below(self, una: int) -> None:
        entries = self._entries
        done = bisect_right(entries, una, key=_start_of)
        if done and entries[done - 1].end > una:
            done -= 1
            entries[done].start = una
        del entries[:done]
