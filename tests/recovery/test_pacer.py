"""rudp.recovery.pacer: the rate is kept whatever the loop's timers do."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rudp.recovery.pacer import _CATCH_UP_S, TICK_S, Pacer

SEED = 20260403
MSS = 1200


def in_step(rate: float, now_s: float) -> Pacer:
    """A pacer that has nothing to make up for and nothing to wait for at `now_s`."""
    pacer = Pacer()
    pacer.budget(rate, MSS, now_s)
    pacer.on_sent(round(rate * _CATCH_UP_S))
    return pacer


def test_the_first_train_leaves_at_once() -> None:
    assert Pacer().budget(1e6, MSS, 100.0) >= 2 * MSS


def test_the_next_train_has_to_wait() -> None:
    pacer = in_step(1e6, 100.0)
    assert pacer.budget(1e6, MSS, 100.0) == 2 * MSS
    pacer.on_sent(2 * MSS)
    assert pacer.budget(1e6, MSS, 100.0) == 0
    assert pacer.next_s == pytest.approx(100.0024)
    assert pacer.budget(1e6, MSS, 100.0023) == 0
    assert pacer.next_s == pytest.approx(100.0024)
    assert pacer.budget(1e6, MSS, 100.0025) == 2 * MSS


def test_a_train_is_a_ticks_worth() -> None:
    """Issue 3, 3.: at 100 MB/s a wake-up a millisecond sends 100 KB, not a segment; in whole
    segments."""
    budget = in_step(100e6, 5.0).budget(100e6, MSS, 5.0)
    assert budget % MSS == 0
    assert 100e6 * TICK_S - MSS < budget <= 100e6 * TICK_S


def test_slow_rates_send_two_segments_at_a_time() -> None:
    """Enough for one acknowledgement (RFC 9293 §3.8.6.3)."""
    pacer = in_step(1000.0, 5.0)
    assert pacer.budget(1000.0, MSS, 5.0) == 2 * MSS
    pacer.on_sent(2 * MSS)
    assert pacer.budget(1000.0, MSS, 5.0) == 0
    assert pacer.next_s == pytest.approx(7.4)


def test_a_late_tick_is_made_up_for() -> None:
    """A timer that comes 2 ms late finds what these were worth."""
    pacer = in_step(10e6, 5.0)
    budget = pacer.budget(10e6, MSS, 5.002)
    assert 30_000 - 2 * MSS < budget <= 30_000
    pacer.on_sent(budget)
    assert pacer.budget(10e6, MSS, 5.002) == 0
    assert pacer.next_s == pytest.approx(5.0 + budget / 10e6)


def test_a_very_late_tick_makes_no_burst() -> None:
    """What a stall of half a second missed is not sent all at once."""
    pacer = in_step(10e6, 5.0)
    budget = pacer.budget(10e6, MSS, 5.5)
    assert budget <= 10e6 * (TICK_S + _CATCH_UP_S)
    pacer.on_sent(budget)
    pacer.on_sent(MSS)
    assert pacer.budget(10e6, MSS, 5.5) == 0
    assert pacer.next_s > 5.5


def test_idle_time_is_not_saved_up() -> None:
    pacer = in_step(1e6, 1.0)
    allowed = 0
    while budget := pacer.budget(1e6, MSS, 1000.0):
        pacer.on_sent(budget)
        allowed += budget
    assert allowed <= 1e6 * (TICK_S + _CATCH_UP_S) + 2 * MSS


def test_less_than_the_budget_costs_less() -> None:
    """An application that has one small write pays for that only."""
    pacer = in_step(1e6, 5.0)
    pacer.on_sent(100)
    assert pacer.budget(1e6, MSS, 5.0) == 0
    assert pacer.next_s == pytest.approx(5.0001)


def test_a_new_rate_holds_for_what_was_sent_at_the_old_one() -> None:
    """A path that turns out ten times faster does not wait ten times too long, nor the other
    way round."""
    for rate, wait_s in ((1e6, 0.0012), (1e7, 0.00012), (1e5, 0.012)):
        pacer = in_step(1e6, 5.0)
        pacer.on_sent(MSS)
        assert pacer.budget(rate, MSS, 5.0) == 0
        assert pacer.next_s == pytest.approx(5.0 + wait_s)


@given(
    rate=st.floats(1e3, 1e10),
    mss=st.integers(64, 65_000),
    waits=st.lists(st.floats(0.0, 0.05), min_size=1, max_size=60),
    shares=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=7),
)
@settings(deadline=None, max_examples=200)
def test_never_more_than_the_rate_over_any_interval(
    rate: float, mss: int, waits: list[float], shares: list[float]
) -> None:
    """Over any interval no more than its worth at the rate, the documented catch-up, and one
    train of a tick or two segments."""
    pacer = Pacer()
    now_s = 10.0
    sendings: list[tuple[float, int]] = []
    for index, wait_s in enumerate(waits):
        now_s += wait_s
        for _ in range(50):
            budget = pacer.budget(rate, mss, now_s)
            if not budget:
                break
            size = max(1, int(budget * shares[index % len(shares)]))
            pacer.on_sent(size)
            sendings.append((now_s, size))
    slack = rate * _CATCH_UP_S + max(rate * TICK_S, 2 * mss)
    for first in range(0, len(sendings), 1 + len(sendings) // 40):
        total = 0
        start_s = sendings[first][0]
        for at_s, size in sendings[first:]:
            total += size
            assert total <= (rate * (at_s - start_s) + slack) * (1 + 1e-6) + 1


@pytest.mark.parametrize("late_s", [0.0, 0.0005, 0.001, 0.003])
@pytest.mark.parametrize("rate", [50e3, 1e6, 12.5e6, 125e6])
def test_the_rate_is_reached_on_timers_of_milliseconds(rate: float, late_s: float) -> None:
    """Issue 3, 3.: a loop that wakes on whole milliseconds, and late, still sends at the rate."""
    rng = random.Random(SEED)
    now_s, sent, wakes = 1.0, 0, 0
    pacer = in_step(rate, now_s)
    while now_s < 3.0:
        wakes += 1
        while budget := pacer.budget(rate, MSS, now_s):
            pacer.on_sent(budget)
            sent += budget
        ticks = int((pacer.next_s - 1.0) / TICK_S) + 1
        now_s = max(now_s, 1.0 + ticks * TICK_S + rng.uniform(0, late_s))
    assert sent == pytest.approx(2.0 * rate, rel=0.02, abs=2 * MSS)
    assert wakes <= 2100, "no more than once a tick"


@pytest.mark.parametrize("idle_s", [0.0, 0.01, 10.0])
def test_single_segments_make_up_for_no_more_than_trains_do(idle_s: float) -> None:
    """A writer of small messages gets no burst of a whole window out of a silence."""
    rate, now_s = 1e6, 100.0 + idle_s
    pacer = in_step(rate, 100.0)
    sent = 0
    while pacer.is_free(rate, now_s) and sent < 100 * MSS:
        pacer.on_sent(MSS)
        sent += MSS
    assert MSS <= sent <= rate * min(idle_s, _CATCH_UP_S) + MSS
    assert pacer.budget(rate, MSS, now_s) == 0
    assert pacer.is_free(rate, pacer.next_s + 1e-9)


def test_segments_and_trains_keep_the_rate_together() -> None:
    rng = random.Random(SEED)
    rate, now_s, sent = 2e6, 10.0, 0
    pacer = in_step(rate, now_s)
    for _ in range(5000):
        now_s += rng.choice((0.0, 0.0002, 0.001, 0.003))
        if rng.random() < 0.5:
            size = MSS if pacer.is_free(rate, now_s) else 0
        else:
            size = pacer.budget(rate, MSS, now_s)
        pacer.on_sent(size)
        sent += size
        ahead = sent - rate * (now_s - 10.0)
        assert ahead <= rate * (_CATCH_UP_S + TICK_S) + 2 * MSS, f"seed {SEED}"
    assert sent >= 0.9 * rate * (now_s - 10.0), f"seed {SEED}"
