"""rudp.buffers.reassembly against a dictionary of bytes by offset (RFC 9293 §3.10.7.4)."""

from __future__ import annotations

import random
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rudp.buffers.chunks import SMALL
from rudp.buffers.reassembly import Reassembly

SEED = 20260104
ENDLESS = 1 << 30


def runs_of(offsets: set[int]) -> list[tuple[int, int]]:
    """The maximal runs of a set of offsets."""
    runs: list[tuple[int, int]] = []
    for offset in sorted(offsets):
        if runs and runs[-1][1] == offset:
            runs[-1] = (runs[-1][0], offset + 1)
        else:
            runs.append((offset, offset + 1))
    return runs


def held(reassembly: Reassembly) -> list[tuple[int, int]]:
    """Its runs, ascending, without touching anything."""
    ends = [
        start + run.size for start, run in zip(reassembly._starts, reassembly._runs, strict=True)
    ]
    return list(zip(reassembly._starts, ends, strict=True))


class ReassemblyModel(RuleBasedStateMachine):
    """Segments anywhere, in any order, overlapping at will."""

    @initialize(max_runs=st.sampled_from([1, 2, 3, 8, ENDLESS]), base=st.sampled_from([0, 1 << 33]))
    def begin(self, max_runs: int, base: int) -> None:
        self.max_runs = max_runs
        self.base = base
        self.reassembly = Reassembly(max_runs)
        self.model: dict[int, int] = {}
        self.serial = 0

    @rule(offset=st.integers(0, 120), size=st.integers(1, 40))
    def insert(self, offset: int, size: int) -> None:
        """The first copy of a byte stays; a part that would open one hole too many is refused."""
        self.serial += 1
        at = self.base + offset
        data = bytes((self.serial % 251,)) * size
        full = True
        for start, end in runs_of(set(range(at, at + size)) - self.model.keys()):
            touches = start - 1 in self.model or end in self.model
            if touches or len(runs_of(set(self.model))) < self.max_runs:
                self.model |= {number: data[number - at] for number in range(start, end)}
            else:
                full = False
        assert self.reassembly.insert(at, data) is full
        self.reassembly.touch(at)

    @rule()
    def pop(self) -> None:
        runs = runs_of(set(self.model))
        if not runs:
            assert self.reassembly.pop(self.base) is None
            return
        start, end = runs[0]
        assert self.reassembly.pop(start - 1) is None
        assert self.reassembly.pop(start + 1) is None
        run = self.reassembly.pop(start)
        assert run is not None
        assert run.size == end - start
        taken = b"".join(run.take())
        assert taken == bytes(self.model.pop(number) for number in range(start, end))

    @rule(most=st.integers(1, 10))
    def ranges(self, most: int) -> None:
        """RFC 2018 §3: each block is data that is held, and none is reported twice."""
        blocks = self.reassembly.ranges(most)
        assert len(blocks) <= most
        assert len(set(blocks)) == len(blocks)
        assert set(blocks) <= set(runs_of(set(self.model)))

    @rule()
    def clear(self) -> None:
        self.reassembly.clear()
        self.model.clear()
        assert self.reassembly.ranges(10) == []

    @invariant()
    def same(self) -> None:
        runs = runs_of(set(self.model))
        assert held(self.reassembly) == runs
        assert self.reassembly.size == len(self.model)
        assert len(self.reassembly) == len(runs) <= self.max_runs
        assert self.reassembly.first() == (runs[0][0] if runs else None)
        assert self.reassembly.end() == (runs[-1][1] if runs else 0)
        assert self.reassembly.overhead() <= 2 * len(self.model) / SMALL + len(runs)


TestReassemblyModel = ReassemblyModel.TestCase
TestReassemblyModel.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)


def test_the_first_copy_stays() -> None:
    """RFC 9293 §3.10.7.4: what is here already is not replaced by what comes again."""
    reassembly = Reassembly(8)
    assert reassembly.insert(10, b"bbb")
    assert reassembly.insert(8, b"aaaaaaa")
    run = reassembly.pop(8)
    assert run is not None
    assert b"".join(run.take()) == b"aabbbaa"


def test_holes_are_bounded() -> None:
    """Bounds: whoever sends every second byte opens only so many holes."""
    reassembly = Reassembly(100)
    kept = [reassembly.insert(offset, b"x") for offset in range(10, 1000, 2)]
    assert kept == [True] * 100 + [False] * 395
    assert len(reassembly) == reassembly.size == reassembly.overhead() == 100
    # What adjoins a run opens no hole and is taken at the bound, too.
    assert reassembly.insert(9, b"y")
    assert reassembly.insert(11, b"y")
    assert reassembly.insert(209, b"y")
    assert len(reassembly) == 99
    assert reassembly.insert(500, b"z")
    assert not reassembly.insert(600, b"z")


def test_of_a_segment_over_many_holes_all_that_adjoins_is_kept() -> None:
    reassembly = Reassembly(2)
    assert reassembly.insert(10, b"1")
    assert reassembly.insert(20, b"2")
    assert reassembly.insert(5, b"abcdefghijklmnopqrstuvwxyz")
    assert held(reassembly) == [(5, 31)]
    run = reassembly.pop(5)
    assert run is not None
    assert b"".join(run.take()) == b"abcde1ghijklmno2qrstuvwxyz"


ORDERS = ["ascending", "descending", "even, then odd", "shuffled", "inside out"]


@pytest.mark.parametrize("order", ORDERS)
def test_one_byte_segments_in_every_order(order: str) -> None:
    """Bounds, overhead: a byte a segment, in whatever order, ends in few chunks."""
    count = 12_000
    offsets = list(range(count))
    if order == "descending":
        offsets.reverse()
    elif order == "even, then odd":
        offsets = offsets[::2] + offsets[1::2]
    elif order == "shuffled":
        random.Random(SEED).shuffle(offsets)
    elif order == "inside out":
        offsets.sort(key=lambda offset: (abs(offset - count // 2), offset))
    data = random.Random(SEED).randbytes(count)
    reassembly = Reassembly(ENDLESS)
    for inserted, offset in enumerate(offsets, 1):
        assert reassembly.insert(offset, data[offset : offset + 1])
        if inserted % 1000 == 0:
            assert reassembly.overhead() <= 2 * inserted / SMALL + len(reassembly)
    assert len(reassembly) == 1
    assert reassembly.overhead() <= 2 * count / SMALL + 1
    run = reassembly.pop(0)
    assert run is not None
    chunks = run.take()
    assert b"".join(chunks) == data
    assert all(len(left) + len(right) > SMALL for left, right in pairwise(chunks))
    assert not reassembly
    assert reassembly.size == 0


@pytest.mark.parametrize("order", ["ascending", "descending", "even, then odd"])
def test_memory_of_small_segments(order: str) -> None:
    """Bounds, measured: half a megabyte that came 16 bytes at a time costs less than three times
    itself once the holes are closed."""
    count, step = 1 << 15, 16
    offsets = list(range(0, count * step, step))
    if order == "descending":
        offsets.reverse()
    elif order == "even, then odd":
        offsets = offsets[::2] + offsets[1::2]
    reassembly = Reassembly(ENDLESS)
    tracemalloc.start()
    try:
        for offset in offsets:
            reassembly.insert(offset, bytes(step))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reassembly.size == count * step
    assert used < 3 * reassembly.size


@given(st.permutations(range(12)), st.integers(1, 4))
@settings(deadline=None)
def test_any_order_of_segments_gives_the_stream(order: list[int], overlap: int) -> None:
    data = random.Random(SEED).randbytes(12 * 5 + overlap)
    reassembly = Reassembly(ENDLESS)
    for index in order:
        assert reassembly.insert(index * 5, data[index * 5 : index * 5 + 5 + overlap])
    run = reassembly.pop(0)
    assert run is not None
    assert b"".join(run.take()) == data


# -- SACK blocks (RFC 2018 §4) -------------------------------------------------------------------


def arrive(reassembly: Reassembly, offset: int, size: int = 10) -> None:
    reassembly.insert(offset, bytes(size))
    reassembly.touch(offset)


def test_the_first_block_holds_what_arrived_last() -> None:
    """RFC 2018 §4: "The first SACK block … MUST specify the contiguous block of data containing
    the segment which triggered this ACK"."""
    reassembly = Reassembly(ENDLESS)
    rng = random.Random(SEED)
    for _ in range(300):
        offset = rng.randrange(10, 4000)
        arrive(reassembly, offset)
        left, right = reassembly.ranges(4)[0]
        assert left <= offset < right
        assert (left, right) in held(reassembly)


def test_then_the_blocks_reported_most_recently() -> None:
    """RFC 2018 §4: "the SACK option SHOULD be filled out by repeating the most recently
    reported SACK blocks", so that three lost ACKs lose no information."""
    reassembly = Reassembly(100)
    for index in range(6):
        arrive(reassembly, 100 + 20 * index)
        blocks = reassembly.ranges(4)
        newest_first = [(100 + 20 * at, 110 + 20 * at) for at in range(index, -1, -1)]
        assert blocks == newest_first[:4]
    # An old block that grows is the newest again.
    arrive(reassembly, 130)
    assert reassembly.ranges(4) == [(120, 150), (200, 210), (180, 190), (160, 170)]


def test_as_many_distinct_blocks_as_possible() -> None:
    """RFC 2018 §4: "The data receiver SHOULD include as many distinct SACK blocks as possible
    in the SACK option": once newer blocks have grown together there is room for older ones."""
    reassembly = Reassembly(100)
    for index in range(6):
        arrive(reassembly, 100 + 20 * index)
        reassembly.ranges(4)
    for hole in (150, 170, 190):
        arrive(reassembly, hole)
        reassembly.ranges(4)
    assert held(reassembly) == [(100, 110), (120, 130), (140, 210)]
    blocks = reassembly.ranges(4)
    assert blocks[0] == (140, 210)
    assert set(blocks) == {(100, 110), (120, 130), (140, 210)}


def test_a_block_is_not_forgotten_while_another_grows() -> None:
    """The same SHOULD of RFC 2018 §4 where many segments arrive between two ACKs: a train of
    segments that extend one block must not drive the other one out."""
    reassembly = Reassembly(100)
    arrive(reassembly, 100)
    for index in range(100):
        arrive(reassembly, 200 + 10 * index)
    assert set(reassembly.ranges(4)) == {(100, 110), (200, 1200)}


def test_a_block_that_was_taken_is_not_reported() -> None:
    reassembly = Reassembly(100)
    arrive(reassembly, 100)
    arrive(reassembly, 200)
    assert reassembly.pop(100) is not None
    assert reassembly.ranges(4) == [(200, 210)]
    assert reassembly.pop(200) is not None
    assert reassembly.ranges(4) == []


def test_data_that_was_refused_is_not_reported() -> None:
    reassembly = Reassembly(1)
    arrive(reassembly, 100)
    arrive(reassembly, 50)
    arrive(reassembly, 200)
    assert reassembly.ranges(4) == [(100, 110)]


def test_what_is_remembered_of_the_order_is_bounded() -> None:
    reassembly = Reassembly(ENDLESS)
    for index in range(10_000):
        arrive(reassembly, 20 * index, 1)
    assert len(reassembly._recent) <= 64
