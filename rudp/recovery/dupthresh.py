"""Fast-retransmit loss detection: three duplicate ACKs, or their equivalent in SACK blocks."""

from __future__ import annotations

from rudp.recovery.ledger import Ledger

DUP_THRESH = 3


class DupThreshDetector:
    """Decides what is lost by what arrived behind it (RFC 5681 §3.2, RFC 6675 §4 IsLost).

    A byte is deemed lost by this rule at most once, so a lost retransmission is left to the
    retransmission timer (RFC 6675 §5).
    """

    __slots__ = ("_judged", "dup_acks")

    def __init__(self) -> None:
        self.dup_acks = 0
        self._judged = 0

    def on_new_ack(self) -> None:
        """The cumulative acknowledgement advanced."""
        self.dup_acks = 0

    def on_duplicate(self) -> bool:
        """Count a duplicate ACK of a peer without SACK; True at the threshold."""
        self.dup_acks += 1
        return self.dup_acks == DUP_THRESH

    def detect(self, ledger: Ledger, mss_bytes: int) -> int:
        """Mark what SACK blocks show to be lost; returns the bytes newly marked."""
        edge = self._edge(ledger, mss_bytes)
        start = max(ledger.snd_una, self._judged)
        if edge <= start:
            return 0
        self._judged = edge
        return ledger.mark_lost(start, edge)

    def restart(self, una: int) -> None:
        """Judge afresh from `una` on: a timeout has re-opened every question."""
        self.dup_acks = 0
        self._judged = una

    @staticmethod
    def _edge(ledger: Ledger, mss_bytes: int) -> int:
        """Below it lie DupThresh SACKed ranges, or more than (DupThresh - 1) SMSS of bytes."""
        sacked = ledger.sacked
        above = 0
        for index in range(len(sacked) - 1, -1, -1):
            start, end = sacked.range_at(index)
            above += end - start
            if above > (DUP_THRESH - 1) * mss_bytes or len(sacked) - index == DUP_THRESH:
                return start
        return 0
