"""RACK: loss detection by time (RFC 8985 §6).

What was sent, by the clock, sufficiently before something that has arrived is lost. A lost
retransmission is found the same way, since each transmission counts from its own sending.
"""

from __future__ import annotations

from typing import NamedTuple

from rudp.recovery.ledger import Delivery, Ledger
from rudp.recovery.transmissions import Entry

_PERSIST_RECOVERIES = 16
"""RACK.reo_wnd_persist: loss recoveries that a widened window survives (§6.2, step 4)."""


class Loss(NamedTuple):
    """A part of a transmission that was deemed lost now: how many bytes, and of which."""

    size: int
    entry: Entry


class Rack:
    """Names are RFC 8985 §5's, with units.

    Within a train all segments have one time of sending, so that order within it goes by
    sequence number, as the RFC has it for equal times (§6.1, RACK_sent_after).
    """

    __slots__ = (
        "_dsack_round",
        "_persist",
        "end_seq",
        "reo_wnd_mult",
        "reordering_seen",
        "rtt_s",
        "xmit_s",
    )

    def __init__(self) -> None:
        self.xmit_s = -1.0
        self.end_seq = 0
        self.rtt_s = 0.0
        self.reordering_seen = False
        self.reo_wnd_mult = 1
        self._persist = 0
        self._dsack_round: int | None = None

    def on_delivered(self, delivery: Delivery, now_s: float) -> None:
        """Step 2 and 3: the newest transmission that arrived, and whether order was kept."""
        if delivery.reordered:
            self.reordering_seen = True
        newest = delivery.newest
        if newest is None:
            return
        self.rtt_s = now_s - newest.sent_s
        if newest.sent_s > self.xmit_s:
            self.xmit_s, self.end_seq = newest.sent_s, delivery.newest_end
        elif newest.sent_s == self.xmit_s and delivery.newest_end > self.end_seq:
            self.end_seq = delivery.newest_end

    def on_dsack(self, snd_una: int, snd_nxt: int) -> None:
        """Step 4: a retransmission was for nothing. Widen the window, once a round trip."""
        if self._dsack_round is None or snd_una >= self._dsack_round:
            self._dsack_round = snd_nxt
            self.reo_wnd_mult += 1
            self._persist = _PERSIST_RECOVERIES

    def on_recovery_over(self) -> None:
        """Step 4: the widened window is forgotten after 16 recoveries without a DSACK."""
        if self._persist:
            self._persist -= 1
            if not self._persist:
                self.reo_wnd_mult = 1

    def reo_wnd_s(self, min_rtt_s: float, srtt_s: float, *, eager: bool) -> float:
        """Step 4: how much later than its successors a segment may arrive.

        `eager`: in recovery, or DupThresh segments are selectively acknowledged; then a path
        that was never seen to reorder is taken to keep order.
        """
        if not self.reordering_seen and eager:
            return 0.0
        reo_wnd_s = min(self.reo_wnd_mult * min_rtt_s / 4, srtt_s)
        if self.reo_wnd_mult > 1:
            # What overtakes others has a short round trip, and RACK.rtt may be such a one.
            reo_wnd_s += max(0.0, srtt_s - self.rtt_s)
        return reo_wnd_s

    def on_timeout(self, ledger: Ledger, reo_wnd_s: float, now_s: float) -> int:
        """The retransmission timer expired (§6.3): what was sent long enough ago is lost, not
        what left a moment before; returns the bytes."""
        total = 0
        order = ledger.order
        entry = order.first()
        while entry is not None and entry.sent_s + self.rtt_s + reo_wnd_s <= now_s:
            following = order.after(entry)
            total += ledger.lose(entry, entry.end)
            entry = following
        return total

    def detect(self, ledger: Ledger, reo_wnd_s: float, now_s: float) -> tuple[list[Loss], float]:
        """Step 5: what is lost by now, and the seconds until more will be (0: no more).

        The first open transmission that is not overdue ends the search: all others were sent
        later.
        """
        losses: list[Loss] = []
        order = ledger.order
        entry = order.first()
        while entry is not None:
            if entry.sent_s > self.xmit_s:
                break
            end = entry.end
            if entry.sent_s == self.xmit_s and end > self.end_seq:
                end = self.end_seq
                if end <= entry.start:
                    break
            remaining_s = entry.sent_s + self.rtt_s + reo_wnd_s - now_s
            if remaining_s > 0:
                return losses, remaining_s
            following = order.after(entry)
            size = ledger.lose(entry, end)
            if size:
                losses.append(Loss(size, entry))
            entry = following
        return losses, 0.0
