"""The ledger of what is in flight: ranges of sequence space with the facts of their sending.

One entry stands for a train, not for a segment. Which bytes are selectively acknowledged and
which are lost is kept in range sets beside the entries (RFC 6675's scoreboard), so that the
bytes in flight are a subtraction. Each entry remembers what delivery-rate estimation needs
(draft-ietf-ccwg-bbr, "Delivery Rate Samples"), and its place in the order of sending, which
RACK needs (RFC 8985). An acknowledgement costs what it changes, whatever the window is.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

from rudp.buffers.rangeset import RangeSet
from rudp.recovery.transmissions import Counters, Entry, TimeOrder

_CLOCK_S = 2e-6
"""Round trips are measured in whole microseconds; what differs by less is equal."""

_start_of = attrgetter("start")
_sent_of = attrgetter("sent_s")


class Delivery(NamedTuple):
    """What one acknowledgement told.

    `delivered` counts bytes that are known to have arrived only now, cumulatively or
    selectively; `rate` is the delivery rate in bytes a second (0 where there is no sample).
    """

    advanced: int
    delivered: int
    newly_sacked: bool
    rate: float
    newest: Entry | None
    """Of the transmissions that arrived the one sent last. A retransmission that is
    acknowledged sooner than any round trip took does not count: its original arrived
    (RFC 8985 §6.2, step 2)."""
    newest_end: int
    """The highest sequence number of it that arrived."""
    reordered: bool
    """Something never sent again arrived after what was sent behind it (§6.2, step 3)."""
    oldest_original_s: float
    """When the oldest of what arrived and was never sent again had been sent."""
    marked: int
    """Bytes that arrived for the first time and had been sent with an ECN mark."""
    head_again_s: float | None
    """When the lowest of what is newly acknowledged had been sent again first, if it was."""


_NOTHING_NEW = Delivery(0, 0, False, 0.0, None, 0, False, math.inf, 0, None)


class _Arrivals:
    """Gathers, range by range, what an acknowledgement tells about transmissions."""

    __slots__ = (
        "end",
        "fack",
        "marked",
        "min_rtt_s",
        "newest",
        "now_s",
        "oldest_original_s",
        "reordered",
    )

    def __init__(self, fack: int, now_s: float, min_rtt_s: float) -> None:
        self.fack = fack
        self.now_s = now_s
        self.min_rtt_s = min_rtt_s
        self.newest: Entry | None = None
        self.end = 0
        self.reordered = False
        self.marked = 0
        self.oldest_original_s = math.inf

    def take(self, entry: Entry, start: int, end: int) -> None:
        """[start, end), in part the transmission `entry`, arrived."""
        sent_s = entry.sent_s
        if entry.again_s is not None:
            if self.now_s - sent_s < self.min_rtt_s - _CLOCK_S:
                return
        else:
            if min(end, entry.end) <= self.fack:
                self.reordered = True
            if sent_s < self.oldest_original_s:
                self.oldest_original_s = sent_s
        if entry.marked:
            self.marked += min(end, entry.end) - max(start, entry.start)
        newest = self.newest
        reached = end if end < entry.end else entry.end
        if newest is None or (sent_s, reached) > (newest.sent_s, self.end):
            self.newest, self.end = entry, reached


class Ledger:
    """Everything sent and not yet acknowledged, from `snd_una` up to `snd_nxt`."""

    __slots__ = (
        "_entries",
        "app_limited_until",
        "assumed_left",
        "delivered",
        "delivered_s",
        "fack",
        "first_sent_s",
        "lost",
        "lost_total",
        "order",
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
        self.order = TimeOrder()
        """The entries that are neither acknowledged nor deemed lost, oldest sending first."""
        self.fack = start
        """The highest sequence number that is known to have arrived (RFC 8985's RACK.fack)."""
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
        outstanding -= self.assumed_left
        return outstanding if outstanding > 0 else 0

    @property
    def oldest_sent_s(self) -> float | None:
        """When the oldest unacknowledged byte was last sent."""
        return self._entries[0].sent_s if self._entries else None

    def sent(self, end: int, now_s: float) -> int:
        """[snd_nxt, end) was sent for the first time; returns the bytes in flight now."""
        start = self.snd_nxt
        if start == self.snd_una:
            self.first_sent_s = self.delivered_s = now_s
        self.snd_nxt = end
        in_flight = self.in_flight
        entry = Entry(start, end, now_s, self._counters(), in_flight)
        self._entries.append(entry)
        self.order.append(entry)
        return in_flight

    @property
    def newest(self) -> Entry:
        """What was sent for the first time last. Raises `IndexError` if nothing is outstanding."""
        return self._entries[-1]

    def sent_again(self, start: int, end: int, now_s: float) -> None:
        """[start, end), part of what is outstanding, was sent once more."""
        self.lost.discard(start, end)
        self.retransmitted_total += end - start
        entries, order = self._entries, self.order
        low = high = self._index_at(start)
        while high < len(entries) and entries[high].start < end:
            high += 1
        again_s = now_s
        for index in range(low, high):
            before_s = entries[index].again_s
            if before_s is not None and before_s < again_s:
                again_s = before_s
        fresh = Entry(start, end, now_s, self._counters(), self.in_flight, again_s)
        replacement = [fresh]
        last = entries[high - 1]
        if last.end > end:
            rest = last.tail(end)
            order.insert_after(rest, last)
            replacement.append(rest)
        if entries[low].start < start:
            entries[low].end = start
            low += 1
        for index in range(low, high):
            order.remove(entries[index])
        entries[low:high] = replacement
        order.append(fresh)

    def mark_app_limited(self) -> None:
        """The application has nothing to send: samples until then understate the path."""
        self.app_limited_until = self.delivered + self.in_flight + 1

    def acknowledge(
        self,
        una: int,
        blocks: Iterable[tuple[int, int]],
        now_s: float,
        min_rtt_s: float = 0.0,
    ) -> Delivery:
        """Take in a cumulative acknowledgement and SACK blocks of (una, snd_nxt]."""
        before = self.delivered
        advanced = una - self.snd_una
        head_again_s = self._entries[0].again_s if advanced and self._entries else None
        arrivals = _Arrivals(self.fack, now_s, min_rtt_s)
        newly_sacked = False
        for start, end in blocks:
            for left, right in self.sacked.add(start, end):
                newly_sacked = True
                self.delivered += right - left
                self.lost.discard(left, right)
                self._selectively(left, right, arrivals)
                if right > self.fack:
                    self.fack = right
        if advanced:
            for left, right in self.sacked.gaps(self.snd_una, una):
                self.delivered += right - left
                self._look_up(left, right, arrivals)
            self._advance(una, advanced)
        if self.delivered == before:
            return _NOTHING_NEW._replace(
                advanced=advanced, newly_sacked=newly_sacked, head_again_s=head_again_s
            )
        return Delivery(
            advanced,
            self.delivered - before,
            newly_sacked,
            self._rate(arrivals.newest, now_s, min_rtt_s),
            arrivals.newest,
            arrivals.end,
            arrivals.reordered,
            arrivals.oldest_original_s,
            arrivals.marked,
            head_again_s,
        )

    def acknowledge_in_order(self, una: int, now_s: float, min_rtt_s: float) -> Delivery | None:
        """The same for the case without detours: nothing is selectively acknowledged or deemed
        lost, and nothing below `una` was sent twice. None, with nothing changed, if that was."""
        entries = self._entries
        done = marked = 0
        oldest_s = entries[0].sent_s
        for entry in entries:
            if entry.start >= una:
                break
            if entry.again_s is not None:
                return None
            newest = entry
            if entry.marked:
                marked += min(una, entry.end) - entry.start
            if entry.end > una:
                break
            done += 1
        advanced = una - self.snd_una
        self.snd_una = una
        if una > self.fack:
            self.fack = una
        self.delivered += advanced
        for entry in entries[:done]:
            self.order.remove(entry)
        del entries[:done]
        if newest.end > una:
            newest.start = una
        rate = self._rate(newest, now_s, min_rtt_s)
        return Delivery(advanced, advanced, False, rate, newest, una, False, oldest_s, marked, None)

    def lose(self, entry: Entry, end: int) -> int:
        """Deem the transmission `entry` lost up to `end`; returns the bytes newly marked."""
        if end >= entry.end:
            self.order.remove(entry)
        return self._mark(entry.start, end)

    def mark_lost(self, start: int, end: int) -> int:
        """Deem what is not selectively acknowledged in [start, end) lost; returns the bytes."""
        start, end = max(start, self.snd_una), min(end, self.snd_nxt)
        if start >= end:
            return 0
        entries = self._entries
        index = self._index_at(start)
        while index < len(entries) and entries[index].end <= end:
            if entries[index].start >= start:
                self.order.remove(entries[index])
            index += 1
        return self._mark(start, end)

    def unmark_lost(self) -> None:
        """Nothing was lost after all: what was not sent again yet is in flight again."""
        revived: list[Entry] = []
        for start, end in self.lost:
            index = self._index_at(start)
            while index < len(self._entries) and self._entries[index].start < end:
                entry = self._entries[index]
                # A train with a hole on either side of a block shows up once for each.
                if entry.next is None and (not revived or revived[-1] is not entry):
                    revived.append(entry)
                index += 1
        revived.sort(key=_sent_of)  # stable: by sequence number where the times are equal
        self.order.merge(revived)
        self.lost_total -= self.lost.size
        self.lost.clear()

    def forget_sacks(self) -> None:
        """The receiver may have reneged: rely on cumulative ACKs alone (RFC 2018 §8)."""
        self.delivered -= self.sacked.size
        self.sacked.clear()
        self.assumed_left = 0
        self.fack = self.snd_una

    def close(self) -> None:
        """Let go of everything; no call follows."""
        self._entries.clear()
        self.order.close()

    # -- inside ----------------------------------------------------------------------------

    def _counters(self) -> Counters:
        return Counters(
            self.first_sent_s,
            self.delivered,
            self.delivered_s,
            self.lost_total,
            self.delivered < self.app_limited_until,
        )

    def _index_at(self, offset: int) -> int:
        """The entry that `offset` lies in."""
        return max(0, bisect_right(self._entries, offset, key=_start_of) - 1)

    def _mark(self, start: int, end: int) -> int:
        marked = 0
        for left, right in self.sacked.gaps(max(start, self.snd_una), end):
            for low, high in self.lost.add(left, right):
                marked += high - low
        self.lost_total += marked
        return marked

    def _selectively(self, left: int, right: int, arrivals: _Arrivals) -> None:
        """[left, right) is selectively acknowledged: entries that wholly are need no judging."""
        entries, sacked = self._entries, self.sacked
        index = self._index_at(left)
        while index < len(entries) and entries[index].start < right:
            entry = entries[index]
            if entry.end > left:
                arrivals.take(entry, left, right)
                if entry.next is not None and sacked.covers(entry.start, entry.end):
                    self.order.remove(entry)
            index += 1

    def _look_up(self, left: int, right: int, arrivals: _Arrivals) -> None:
        entries = self._entries
        index = self._index_at(left)
        while index < len(entries) and entries[index].start < right:
            if entries[index].end > left:
                arrivals.take(entries[index], left, right)
            index += 1

    def _advance(self, una: int, advanced: int) -> None:
        self.sacked.discard_below(una)
        self.lost.discard_below(una)
        self.assumed_left = max(0, self.assumed_left - advanced)
        self.snd_una = una
        if una > self.fack:
            self.fack = una
        entries = self._entries
        done = bisect_right(entries, una, key=_start_of)
        if done and entries[done - 1].end > una:
            done -= 1
            entries[done].start = una
        for index in range(done):
            self.order.remove(entries[index])
        del entries[:done]

    def _rate(self, newest: Entry | None, now_s: float, min_rtt_s: float) -> float:
        """The draft's GenerateRateSample; no sample where time ran too short to be true, which
        nothing tells while `min_rtt_s` is infinite: no round trip was measured yet."""
        self.delivered_s = now_s
        if newest is None:
            return 0.0
        self.first_sent_s = newest.sent_s
        interval_s = max(newest.sent_s - newest.at.first_sent_s, now_s - newest.at.delivered_s)
        if interval_s <= 0 or interval_s < min_rtt_s < math.inf:
            return 0.0
        return max(0, self.delivered - newest.at.delivered) / interval_s
