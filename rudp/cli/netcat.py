"""`rudp nc`: stdin and stdout, or a command, at the end of a connection."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rudp
from rudp.cli.address import HostPort, StreamAddress, format_address
from rudp.cli.bridge import Bridge, Side, StreamSide
from rudp.cli.output import Output
from rudp.cli.process import ProcessSide
from rudp.cli.running import reason
from rudp.cli.stdio import StdioSide, StdoutClosed
from rudp.cli.streams import addresses, dial, listen
from rudp.cli.text import describe_size, describe_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Netcat:
    """What the command line asks for.

    Attributes:
        where: Whom to dial, or where to listen.
        local: Address to dial from.
        command: What to run for each connection instead of using stdin and stdout.
        keep_open: Go on listening after a connection has ended.
        max_connections: Most connections at a time, waiting ones included.
        timeout_s: Most seconds to wait for the connection, and then for any byte.
    """

    where: HostPort
    local: HostPort | None
    family: int
    command: str | None
    keep_open: bool
    max_connections: int
    timeout_s: float | None
    config: rudp.Config
    out: Output

    async def connect(self) -> int:
        """Dial, and be one end of the connection. The exit code; raises `OSError`."""
        local = None if self.local is None else (self.local.host or "", self.local.port)
        limit_s = self.config.connect_timeout
        if self.timeout_s is not None:
            limit_s = min(limit_s, self.timeout_s)
        config = self.config.replace(connect_timeout=limit_s)
        to = StreamAddress("rudp", self.where)
        stream = await dial(to, StreamSide, config, family=self.family, local=local)
        self.out.detail("connected", f"connected to {_peer(stream)}", peer=_peer(stream))
        if self.command is not None:
            return await self._run_command(stream, self.command)
        await self._converse(stream, StdioSide())
        return 0

    async def listen(self) -> int:
        """Be the end of one connection, or with `keep_open` of many. The exit code.

        Raises `OSError`, with `keep_open` only if it is not about one connection alone.
        """
        arrivals: asyncio.Queue[StreamSide] = asyncio.Queue(self.max_connections)

        def connected(stream: StreamSide) -> None:
            if arrivals.full() or not server.is_serving():
                self.out.detail("refused", f"{_peer(stream)} refused: busy", peer=_peer(stream))
                stream.reset()
            else:
                arrivals.put_nowait(stream)
                if not self.keep_open:
                    server.close()

        at = StreamAddress("rudp", self.where)
        server = await listen(at, lambda: StreamSide(connected), self.config, family=self.family)
        await server.start_serving()
        where = addresses(server)
        self.out.say("listening", f"listening on {', '.join(where)}", addresses=where)
        try:
            if self.keep_open:
                await self._serve_many(arrivals)
            stream = await arrivals.get()
            self._say_accepted(stream)
            if self.command is not None:
                return await self._run_command(stream, self.command)
            await self._converse(stream, StdioSide())
            return 0
        finally:
            server.close()
            while not arrivals.empty():
                arrivals.get_nowait().reset()

    async def _serve_many(self, arrivals: asyncio.Queue[StreamSide]) -> None:
        """One after the other at stdin and stdout, or each with a process of its own."""
        if self.command is None:
            stdio = StdioSide(shared=True)
            while True:
                await self._serve_one(await arrivals.get(), lambda one: self._converse(one, stdio))
                stdio.renew()
        command = self.command
        free = asyncio.Semaphore(self.max_connections)

        async def serve(stream: StreamSide) -> None:
            try:
                await self._serve_one(stream, lambda one: self._run_command(one, command))
            finally:
                free.release()

        async with asyncio.TaskGroup() as group:
            while True:
                await free.acquire()
                group.create_task(serve(await arrivals.get()))

    async def _serve_one(self, stream: StreamSide, serve: Callable[[StreamSide], Any]) -> None:
        """The failure of one connection is told, and no reason to stop."""
        peer = _peer(stream)
        self._say_accepted(stream)
        try:
            await serve(stream)
        except StdoutClosed:
            raise
        except OSError as exc:
            self.out.error(f"{peer}: {reason(exc)}", peer=peer)

    async def _run_command(self, stream: StreamSide, command: str) -> int:
        """Let a process talk to the peer; its exit code, as a shell would have it."""
        environment = {"RUDP_PEER": _peer(stream)}
        try:
            process = await ProcessSide.start(command, environment, ProcessSide)
        except BaseException:
            stream.reset()
            raise
        await self._converse(stream, process)
        code = process.returncode or 0
        self.out.detail("exited", f"the command exited with {code}", code=code)
        return 128 - code if code < 0 else code

    async def _converse(self, stream: StreamSide, local: Side) -> None:
        """Carry bytes until both directions have ended. Raises why, if they did not in order.

        Cancellation resets the connection.
        """
        over = asyncio.Event()
        began_s = time.monotonic()
        bridge = Bridge(stream, local, lambda _: over.set(), idle_timeout_s=self.timeout_s)
        bridge.start()
        try:
            await over.wait()
        except asyncio.CancelledError:
            bridge.reset()
            with contextlib.suppress(TimeoutError):  # a process may want to clean up
                await asyncio.wait_for(over.wait(), _TERMINATE_S if self.command else 0)
            raise
        finally:
            self._say_closed(stream, local, time.monotonic() - began_s)
        if bridge.error is not None:
            raise bridge.error

    def _say_accepted(self, stream: StreamSide) -> None:
        self.out.detail("accepted", f"connection from {_peer(stream)}", peer=_peer(stream))

    def _say_closed(self, stream: StreamSide, local: Side, seconds: float) -> None:
        """The statistics of a connection that is over."""
        info = stream.info or stream.transport.get_extra_info("rudp_info")
        text = (
            f"sent {describe_size(local.bytes_received)}, received "
            f"{describe_size(stream.bytes_received)} in {describe_time(seconds)}; round trip "
            f"{describe_time(info.srtt_s)}, retransmitted {info.retransmitted_share:.2%}"
        )
        self.out.detail(
            "closed",
            text,
            peer=_peer(stream),
            sent_bytes=local.bytes_received,
            received_bytes=stream.bytes_received,
            seconds=round(seconds, 6),
            srtt_s=info.srtt_s,
            min_rtt_s=info.min_rtt_s,
            retransmitted_bytes=info.bytes_retransmitted,
            retransmitted_share=info.retransmitted_share,
        )


_TERMINATE_S = 5.0


def _peer(stream: StreamSide) -> str:
    return format_address(stream.transport.get_extra_info("peername"))
