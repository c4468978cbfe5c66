"""`rudp send`: walks the paths and sends what it finds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import progress

import rudp
from rudp.cli.output import Output
from rudp.cli.transfer.channel import Channel
from rudp.cli.transfer.sending import SendingSession
from rudp.cli.transfer.sessions import Worker, run_sender
from rudp.cli.transfer.summary import Summary
from rudp.cli.transfer.tree import Found, walk
from rudp.core.stats import ConnectionInfo

_REFRESH_S = 0.1


@dataclass(slots=True)
class Sent:
    """How a transfer went, and what its connection counted."""

    summary: Summary
    seconds: float
    info: ConnectionInfo


async def send_paths(
    paths: Sequence[Path], host: str, port: int, config: rudp.Config, out: Output
) -> Sent:
    """Send files and directories to a receiver.

    Raises:
        OSError: The receiver cannot be reached, gave up, or the connection broke. What arrived
            stays there, and sending again goes on from it.

    Cancellation aborts the connection.
    """
    summary = Summary()
    worker = Worker()
    found = Found(skipped=lambda path: _skip(summary, out, path), failed=summary.fail)
    session = SendingSession(walk(paths, found), summary, stopped=worker.stopped)
    start_s = time.perf_counter()
    transport, protocol = await rudp.create_connection(Channel, host, port, config=config)
    channel = _checked(protocol)
    try:
        async with _progress(paths, channel, summary, out):
            await run_sender(session, channel, worker)
        seconds = time.perf_counter() - start_s
        info: ConnectionInfo = transport.get_extra_info("rudp_info")
        await channel.end()
    finally:
        worker.close()
        transport.abort()
    return Sent(summary, seconds, info)


def _checked(protocol: asyncio.BaseProtocol) -> Channel:
    if not isinstance(protocol, Channel):
        raise TypeError(f"protocol must be a Channel, not {protocol!r}")
    return protocol


def _skip(summary: Summary, out: Output, path: str) -> None:
    summary.skipped += 1
    out.detail("skipped", f"{path}: a link or special file, not sent", path=path)


def _total_bytes(paths: Sequence[Path]) -> int:
    """What there is to send; errors are reported when it is sent."""
    ignore = Found(skipped=lambda path: None, failed=lambda path, reason: None)
    return sum(entry.size for entry in walk(paths, ignore))


@contextlib.asynccontextmanager
async def _progress(
    paths: Sequence[Path], channel: Channel, summary: Summary, out: Output
) -> AsyncIterator[None]:
    """A progress bar on a terminal, in bytes that the receiver has acknowledged."""
    if not out.wants_live:
        yield
        return
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=out.console, transient=True) as bar:
        name = paths[0].name if len(paths) == 1 else f"{len(paths)} paths"
        task = bar.add_task(name, total=None)

        def update() -> None:
            info: ConnectionInfo = channel.transport.get_extra_info("rudp_info")
            ours = summary.bytes_moved + summary.bytes_resumed + summary.bytes_unchanged
            bar.update(task, completed=max(0, ours - info.unacked - info.unsent))

        async def refresh() -> None:
            bar.update(task, total=await asyncio.to_thread(_total_bytes, paths))
            while True:
                update()
                await asyncio.sleep(_REFRESH_S)

        refreshing = asyncio.create_task(refresh())
        try:
            yield
            update()
        finally:
            refreshing.cancel()
            await asyncio.gather(refreshing, return_exceptions=True)
