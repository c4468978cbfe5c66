"""Which packet carried which bytes."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from rudp.telemetry.flight import Flight, runs

WRAP = 2**32


def flight(first: int = 1000) -> Flight:
    made = Flight()
    assert not made.add(first, 1, 0)  # the SYN
    return made


def test_an_acknowledgement_names_packets() -> None:
    made = flight()
    for number in range(1, 6):
        assert not made.add(1001 + (number - 1) * 100, 100, number)
    assert made.acknowledge(1001, ()) == [0]
    assert made.acknowledge(1201, ()) == [1, 2]
    assert made.acknowledge(1201, ()) == []
    assert made.acknowledge(1201, [(1301, 1501)]) == [4, 5]
    assert made.acknowledge(1501, [(1301, 1501)]) == [3]


def test_a_retransmission_takes_the_place_of_what_was_lost() -> None:
    made = flight()
    made.add(1001, 100, 1)
    made.add(1101, 100, 2)
    assert made.within(1001, 1101) == [1]
    assert made.add(1001, 100, 3)
    assert made.within(1001, 1201) == [3, 2]
    assert made.acknowledge(1201, ()) == [0, 2, 3]


def test_a_retransmission_cut_otherwise() -> None:
    """The path got narrower in between."""
    made = flight()
    made.add(1001, 100, 1)
    for number, at in ((2, 1001), (3, 1041), (4, 1081)):
        assert made.add(at, min(40, 1101 - at), number)
    assert made.acknowledge(1101, ()) == [0, 2, 3, 4]


def test_what_is_not_possible_changes_nothing() -> None:
    """Acknowledgements of what was never sent, or long ago; SACK blocks likewise."""
    made = flight()
    made.add(1001, 100, 1)
    assert made.acknowledge(5000, ()) == []
    assert made.acknowledge(900, ()) == []
    assert made.acknowledge(1001, [(1101, 1001), (900, 950), (1050, 9000)]) == [0]
    assert made.una == 1001


def test_offsets_begin_after_the_syn_and_pass_the_wrap() -> None:
    made = flight(WRAP - 50)
    made.add(WRAP - 49, 100, 1)
    assert made.offset(WRAP - 49) == 0
    assert made.offset(51) == 100
    assert made.acknowledge(51, ()) == [0, 1]


def test_memory_is_bounded() -> None:
    """Of a peer that never acknowledges."""
    made = flight(0)
    for number in range(1, 70_000):
        made.add(number, 1, number)
    assert len(made.within(0, WRAP)) <= 1 << 16
    assert made.acknowledge(69_999 + 1, ())[-1] == 69_999


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_every_packet_is_acknowledged_once(first: int, seed: int) -> None:
    """A model: data once through, some of it again, acknowledged in pieces and by blocks."""
    rng = random.Random(seed)
    made = flight(first)
    ends = [first + 1]
    numbers = {0}
    for number in range(1, 30):
        size = rng.randint(1, 50)
        assert not made.add(ends[-1] % WRAP, size, number)
        ends.append(ends[-1] + size)
        numbers.add(number)
    acked: list[int] = []
    una = 0
    while una < len(ends) - 1:
        low = rng.randint(una, len(ends) - 1)
        high = rng.randint(low, len(ends) - 1)
        una = rng.randint(una, min(una + 5, len(ends) - 1))
        blocks = [(ends[low] % WRAP, ends[high] % WRAP)]
        acked += made.acknowledge(ends[una] % WRAP, blocks)
    assert sorted(acked) == sorted(numbers)


def test_runs_have_both_ends() -> None:
    assert runs([]) == []
    assert runs([1, 2, 3, 7, 9, 10]) == [(1, 3), (7, 7), (9, 10)]
