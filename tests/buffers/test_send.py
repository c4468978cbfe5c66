"""rudp.buffers.send against the bytes that were written."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rudp.buffers.send import SendBuffer

SEED = 20260103


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


class SendBufferModel(RuleBasedStateMachine):
    """Writes, transmissions, retransmissions, acknowledgements; the model is one `bytes`."""

    def __init__(self) -> None:
        super().__init__()
        self.serial = 0

    @initialize(start=st.sampled_from([0, 1, 1 << 31, (1 << 32) - 7, 1 << 40]))
    def begin(self, start: int) -> None:
        self.origin = start
        self.buffer = SendBuffer(start)
        self.written = b""
        self.start = start

    @rule(
        size=st.sampled_from([1, 2, 10, 1000, 4095, 4096, 4097, 10_000, 70_000])
        | st.integers(1, 9000)
    )
    def append(self, size: int) -> None:
        self.serial += 1
        data = random.Random(self.serial).randbytes(size)
        self.written += data
        self.buffer.append(data)

    @rule(count=st.integers(2, 40), size=st.integers(1, 4000))
    def append_many_small(self, count: int, size: int) -> None:
        """What streams do: many small writes before anything leaves."""
        for _ in range(count):
            self.append(size)

    @precondition(lambda self: self.start < self.origin + len(self.written))
    @rule(data=st.data(), size=st.integers(1, 3000))
    def payloads(self, data: st.DataObject, size: int) -> None:
        end = self.origin + len(self.written)
        low = data.draw(st.integers(self.start, end - 1))
        high = data.draw(st.integers(low + 1, end))
        payloads = self.buffer.payloads(low, high, size)
        wanted = self.written[low - self.origin : high - self.origin]
        assert [bytes(payload) for payload in payloads] == cut(wanted, size)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        end = self.origin + len(self.written)
        offset = data.draw(st.integers(self.start, end) | st.just(end))
        self.buffer.release(offset)
        self.start = offset

    @rule(back=st.integers(0, 10_000))
    def release_what_is_released(self, back: int) -> None:
        """An old acknowledgement moves nothing back."""
        self.buffer.release(max(self.origin, self.start - back))

    @invariant()
    def bounds(self) -> None:
        if self.serial:
            assert self.buffer.start == self.start
            assert self.buffer.end == self.origin + len(self.written)
            assert len(self.buffer) == self.buffer.end - self.buffer.start


TestSendBufferModel = SendBufferModel.TestCase
TestSendBufferModel.settings = settings(deadline=None, max_examples=40, stateful_step_count=25)


def test_large_writes_are_never_copied() -> None:
    """Design, "The unit of work is the train": payloads are slices of what was written."""
    first = bytes(random.Random(SEED).randbytes(1 << 20))
    second = bytes(random.Random(SEED + 1).randbytes(1 << 20))
    buffer = SendBuffer(0)
    buffer.append(first)
    buffer.append(second)
    straddling = 0
    for start in range(0, 2 << 20, 64 * 1176):
        end = min(start + 64 * 1176, 2 << 20)
        at = start
        for payload in buffer.payloads(start, end, 1176):
            if at < 1 << 20 < at + len(payload):
                straddling += 1  # the one that lies in both writes has to be joined
            else:
                assert isinstance(payload, memoryview)
                assert payload.obj is (first if at < 1 << 20 else second)
            at += len(payload)
        assert at == end
    assert straddling == 1


def test_a_write_that_is_one_payload_is_that_write() -> None:
    data = bytes(5000)
    buffer = SendBuffer(7)
    buffer.append(data)
    (payload,) = buffer.payloads(7, 5007, 5000)
    assert isinstance(payload, memoryview)
    assert payload.obj is data
    assert len(payload) == 5000


def test_one_small_write_is_handed_on_as_it_is() -> None:
    """A message a write, as a chat program does it: no join, no slice."""
    message = b"hello, world"
    buffer = SendBuffer(1)
    buffer.append(message)
    (payload,) = buffer.payloads(1, 13, 1176)
    assert payload is message


def test_small_writes_leave_together() -> None:
    buffer = SendBuffer(0)
    for _ in range(1000):
        buffer.append(b"0123456789")
    payloads = buffer.payloads(0, 10_000, 1000)
    assert [len(payload) for payload in payloads] == [1000] * 10
    assert b"".join(payloads) == b"0123456789" * 1000


def test_small_writes_are_kept_in_few_chunks() -> None:
    """Bounds: a megabyte written ten bytes at a time costs no object a write."""
    buffer = SendBuffer(0)
    for _ in range(100_000):
        buffer.append(b"0123456789")
    assert len(buffer._pending) <= 65_536 // 10 + 1
    assert len(buffer._chunks) <= (1 << 20) // 65_536
    assert b"".join(buffer.payloads(0, 1_000_000, 1176)) == b"0123456789" * 100_000


def test_a_payload_may_straddle_many_writes() -> None:
    buffer = SendBuffer(0)
    data = random.Random(SEED).randbytes(50)
    for at in range(50):
        buffer.append(data[at : at + 1])
        buffer.payloads(at, at + 1, 10)  # each is its own chunk, because it was asked for
    assert [bytes(payload) for payload in buffer.payloads(0, 50, 20)] == cut(data, 20)
    assert [bytes(payload) for payload in buffer.payloads(3, 47, 7)] == cut(data[3:47], 7)


def test_release_frees_what_was_acknowledged() -> None:
    """Memory goes back as acknowledgements come, and not before."""
    data = bytes(100_000)
    buffer = SendBuffer(0)
    for _ in range(10):
        buffer.append(data)
    buffer.release(99_999)
    assert len(buffer._chunks) == 10
    buffer.release(100_000)
    assert len(buffer._chunks) == 9
    buffer.release(999_999)
    assert len(buffer._chunks) == 1
    assert [bytes(payload) for payload in buffer.payloads(999_999, 1_000_000, 10)] == [b"\0"]
    buffer.release(1_000_000)
    assert len(buffer) == 0
    assert not buffer._chunks
    assert not buffer._starts


def test_release_inside_what_was_never_asked_for() -> None:
    """Small writes that are still waiting to be joined can be released in part, too."""
    buffer = SendBuffer(0)
    for digit in b"0123456789":
        buffer.append(bytes((digit,)))
    buffer.release(4)
    assert len(buffer) == 6
    assert [bytes(payload) for payload in buffer.payloads(4, 10, 4)] == [b"4567", b"89"]
    buffer.append(b"ab")
    buffer.release(12)
    buffer.append(b"cd")
    assert [bytes(payload) for payload in buffer.payloads(12, 14, 4)] == [b"cd"]


@given(
    writes=st.lists(st.sampled_from([1, 3, 4095, 4096, 5000]), min_size=1, max_size=12),
    size=st.integers(1, 6000),
)
@settings(deadline=None)
def test_all_of_it_in_payloads_of_any_size(writes: list[int], size: int) -> None:
    rng = random.Random(SEED)
    buffer = SendBuffer(100)
    written = b""
    for length in writes:
        data = rng.randbytes(length)
        written += data
        buffer.append(data)
    payloads = buffer.payloads(100, buffer.end, size)
    assert [bytes(payload) for payload in payloads] == cut(written, size)


@pytest.mark.parametrize("length", [4096, 5000])
def test_a_large_write_behind_small_ones_keeps_the_order(length: int) -> None:
    buffer = SendBuffer(0)
    buffer.append(b"small")
    buffer.append(bytes(length))
    buffer.append(b"end")
    assert b"".join(buffer.payloads(0, buffer.end, 1000)) == b"small" + bytes(length) + b"end"
