"""A UDP relay that puts a bad link between clients and one server, over real sockets.

It is meant for tests, examples and demonstrations: the endpoints on both sides are unmodified
programs that talk UDP; the relay decides what is lost, late, swapped or doubled on the way. Any
object with a ``transmit`` method describes a direction of the link (:class:`ImpairedLink`);
``rudp.sim.Link`` is one.
"""

from __future__ import annotations

import asyncio
import heapq
import socket
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

_MAX_DATAGRAM_BYTES = 65535
_READS_PER_WAKEUP = 64  # so that one busy client cannot keep the loop from the others
_TIMER_SLACK_S = 0.0005  # loops round timers to a millisecond; what is due within this goes along
_SOCKET_BUFFER_BYTES = 4 << 20  # a burst should be lost by the link model, not by the relay itself

_Address = Any  # what the socket module calls an address: (host, port) or (host, port, flow, scope)


class ImpairedLink(Protocol):
    """One direction of a link: what happens to each datagram that is sent into it."""

    def transmit(self, datagram: bytes, now_s: float) -> list[tuple[float, bytes]]:
        """Take a datagram at time `now_s` and return its copies, each with its time of arrival.

        Times are seconds of the running loop's clock. An empty list is a loss, two entries a
        duplicate; the bytes may differ from `datagram` (corruption).
        """


@dataclass(slots=True)
class DirectionStats:
    """Counters of one direction, in datagrams unless the name says bytes.

    `received` came in from the sender, `dropped` the link lost, `delivered` went out to the
    receiver (duplicates counted twice), `failed` could not be sent by the operating system,
    `overflowed` found `max_pending_bytes` exceeded.
    """

    received: int = 0
    received_bytes: int = 0
    dropped: int = 0
    delivered: int = 0
    delivered_bytes: int = 0
    failed: int = 0
    overflowed: int = 0


@dataclass(slots=True)
class RelayStats:
    """Counters of a relay: both directions, and the clients that it has seen.

    `clients_refused` counts datagrams of new clients that found no free place or no socket.
    """

    to_server: DirectionStats = field(default_factory=DirectionStats)
    to_client: DirectionStats = field(default_factory=DirectionStats)
    clients_accepted: int = 0
    clients_reaped: int = 0
    clients_refused: int = 0
    socket_errors: int = 0


class _Client:
    """One client address and the socket that stands for it towards the server."""

    __slots__ = ("address", "last_active_s", "open", "upstream")

    def __init__(self, address: _Address, upstream: socket.socket, now_s: float) -> None:
        self.address = address
        self.upstream = upstream
        self.last_active_s = now_s
        self.open = True


class LossyRelay:
    """A UDP relay between any number of clients and one server, with a bad link in the middle.

    Clients send to :attr:`address`; each client address gets a socket of its own towards the
    server, so that the server sees one source address per client. Both directions pass through a
    link model that all clients share. Create one with :meth:`start`; use it as an asynchronous
    context manager or call :meth:`close`.

    An unreachable server is silence to the clients: ICMP errors are counted, not passed on. The
    loop must support ``add_reader`` (every loop but Windows' proactor).
    """

    def __init__(
        self,
        sock: socket.socket,
        target: _Address,
        to_server: ImpairedLink,
        to_client: ImpairedLink,
        *,
        idle_s: float,
        max_clients: int,
        max_pending_bytes: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._target = target
        self._to_server = to_server
        self._to_client = to_client
        self._idle_s = idle_s
        self._max_clients = max_clients
        self._max_pending_bytes = max_pending_bytes
        self._clients: dict[_Address, _Client] = {}
        self._pending: list[tuple[float, int, bool, _Client, bytes]] = []
        self._pending_bytes = 0
        self._sequence = 0  # keeps deliveries of equal time in the order in which they were sent
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0  # uvloop's handles do not always tell when they are due
        self._closed = False
        self.stats = RelayStats()
        self._address: tuple[str, int] = sock.getsockname()[:2]
        self._loop.add_reader(sock, self._read_clients)
        self._reaper = self._loop.call_later(idle_s / 2, self._reap)

    @classmethod
    async def start(
        cls,
        target: tuple[str, int],
        *,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        to_server: ImpairedLink,
        to_client: ImpairedLink,
        idle_s: float = 300.0,
        max_clients: int = 4096,
        max_pending_bytes: int = 64 << 20,
    ) -> Self:
        """Bind `listen` and relay between it and `target`; return the running relay.

        `target` and `listen` are host and port, resolved once; port 0 in `listen` picks a free one.
        `to_server` and `to_client` are the two directions of the link. A client that has been
        silent in both directions for `idle_s` seconds is forgotten. `max_clients` bounds the
        sockets that are open at once, `max_pending_bytes` what is on its way in both directions
        together; what exceeds them is dropped and counted.

        Raises ValueError for a bound that is not positive, and OSError if an address does not
        resolve or cannot be bound. Cancelling it leaves nothing behind.
        """
        for name, bound in (
            ("idle_s", idle_s),
            ("max_clients", max_clients),
            ("max_pending_bytes", max_pending_bytes),
        ):
            if bound <= 0:
                raise ValueError(f"{name} must be positive, not {bound!r}")
        target_info = await _resolve(target)
        listen_info = await _resolve(listen)
        sock = _udp_socket(listen_info[0])
        try:
            sock.bind(listen_info[4])
            return cls(
                sock,
                target_info,
                to_server,
                to_client,
                idle_s=idle_s,
                max_clients=max_clients,
                max_pending_bytes=max_pending_bytes,
            )
        except BaseException:
            sock.close()
            raise

    @property
    def address(self) -> tuple[str, int]:
        """The host and port to which clients send."""
        return self._address

    @property
    def clients(self) -> int:
        """How many client addresses are known now."""
        return len(self._clients)

    def close(self) -> None:
        """Close every socket and forget what is on its way.

        Calling it again does nothing; calling it after the loop was closed is in order.
        """
        if self._closed:
            return
        self._closed = True
        self._reaper.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for client in list(self._clients.values()):
            self._forget(client)
        self._pending.clear()
        self._pending_bytes = 0
        self._close_socket(self._sock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    def _read_clients(self) -> None:
        now_s = self._loop.time()
        for datagram, address in self._datagrams(self._sock):
            client = self._clients.get(address) or self._accept(address, now_s)
            if client is not None:
                client.last_active_s = now_s
                self._enter(self._to_server, self.stats.to_server, True, client, datagram, now_s)
        self._deliver()

    def _read_server(self, client: _Client) -> None:
        now_s = self._loop.time()
        client.last_active_s = now_s
        for datagram, _ in self._datagrams(client.upstream):
            self._enter(self._to_client, self.stats.to_client, False, client, datagram, now_s)
        self._deliver()

    def _datagrams(self, sock: socket.socket) -> list[tuple[bytes, _Address]]:
        """Read what waits on a socket, up to a bound."""
        batch: list[tuple[bytes, _Address]] = []
        for _ in range(_READS_PER_WAKEUP):
            try:
                batch.append(sock.recvfrom(_MAX_DATAGRAM_BYTES))
            except (BlockingIOError, InterruptedError):
                break
            except OSError:  # an ICMP error of an earlier send, reported here
                self.stats.socket_errors += 1
        return batch

    def _accept(self, address: _Address, now_s: float) -> _Client | None:
        """Open the upstream socket of a new client, or count why there is none."""
        if len(self._clients) >= self._max_clients:
            self.stats.clients_refused += 1
            return None
        upstream = None
        try:
            upstream = _udp_socket(self._target[0])
            upstream.connect(self._target[4])
        except OSError:
            if upstream is not None:
                upstream.close()
            self.stats.clients_refused += 1
            return None
        client = _Client(address, upstream, now_s)
        self._clients[address] = client
        self.stats.clients_accepted += 1
        self._loop.add_reader(upstream, self._read_server, client)
        return client

    def _enter(
        self,
        link: ImpairedLink,
        stats: DirectionStats,
        to_server: bool,
        client: _Client,
        datagram: bytes,
        now_s: float,
    ) -> None:
        """Send one datagram into the link and queue what will come out of it."""
        stats.received += 1
        stats.received_bytes += len(datagram)
        copies = link.transmit(datagram, now_s)
        if not copies:
            stats.dropped += 1
        for due_s, copy in copies:
            if self._pending_bytes + len(copy) > self._max_pending_bytes:
                stats.overflowed += 1
                continue
            self._sequence += 1
            self._pending_bytes += len(copy)
            heapq.heappush(self._pending, (due_s, self._sequence, to_server, client, copy))

    def _deliver(self) -> None:
        """Send everything that is due, and set the one timer to what comes next."""
        pending = self._pending
        due_s = self._loop.time() + _TIMER_SLACK_S
        while pending and pending[0][0] <= due_s:
            _, _, to_server, client, datagram = heapq.heappop(pending)
            self._pending_bytes -= len(datagram)
            if client.open:
                self._send(to_server, client, datagram)
        if not pending:
            return
        next_s = pending[0][0]
        if self._timer is not None:
            if self._timer_s <= next_s:
                return
            self._timer.cancel()
        self._timer_s = next_s
        self._timer = self._loop.call_at(next_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._deliver()

    def _send(self, to_server: bool, client: _Client, datagram: bytes) -> None:
        stats = self.stats.to_server if to_server else self.stats.to_client
        try:
            if to_server:
                client.upstream.send(datagram)
            else:
                self._sock.sendto(datagram, client.address)
        except OSError:  # a full buffer, an ICMP error, a datagram too large: lost, as on any path
            stats.failed += 1
        else:
            stats.delivered += 1
            stats.delivered_bytes += len(datagram)

    def _reap(self) -> None:
        """Forget the clients that have been silent for too long."""
        oldest_s = self._loop.time() - self._idle_s
        for client in [c for c in self._clients.values() if c.last_active_s <= oldest_s]:
            self._forget(client)
            self.stats.clients_reaped += 1
        self._reaper = self._loop.call_later(self._idle_s / 2, self._reap)

    def _forget(self, client: _Client) -> None:
        client.open = False
        del self._clients[client.address]
        self._close_socket(client.upstream)

    def _close_socket(self, sock: socket.socket) -> None:
        if not self._loop.is_closed():
            self._loop.remove_reader(sock)
        sock.close()


async def _resolve(address: tuple[str, int]) -> tuple[Any, ...]:
    """Resolve a host and port to one getaddrinfo() entry for UDP."""
    host, port = address
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    if not infos:
        raise OSError(f"getaddrinfo() returned nothing for {host!r}")
    return infos[0]


def _udp_socket(family: int) -> socket.socket:
    """A non-blocking UDP socket with large buffers, as far as the system allows them."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
        except OSError:  # macOS refuses what is above its limit instead of granting the limit
            pass
    return sock
