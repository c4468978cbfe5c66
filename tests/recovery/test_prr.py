"""rudp.recovery.prr: RFC 9937's formulas, its arguments as examples, and counter-examples."""

from __future__ import annotations

import random

import pytest

from rudp.recovery.prr import Prr

SEED = 20260402
MSS = 1000


def test_the_first_retransmission_is_never_held_back() -> None:
    """§6.2: if prr_out is 0 and SndCnt is 0, force a fast retransmit."""
    prr = Prr(20 * MSS, 10 * MSS, MSS)
    prr.on_ack(0, 20 * MSS, safe=False)
    assert prr.snd_cnt == MSS
    prr.on_sent(MSS)
    assert (prr.out, prr.snd_cnt) == (MSS, 0)
    prr.on_ack(0, 20 * MSS, safe=False)
    assert prr.snd_cnt == 0, "only the first"


def test_proportional_while_more_than_ssthresh_is_in_flight() -> None:
    """§6.2: SndCnt = CEIL(prr_delivered * ssthresh / RecoverFS) - prr_out. With a window halved
    every second segment that arrives lets one out (§8, Reno)."""
    prr = Prr(20 * MSS, 10 * MSS, MSS)
    sent = []
    in_flight = 19 * MSS
    for _ in range(8):
        in_flight -= MSS
        prr.on_ack(MSS, in_flight, safe=False)
        whole = prr.snd_cnt // MSS
        sent.append(whole)
        prr.on_sent(whole * MSS)
        in_flight += whole * MSS
    assert sent == [1, 0, 0, 1, 0, 1, 0, 1]
    assert prr.out == 4 * MSS


@pytest.mark.parametrize(
    ("delivered", "ssthresh", "fs", "count"),
    [(1, 7, 10, 1), (3, 7, 10, 3), (10, 7, 10, 7), (1000, 7000, 10_000, 700), (1, 1, 3, 1)],
)
def test_the_proportion_is_rounded_up(delivered: int, ssthresh: int, fs: int, count: int) -> None:
    """§6.2: CEIL, so that what is sent never falls behind the proportion."""
    prr = Prr(fs, ssthresh, 1)
    prr.on_ack(delivered, ssthresh + 1, safe=False)
    assert prr.snd_cnt == count


def test_cubic_sends_seven_of_ten() -> None:
    """§6.2 with RFC 9438's beta of 0.7: over the whole of recovery ssthresh bytes are sent."""
    prr = Prr(100 * MSS, 70 * MSS, MSS)
    in_flight = 100 * MSS
    for _ in range(100):
        in_flight -= MSS
        prr.on_ack(MSS, max(in_flight, 70 * MSS + 1), safe=False)
        size = prr.snd_cnt // MSS * MSS
        prr.on_sent(size)
        in_flight += size
    assert prr.out == 70 * MSS
    assert in_flight == 70 * MSS


def test_conservation_where_losses_brought_the_flight_below() -> None:
    """§6.2, PRR-CRB: as much leaves as arrives, no more, unless there is good progress."""
    prr = Prr(20 * MSS, 10 * MSS, MSS)
    prr.on_ack(MSS, 4 * MSS, safe=False)
    assert prr.snd_cnt == MSS
    prr.on_sent(MSS)
    prr.on_ack(2 * MSS, 3 * MSS, safe=False)
    assert prr.snd_cnt == 2 * MSS


def test_what_was_not_sent_is_made_up_for() -> None:
    """§6.2: MAX(prr_delivered - prr_out, DeliveredData), after an application paused."""
    prr = Prr(20 * MSS, 10 * MSS, MSS)
    prr.on_ack(MSS, 5 * MSS, safe=False)
    prr.on_ack(MSS, 4 * MSS, safe=False)
    prr.on_ack(MSS, 3 * MSS, safe=False)
    assert prr.snd_cnt == 3 * MSS


def test_more_than_was_delivered_was_sent() -> None:
    """§6.2: prr_out may be ahead of prr_delivered; DeliveredData still lets as much out."""
    prr = Prr(20 * MSS, 10 * MSS, MSS)
    prr.on_ack(MSS, 5 * MSS, safe=False)
    prr.on_sent(4 * MSS)
    prr.on_ack(2 * MSS, 5 * MSS, safe=False)
    assert prr.snd_cnt == 2 * MSS


def test_one_segment_more_with_good_progress() -> None:
    """§6.2, PRR-SSRB: SafeACK grows the flight by one segment an acknowledgement, as slow start
    does, up to ssthresh."""
    prr = Prr(20 * MSS, 10 * MSS, MSS)
    prr.on_ack(MSS, 4 * MSS, safe=True)
    assert prr.snd_cnt == 2 * MSS
    prr.on_sent(2 * MSS)
    prr.on_ack(MSS, 9 * MSS, safe=True)
    assert prr.snd_cnt == MSS, "the flight of 10 segments is full"


def test_never_beyond_ssthresh() -> None:
    """§6.2: SndCnt = MIN(ssthresh - inflight, SndCnt)."""
    prr = Prr(20 * MSS, 10 * MSS, MSS)
    prr.on_ack(8 * MSS, 9_500, safe=True)
    prr.on_sent(MSS)
    prr.on_ack(8 * MSS, 9_500, safe=True)
    assert prr.snd_cnt == 500


def test_a_burst_of_losses_makes_no_burst_of_sending() -> None:
    """§4 and §5: the strong packet conservation bound. Fifteen of twenty are lost at once: one
    acknowledgement, one segment, where RFC 6675 would let the whole of ssthresh out."""
    prr = Prr(20 * MSS, 10 * MSS, MSS)
    prr.on_ack(MSS, 4 * MSS, safe=False)
    assert prr.snd_cnt == MSS


def test_all_but_one_lost() -> None:
    """§6.2: slow start from one segment; each acknowledged retransmission lets two out."""
    prr = Prr(20 * MSS, 10 * MSS, MSS)
    prr.on_ack(MSS, 0, safe=False)
    in_flight, rounds = 0, []
    while in_flight < 10 * MSS and len(rounds) < 10:
        size = prr.snd_cnt // MSS * MSS
        prr.on_sent(size)
        in_flight += size
        rounds.append(in_flight // MSS)
        arriving, in_flight = in_flight, in_flight
        for _ in range(arriving // MSS):
            in_flight -= MSS
            prr.on_ack(MSS, in_flight, safe=True)
            size = prr.snd_cnt // MSS * MSS
            prr.on_sent(size)
            in_flight += size
    assert rounds[0] == 1
    assert rounds[1] == 2
    assert in_flight == 10 * MSS


def test_nothing_delivered_lets_nothing_out() -> None:
    """§6.2: "If (DeliveredData is 0) Return": neither duplicate ACKs nor an advance over what
    was selectively acknowledged before are progress."""
    prr = Prr(20 * MSS, 10 * MSS, MSS)
    prr.on_ack(MSS, 4 * MSS, safe=False)
    prr.on_sent(MSS)
    for safe in (False, True):
        prr.on_ack(0, 5 * MSS, safe=safe)
        assert prr.snd_cnt == 0


@pytest.mark.parametrize("seed", range(SEED, SEED + 60))
def test_bounds(seed: int) -> None:
    """§8 (properties): from any mixture of arrivals, losses and pauses no acknowledgement leads
    beyond ssthresh, and without SafeACK no more leaves than arrived, but for the first."""
    rng = random.Random(seed)
    window = rng.randint(4, 200)
    ssthresh = max(2, int(window * rng.choice([0.5, 0.7, 0.85])))
    prr = Prr(window * MSS, ssthresh * MSS, MSS)
    in_flight, delivered, safe_acks = window, 0, 0
    while in_flight:
        arrived = rng.randint(1, min(in_flight, 8))
        lost = rng.randint(0, in_flight - arrived) if rng.random() < 0.3 else 0
        in_flight -= arrived + lost
        safe = not lost and rng.random() < 0.5
        safe_acks += safe
        delivered += arrived
        prr.on_ack(arrived * MSS, in_flight * MSS, safe=safe)
        assert prr.snd_cnt >= 0
        if in_flight > ssthresh:
            allowed = -(-delivered * MSS * ssthresh // window)
            assert prr.out + prr.snd_cnt <= max(prr.out, allowed, MSS), f"seed {seed}"
        else:
            forced = 0 if prr.out else MSS
            limit = max(ssthresh * MSS, in_flight * MSS + forced)
            assert in_flight * MSS + prr.snd_cnt <= limit, f"seed {seed}"
        sent = rng.randint(0, prr.snd_cnt // MSS)
        prr.on_sent(sent * MSS)
        in_flight += sent
        assert prr.out <= (delivered + safe_acks + 1) * MSS, f"seed {seed}"
        if delivered > 20 * window:
            break
