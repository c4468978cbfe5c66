"""`rudp recv`: takes senders, one session each."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import rudp
from rudp.cli.address import HostPort, format_address
from rudp.cli.output import Output
from rudp.cli.transfer.channel import Channel
from rudp.cli.transfer.folders import open_root
from rudp.cli.transfer.format import Abort, Outcome, encode
from rudp.cli.transfer.receiving import ReceivingSession
from rudp.cli.transfer.sessions import Worker, run_receiver
from rudp.cli.transfer.store import Store
from rudp.cli.transfer.summary import Summary, describe

_PATIENCE_S = 40.0
"""Longer than it takes, by default, to notice that a sender was killed."""
_SILENT_S = 2.0
"""A sender that has been silent for so long has to leave a file to another that wants to go on."""


class Receiver:
    """Receives into one directory until stopped, or for one sender; made on a running loop.

    Args:
        into: The directory; made if it is not there.
        out: Where to say what arrives.
        overwrite: Replace files of the same name that have another content.
        max_bytes: Most bytes of files to take from one sender; None is no limit.
        max_files: Most files and directories, likewise.
        max_senders: Most senders at a time; further ones are told that we are busy.
        once: End after the first sender.
    """

    def __init__(
        self,
        into: Path,
        out: Output,
        *,
        overwrite: bool = False,
        max_bytes: int | None = None,
        max_files: int | None = None,
        max_senders: int = 16,
        once: bool = False,
    ) -> None:
        self._root = open_root(into)
        self._out = out
        self._overwrite = overwrite
        self._limits = {"max_bytes": max_bytes, "max_files": max_files}
        self._max_senders = 1 if once else max_senders
        self._once = once
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._active: dict[ReceivingSession, tuple[asyncio.Task[None] | None, Channel]] = {}
        self._over = asyncio.Event()
        self._all_verified = True

    async def serve(self, listen: HostPort, config: rudp.Config) -> bool:
        """Receive until cancelled, or the one sender is done; whether all was verified.

        Raises `OSError` if the address cannot be bound. Cancellation ends the sessions; what is
        partial stays to be resumed.
        """
        try:
            server = await rudp.create_server(
                lambda: Channel(self._connected), listen.host, listen.port, config=config
            )
            try:
                where = [format_address(address) for address in server.sockaddrs]
                self._out.say("listening", f"listening on {', '.join(where)}", addresses=where)
                await self._over.wait()
            finally:
                server.close()
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            self._root.close()
        return self._all_verified

    def _connected(self, channel: Channel) -> None:
        if self._over.is_set() or len(self._tasks) >= self._max_senders:
            channel.write([encode(Abort("busy with other senders"))])
            channel.transport.close()
            return
        task = asyncio.get_running_loop().create_task(self._receive(channel))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _receive(self, channel: Channel) -> None:
        """One sender from beginning to end."""
        peer = format_address(channel.transport.get_extra_info("peername"))
        self._out.detail("sender", f"{peer}: connected", peer=peer)
        worker = Worker()
        store = Store(
            self._root,
            overwrite=self._overwrite,
            patience_s=_PATIENCE_S,
            contended=self._contended,
            stopped=worker.stopped,
        )
        session = ReceivingSession(store, arrived=self._arrived, **self._limits)
        self._active[session] = asyncio.current_task(), channel
        error: str | None = None
        try:
            await run_receiver(session, channel, worker)
        except OSError as exc:
            error = describe(exc)
        except asyncio.CancelledError:
            channel.transport.abort()
            raise
        finally:
            worker.close()
            del self._active[session]
            self._report(peer, session.summary, error)
            with contextlib.suppress(OSError):
                await channel.end()
            if session.greeted:  # whoever else came by mistake does not count
                self._all_verified &= session.finished and session.summary.all_verified
                if self._once:
                    self._over.set()

    def _contended(self, path: tuple[str, ...]) -> None:
        """A sender waits for a file that another is sending; called in the session's thread."""
        self._loop.call_soon_threadsafe(self._take_over, path)

    def _take_over(self, path: tuple[str, ...]) -> None:
        """End the session that has a file, if its sender is silent: one that was killed is, long
        before its connection is given up."""
        now_s = self._loop.time()
        for session, (task, channel) in self._active.items():
            silent = now_s - channel.heard_s > _SILENT_S
            if silent and task is not None and session.writing == path:
                task.cancel()

    def _arrived(self, path: str, size: int, outcome: Outcome) -> None:
        """A file is verified; called in the session's thread."""
        unchanged = outcome is Outcome.UNCHANGED
        note = " (was here)" if unchanged else ""
        text = f"{path}: {size:,} bytes{note}"
        self._out.say("file", text, path=path, bytes=size, unchanged=unchanged)

    def _report(self, peer: str, summary: Summary, error: str | None) -> None:
        for path, reason in summary.failures:
            self._out.error(f"{path}: {reason}", path=path)
        if error is not None:
            self._out.error(f"{peer}: {error}", peer=peer)
        text = f"{peer}: {summary.describe()}"
        self._out.say("transfer", text, peer=peer, error=error, **summary.fields())
