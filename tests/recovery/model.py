"""The ledger told byte by byte: slow, and simple enough to be believed."""

from __future__ import annotations

from dataclasses import dataclass, field

from rudp.recovery.ledger import Ledger
from rudp.recovery.transmissions import Counters


@dataclass(frozen=True)
class Transmission:
    """What a sender notes about a packet (draft-ietf-ccwg-bbr, "Delivery Rate Samples")."""

    sent_s: float
    again: bool
    counters: Counters
    tx_in_flight: int


@dataclass
class Told:
    """What one acknowledgement tells."""

    advanced: int
    delivered: int
    newly_sacked: bool
    rate: float
    newest: Transmission | None
    newest_end: int
    reordered: bool
    oldest_original_s: float
    head_again_s: float | None


@dataclass
class LedgerModel:
    """One entry a byte in every set; RFC 6675 §3 and §4 in words of sets."""

    start: int
    snd_una: int = 0
    snd_nxt: int = 0
    last: dict[int, Transmission] = field(default_factory=dict)
    sacked: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    first_again_s: dict[int, float] = field(default_factory=dict)
    fack: int = 0
    delivered: int = 0
    delivered_s: float = 0.0
    first_sent_s: float = 0.0
    app_limited_until: int = 0
    lost_total: int = 0
    retransmitted_total: int = 0

    def __post_init__(self) -> None:
        self.snd_una = self.snd_nxt = self.fack = self.start

    @property
    def outstanding(self) -> range:
        return range(self.snd_una, self.snd_nxt)

    @property
    def in_flight(self) -> int:
        """RFC 6675 §4, SetPipe: neither SACKed nor lost and not sent again."""
        return sum(byte not in self.sacked and byte not in self.lost for byte in self.outstanding)

    @property
    def undecided(self) -> set[int]:
        """Bytes that RFC 8985 §6.2, step 5 has to judge: neither acknowledged nor lost."""
        return set(self.outstanding) - self.sacked - self.lost

    def _note(self, start: int, end: int, now_s: float, *, again: bool) -> None:
        counters = Counters(
            self.first_sent_s,
            self.delivered,
            self.delivered_s,
            self.lost_total,
            self.delivered < self.app_limited_until,
        )
        sent = Transmission(now_s, again, counters, self.in_flight)
        for byte in range(start, end):
            self.last[byte] = sent

    def sent(self, end: int, now_s: float) -> None:
        if self.snd_una == self.snd_nxt:
            self.first_sent_s = self.delivered_s = now_s
        start, self.snd_nxt = self.snd_nxt, end
        self._note(start, end, now_s, again=False)

    def sent_again(self, start: int, end: int, now_s: float) -> None:
        self.lost -= set(range(start, end))
        self.retransmitted_total += end - start
        self._note(start, end, now_s, again=True)
        for byte in range(start, end):
            self.first_again_s.setdefault(byte, now_s)

    def mark_lost(self, start: int, end: int) -> int:
        new = {byte for byte in self.outstanding if start <= byte < end}
        new -= self.sacked | self.lost
        self.lost |= new
        self.lost_total += len(new)
        return len(new)

    def unmark_lost(self) -> None:
        self.lost_total -= len(self.lost)
        self.lost.clear()

    def acknowledge(
        self, una: int, blocks: list[tuple[int, int]], now_s: float, min_rtt_s: float = 0.0
    ) -> Told:
        told = {byte for start, end in blocks for byte in range(start, end)}
        newly_sacked = told - self.sacked
        newly_acked = set(range(self.snd_una, una)) - self.sacked
        new = newly_sacked | newly_acked
        advanced = una - self.snd_una
        fack = self.fack
        head_again_s = self.first_again_s.get(self.snd_una) if advanced else None
        self.fack = max({fack, una} | {byte + 1 for byte in told})
        self.sacked = {byte for byte in self.sacked | told if byte >= una}
        self.lost = {byte for byte in self.lost - new if byte >= una}
        self.snd_una = una
        self.delivered += len(new)
        # Bytes that were delivered before tell nothing new ("P already SACKed").
        originals = [byte for byte in new if not self.last[byte].again]
        # RFC 8985 §6.2, step 2: sooner than a round trip it is the original's acknowledgement.
        true = [
            byte
            for byte in new
            if not (self.last[byte].again and now_s - self.last[byte].sent_s < min_rtt_s)
        ]
        # RACK_sent_after: by time of sending, then by sequence number.
        last = max(true, key=lambda byte: (self.last[byte].sent_s, byte), default=None)
        newest = None if last is None else self.last[last]
        rate = 0.0
        if new:
            self.delivered_s = now_s
        if newest is not None:
            self.first_sent_s = newest.sent_s
            at = newest.counters
            interval_s = max(newest.sent_s - at.first_sent_s, now_s - at.delivered_s)
            if interval_s > 0 and interval_s >= min_rtt_s:
                rate = max(0, self.delivered - at.delivered) / interval_s
        return Told(
            advanced,
            len(new),
            bool(newly_sacked),
            rate,
            newest,
            0 if last is None else last + 1,
            any(byte < fack for byte in originals),
            min((self.last[byte].sent_s for byte in originals), default=float("inf")),
            head_again_s,
        )

    def forget_sacks(self) -> None:
        self.delivered -= len(self.sacked)
        self.sacked.clear()
        self.fack = self.snd_una


def sent(*ends: int, start: int = 0, gap_s: float = 0.0) -> Ledger:
    """A ledger that has sent up to each of `ends`, one entry each."""
    ledger = Ledger(start)
    for index, end in enumerate(ends):
        ledger.sent(end, index * gap_s)
    return ledger
