"""rudp.wire.seq: 32-bit numbers that wrap, and the unbounded ones behind them (RFC 9293 §3.4)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rudp.wire.seq import MASK, from_wire, to_wire

HALF = 1 << 31
TURN = 1 << 32

NUMBERS = st.integers(0, 1 << 70) | st.integers(0, 1 << 20).flatmap(
    lambda turns: st.integers(-5, 5).map(lambda near: turns * TURN + near)
)


@given(NUMBERS, st.integers(-HALF, HALF - 1))
@settings(deadline=None)
def test_round_trip_within_half_a_turn(near: int, distance: int) -> None:
    """RFC 9293 §3.4: a number less than half a turn away is told from its 32 bits."""
    number = near + distance
    assert from_wire(to_wire(number), near) == number


@given(st.integers(0, MASK), NUMBERS)
@settings(deadline=None)
def test_from_wire_is_congruent_and_nearest(value: int, near: int) -> None:
    number = from_wire(value, near)
    assert number & MASK == value
    assert near - HALF <= number < near + HALF


@given(st.integers(-(1 << 70), 1 << 70))
@settings(deadline=None)
def test_to_wire_keeps_the_low_32_bits(number: int) -> None:
    assert to_wire(number) == number % TURN
    assert 0 <= to_wire(number) <= MASK


@pytest.mark.parametrize(
    ("value", "near", "number"),
    [
        (0, 0, 0),
        (MASK, 0, -1),
        (0, MASK, TURN),
        (5, TURN - 5, TURN + 5),
        (MASK, TURN, TURN - 1),
        (0, TURN, TURN),
        (HALF, 0, -HALF),
        (HALF - 1, 0, HALF - 1),
        (HALF, TURN, TURN - HALF),
        (HALF - 1, 7 * TURN, 7 * TURN + HALF - 1),
        (1, 3 * TURN + MASK, 4 * TURN + 1),
    ],
)
def test_wrap_around(value: int, near: int, number: int) -> None:
    """RFC 9293 §3.4: arithmetic modulo 2^32, both edges of the half turn."""
    assert from_wire(value, near) == number


def test_a_sequence_that_walks_round_never_jumps() -> None:
    """A window that moves on over several turns is followed without a jump."""
    at = TURN - 10_000
    step = 0x1000_0001
    for _ in range(200):
        seen = from_wire(to_wire(at + step), at)
        assert seen == at + step
        at = seen
    assert at > 10 * TURN
