"""A datagram transport on a socket of its own, whose unit is the train (the design's section 4).

asyncio's and uvloop's own datagram transports send one datagram a call and drop ancillary data.
This one gives the kernel whole trains (`UDP_SEGMENT`), takes whole trains from it (`UDP_GRO`),
joins what came one by one, and carries ECN marks. It runs on any loop that has `add_reader`.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import warnings
from asyncio import transports
from asyncio.trsock import TransportSocket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from rudp.aio.capabilities import Capabilities, enable
from rudp.aio.trains import WAIT, TrainReader, TrainSender, rest_of
from rudp.wire.train import Buffer, Train

if TYPE_CHECKING:
    from rudp.aio.udp import Address

_MIN_BACKOFF_S = 0.001
_MAX_BACKOFF_S = 0.064


class TrainProtocol(Protocol):
    """What a `BatchedTransport` calls; like `asyncio.DatagramProtocol`, but for the trains."""

    def connection_made(self, transport: asyncio.BaseTransport, /) -> None:
        """The transport is there; nothing was read yet."""

    def connection_lost(self, exc: Exception | None, /) -> None:
        """The last call; the socket is closed after it."""

    def train_received(self, data: memoryview, stride: int, addr: Address, ecn: int, /) -> None:
        """Datagrams of `stride` bytes each, the last maybe shorter, all from `addr` and with the
        ECN field `ecn`. The memory is overwritten after the call: copy what is kept."""

    def batch_done(self) -> None:
        """All trains of this wake-up were delivered."""

    def error_received(self, exc: OSError, /) -> None:
        """An error that the network, or a train sent from the queue, came back with.

        Who has set IP_RECVERR on the socket empties its error queue here, and at once after an
        error that `send_train` returned: until then asyncio goes round without a rest, and
        uvloop may stop reading."""

    def pause_writing(self) -> None:
        """More than the high-water mark is queued."""

    def resume_writing(self) -> None:
        """The queue has sunk to the low-water mark."""


class _Queued(NamedTuple):
    """A train, or what is left of it, that waits for the socket."""

    buffers: list[Buffer]
    segment_size: int
    segments: int
    addr: Address | None
    ecn: int


class BatchedTransport(transports._FlowControlMixin, asyncio.DatagramTransport):
    """An `asyncio.DatagramTransport` that also sends trains, and delivers nothing else.

    Watermarks, closing and the calls to the protocol are those of asyncio's own.
    `get_extra_info("rudp_io")` tells what is in use: `gso`, `gro`, `ecn`, `dont_fragment`.
    """

    if TYPE_CHECKING:
        # The mixin's members, which asyncio's own transports share and typeshed leaves out.
        _extra: dict[str, Any]
        _loop: asyncio.AbstractEventLoop

        def _maybe_pause_protocol(self) -> None: ...
        def _maybe_resume_protocol(self) -> None: ...

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        protocol: TrainProtocol,
        can: Capabilities | None = None,
    ) -> None:
        """Take over `sock`, bound or connected and non-blocking; `connection_made()` follows.

        `can` says what the socket was set to use; without it, everything that it takes is set.
        """
        self._sock: socket.socket | None = sock
        super().__init__({"socket": TransportSocket(sock), "sockname": sock.getsockname()}, loop)
        try:
            self._extra["peername"] = sock.getpeername()
        except OSError:
            self._extra["peername"] = None
        self._fd = sock.fileno()
        self._can = enable(sock) if can is None else can
        self._reader = TrainReader(sock)
        self._sender: TrainSender | None = TrainSender(sock, self._can, self._report_soon)
        self._protocol: TrainProtocol | None = protocol
        self._queue: deque[_Queued] = deque()
        self._queued_bytes = 0
        self._writer_added = False
        self._backoff: asyncio.TimerHandle | None = None
        self._backoff_s = _MIN_BACKOFF_S
        self._closing = False
        self._lost = False
        loop.call_soon(self._start)

    def __repr__(self) -> str:
        state = "closed" if self._sock is None else "closing" if self._closing else "open"
        return f"<{type(self).__name__} {state} fd={self._fd} queued={self._queued_bytes}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if self._sock is not None:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self._sock.close()

    # -- sending -----------------------------------------------------------------------------

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send one datagram. Errors go to the protocol's `error_received()`.

        Raises `TypeError` if `data` is not bytes-like.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data must be a bytes-like object, not {type(data).__name__!r}")
        if data:
            own = bytes(data)  # it may have to wait, and the caller's may change
            error = self._send(_Queued([own], len(own), 1, addr, 0))
            if error is not None:
                self._report(error)

    def send_train(self, train: Train, addr: Address | None, ecn: int = 0) -> OSError | None:
        """Send a train to `addr`, or to the peer of a connected socket if that is None.

        What the socket does not take now is queued; the buffers must not change until then.
        Once the transport is closing, trains are dropped.

        Args:
            train: Datagrams of equal size, the last maybe shorter.
            addr: Where to.
            ecn: The ECN field of the packets (RFC 3168), 0 to 3.

        Returns:
            The error, if the train cannot be sent. `EMSGSIZE`: its datagrams are larger than the
            path takes, and none was sent.
        """
        if self._queue or self._closing:
            return self._send(_Queued(*train, addr, ecn))
        sender = cast("TrainSender", self._sender)
        buffers, size, count = train
        stopped = sender.send(buffers, size, count, addr, ecn)
        if stopped is None:
            return None
        return self._put_off(_Queued(buffers, size, count, addr, ecn), *stopped)

    def _send(self, item: _Queued) -> OSError | None:
        if self._closing or self._sender is None:
            return None
        if self._queue:
            self._enqueue(item)
            return None
        stopped = self._sender.send(*item)
        return None if stopped is None else self._put_off(item, *stopped)

    def _put_off(self, item: _Queued, done: int, error: OSError) -> OSError | None:
        """Queue what was not sent, if the error is only about now."""
        if error.errno not in WAIT:
            return error
        self._enqueue(_rest(item, done))
        self._wait(error)
        return None

    def _enqueue(self, item: _Queued) -> None:
        self._queue.append(item)
        self._queued_bytes += _size(item)
        self._maybe_pause_protocol()

    def _wait(self, error: OSError) -> None:
        """Come back when the socket takes more, or, if the device does not, a little later."""
        if error.errno == errno.ENOBUFS:
            self._remove_writer()
            self._backoff = self._loop.call_later(self._backoff_s, self._drain)
            self._backoff_s = min(2 * self._backoff_s, _MAX_BACKOFF_S)
        elif not self._writer_added:
            self._loop.add_writer(self._fd, self._drain)
            self._writer_added = True

    def _drain(self) -> None:
        """Send what is queued, in order, until the socket takes no more."""
        self._backoff = None
        queue = self._queue
        while queue and self._sender is not None:
            item = queue[0]
            stopped = self._sender.send(*item)
            if stopped is not None and stopped[1].errno in WAIT:
                done, error = stopped
                if done:
                    queue[0] = _rest(item, done)
                    self._queued_bytes -= _size(item) - _size(queue[0])
                    self._backoff_s = _MIN_BACKOFF_S
                stuck = error.errno == errno.ENOBUFS and self._backoff_s >= _MAX_BACKOFF_S
                if self._closing and stuck:
                    self._force_close(None)  # the device has taken nothing for a while
                    return
                self._wait(error)
                break
            queue.popleft()
            self._queued_bytes -= _size(item)
            if stopped is not None:
                self._report(stopped[1])
            else:
                self._backoff_s = _MIN_BACKOFF_S
        self._maybe_resume_protocol()  # which may queue more
        if not queue:
            self._remove_writer()
            if self._closing:
                self._lose(None)

    def _remove_writer(self) -> None:
        if self._writer_added:
            self._loop.remove_writer(self._fd)
            self._writer_added = False

    # -- reading -----------------------------------------------------------------------------

    def _start(self) -> None:
        protocol = cast("TrainProtocol", self._protocol)
        try:
            protocol.connection_made(self)
        finally:
            if not self._closing:
                self._loop.add_reader(self._fd, self._on_readable)

    def _on_readable(self) -> None:
        """One wake-up: some trains, then `batch_done()`."""
        if not self._reader.read(self._deliver, self._report):
            self._rearm()
        if not self._closing and self._protocol is not None:
            self._protocol.batch_done()

    def _deliver(self, data: memoryview, stride: int, addr: Address, ecn: int) -> bool:
        """Give the protocol a train; whether it wants more. Its failure is not the reader's."""
        if self._closing or self._protocol is None:
            return False
        try:
            self._protocol.train_received(data, stride, addr, ecn)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # noqa: BLE001 - the loop's handler hears of it
            self._protocol_failed("train_received", exc)
        return not self._closing

    def _report(self, error: OSError) -> None:
        if self._closing or self._protocol is None:
            return
        try:
            self._protocol.error_received(error)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # noqa: BLE001 - the loop's handler hears of it
            self._protocol_failed("error_received", exc)
        self._rearm()

    def _report_soon(self, error: OSError) -> None:
        """As `_report`, but not in the middle of what the protocol is doing."""
        self._loop.call_soon(self._report, error)

    def _rearm(self) -> None:
        """Watch the socket anew: libuv stops for good when it sees POLLERR, and uvloop calls the
        reader, once, as if there were something to read."""
        if not self._closing:
            self._loop.remove_reader(self._fd)
            self._loop.add_reader(self._fd, self._on_readable)

    def _protocol_failed(self, method: str, exc: BaseException) -> None:
        self._loop.call_exception_handler(
            {
                "message": f"protocol.{method}() call failed.",
                "exception": exc,
                "transport": self,
                "protocol": self._protocol,
            }
        )

    # -- asyncio.BaseTransport -----------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`socket`, `sockname`, `peername`; `rudp_io`: what was found and is in use, by name."""
        if name != "rudp_io":
            return super().get_extra_info(name, default)
        can = self._can
        return {
            "gso": can.gso if self._sender is None else self._sender.gso,
            "gro": can.gro,
            "ecn": can.ecn,
            "dont_fragment": can.dont_fragment,
        }

    @property
    def reads_cut(self) -> int:
        """Reads dropped because the datagram or its ancillary data did not fit."""
        return self._reader.cut

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Call `protocol`, a `TrainProtocol`, from now on."""
        self._protocol = cast("TrainProtocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol; None after `connection_lost()`, as of asyncio's transports."""
        return cast("asyncio.BaseProtocol", self._protocol)

    def get_write_buffer_size(self) -> int:
        """Bytes of datagrams that wait for the socket."""
        return self._queued_bytes

    def is_closing(self) -> bool:
        """Whether the transport was closed or is about to be."""
        return self._closing

    def close(self) -> None:
        """Read no more; close the socket once what is queued was sent."""
        if self._closing:
            return
        self._closing = True
        self._loop.remove_reader(self._fd)
        if not self._queue:
            self._lose(None)

    def abort(self) -> None:
        """Close the socket now; what is queued is lost."""
        self._force_close(None)

    def _force_close(self, exc: Exception | None) -> None:
        self._queue.clear()
        self._queued_bytes = 0
        if not self._lost:
            self.close()
            self._lose(exc)

    def _lose(self, exc: Exception | None) -> None:
        """Have `connection_lost()` called, once."""
        if self._lost:
            return
        self._lost = True
        if self._backoff is not None:
            self._backoff.cancel()
            self._backoff = None
        self._remove_writer()
        self._loop.call_soon(self._call_connection_lost, exc)

    def _call_connection_lost(self, exc: Exception | None) -> None:
        protocol, sock = self._protocol, self._sock
        try:
            if protocol is not None:
                protocol.connection_lost(exc)
        finally:
            self._protocol = self._sender = self._sock = None
            if sock is not None:
                sock.close()


def _size(item: _Queued) -> int:
    return sum(map(len, item.buffers))


def _rest(item: _Queued, done: int) -> _Queued:
    """What is left of a train after `done` datagrams."""
    rest = rest_of(item.buffers, item.segments, done)
    return item._replace(buffers=rest, segments=item.segments - done)
