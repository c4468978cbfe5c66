"""The connection as a session sees it: bounded, and its end told."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from rudp.cli.transfer import sessions
from rudp.cli.transfer.channel import Channel
from rudp.cli.transfer.folders import open_root
from rudp.cli.transfer.receiving import ReceivingSession
from rudp.cli.transfer.sessions import Worker
from rudp.cli.transfer.store import Store

PIECE = bytes(1 << 20)


class Transport:
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **keywords: self.calls.append(name)


@pytest.fixture
async def channel() -> Channel:
    made = Channel()
    made.connection_made(cast("asyncio.Transport", Transport()))
    return made


def calls(channel: Channel) -> list[str]:
    return cast("Any", channel.transport).calls


async def test_what_nobody_takes_is_bounded_and_reading_goes_on_once_it_is_taken(
    channel: Channel,
) -> None:
    for _ in range(5):
        channel.data_received(PIECE)
    assert calls(channel)[1:] == ["pause_reading"]
    await channel.news()
    assert channel.take() == [PIECE] * 5
    assert calls(channel)[1:] == ["pause_reading", "resume_reading"]
    assert not channel.has_news
    assert channel.take() == []
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(channel.news(), 0)


async def test_what_came_before_the_end_is_taken_first(channel: Channel) -> None:
    channel.data_received(b"last words")
    assert channel.eof_received()
    await channel.news()
    assert channel.take() == [b"last words"]
    await channel.news()
    with pytest.raises(ConnectionAbortedError, match="ended early"):
        channel.take()


async def test_an_error_ends_every_wait(channel: Channel) -> None:
    channel.pause_writing()
    waiting = asyncio.ensure_future(channel.drain())
    await asyncio.sleep(0)
    assert not waiting.done()
    channel.connection_lost(ConnectionResetError("gone"))
    await waiting
    await channel.news()
    with pytest.raises(ConnectionResetError, match="gone"):
        channel.take()
    await channel.end()


async def test_draining_waits_for_the_transport(channel: Channel) -> None:
    await channel.drain()
    channel.pause_writing()
    waiting = asyncio.ensure_future(channel.drain())
    await asyncio.sleep(0)
    assert not waiting.done()
    channel.resume_writing()
    await waiting


async def test_closing_is_not_waited_for_without_end(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rudp.cli.transfer.channel._CLOSE_TIMEOUT_S", 0.0)
    await channel.end()
    assert calls(channel)[1:] == ["close", "abort"]


async def test_work_that_is_cancelled_is_stopped_and_waited_for() -> None:
    worker = Worker()
    began, ended = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        while not worker.stopped():
            pass
        ended.set()

    task = asyncio.ensure_future(worker.do(work))
    while not began.is_set():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    worker.close()


async def test_an_error_of_the_work_is_the_callers() -> None:
    worker = Worker()

    def fail() -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        await worker.do(fail)
    worker.close()


async def test_a_peer_that_does_not_greet_is_given_up(
    channel: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_GREETING_TIMEOUT_S", 0.0)
    root = open_root(tmp_path)
    session = ReceivingSession(Store(root, overwrite=False))
    worker = Worker()
    with pytest.raises(ConnectionAbortedError, match="sender"):
        await sessions.run_receiver(session, channel, worker)
    worker.close()
    root.close()
