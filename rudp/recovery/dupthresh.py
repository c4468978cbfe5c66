"""Fast retransmit for a peer without SACK: three duplicate ACKs (RFC 5681 §3.2, RFC 6582)."""

from __future__ import annotations

DUP_THRESH = 3


class DuplicateAcks:
    """Counts duplicate ACKs. Where there is SACK, RACK judges instead."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def on_new_ack(self) -> None:
        """The cumulative acknowledgement advanced."""
        self.count = 0

    def on_duplicate(self) -> bool:
        """Count one; True at the threshold."""
        self.count += 1
        return self.count == DUP_THRESH
