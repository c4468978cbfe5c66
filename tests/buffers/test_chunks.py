"""rudp.buffers.chunks: bytes in order, and what holding them costs."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rudp.buffers.chunks import SMALL, ChunkRun

SIZES = st.integers(1, 30) | st.sampled_from([1, 1024, 1025, SMALL - 1, SMALL, SMALL + 1, 5000])


def most_chunks(size: int) -> float:
    """What the class promises for a run of `size` bytes."""
    return 2 * size / SMALL + 1


class ChunkRunModel(RuleBasedStateMachine):
    """The model is one `bytes`."""

    def __init__(self) -> None:
        super().__init__()
        self.run = ChunkRun()
        self.model = b""
        self.serial = 0

    def more(self, size: int) -> bytes:
        self.serial += 1
        return bytes((self.serial % 251,)) * size

    @rule(size=SIZES)
    def append(self, size: int) -> None:
        data = self.more(size)
        self.run.append(data)
        self.model += data

    @rule(sizes=st.lists(SIZES, max_size=4))
    def extend(self, sizes: list[int]) -> None:
        other = ChunkRun()
        for size in sizes:
            data = self.more(size)
            other.append(data)
            self.model += data
        self.run.extend(other)

    @rule()
    def take(self) -> None:
        chunks = self.run.take()
        assert all(type(chunk) is bytes and chunk for chunk in chunks)
        assert b"".join(chunks) == self.model
        self.model = b""

    @precondition(lambda self: self.model)
    @rule(most=st.integers(1, 5000))
    def take_some(self, most: int) -> None:
        taken = self.run.take_some(most)
        assert type(taken) is bytes
        assert 0 < len(taken) <= most
        assert self.model.startswith(taken)
        assert self.run.size == len(self.model) - len(taken)
        self.model = self.model[len(taken) :]

    @invariant()
    def size(self) -> None:
        assert self.run.size == len(self.model)
        assert (self.run.overhead() == 0) is (not self.model)

    @invariant()
    def overhead(self) -> None:
        # The first chunk may be the rest of one that was taken in part.
        assert self.run.overhead() <= most_chunks(self.run.size) + 1


TestChunkRunModel = ChunkRunModel.TestCase
TestChunkRunModel.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)


@given(st.lists(SIZES, max_size=60))
@settings(deadline=None)
def test_neighbours_are_together_greater_than_small(sizes: list[int]) -> None:
    run = ChunkRun()
    for size in sizes:
        run.append(bytes(size))
        assert run.overhead() <= most_chunks(run.size)
    chunks = run.take()
    assert sum(map(len, chunks)) == sum(sizes)
    assert all(len(left) + len(right) > SMALL for left, right in pairwise(chunks))


@given(st.lists(st.lists(SIZES, min_size=1, max_size=8), max_size=12))
@settings(deadline=None)
def test_runs_that_meet_keep_the_bound(runs: list[list[int]]) -> None:
    whole = ChunkRun()
    for sizes in runs:
        part = ChunkRun()
        for size in sizes:
            part.append(bytes(size))
        whole.extend(part)
        assert whole.overhead() <= most_chunks(whole.size)
    assert all(len(left) + len(right) > SMALL for left, right in pairwise(whole.take()))


def test_one_byte_a_segment_costs_no_object_a_byte() -> None:
    run = ChunkRun()
    for number in range(100_000):
        run.append(bytes((number & 0xFF,)))
    assert run.overhead() <= -(-100_000 // SMALL)
    assert b"".join(run.take()) == bytes(number & 0xFF for number in range(100_000))


@pytest.mark.parametrize("first_read", [1, 2, 7, 100, 1023, SMALL - 1])
def test_the_bound_holds_when_a_chunk_is_read_in_part(first_read: int) -> None:
    """The rest of a chunk may be small beside a small neighbour: one chunk more, never two."""
    run = ChunkRun()
    run.append(bytes(SMALL))
    run.append(bytes(1))
    while run.size > 1:
        run.take_some(min(first_read, run.size - 1))
        assert run.overhead() <= most_chunks(run.size) + 1


def test_large_chunks_are_handed_on_as_they_came() -> None:
    data = bytes(60_000)
    run = ChunkRun()
    run.append(data)
    (taken,) = run.take()
    assert taken is data
    run.append(data)
    assert run.take_some(60_000) is data
    assert run.size == run.overhead() == 0


def test_take_empties() -> None:
    run = ChunkRun()
    assert run.take() == []
    run.append(b"abc")
    assert run.take() == [b"abc"]
    assert run.take() == []
    assert run.size == 0
    run.append(b"d")
    assert run.take() == [b"d"]


def test_take_some_gives_the_chunks_that_fit_or_a_part_of_the_first() -> None:
    run = ChunkRun()
    for letter in b"abc":
        run.append(bytes((letter,)) * SMALL)
    run.append(b"defghi")
    assert run.take_some(1) == b"a"
    assert run.take_some(SMALL - 2) == b"a" * (SMALL - 2)
    assert run.take_some(2 * SMALL + 1) == b"a" + b"b" * SMALL + b"c" * SMALL
    assert run.take_some(2) == b"de"
    assert run.take_some(10_000) == b"fghi"
    assert run.size == run.overhead() == 0
    run.append(b"a" * SMALL)
    run.append(b"b" * SMALL)
    assert run.take_some(10 * SMALL) == b"a" * SMALL + b"b" * SMALL
    assert run.size == run.overhead() == 0


def test_a_large_chunk_is_not_copied_for_each_small_read() -> None:
    """A BufferedProtocol with a small buffer: reading 64 KB byte by byte leaves one chunk, the
    same one, behind (its rest is a view, not a copy that is made anew each time)."""
    data = bytes(range(256)) * 256
    run = ChunkRun()
    run.append(data)
    for expected in data[:1000]:
        assert run.take_some(1) == bytes((expected,))
        (rest,) = run._chunks
        assert isinstance(rest, memoryview)
        assert rest.obj is data
    run.append(b"more")
    assert b"".join(run.take()) == data[1000:] + b"more"


def test_joining_goes_on_behind_a_chunk_that_was_read_in_part() -> None:
    """The rest of a joined chunk is a view of it: what comes next must not resize it."""
    run = ChunkRun()
    for letter in b"abcdef":
        run.append(bytes((letter,)))
    assert run.take_some(2) == b"ab"
    run.append(b"g")
    assert run.take_some(2) == b"cd"
    run.append(b"h")
    run.append(b"i")
    other = ChunkRun()
    other.append(b"jkl")
    assert other.take_some(1) == b"j"
    run.extend(other)
    assert b"".join(run.take()) == b"efghikl"


def test_joined_chunks_are_not_changed_after_they_were_taken() -> None:
    """What the application got must not grow when the next segment arrives."""
    run = ChunkRun()
    run.append(b"a")
    run.append(b"b")
    run.append(b"c")
    (taken,) = run.take()
    run.append(b"d")
    assert taken == b"abc"
    run.append(b"e")
    assert run.take_some(1) == b"d"
    run.append(b"f")
    assert run.take() == [b"ef"]


def test_extending_by_an_empty_run_is_nothing() -> None:
    run = ChunkRun()
    run.append(b"a")
    run.extend(ChunkRun())
    assert run.size == 1
    assert run.take() == [b"a"]
