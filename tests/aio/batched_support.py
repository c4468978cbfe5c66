"""What the tests of the batched socket share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from rudp.aio import capabilities
from rudp.aio.batched import BatchedTransport
from rudp.aio.capabilities import Capabilities
from rudp.aio.cmsg import SOL_UDP, UDP_SEGMENT
from rudp.wire.train import Train

LINUX_ONLY = pytest.mark.skipif(not capabilities.available(), reason="Linux only")
NOTHING = Capabilities()
TURNS = 50
"""Turns of the loop after which what could be called soon has been."""


class Recorder:
    """A protocol that keeps copies of what it is told."""

    def __init__(self) -> None:
        self.trains: list[tuple[bytes, int, Any, int]] = []
        self.calls: list[str] = []
        self.errors: list[OSError] = []
        self.lost: list[Exception | None] = []
        self.transport: Any = None
        self._goal = 0
        self._reached: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.calls.append("made")

    def train_received(self, data: memoryview, stride: int, addr: Any, ecn: int) -> None:
        self.trains.append((bytes(data), stride, addr, ecn))
        self.calls.append("train")
        self._check()

    def batch_done(self) -> None:
        self.calls.append("done")

    def error_received(self, exc: OSError) -> None:
        self.errors.append(exc)
        self.calls.append("error")

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)
        self.calls.append("lost")

    @property
    def datagrams(self) -> list[bytes]:
        """All trains, cut at their strides."""
        return [
            data[at : at + stride]
            for data, stride, _, _ in self.trains
            for at in range(0, len(data) or 1, stride)
        ]

    async def arrived(self, size_bytes: int) -> None:
        """Wait until so much was received in all."""
        self._goal = size_bytes
        self._reached = asyncio.get_running_loop().create_future()
        self._check()
        await self._reached

    def _check(self) -> None:
        reached, size = self._reached, sum(len(train[0]) for train in self.trains)
        if reached is not None and not reached.done() and size >= self._goal:
            reached.set_result(None)


class ScriptedSocket(socket.socket):
    """A UDP socket whose sends fail as told: `script` holds an error number a call, or None."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.script: deque[int | None] = deque()
        self.refuse_segments = 0
        """The error number of every send that wants segmentation, if not 0."""
        self.sends: list[int] = []
        """The segment size of every send tried, 0 for single datagrams."""

    def sendmsg(self, buffers: Any, ancdata: Any = (), *rest: Any) -> int:  # type: ignore[override]
        segment = [data for level, kind, data in ancdata if (level, kind) == (SOL_UDP, UDP_SEGMENT)]
        self.sends.append(int.from_bytes(segment[0], "little") if segment else 0)
        code = self.script.popleft() if self.script else None
        if code is None and segment:
            code = self.refuse_segments or None
        if code is not None:
            raise OSError(code, os.strerror(code))
        return super().sendmsg(buffers, ancdata, *rest)


def udp_socket(family: int = socket.AF_INET, *, v6only: bool = True) -> ScriptedSocket:
    """A socket on the loopback, with room for a few trains."""
    sock = ScriptedSocket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        sock.bind(("::1" if v6only else "::", 0))
    else:
        sock.bind(("127.0.0.1", 0))
    return sock


@contextlib.contextmanager
def transport_on(
    sock: socket.socket, protocol: Any, can: Capabilities | None = None
) -> Iterator[BatchedTransport]:
    """A transport that is aborted at the end of the block."""
    transport = BatchedTransport(asyncio.get_running_loop(), sock, protocol, can)
    try:
        yield transport
    finally:
        transport.abort()


class Pair:
    """Two transports, one socket each: `left` sends, `right` receives."""

    def __init__(
        self, stack: contextlib.ExitStack, family: int, can: Capabilities | None = None
    ) -> None:
        self.left_socket, self.right_socket = udp_socket(family), udp_socket(family)
        self.sender, self.receiver = Recorder(), Recorder()
        self.left = stack.enter_context(transport_on(self.left_socket, self.sender, can))
        self.right = stack.enter_context(transport_on(self.right_socket, self.receiver, can))
        self.address = self.right_socket.getsockname()

    def send(self, train: Train, ecn: int = 0) -> OSError | None:
        """Send from left to right."""
        return self.left.send_train(train, self.address, ecn)


@contextlib.contextmanager
def pair(family: int = socket.AF_INET, can: Capabilities | None = None) -> Iterator[Pair]:
    """A `Pair` for the duration of a block."""
    with contextlib.ExitStack() as stack:
        yield Pair(stack, family, can)


def train_of(*sizes: int, first: int = 0) -> Train:
    """A train of datagrams of `sizes` bytes, each recognizable: it begins with its number."""
    buffers: list[bytes | memoryview] = []
    for number, size in enumerate(sizes, first):
        data = number.to_bytes(4, "big") + bytes([number % 251]) * (size - 4)
        buffers += [data[:24], memoryview(data)[24:]]
    return Train(buffers, sizes[0], len(sizes))


async def turns(count: int = TURNS) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)
