"""Between the loop and the core: datagrams in, trains out, one timer for all connections."""

from __future__ import annotations

import asyncio
import errno
import math
import secrets
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

from rudp.aio.udp import (
    UNREACHABLE,
    Address,
    IcmpErrors,
    StoppableProtocol,
    connected_peer,
    has_own_network,
)
from rudp.config import Config
from rudp.core.connection import Connection
from rudp.core.endpoint import Endpoint as Core
from rudp.core.states import State
from rudp.telemetry.observer import Observer
from rudp.wire.train import Buffer, Train

_STALL_S = 0.01
"""A timer this late shows that the loop was busy elsewhere."""
_STALL_DRAIN_S = 0.2
_STALL_ROUNDS = 32
"""What lies in the socket is waited for so long, and so many rounds of the loop, at least."""
_QUIET_ROUNDS = 4
"""A callback may run before the loop looks at the socket, or after: two rounds prove nothing."""
_STALLS_A_DRAIN = 8
"""So often does a loop that stops again, before the socket is empty, get its time anew."""
_TRAINS_A_TURN = 8
"""What one connection may send before the others have their turn."""


SendTrain = Callable[[Train, Any, int], OSError | None]
"""`rudp.aio.batched.BatchedTransport.send_train`."""


class Owner(Protocol):
    """Whom a connection belongs to: a transport, or an attempt to open one."""

    def dispatch(self) -> None:
        """Take what is new from the connection."""


class _Drain:
    """How far the loop is with reading what came in while it stood still."""

    __slots__ = ("_at_s", "_quiet", "_received", "_rounds", "_stalls", "_until_s")

    def __init__(self, received: int, now_s: float) -> None:
        self._received = received
        self._quiet = self._rounds = self._stalls = 0
        self._at_s = now_s
        self._until_s = now_s + _STALL_DRAIN_S

    def is_over(self, received: int, now_s: float) -> bool:
        """Whether to wait no longer; called once a round with the datagrams counted so far."""
        if now_s - self._at_s > _STALL_DRAIN_S and self._stalls < _STALLS_A_DRAIN:
            self._stalls += 1
            self._rounds = 0
            self._until_s = now_s + _STALL_DRAIN_S
        self._at_s = now_s
        self._quiet = self._quiet + 1 if received == self._received else 0
        self._received = received
        self._rounds += 1
        late = self._rounds > _STALL_ROUNDS and now_s >= self._until_s
        return late or self._quiet >= _QUIET_ROUNDS


class Pump(StoppableProtocol):
    """Drives a core over a datagram transport. `rudp.aio.endpoint.Endpoint` is what one uses.

    The connections of one socket take turns, and none of their failures reaches another.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        observe: Callable[[int, Any, Config], Observer | None],
    ) -> None:
        self._loop = loop
        self.config = config
        self._core = Core(config, secrets.randbits, observe)
        self._transport: asyncio.DatagramTransport | None = None
        self._send_train: SendTrain | None = None
        """How to send a whole train, if the transport can."""
        self._touched: dict[Connection, None] = {}
        """Connections that the datagrams of this wake-up concerned."""
        self._unanswered: dict[Connection, None] = {}
        """Connections that were told of what came, and have not answered it yet."""
        self._answering = False
        # Loops round their own clock: uvloop's counts whole milliseconds, more than a round trip
        # takes nearby. A simulated network's clock is its loop's.
        self._now_s = loop.time if has_own_network(loop) else time.monotonic
        self._icmp: IcmpErrors | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = math.inf
        self._only_peer: Address | None = None
        self._can_send = True
        self._waiting: dict[Connection, None] = {}
        """Connections that have more to send than their turn, or the socket, allowed."""
        self._stopped = False
        self._lingering = False
        """Whether the end waits for what is not yet acknowledged."""
        self._send_error: Exception | None = None
        self._came_back = False
        """Whether that error was one that the network sent back, and the error queue told whose."""

    # -- asyncio.DatagramProtocol --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop has attached the socket."""
        self._transport = cast("asyncio.DatagramTransport", transport)
        self._only_peer = connected_peer(self._transport)
        self._send_train = getattr(transport, "send_train", None)
        can = transport.get_extra_info("rudp_io", {"dont_fragment": has_own_network(self._loop)})
        self._core.can_mark = bool(can.get("ecn"))
        self._core.can_probe_mtu = bool(can.get("dont_fragment"))
        if self._stopped:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """One datagram: a train of one."""
        self.train_received(data, len(data) or 1, addr, 0)
        self.batch_done()

    def train_received(self, data: Buffer, stride: int, addr: Address, ecn: int) -> None:
        """A buffer of datagrams of `stride` bytes each, all from `addr` with one ECN mark."""
        if self._stopped:
            return
        core = self._core
        touched = core.receive(data, stride, addr, self._now_s(), ecn)
        while core.accepted:
            self.accepted(core.accepted.popleft())
        for conn in touched:
            self._touched[conn] = None

    def batch_done(self) -> None:
        """All that the socket had was received: hand it on, then answer it, once a connection.

        The answer waits until whoever was woken by what came has run: it then carries what that
        wrote, and tells of the window that it opened by reading.
        """
        touched, self._touched = self._touched, {}
        for conn in touched:
            if not self._stopped:
                self.report(conn)
        if self._core.outbox:
            self._send_outbox()
        if touched:
            self._unanswered.update(touched)
            if not self._answering:
                self._answering = True
                self._loop.call_soon(self._answer)

    def _answer(self) -> None:
        self._answering = False
        unanswered, self._unanswered = self._unanswered, {}
        for conn in unanswered:
            if not self._stopped:
                self.flush(conn)

    def error_received(self, exc: Exception) -> None:
        """The network reported an error: hard for openers, soft for the rest (MUST-56).

        Of a connected socket it concerns the one peer; a simulated network says whom.
        """
        self._send_error = exc
        unreachable = self._icmp.drain() if self._icmp is not None else []
        self._came_back = bool(unreachable)
        for address in unreachable:
            self._on_unreachable(address)
        if isinstance(exc, OSError) and exc.errno in UNREACHABLE:
            peer = self._only_peer or getattr(exc, "peer", None)
            if peer is not None:
                self._on_unreachable(peer)

    def pause_writing(self) -> None:
        """The socket's buffer is full: what is to be sent waits in the connections."""
        self._can_send = False

    def resume_writing(self) -> None:
        """The socket takes datagrams again."""
        self._can_send = True
        self._send_outbox()
        self._next_turns()

    # -- for the endpoint, its transports and its servers --------------------------------------

    def flush(self, conn: Connection) -> None:
        """Send what `conn` may send now, up to a turn's worth, and note its timers."""
        if self._unanswered:
            self._unanswered.pop(conn, None)
        now_s = self._now_s()
        for _ in range(_TRAINS_A_TURN if self._can_send else 0):
            train = conn.poll(now_s) if conn.may_send else None
            if train is None:
                break
            error = self._send(train, conn.peer, conn.mark)
            if error is not None and error.errno == errno.EMSGSIZE:
                conn.on_too_big(train.segment_size, now_s)
            if not self._can_send:
                self._wait_for_turn(conn)
                break
        else:
            self._wait_for_turn(conn)
        core = self._core
        core.settle(conn, now_s)
        if core.next_s < self._timer_s:
            self._arm()
        if conn.state is State.CLOSED:
            self.report(conn)
            if not core.connections:
                self.became_idle()

    def report(self, conn: Connection) -> None:
        """Let the connection's owner take what is new."""
        owner: Owner | None = conn.owner  # type: ignore[assignment]
        if owner is not None:
            owner.dispatch()
        if self._lingering and conn.finished:
            self.note_finished()

    def watch_icmp(self) -> None:
        """Learn from now on which peers are unreachable: connections are going to be opened."""
        if self._icmp is None and self._transport is not None:
            self._icmp = IcmpErrors(self._transport)

    def stop(self) -> None:
        """Send and receive no more; close the socket."""
        self._stopped = True
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._icmp is not None:
            self._icmp.close()
            self._icmp = None
        if self._transport is not None:
            self._transport.close()

    # -- for the endpoint to fill in -----------------------------------------------------------

    def accepted(self, conn: Connection) -> None:
        """A connection that the peer opened is established."""
        raise NotImplementedError

    def became_idle(self) -> None:
        """The last connection is gone, or the last record of TIME-WAIT."""
        raise NotImplementedError

    def note_finished(self) -> None:
        """While lingering: what a connection had to deliver has arrived."""
        raise NotImplementedError

    # -- sending -----------------------------------------------------------------------------

    def _send(self, train: Train, peer: Any, mark: int = 0) -> OSError | None:
        transport = self._transport
        self._core.stats.segments_sent += train.segments
        if transport is None:
            return None
        if self._only_peer is not None:
            peer = None
        if self._send_train is not None:
            error = self._send_train(train, peer, mark)
            if error is not None:
                self._not_sent(error, peer)
            return error
        for datagram in train.datagrams():
            if self._try_send(transport, datagram, peer) is not None:
                refused = self._send_again(transport, datagram, peer)
                if refused is not None and refused.errno == errno.EMSGSIZE:
                    return refused
        return None

    def _not_sent(self, error: OSError, peer: Any) -> None:
        """The socket refused a train; what that leaves in its error queue is taken out."""
        unreachable = self._icmp.drain() if self._icmp is not None else []
        for address in unreachable:
            self._loop.call_soon(self._on_unreachable, address)
        self._blame(error, peer, came_back=bool(unreachable))

    def _blame(self, error: OSError, peer: Any, *, came_back: bool) -> None:
        """There is no way to `peer`, if the error is about that.

        A socket without a peer tells what came back with its next call, whomever that is for, and
        any number of times in a row: the error queue says whose it was. That a port is closed is
        always something that came back.
        """
        if error.errno not in UNREACHABLE:
            return
        if self._only_peer is not None:
            self._loop.call_soon(self._on_unreachable, self._only_peer)
        elif not came_back and error.errno != errno.ECONNREFUSED:
            self._loop.call_soon(self._on_unreachable, peer)

    def _send_again(
        self, transport: asyncio.DatagramTransport, datagram: bytes, peer: Any
    ) -> OSError | None:
        """The socket reported an error instead of sending. It may be about another peer's
        datagram, which came back; if it repeats itself, there may be no way to this one."""
        error = self._try_send(transport, datagram, peer)
        if not isinstance(error, OSError):
            return None
        self._blame(error, peer, came_back=self._came_back)
        return error

    def _try_send(
        self, transport: asyncio.DatagramTransport, datagram: bytes, peer: Any
    ) -> Exception | None:
        self._send_error = None
        transport.sendto(datagram, peer)
        return self._take_send_error()

    def _take_send_error(self) -> Exception | None:
        error, self._send_error = self._send_error, None
        return error

    def _on_unreachable(self, peer: Any) -> None:
        for conn in self._core.unreachable(peer):
            self.report(conn)
            self.flush(conn)

    def _send_outbox(self) -> None:
        outbox = self._core.outbox
        while outbox and self._can_send:
            peer, train = outbox.popleft()
            if self._core.strays is not None:
                self._core.strays.answer_sent(train, peer, self._now_s())
            self._send(train, peer)

    def _wait_for_turn(self, conn: Connection) -> None:
        if conn not in self._waiting:
            self._waiting[conn] = None
            if len(self._waiting) == 1 and self._can_send:
                self._loop.call_soon(self._next_turns)

    def _next_turns(self) -> None:
        """One turn for each connection that waits, in the order that they began to."""
        waiting, self._waiting = self._waiting, {}
        for conn in waiting:
            if not self._stopped:
                self.flush(conn)

    # -- timers ------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_s = self._core.next_s
        if self._timer_s != math.inf and not self._stopped:
            # Rounded up to the loops' tick: woken early there would be nothing to do.
            wait_s = math.ceil((self._timer_s - self._now_s()) * 1e3) * 1e-3
            self._timer = self._loop.call_later(max(0.0, wait_s), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._now_s() - self._timer_s > _STALL_S:
            # The loop did not run: acknowledgements may lie in the socket. Judge after those.
            self._timer_s = -math.inf
            for conn in self._core.due(self._now_s(), acks_only=True):
                self.flush(conn)
            self._after_stall(_Drain(self._core.stats.datagrams_received, self._now_s()))
        else:
            self._handle_due()

    def _after_stall(self, drain: _Drain) -> None:
        """Go round the loop, which reads the socket, until no datagram comes any more; a loop
        that is busy for good is not waited for."""
        if self._stopped or drain.is_over(self._core.stats.datagrams_received, self._now_s()):
            self._handle_due()
        else:
            self._loop.call_soon(self._after_stall, drain)

    def _handle_due(self) -> None:
        self._timer_s = math.inf
        if self._stopped:
            return
        for conn in self._core.due(self._now_s()):
            self.report(conn)
            self.flush(conn)
        if self._core.next_s < self._timer_s:
            self._arm()
        if not self._core.connections:
            self.became_idle()
