"""Sessions at work: their files in a thread each, their bytes on the event loop."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rudp.cli.transfer.channel import Channel
from rudp.cli.transfer.format import Abort, Decoder, FormatError, encode
from rudp.cli.transfer.receiving import ReceivingSession
from rudp.cli.transfer.sending import SendingSession

_T = TypeVar("_T")
_GREETING_TIMEOUT_S = 20.0
_BATCH_BYTES = 4 << 20
"""What a sender reads from its files at a time."""


class Worker:
    """A thread that does a session's blocking work, one call at a time.

    `stopped` turns true when the session is over: long work asks for it.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rudp-files")

    def stopped(self) -> bool:
        """Whether to give up what is being done."""
        return self._stop.is_set()

    async def do(self, work: Callable[[], _T]) -> _T:
        """Run `work` in the thread. If cancelled, it is stopped and its end waited for."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._stop.set()
            await asyncio.wait([future])
            future.exception()
            raise

    def close(self) -> None:
        """No more work comes."""
        self._stop.set()
        self._executor.shutdown(wait=False)


async def run_sender(session: SendingSession, channel: Channel, worker: Worker) -> None:
    """Send until everything is settled.

    Raises:
        OSError: The connection broke, or the receiver gave up.
    """
    decoder = Decoder()

    def turn(pieces: list[bytes]) -> list[bytes]:
        for piece in pieces:
            session.handle(decoder.feed(piece))
        return session.produce(_BATCH_BYTES)

    try:
        while not session.finished:
            pieces = channel.take() if channel.has_news else []
            buffers = await worker.do(functools.partial(turn, pieces))
            if buffers:
                channel.write(buffers)
                await channel.drain()
            elif not session.finished:
                await channel.news()
    except FormatError as exc:
        channel.write([encode(Abort(str(exc)))])
        raise ConnectionAbortedError(f"the receiver's answer makes no sense: {exc}") from None
    finally:
        session.close()


async def run_receiver(session: ReceivingSession, channel: Channel, worker: Worker) -> None:
    """Receive until the sender is done.

    Raises:
        OSError: The connection broke, or the sender gave up or broke the protocol.
    """
    decoder = Decoder()

    def work(pieces: list[bytes]) -> bytes:
        for piece in pieces:
            session.handle(decoder.feed(piece))
        return session.take_replies()

    async def turn() -> None:
        await channel.news()
        pieces = channel.take()
        channel.write([await worker.do(functools.partial(work, pieces))])
        await channel.drain()

    try:
        channel.write([session.take_replies()])
        async with asyncio.timeout(_GREETING_TIMEOUT_S):
            while not session.greeted:
                await turn()
        while not session.finished:
            await turn()
    except TimeoutError:
        if session.greeted:
            raise  # the connection's own
        raise ConnectionAbortedError("it does not say that it is a sender") from None
    except FormatError as exc:
        channel.write([session.take_replies(), encode(Abort(str(exc)))])
        raise ConnectionAbortedError(f"the sender broke the protocol: {exc}") from None
    finally:
        session.close()
