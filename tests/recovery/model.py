"""The ledger told byte by byte: slow, and simple enough to be believed."""

from __future__ import annotations

from dataclasses import dataclass, field

from rudp.recovery.ledger import Ledger


@dataclass(frozen=True)
class Transmission:
    """What a sender notes about a packet (draft-ietf-ccwg-bbr, "Delivery Rate Samples")."""

    sent_s: float
    again: bool
    first_sent_s: float
    delivered: int
    delivered_s: float
    app_limited: bool


@dataclass
class Told:
    """What one acknowledgement tells."""

    advanced: int
    delivered: int
    newly_sacked: bool
    rate: float
    newest: Transmission | None


@dataclass
class LedgerModel:
    """One entry a byte in every set; RFC 6675 §3 and §4 in words of sets."""

    start: int
    snd_una: int = 0
    snd_nxt: int = 0
    last: dict[int, Transmission] = field(default_factory=dict)
    sacked: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    delivered: int = 0
    delivered_s: float = 0.0
    first_sent_s: float = 0.0
    app_limited_until: int = 0
    lost_total: int = 0
    retransmitted_total: int = 0

    def __post_init__(self) -> None:
        self.snd_una = self.snd_nxt = self.start

    @property
    def outstanding(self) -> range:
        return range(self.snd_una, self.snd_nxt)

    @property
    def in_flight(self) -> int:
        """RFC 6675 §4, SetPipe: neither SACKed nor lost and not sent again."""
        return sum(byte not in self.sacked and byte not in self.lost for byte in self.outstanding)

    def _note(self, start: int, end: int, now_s: float, *, again: bool) -> None:
        sent = Transmission(
            now_s,
            again,
            self.first_sent_s,
            self.delivered,
            self.delivered_s,
            self.delivered < self.app_limited_until,
        )
        for byte in range(start, end):
            self.last[byte] = sent

    def sent(self, end: int, now_s: float) -> None:
        if self.snd_una == self.snd_nxt:
            self.first_sent_s = self.delivered_s = now_s
        self._note(self.snd_nxt, end, now_s, again=False)
        self.snd_nxt = end

    def sent_again(self, start: int, end: int, now_s: float) -> None:
        self.lost -= set(range(start, end))
        self.retransmitted_total += end - start
        self._note(start, end, now_s, again=True)

    def mark_lost(self, start: int, end: int) -> int:
        new = {byte for byte in self.outstanding if start <= byte < end}
        new -= self.sacked | self.lost
        self.lost |= new
        self.lost_total += len(new)
        return len(new)

    def acknowledge(self, una: int, blocks: list[tuple[int, int]], now_s: float) -> Told:
        told = {byte for start, end in blocks for byte in range(start, end)}
        newly_sacked = told - self.sacked
        newly_acked = set(range(self.snd_una, una)) - self.sacked
        new = newly_sacked | newly_acked
        advanced = una - self.snd_una
        self.sacked = {byte for byte in self.sacked | told if byte >= una}
        self.lost = {byte for byte in self.lost - new if byte >= una}
        self.snd_una = una
        self.delivered += len(new)
        # Bytes that were delivered before tell nothing new ("P already SACKed").
        newest = max((self.last[byte] for byte in new), key=lambda sent: sent.sent_s, default=None)
        rate = 0.0
        if newest is not None:
            self.delivered_s = now_s
            self.first_sent_s = newest.sent_s
            interval_s = max(newest.sent_s - newest.first_sent_s, now_s - newest.delivered_s)
            rate = max(0, self.delivered - newest.delivered) / interval_s
        return Told(advanced, len(new), bool(newly_sacked), rate, newest)

    def forget_sacks(self) -> None:
        self.delivered -= len(self.sacked)
        self.sacked.clear()


def sent(*ends: int, start: int = 0, gap_s: float = 0.0) -> Ledger:
    """A ledger that has sent up to each of `ends`, one entry each."""
    ledger = Ledger(start)
    for index, end in enumerate(ends):
        ledger.sent(end, index * gap_s)
    return ledger
