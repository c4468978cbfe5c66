"""rudp.recovery.dupthresh: three duplicate ACKs of a peer without SACK (RFC 5681 §3.2)."""

from __future__ import annotations

from rudp.recovery.dupthresh import DUP_THRESH, DuplicateAcks


def test_the_threshold() -> None:
    """RFC 5681 §3.2: the arrival of three duplicate ACKs indicates a loss."""
    assert DUP_THRESH == 3


def test_the_third_duplicate_is_the_signal_and_only_it() -> None:
    """RFC 5681 §3.2: the fourth begins no second episode."""
    duplicates = DuplicateAcks()
    told = [duplicates.on_duplicate() for _ in range(6)]
    assert told == [False, False, True, False, False, False]
    assert duplicates.count == 6


def test_an_acknowledgement_of_new_data_starts_the_count_anew() -> None:
    """RFC 5681 §2: duplicates repeat the greatest acknowledgement received so far."""
    duplicates = DuplicateAcks()
    assert not duplicates.on_duplicate()
    assert not duplicates.on_duplicate()
    duplicates.on_new_ack()
    assert duplicates.count == 0
    assert [duplicates.on_duplicate() for _ in range(3)] == [False, False, True]
