"""rudp.aio.streams: asyncio's own reader is the model; nobody may be able to tell the two apart."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rudp.aio.streams import StreamReader
from rudp.sim import SimLoop

SIZES = st.one_of(st.integers(1, 40), st.integers(4000, 4200), st.integers(30_000, 70_000))
LIMIT = 20_000
Step = tuple[str, int]


class Transport(asyncio.Transport):
    """Counts how often reading was paused and resumed."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


def steps() -> st.SearchStrategy[list[Step]]:
    reads = st.sampled_from(["exactly", "until", "line", "peek", "eof?"])
    return st.lists(
        st.one_of(
            st.tuples(st.just("feed"), SIZES),
            st.tuples(st.just("read"), SIZES),
            st.tuples(reads, SIZES),
        ),
        max_size=30,
    )


async def _outcome(action: Awaitable[Any]) -> object:
    """The result, the error with its contents, or that it waits."""
    try:
        return await asyncio.wait_for(action, 1.0)
    except asyncio.IncompleteReadError as exc:
        return ("incomplete", exc.partial, exc.expected)
    except asyncio.LimitOverrunError as exc:
        return ("overrun", exc.consumed)
    except ValueError as exc:
        return ("value", str(exc))
    except TimeoutError:
        return "waits"


async def _step(reader: asyncio.StreamReader, step: Step, rng: random.Random) -> object:
    name, size = step
    if name == "feed":
        reader.feed_data(rng.randbytes(size - 1).replace(b"\n", b"\r") + rng.choice([b"\n", b"."]))
        return None
    if name == "exactly":
        return await _outcome(reader.readexactly(size))
    if name == "until":
        return await _outcome(reader.readuntil(b"\n"))
    if name == "line":
        return await _outcome(reader.readline())
    if name == "peek":
        return bytes(reader._buffer)  # type: ignore[attr-defined]
    return reader.at_eof()


async def _compare(script: list[Step], seed: int, *, eof: bool) -> None:
    readers = [StreamReader(LIMIT), asyncio.StreamReader(LIMIT)]
    transports = [Transport(), Transport()]
    for reader, transport in zip(readers, transports, strict=True):
        reader.set_transport(transport)
    rngs = [random.Random(seed), random.Random(seed)]
    for step in script:
        if step[0] == "read":
            # How much at once is the reader's choice: what counts is that the bytes are the same.
            got = await _outcome(readers[0].read(step[1]))
            if got == "waits":
                assert await _outcome(readers[1].read(step[1])) == "waits"
                continue
            assert isinstance(got, bytes)
            assert 0 < len(got) <= step[1]
            assert await _outcome(readers[1].readexactly(len(got))) == got
            continue
        mine, model = [
            await _step(reader, step, rng) for reader, rng in zip(readers, rngs, strict=True)
        ]
        assert mine == model, step
        assert transports[0].calls == transports[1].calls
    if eof:
        for reader in readers:
            reader.feed_eof()
        mine, model = [await reader.read() for reader in readers]
        assert mine == model
        assert readers[0].at_eof()


@given(script=steps(), seed=st.integers(0, 2**32), eof=st.booleans())
@settings(deadline=None, max_examples=150)
def test_it_is_asyncio_s_reader(script: list[Step], seed: int, eof: bool) -> None:
    loop = SimLoop()
    try:
        loop.run_until_complete(_compare(script, seed, eof=eof))
    finally:
        loop.close()


async def test_a_large_chunk_is_the_object_that_came() -> None:
    """That is what the class is for."""
    reader = StreamReader()
    chunk = bytes(65_536)
    reader.feed_data(chunk)
    assert await reader.read(1 << 20) is chunk
    reader.feed_data(chunk)
    assert await reader.readexactly(len(chunk)) is chunk


async def test_a_mutable_chunk_is_copied() -> None:
    reader = StreamReader()
    chunk = bytearray(b"a" * 65_536)
    reader.feed_data(chunk)
    chunk[:] = bytes(len(chunk))
    assert await reader.readexactly(65_536) == b"a" * 65_536


async def test_many_small_chunks_behind_a_large_one_are_joined() -> None:
    """Their number is the peer's choice, and each would cost an object."""
    reader = StreamReader()
    reader.feed_data(bytes(65_536))
    for _ in range(10_000):
        reader.feed_data(b"x")
    assert reader._chunks is not None
    assert len(reader._chunks) < 10
    assert len(await reader.readexactly(75_536)) == 75_536


@pytest.mark.parametrize("read", [lambda r: r.read(5), lambda r: r.readexactly(5)])
async def test_an_exception_goes_to_the_reader(
    read: Callable[[StreamReader], Awaitable[bytes]],
) -> None:
    reader = StreamReader()
    reader.feed_data(b"too late")
    reader.set_exception(ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        await read(reader)


async def test_data_behind_the_end_is_a_mistake() -> None:
    reader = StreamReader()
    reader.feed_eof()
    with pytest.raises(AssertionError):
        reader.feed_data(b"x")
    assert await reader.read(10) == b""


async def test_a_transport_that_cannot_pause_is_not_asked_again() -> None:
    class Stubborn(Transport):
        def pause_reading(self) -> None:
            super().pause_reading()
            raise NotImplementedError

    reader = StreamReader(10)
    transport = Stubborn()
    reader.set_transport(transport)
    for _ in range(3):
        reader.feed_data(bytes(50))
    assert transport.calls == ["pause"]
