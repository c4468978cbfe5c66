"""What the contract tests share: a recording protocol, stream ends, and a clock without time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

CLEANUP_DEADLINE_S = 10
CHUNK_BYTES = 1 << 16
# More than any stack may take from a writer whose peer does not read (Linux: some 10 MB).
UNBOUNDED_BYTES = 1 << 26


@dataclass(frozen=True)
class End:
    """One end of a connection of streams."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Serve(Protocol):
    def __call__(
        self,
        callback: Callable[..., Any],
        host: str | Sequence[str] | None = ...,
        port: int | None = ...,
        **kwargs: Any,
    ) -> Awaitable[asyncio.Server]: ...


class Dial(Protocol):
    def __call__(self, *address: Any, **kwargs: Any) -> Awaitable[End]: ...


class DialProtocol(Protocol):
    def __call__(
        self, factory: Callable[[], Any], *address: Any, **kwargs: Any
    ) -> Awaitable[Any]: ...


class ConnectStreams(Protocol):
    def __call__(
        self,
        *,
        host: str = ...,
        limit: int = ...,
        server_limit: int = ...,
        options: Mapping[str, Any] = ...,
    ) -> Awaitable[tuple[End, End]]: ...


class ConnectProtocols(Protocol):
    def __call__(
        self, client_factory: Callable[[], Any] = ..., server_factory: Callable[[], Any] = ...
    ) -> Awaitable[tuple[Any, Any]]: ...


class _Recording:
    """Writes down every call that the transport makes and lets a test wait for one."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.calls: list[str] = []
        self.received = bytearray()
        self.transport: Any = None
        self.made: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[BaseException | None] = loop.create_future()
        self._changed = asyncio.Event()

    def note(self, call: str) -> None:
        # A run of data_received is one entry: how bytes are cut is nobody's promise.
        if not (call == "data_received" and self.calls[-1:] == [call]):
            self.calls.append(call)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition()` holds; it is looked at after every call of the transport."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.made.set_result(None)
        self.note("connection_made")

    def pause_writing(self) -> None:
        self.note("pause_writing")

    def resume_writing(self) -> None:
        self.note("resume_writing")

    def eof_received(self) -> bool | None:
        self.note("eof_received")
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.note("connection_lost")
        # A second call would raise InvalidStateError into the loop's exception handler.
        self.lost.set_result(exc)


class Recorder(_Recording, asyncio.Protocol):
    """An `asyncio.Protocol` that records its calls and keeps the bytes."""

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.note("data_received")


class HalfOpenRecorder(Recorder):
    """Keeps its own direction open after the peer's EOF."""

    def eof_received(self) -> bool:
        super().eof_received()
        return True


class Echo(Recorder):
    """Sends back what it receives."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


class BufferedRecorder(_Recording, asyncio.BufferedProtocol):
    """An `asyncio.BufferedProtocol` with one small buffer that is filled again and again."""

    def __init__(self, buffer_bytes: int = 1000) -> None:
        super().__init__()
        self.buffer = bytearray(buffer_bytes)
        self.size_hints: list[int] = []

    def get_buffer(self, sizehint: int) -> bytearray:
        self.size_hints.append(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self.buffer[:nbytes]
        self.note("buffer_updated")


class Clock:
    """Counts time in round trips of a connection of its own.

    Bytes that were on their way on another connection when a tick began have been handed over when
    it ends: both ends live in this loop, and a tick takes several of its passes. So a test can say
    that something did *not* happen, without sleeping.
    """

    def __init__(self, near: End, far: End) -> None:
        self._near = near
        self._far = far

    async def ticks(self, count: int = 10) -> None:
        for _ in range(count):
            for sender, receiver in ((self._near, self._far), (self._far, self._near)):
                sender.writer.write(b"tick")
                await receiver.reader.readexactly(4)


def address_of(server: asyncio.AbstractServer, index: int = 0) -> tuple[str, int]:
    """Return host and port of the server's socket number `index`."""
    host, port = server.sockets[index].getsockname()[:2]  # type: ignore[attr-defined]
    return host, port


def random_bytes(size: int, seed: int = 1) -> bytes:
    """Return `size` bytes in which every misplaced piece shows; the same for the same seed."""
    return random.Random(seed).randbytes(size)


def digest(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()


async def read_digest(reader: asyncio.StreamReader, size: int) -> str:
    """Read exactly `size` bytes and return their SHA-256."""
    hasher = hashlib.sha256()
    while size:
        piece = await reader.read(min(size, CHUNK_BYTES))
        if not piece:
            raise AssertionError(f"EOF with {size} bytes missing")
        hasher.update(piece)
        size -= len(piece)
    return hasher.hexdigest()


async def fill(transport: asyncio.Transport, clock: Clock) -> bytes:
    """Write until nothing moves any more, and return what was written.

    Fails if the transport goes on taking bytes: memory for a peer that does not read is bounded.
    """
    written = bytearray()
    high = transport.get_write_buffer_limits()[1]
    rng = random.Random(1)
    while len(written) < UNBOUNDED_BYTES:
        waiting = transport.get_write_buffer_size()
        if waiting <= high:
            chunk = rng.randbytes(CHUNK_BYTES)
            transport.write(chunk)
            written += chunk
            continue
        await clock.ticks(20)
        if transport.get_write_buffer_size() == waiting:
            return bytes(written)
    raise AssertionError(f"{UNBOUNDED_BYTES} bytes were taken for a peer that does not read")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A `start_server` callback: send everything back, then close."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def echo_round_trip(end: End, message: bytes = b"still alive") -> bytes:
    """Send `message` to a peer that echoes, and return what comes back."""
    end.writer.write(message)
    return await end.reader.readexactly(len(message))


async def end_connection(writer: asyncio.StreamWriter) -> None:
    """Leave nothing of the connection behind, whatever the test did to it."""
    # asyncio 3.11 trips over its own cleared `_loop` when close() had to flush before it ended.
    with contextlib.suppress(AttributeError):
        writer.transport.abort()
    closed = asyncio.ensure_future(writer.wait_closed())
    done, _ = await asyncio.wait({closed}, timeout=CLEANUP_DEADLINE_S)
    assert done, "an aborted connection did not end"
    error = None if closed.cancelled() else closed.exception()
    assert error is None or isinstance(error, (ConnectionError, ssl.SSLError)), error


async def end_server(server: asyncio.Server) -> None:
    """Close the server and wait for what this version of Python waits for."""
    server.close()
    async with asyncio.timeout(CLEANUP_DEADLINE_S):
        await server.wait_closed()
    await loop_passes()


async def loop_passes(count: int = 5) -> None:
    """Let the loop run what it has been asked to run soon."""
    for _ in range(count):
        await asyncio.sleep(0)
