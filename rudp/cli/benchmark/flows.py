"""The connections of a test, as protocols: what they cost is the transport's affair alone."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import asdict, dataclass
from typing import Any, cast

from rudp.cli.benchmark.measured import Measured, measure
from rudp.cli.benchmark.plan import Latencies

_BLOCK_BYTES = 256 << 10
_BLOCKS_A_TURN = 8
"""Then the other connections have theirs, even if the transport would take more."""
_block: list[bytes] = []


def _random_block() -> bytes:
    """What is sent over and over: nothing on the way can compress it."""
    if not _block:
        _block.append(os.urandom(_BLOCK_BYTES))
    return _block[0]


@dataclass(frozen=True, slots=True)
class Amount:
    """How much to send: until `seconds` are over, or `size` bytes."""

    seconds: float
    size: int | None = None


class Flow(asyncio.Protocol):
    """One connection: counts what comes, sends what it is told to, ends when both sides have.

    Args:
        amount: What to send, from `start()` on; None sends nothing.
        echo: Send back what comes.
    """

    def __init__(self, amount: Amount | None = None, *, echo: bool = False) -> None:
        self.transport: asyncio.Transport
        self.sent = 0
        self.received = 0
        self.first_s: float | None = None
        """When the first bytes came (perf_counter)."""
        self.last_s: float | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection is; with the error that ended it."""
        self.final = Measured()
        """As it was when it had sent and received everything."""
        self._amount = amount
        self._echo = echo
        self._until_s = 0.0
        self._paused = False
        self._sending = amount is not None
        self._peer_done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def start(self) -> None:
        """Begin to send."""
        if self._amount is not None:
            self._until_s = time.perf_counter() + self._amount.seconds
            self._send()

    def data_received(self, data: bytes) -> None:
        self.last_s = time.perf_counter()
        if self.first_s is None:
            self.first_s = self.last_s
        self.received += len(data)
        if self._echo:
            self.sent += len(data)
            self.transport.write(data)

    def eof_received(self) -> bool:
        self._peer_done = True
        if not self._sending:
            self.final = measure(self.transport)
            self.transport.close()
        return True

    def pause_writing(self) -> None:
        self._paused = True
        if self._echo:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        if self._echo:
            self.transport.resume_reading()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._sending = False
        if exc is None and not self._peer_done:
            exc = ConnectionAbortedError("the connection ended early")
        if self.over.done():
            return
        if exc is None:
            self.over.set_result(None)
        else:
            self.over.set_exception(exc)
            self.over.exception()  # a server does not ask: no complaint that nobody did

    def _send(self) -> None:
        """Write until the transport has enough, or it is another's turn."""
        for _ in range(_BLOCKS_A_TURN):
            if self._paused or not self._sending:
                return
            block = self._next_block()
            if not block:
                self.finish()
                return
            self.sent += len(block)
            self.transport.write(block)
        asyncio.get_running_loop().call_soon(self._send)

    def _next_block(self) -> bytes:
        amount = self._amount
        if amount is None:
            return b""
        if amount.size is not None:
            return _random_block()[: amount.size - self.sent]
        return _random_block() if time.perf_counter() < self._until_s else b""

    def finish(self) -> None:
        """Nothing more from this side."""
        self._sending = False
        self.transport.write_eof()
        if self._peer_done:
            self.final = measure(self.transport)
            self.transport.close()

    def report(self) -> dict[str, Any]:
        """What was counted; bytes and seconds."""
        spent_s = 0.0
        if self.first_s is not None and self.last_s is not None:
            spent_s = self.last_s - self.first_s
        counted = {"sent": self.sent, "received": self.received, "receiving_s": spent_s}
        return {**counted, **asdict(self.final)}


class Pinger(Flow):
    """Sends a message, waits for it to come back, and notes how long that took."""

    def __init__(self, amount: Amount, message_bytes: int) -> None:
        super().__init__(amount)
        self.latencies = Latencies()
        self._message = os.urandom(message_bytes)
        self._missing = 0
        self._sent_s = 0.0

    def _send(self) -> None:
        amount = self._amount
        if amount is None or self._missing or not self._sending:
            return
        now_s = time.perf_counter()
        over = now_s >= self._until_s if amount.size is None else self.sent >= amount.size
        if over:
            self.finish()
            return
        self._sent_s = now_s
        self._missing = len(self._message)
        self.sent += self._missing
        self.transport.write(self._message)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._missing -= len(data)
        if self._missing == 0:
            self.latencies.add(time.perf_counter() - self._sent_s)
            self._send()
        elif self._missing < 0:
            self.transport.abort()
