"""What the tests of the asyncio layer share."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Protocol, TypeVar

import rudp
from rudp.sim import Network

DELAY_S = 0.01
PORT = 7000
CHUNK_BYTES = 1 << 16
THREAD_DEADLINE_S = 20.0

_T = TypeVar("_T")


class Simulate(Protocol):
    """The `rudp_sim` fixture."""

    def __call__(self, program: Callable[[], Coroutine[Any, Any, _T]], **options: Any) -> _T: ...


class RunReal(Protocol):
    """The `run_real` fixture."""

    def __call__(self, main: Coroutine[Any, Any, _T]) -> _T: ...


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A `start_server` callback: send everything back, then close."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def round_trip(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes = b"alive"
) -> bytes:
    """Send `message` to a peer that echoes; what comes back."""
    writer.write(message)
    return await reader.readexactly(len(message))


async def end(writer: asyncio.StreamWriter) -> None:
    """Close a connection and wait until that is done."""
    writer.close()
    await writer.wait_closed()


@contextlib.asynccontextmanager
async def serving(
    network: Network,
    callback: Callable[..., Any] = echo,
    *,
    host: str = "right",
    port: int = PORT,
    **options: Any,
) -> AsyncIterator[rudp.Server]:
    """A stream server on a simulated host, by its name."""
    with network.host(host):
        server = await rudp.start_server(callback, host, port, **options)
    try:
        yield server
    finally:
        server.close()
        await server.wait_closed()


class ServerThread:
    """A server whose loop runs in a thread of its own, so that it goes on while ours does not."""

    def __init__(self, callback: Callable[..., Any], **options: Any) -> None:
        self.address: tuple[str, int] = ("", 0)
        self._handlers: list[asyncio.Task[Any]] = []
        self._callback = callback
        self._options = {"config": rudp.Config(linger=0.1), **options}
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def start(self) -> None:
        """Start serving."""
        self._thread.start()
        assert self._started.wait(THREAD_DEADLINE_S)

    def stop(self) -> None:
        """Stop, once every handler has returned."""
        assert self._loop is not None
        assert self._stop is not None
        with contextlib.suppress(RuntimeError):  # it has been stopped already
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(THREAD_DEADLINE_S)
        assert not self._thread.is_alive()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await rudp.start_server(self._accept, "127.0.0.1", 0, **self._options)
        self.address = server.sockets[0].getsockname()
        self._started.set()
        await self._stop.wait()
        server.close()
        await asyncio.gather(*self._handlers)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._handlers.append(asyncio.create_task(self._callback(reader, writer)))


@contextlib.contextmanager
def serving_in_thread(callback: Callable[..., Any], **options: Any) -> Iterator[ServerThread]:
    """A `ServerThread` for the duration of a block."""
    thread = ServerThread(callback, **options)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()
