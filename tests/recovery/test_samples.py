"""Delivery-rate samples of rudp.recovery.ledger (draft-ietf-ccwg-bbr, "Delivery Rate Samples")."""

from __future__ import annotations

import math
import random

import pytest

from rudp.recovery.ledger import Delivery, Ledger
from rudp.recovery.transmissions import Entry

from .model import LedgerModel, sent

SEED = 20260106


def newest(told: Delivery) -> Entry:
    """The transmission that gave the sample; there has to be one."""
    assert told.newest is not None
    return told.newest


@pytest.mark.parametrize("selective", [False, True], ids=["cumulative", "selective"])
@pytest.mark.parametrize("seed", range(SEED, SEED + 15))
def test_samples_by_the_letter(seed: int, selective: bool) -> None:
    """draft-ietf-ccwg-bbr, "Delivery Rate Samples", on random connections: the packet sent last
    of those that an ACK newly delivers gives the sample."""
    rng = random.Random(seed)
    ledger, model = Ledger(0), LedgerModel(0)
    now_s = 0.0
    for _ in range(250):
        now_s += rng.choice([0.0005, 0.001, 0.01])
        una, nxt = model.snd_una, model.snd_nxt
        action = rng.random()
        if action < 0.4 or una == nxt:
            end = nxt + rng.randint(1, 30)
            ledger.sent(end, now_s)
            model.sent(end, now_s)
        elif action < 0.5:
            start = rng.randrange(una, nxt)
            assert ledger.mark_lost(start, start + 20) == model.mark_lost(start, start + 20)
        elif action < 0.6 and ledger.lost:
            start, end = ledger.lost.first()
            ledger.sent_again(start, end, now_s)
            model.sent_again(start, end, now_s)
        elif action < 0.65:
            ledger.mark_app_limited()
            model.app_limited_until = model.delivered + model.in_flight + 1
        else:
            una = rng.choice([una, rng.randint(una, nxt), min(una + 10, nxt)])
            blocks = []
            if selective and una + 1 < nxt:
                left = rng.randrange(una + 1, nxt)
                blocks.append((left, rng.randint(left + 1, nxt)))
            told = ledger.acknowledge(una, blocks, now_s)
            wanted = model.acknowledge(una, blocks, now_s)
            assert told[:3] == (wanted.advanced, wanted.delivered, wanted.newly_sacked)
            if wanted.newest is None:
                assert (told.rate, told.newest) == (0.0, None)
                continue
            assert told.newest is not None
            assert told.newest.sent_s == wanted.newest.sent_s
            assert told.newest.retransmitted is wanted.newest.again
            assert told.newest.at == wanted.newest.counters
            assert told.newest.tx_in_flight == wanted.newest.tx_in_flight
            assert told.rate == pytest.approx(wanted.rate)
    assert ledger.in_flight == model.in_flight


def test_what_was_sacked_before_gives_no_sample() -> None:
    """draft-ietf-ccwg-bbr: a packet's delivery is sampled once; the cumulative ACK that follows
    the SACK samples the packet that was missing, not the newest one that it covers."""
    ledger = Ledger(0)
    ledger.sent(1000, 0.00)
    ledger.sent(2000, 0.05)
    first = ledger.acknowledge(0, [(1000, 2000)], 0.15)
    assert newest(first).sent_s == 0.05
    late = ledger.acknowledge(2000, [], 1.0)
    assert late.delivered == 1000
    assert newest(late).sent_s == 0.00
    assert late.rate == pytest.approx(2000 / 1.0)


def test_an_ack_that_delivers_nothing_gives_no_sample() -> None:
    ledger = sent(1000, 2000)
    ledger.acknowledge(0, [(1000, 2000)], 0.1)
    told = ledger.acknowledge(0, [(1000, 2000)], 0.2)
    assert told == Delivery(0, 0, False, 0.0, None, 0, False, math.inf, 0, None)


def test_no_time_no_rate() -> None:
    """A clock that stands still must not divide by zero."""
    ledger = Ledger(0)
    ledger.sent(1000, 5.0)
    told = ledger.acknowledge(1000, [], 5.0)
    assert told.rate == 0.0
    assert told.delivered == 1000


def test_idle_time_is_not_part_of_a_sample() -> None:
    """draft-ietf-ccwg-bbr: sending from idle starts the clocks anew."""
    ledger = Ledger(0)
    ledger.sent(10_000, 0.0)
    ledger.acknowledge(10_000, [], 0.1)
    ledger.sent(20_000, 100.0)
    told = ledger.acknowledge(20_000, [], 100.1)
    assert told.rate == pytest.approx(10_000 / 0.1)


def test_a_retransmission_is_told() -> None:
    ledger = sent(1000, 2000)
    ledger.mark_lost(0, 1000)
    ledger.sent_again(0, 1000, 0.5)
    told = ledger.acknowledge(2000, [], 0.6)
    assert newest(told).sent_s == 0.5
    assert newest(told).retransmitted


def test_samples_are_app_limited_until_what_was_in_flight_is_delivered() -> None:
    """draft-ietf-ccwg-bbr, "Detecting application-limited phases"."""
    ledger = Ledger(0)
    ledger.sent(1000, 0.0)
    ledger.mark_app_limited()
    ledger.sent(2000, 0.01)
    assert not newest(ledger.acknowledge(1000, [], 0.1)).at.app_limited, "sent before the pause"
    assert newest(ledger.acknowledge(2000, [], 0.11)).at.app_limited, "sent in it"
    ledger.sent(3000, 0.2)
    assert not newest(ledger.acknowledge(3000, [], 0.3)).at.app_limited, "the mark is behind"


RATE = 1_000_000.0


@pytest.mark.parametrize("train", [1, 4, 16])
@pytest.mark.parametrize("acks_per_train", [1, 2, 4])
@pytest.mark.parametrize("delay_s", [0.0005, 0.02])
def test_samples_on_a_path_of_constant_rate(
    train: int, acks_per_train: int, delay_s: float
) -> None:
    """A bottleneck that is never idle delivers at its rate, and the samples say so.

    An ACK of a part of a train understates the rate, because all of the train counts as sent;
    the best sample of a round trip, which is what a controller goes by, is exact.
    """
    mss = 1200
    ledger = Ledger(0)
    size = train * mss
    window = max(4 * size, int(2.5 * RATE * 2 * delay_s))
    now_s = free_s = 0.0
    acks: list[tuple[float, int]] = []
    rates = []
    while ledger.delivered < 40 * window:
        while ledger.in_flight + size <= window:
            start = ledger.snd_nxt
            ledger.sent(start + size, now_s)
            for part in range(1, acks_per_train + 1):
                edge = start + part * size // acks_per_train
                previous = start + (part - 1) * size // acks_per_train
                free_s = max(free_s, now_s + delay_s) + (edge - previous) / RATE
                acks.append((free_s + delay_s, edge))
        now_s, edge = acks.pop(0)
        told = ledger.acknowledge(edge, [], now_s)
        assert told.rate <= RATE * 1.000_001, "no path delivers faster than it can"
        if ledger.delivered > 3 * window:
            rates.append(told.rate)
    assert len(rates) > 50
    assert min(rates) >= RATE * (0.999_999 if acks_per_train == 1 else 0.75)
    round_trip = window // size * acks_per_train
    for at in range(0, len(rates) - round_trip, round_trip):
        assert max(rates[at : at + round_trip]) >= RATE * 0.999_999


def test_compressed_acks_do_not_inflate_the_rate() -> None:
    """draft-ietf-ccwg-bbr: the longer of the sending and the acknowledging interval counts, so
    that ACKs that were held up and come in a bunch do not look like a faster path."""
    mss = 1200
    ledger = Ledger(0)
    pace_s = mss / RATE
    highest = 0.0
    arrivals = [(number * pace_s + 0.02, (number + 1) * mss) for number in range(2000)]
    held = []
    for index, (due_s, edge) in enumerate(arrivals):
        # Every other tenth of a second the path back is blocked for 60 ms, then lets all go.
        phase_s = due_s % 0.2
        held.append((due_s + max(0.0, 0.06 - phase_s) + index * 1e-9, edge))
    sends = [number * pace_s for number in range(2000)]
    while held:
        if sends and sends[0] <= held[0][0]:
            ledger.sent(ledger.snd_nxt + mss, sends.pop(0))
            continue
        now_s, edge = held.pop(0)
        highest = max(highest, ledger.acknowledge(edge, [], now_s).rate)
    assert ledger.delivered == 2000 * mss
    assert 0.9 * RATE < highest <= RATE * 1.000_001
