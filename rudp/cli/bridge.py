"""Two streams tied together: what one receives the other sends, and so with their ends.

Backpressure, half-close and resets are carried through. Protocols, not stream readers: a chunk
goes from `data_received` to `write` without a task in between.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from rudp.core.stats import ConnectionInfo

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: closing sends a reset instead of a FIN."""


class IdleTimeout(TimeoutError):
    """Nothing went either way for as long as the user allows."""


class Side(abc.ABC):
    """One end of a bridge, and the half of the bridge's state that belongs to it.

    What drives it calls `arrived`, `arrived_end`, `full`, `drained` and `gone`; the other side
    calls the rest.
    """

    def __init__(self) -> None:
        self.bridge: Bridge | None = None
        self.other: Side | None = None
        self.bytes_received = 0
        self.end_received = False
        """No more will come from here."""
        self.is_gone = False
        self.error: Exception | None = None
        """Why it ended, if not in an orderly way."""
        self._early: list[bytes] = []
        """Received before there was another side: uvloop's TCP reads once, pause or not, after
        `connection_made`."""

    @abc.abstractmethod
    def write(self, data: bytes) -> None:
        """Send what the other side has received."""

    @abc.abstractmethod
    def write_eof(self) -> None:
        """The other side will receive no more; this side's own input goes on."""

    @abc.abstractmethod
    def pause_reading(self) -> None:
        """Receive no more for now. Without effect if it is paused or gone."""

    @abc.abstractmethod
    def resume_reading(self) -> None:
        """Receive again. Without effect if it is receiving or gone."""

    @abc.abstractmethod
    def close(self) -> None:
        """Send what was written, then end."""

    @abc.abstractmethod
    def reset(self) -> None:
        """End at once, so that the peer does not take it for an orderly end."""

    # -- what happens to this side -------------------------------------------------------------

    def arrived(self, data: bytes) -> None:
        """`data` was received here."""
        self.bytes_received += len(data)
        if self.other is not None:
            self.other.write(data)
        else:
            self._early.append(data)
            self.pause_reading()

    def arrived_end(self) -> None:
        """Nothing more will be received here."""
        if not self.end_received:
            self.end_received = True
            if self.other is not None:
                self.other.write_eof()
            if self.bridge is not None:
                self.bridge.close_if_over()

    def begin(self, other: Side) -> None:
        """Pass on what came before there was another side, and receive from now on."""
        early, self._early = self._early, []
        for data in early:
            other.write(data)
        if self.end_received:
            other.write_eof()
        self.resume_reading()

    def full(self) -> None:
        """This side cannot send as fast as the other receives."""
        if self.other is not None:
            self.other.pause_reading()

    def drained(self) -> None:
        """This side can send again."""
        if self.other is not None:
            self.other.resume_reading()

    def gone(self, error: Exception | None) -> None:
        """This side is over; `error` tells why if that was not orderly."""
        if self.is_gone:
            return
        self.is_gone = True
        self.error = error
        if self.bridge is not None:
            self.bridge.lost(self)


class Bridge:
    """Ties two sides together for as long as either lives.

    Args:
        left: A side that is connected and does not receive yet.
        right: The other.
        ended: Called once, when both sides are gone.
        idle_timeout_s: Seconds after which both sides are reset if nothing went either way.
    """

    def __init__(
        self,
        left: Side,
        right: Side,
        ended: Callable[[Bridge], None],
        *,
        idle_timeout_s: float | None = None,
    ) -> None:
        self.left = left
        self.right = right
        self.error: Exception | None = None
        """Why the first side that failed did so."""
        self._ended = ended
        self._idle_timeout_s = idle_timeout_s
        self._idle_timer: asyncio.TimerHandle | None = None
        self._bytes_seen = 0
        self._closing = False
        left.bridge = right.bridge = self
        left.other, right.other = right, left

    def start(self) -> None:
        """Let both sides receive. Either may have ended meanwhile."""
        self._watch_idleness()
        for side in (self.left, self.right):
            if side.is_gone:
                self.lost(side)
                return
        self.left.begin(self.right)
        self.right.begin(self.left)
        self.close_if_over()

    @property
    def is_complete(self) -> bool:
        """Both directions have ended in order."""
        return self.left.end_received and self.right.end_received

    def close_if_over(self) -> None:
        """Both directions have ended: let both sides finish."""
        if self.is_complete:
            self.close()

    def close(self) -> None:
        """Let both sides finish what they have, and end."""
        if not self._closing:
            self._closing = True
            self.left.close()
            self.right.close()

    def reset(self, error: Exception | None = None) -> None:
        """End both sides at once; `error` is then the bridge's."""
        self.error = self.error or error
        self.left.reset()
        self.right.reset()

    def lost(self, side: Side) -> None:
        """A side is gone: the other follows in the same manner."""
        self.error = self.error or side.error
        other = side.other
        if other is not None and not other.is_gone:
            if side.error is None and self._closing:
                other.close()
            else:
                other.reset()
        if self.left.is_gone and self.right.is_gone:
            self._finish()

    def _finish(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self.left.bridge = self.right.bridge = None
        self.left.other = self.right.other = None
        self._ended(self)

    def _watch_idleness(self) -> None:
        if self._idle_timeout_s is None:
            return
        seen = self.left.bytes_received + self.right.bytes_received
        if self._idle_timer is not None and seen == self._bytes_seen:
            self.reset(IdleTimeout(f"nothing went either way for {self._idle_timeout_s:g} s"))
            return
        self._bytes_seen = seen
        loop = asyncio.get_running_loop()
        self._idle_timer = loop.call_later(self._idle_timeout_s, self._watch_idleness)


class StreamSide(Side, asyncio.Protocol):
    """A side that is a stream transport: kernel TCP, or rudp.

    It receives nothing before the bridge starts.

    Args:
        connected: Called when the transport is there.
    """

    transport: asyncio.Transport

    def __init__(self, connected: Callable[[StreamSide], None] | None = None) -> None:
        super().__init__()
        self._connected = connected
        self.info: ConnectionInfo | None = None
        """What rudp has counted, once it is over."""

    # -- asyncio.Protocol ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the bridge."""
        self.transport = transport  # type: ignore[assignment]
        self.transport.pause_reading()
        connected, self._connected = self._connected, None
        if connected is not None:
            connected(self)

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        self.arrived(data)

    def eof_received(self) -> bool:
        """Pass it on; the transport stays open for the other direction."""
        self.arrived_end()
        return True

    def pause_writing(self) -> None:
        """Hold the other side back."""
        self.full()

    def resume_writing(self) -> None:
        """Let the other side go on."""
        self.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the other side along."""
        self.info = self.transport.get_extra_info("rudp_info")
        self.gone(exc)

    # -- Side ------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send `data`."""
        self.transport.write(data)

    def write_eof(self) -> None:
        """Half-close."""
        if not self.transport.is_closing():
            with contextlib.suppress(OSError):  # the peer may just have gone: we hear of that
                self.transport.write_eof()

    def pause_reading(self) -> None:
        """Let the peer's window close."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Let the peer go on."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def close(self) -> None:
        """Deliver what was written, then end."""
        self.transport.close()

    def reset(self) -> None:
        """Send a reset."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.type == socket.SOCK_STREAM:
            # uvloop's stand-in for a socket that is closed raises ValueError.
            with contextlib.suppress(OSError, ValueError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()
