"""rudp.recovery.dupthresh: what is lost by what arrived behind it (RFC 5681 §3.2, RFC 6675 §4)."""

from __future__ import annotations

import random

import pytest

from rudp.recovery.dupthresh import DUP_THRESH, DupThreshDetector
from rudp.recovery.ledger import Ledger

SEED = 20260105
MSS = 1000


def outstanding(segments: int, start: int = 0) -> Ledger:
    ledger = Ledger(start)
    ledger.sent(start + segments * MSS, 0.0)
    return ledger


def sack(ledger: Ledger, *segments: int | tuple[int, int]) -> None:
    """SACK whole segments by number, or byte ranges."""
    blocks = [
        block if isinstance(block, tuple) else (block * MSS, (block + 1) * MSS)
        for block in segments
    ]
    ledger.acknowledge(ledger.snd_una, blocks, 0.1)


def is_lost(ledger: Ledger, number: int, mss: int) -> bool:
    """RFC 6675 §4, IsLost(SeqNum), word for word and byte by byte."""
    above = [max(start, number + 1) for start, end in ledger.sacked if end > number + 1]
    octets = sum(end - max(start, number + 1) for start, end in ledger.sacked if end > number + 1)
    return len(above) >= DUP_THRESH or octets > (DUP_THRESH - 1) * mss


def test_three_discontiguous_blocks() -> None:
    """RFC 6675 §4: DupThresh discontiguous SACKed sequences have arrived above SeqNum."""
    ledger, detector = outstanding(10), DupThreshDetector()
    sack(ledger, (1000, 1100))
    assert detector.detect(ledger, MSS) == 0
    sack(ledger, (3000, 3100))
    assert detector.detect(ledger, MSS) == 0
    sack(ledger, (5000, 5100))
    assert detector.detect(ledger, MSS) == 1000
    assert list(ledger.lost) == [(0, 1000)]


def test_more_than_two_segments_of_bytes() -> None:
    """RFC 6675 §4: more than (DupThresh - 1) * SMSS bytes above SeqNum have been SACKed; two
    full segments are not more."""
    ledger, detector = outstanding(10), DupThreshDetector()
    sack(ledger, 1, 2)
    assert detector.detect(ledger, MSS) == 0
    sack(ledger, (3000, 3001))
    assert detector.detect(ledger, MSS) == 1000
    assert list(ledger.lost) == [(0, 1000)]


def test_each_hole_is_judged_by_what_lies_above_it() -> None:
    """RFC 6675 §4: 0 and 2 have three segments above them, 5 and 7 do not."""
    ledger, detector = outstanding(10), DupThreshDetector()
    sack(ledger, 1, 3, 4, 6, 8)
    assert detector.detect(ledger, MSS) == 2 * MSS
    assert list(ledger.lost) == [(0, 1000), (2000, 3000)]
    sack(ledger, 9)
    assert detector.detect(ledger, MSS) == MSS
    assert list(ledger.lost) == [(0, 1000), (2000, 3000), (5000, 6000)]


def test_nothing_sacked_nothing_lost() -> None:
    ledger, detector = outstanding(10), DupThreshDetector()
    assert detector.detect(ledger, MSS) == 0
    ledger.acknowledge(5 * MSS, [], 0.1)
    assert detector.detect(ledger, MSS) == 0
    assert not ledger.lost


def test_segments_in_order_are_no_sign_of_loss() -> None:
    """Two segments that overtook one (reordering below DupThresh) cost nothing."""
    ledger, detector = outstanding(10), DupThreshDetector()
    sack(ledger, 1, 2)
    assert detector.detect(ledger, MSS) == 0
    ledger.acknowledge(3 * MSS, [], 0.2)
    assert detector.detect(ledger, MSS) == 0
    assert not ledger.lost


def test_a_byte_is_judged_once() -> None:
    """RFC 6675 §5: a lost retransmission is left to the timer; the same blocks do not condemn it
    again."""
    ledger, detector = outstanding(10), DupThreshDetector()
    sack(ledger, 1, 2, 3)
    assert detector.detect(ledger, MSS) == MSS
    ledger.sent_again(0, MSS, 0.2)
    assert detector.detect(ledger, MSS) == 0
    sack(ledger, 4, 5, 6)
    assert detector.detect(ledger, MSS) == 0
    assert ledger.in_flight == 4 * MSS
    # The next hole is judged as ever.
    ledger.sent(20 * MSS, 0.3)
    sack(ledger, 11, 12, 13)
    assert detector.detect(ledger, MSS) == 4 * MSS
    assert list(ledger.lost) == [(7000, 11_000)]


def test_after_a_timeout_judging_starts_behind_it() -> None:
    """RFC 6675 §5.1: what was outstanding at the timeout is retransmitted as the window opens;
    SACK blocks judge only what is sent later."""
    ledger, detector = outstanding(10), DupThreshDetector()
    ledger.mark_lost(0, 10 * MSS)
    detector.restart(ledger.snd_nxt)
    ledger.sent_again(0, 10 * MSS, 1.0)
    sack(ledger, 1, 2, 3, 4)
    assert detector.detect(ledger, MSS) == 0
    ledger.sent(20 * MSS, 1.1)
    sack(ledger, 12, 13, 14)
    assert detector.detect(ledger, MSS) == 2 * MSS
    assert list(ledger.lost) == [(10_000, 12_000)]


def test_the_third_duplicate_is_the_signal_and_only_it() -> None:
    """RFC 5681 §3.2: three duplicate ACKs; the fourth begins no second episode."""
    detector = DupThreshDetector()
    assert [detector.on_duplicate() for _ in range(6)] == [False, False, True, False, False, False]
    assert detector.dup_acks == 6
    detector.on_new_ack()
    assert detector.dup_acks == 0
    assert [detector.on_duplicate() for _ in range(3)] == [False, False, True]
    detector.restart(0)
    assert [detector.on_duplicate() for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("seed", range(SEED, SEED + 40))
def test_is_lost_by_the_letter(seed: int) -> None:
    """RFC 6675 §4, IsLost() asked for every byte after every ACK of a random connection."""
    rng = random.Random(seed)
    mss = rng.choice([1, 3, 7])
    start = rng.choice([0, 5, (1 << 32) - 60])
    ledger, detector = Ledger(start), DupThreshDetector()
    condemned: set[int] = set()
    now_s = 0.0
    for _ in range(60):
        now_s += 0.001
        if ledger.snd_nxt - ledger.snd_una < 90:
            ledger.sent(ledger.snd_nxt + rng.randint(1, 20), now_s)
        while ledger.lost and rng.random() < 0.5:
            ledger.sent_again(*ledger.lost.first(), now_s)
        una = ledger.snd_una
        if rng.random() < 0.2:
            una = rng.randint(una, ledger.snd_nxt)
        blocks = []
        for _ in range(rng.randint(0, 3)):
            if una + 2 < ledger.snd_nxt:
                left = rng.randint(una + 1, ledger.snd_nxt - 1)
                blocks.append((left, min(left + rng.randint(1, 8), ledger.snd_nxt)))
        ledger.acknowledge(una, blocks, now_s)
        before = {byte for left, right in ledger.lost for byte in range(left, right)}
        now_lost = {
            byte
            for byte in range(ledger.snd_una, ledger.snd_nxt)
            if byte not in ledger.sacked and is_lost(ledger, byte, mss)
        }
        fresh = now_lost - condemned
        condemned |= now_lost
        assert detector.detect(ledger, mss) == len(fresh - before)
        after = {byte for left, right in ledger.lost for byte in range(left, right)}
        assert after == before | fresh
