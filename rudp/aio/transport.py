"""`asyncio.Transport` over a connection: what protocols and streams talk to."""

from __future__ import annotations

import asyncio
import logging
import warnings
from asyncio import constants, transports
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from rudp.aio import udp
from rudp.aio.delivery import Delivery
from rudp.aio.socketview import StreamSocketView
from rudp.aio.tls import TlsProtocol
from rudp.core.connection import Connection, Notice
from rudp.core.states import State
from rudp.errors import error_for

if TYPE_CHECKING:
    from rudp.aio.endpoint import Endpoint

logger = logging.getLogger("asyncio")

_READ_BYTES = 1 << 18
"""Most bytes handed to a protocol in one call, as in asyncio."""


class ConnectionTransport(transports._FlowControlMixin, asyncio.Transport):
    """The transport of one connection.

    `get_write_buffer_size()` counts what exceeds the connection's own send buffer, as asyncio
    counts what the kernel has not taken; the write watermarks work on that.
    """

    if TYPE_CHECKING:
        # The mixin's members, which asyncio's own transports share and typeshed leaves out.
        _high_water: int
        _protocol_paused: bool

        def _maybe_pause_protocol(self) -> None: ...
        def _maybe_resume_protocol(self) -> None: ...

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.FALLBACK

    __slots__ = (
        "__weakref__",
        "_buffered",
        "_closing",
        "_conn",
        "_delivery",
        "_dispatching",
        "_ended",
        "_endpoint",
        "_eof_delivered",
        "_eof_sent",
        "_last_sockname",
        "_lost",
        "_paused",
        "_protocol",
        "_server",
        "_socket_view",
        "_writes_after_loss",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        endpoint: Endpoint,
        conn: Connection,
        protocol: asyncio.BaseProtocol,
        server: Any = None,
    ) -> None:
        super().__init__(None, loop)
        self._loop = loop
        self._endpoint = endpoint
        self._conn = conn
        self._server = server
        self._closing = False
        self._lost = False
        self._eof_sent = False
        self._eof_delivered = False
        self._paused = False
        self._writes_after_loss = 0
        self._last_sockname: Any = None
        self._dispatching = False
        self._ended = False
        self._delivery: Delivery | None = None
        self._socket_view: StreamSocketView | None = None
        self.set_protocol(protocol)
        conn.owner = self
        if server is not None:
            server._attach(self)

    def __repr__(self) -> str:
        state = "closed" if self._lost else "closing" if self._closing else self._conn.state.name
        return f"<{type(self).__name__} peer={self._conn.peer!r} {state}>"

    def __del__(self) -> None:
        if not self._lost:
            warnings.warn(
                f"unclosed transport {self!r}", ResourceWarning, stacklevel=2, source=self
            )

    def start(self) -> None:
        """Call `connection_made`, then begin to read; in the order that asyncio does.

        An exception there is reported and closes nothing, as on asyncio's loops.
        """
        try:
            self._protocol.connection_made(self)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # noqa: BLE001 - asyncio's contract: the handler hears of it
            self._report(exc, "protocol.connection_made() call failed.")
        self._loop.call_soon(self.serve)

    # -- protocol and information ------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand what arrives from now on to `protocol`."""
        self._protocol = protocol
        # asyncio goes by the class, uvloop by the method; nobody has both and means the other.
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol) or (
            hasattr(protocol, "get_buffer") and not isinstance(protocol, asyncio.Protocol)
        )

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The current protocol."""
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peername`, `sockname`, `socket` as asyncio has them; `rudp_info`: a
        `rudp.ConnectionInfo`, taken when asked for; `rudp_transport`: this transport, also when
        asked through what lies over it, as TLS does."""
        if name == "peername":
            return self._conn.peer
        if name == "rudp_info":
            return self._conn.info(self._loop.time())
        if name == "sockname":
            return self._sockname(default)
        if name == "socket":
            return self._socket() or default
        if name == "rudp_transport":
            return self
        return super().get_extra_info(name, default)

    def _socket(self) -> StreamSocketView | None:
        value = self._endpoint.shown_socket()
        if value is None:
            return None
        if self._socket_view is None:  # programs compare it by identity
            self._socket_view = StreamSocketView(value, self._conn)
        return self._socket_view

    def _sockname(self, default: Any) -> Any:
        name = self._endpoint.get_extra_info("sockname", self._last_sockname)
        wildcard = name is not None and name[0] in udp.ANY_ADDRESS
        if wildcard and self._endpoint.get_extra_info("socket") is not None:
            if self._last_sockname is None:
                self._last_sockname = udp.local_address(name, cast("udp.Address", self._conn.peer))
            return self._last_sockname
        return default if name is None else name

    def is_closing(self) -> bool:
        """Whether the transport is closing or closed."""
        return self._closing

    # -- writing ---------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`; a mutable object may be changed again when this returns.

        Raises `TypeError` for anything but bytes, `RuntimeError` after `write_eof()`.
        """
        if self._can_take(data) and len(data):
            self._conn.send(data if type(data) is bytes else bytes(data))
            self._endpoint.flush(self._conn)
            held = len(self._conn.sender.buffer)
            if held > self._high_water and self.get_write_buffer_size() > self._high_water:
                self._maybe_pause_protocol()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send the pieces without joining them first."""
        for data in list_of_data:
            if self._can_take(data) and len(data):
                self._conn.send(data if type(data) is bytes else bytes(data))
        self._endpoint.flush(self._conn)
        self._maybe_pause_protocol()

    def write_eof(self) -> None:
        """End the sending direction after what was written (RFC 9293 §3.6); reading goes on."""
        if self._closing or self._eof_sent:
            return
        self._eof_sent = True
        self._conn.shutdown()
        self._endpoint.flush(self._conn)

    def can_write_eof(self) -> bool:
        """True: half-close is supported."""
        return True

    def get_write_buffer_size(self) -> int:
        """Bytes beyond what the connection's own send buffer has taken."""
        sender = self._conn.sender
        return max(0, len(sender.buffer) - sender.capacity)

    @property
    def delivery(self) -> Delivery:
        """What became of the bytes written: for `rudp.acknowledged()`."""
        if self._delivery is None:
            self._delivery = Delivery(self._conn)
        return self._delivery

    # -- reading ---------------------------------------------------------------------------

    def is_reading(self) -> bool:
        """Whether data is handed to the protocol."""
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        """Hand out nothing more; the window closes as the receive buffer fills."""
        if not self._closing:
            self._paused = True

    def resume_reading(self) -> None:
        """Hand out data again; the peer is told of the reopened window."""
        if self._paused and not self._closing:
            self._paused = False
            self._loop.call_soon(self.serve)

    # -- closing ---------------------------------------------------------------------------

    def close(self) -> None:
        """Stop reading, deliver everything that was written, then end.

        `connection_lost(None)` comes when the peer has acknowledged it all.
        """
        if self._closing:
            return
        self._closing = True
        self._conn.close(self._loop.time())
        self._endpoint.flush(self._conn)
        self.serve()

    def wind_down(self) -> None:
        """`close()`, where there is TLS after that has said its goodbye."""
        if isinstance(self._protocol, TlsProtocol) and not self._closing:
            self._protocol.close()
        else:
            self.close()

    def abort(self) -> None:
        """End at once: what is not sent is dropped, the peer is reset."""
        self._force_close(None)

    def _force_close(self, exc: BaseException | None) -> None:
        if self._lost:
            return
        self._lose(exc)
        self._conn.abort(self._loop.time())
        self._endpoint.flush(self._conn)

    def _fatal_error(self, exc: BaseException, message: str) -> None:
        if isinstance(exc, OSError):
            if self._loop.get_debug():
                logger.debug("%r: %s", self, message, exc_info=True)
        else:
            self._report(exc, message)
        self._force_close(exc)

    def _report(self, exc: BaseException, message: str) -> None:
        self._loop.call_exception_handler(
            {
                "message": message,
                "exception": exc,
                "transport": self,
                "protocol": self._protocol,
            }
        )

    # -- the endpoint's side -----------------------------------------------------------------

    def serve(self) -> None:
        """Hand everything that is new to the protocol, then send what that asks for."""
        if not self._lost:
            self.dispatch()
        self._endpoint.flush(self._conn)

    def dispatch(self) -> None:
        """Hand everything that is new to the protocol."""
        if self._dispatching:
            return
        self._dispatching = True
        try:
            self._dispatch()
        finally:
            self._dispatching = False

    def _dispatch(self) -> None:
        conn = self._conn
        if conn.receiver.inbox.size:
            self._deliver()
        if (
            conn.receiver.fin_received
            and not self._eof_delivered
            and not self._paused
            and not self._closing
            and not conn.receiver.inbox.size
        ):
            self._deliver_eof()
        if self._protocol_paused and conn.state is not State.CLOSED:
            self._maybe_resume_protocol()
        if conn.notices:
            self._take_notices()
        if self._ended and (self._closing or self._eof_delivered):
            self._lose(None)
        if self._delivery is not None:
            self._delivery.update()

    def _deliver(self) -> None:
        receiver = self._conn.receiver
        while receiver.inbox.size and not self._paused and not self._closing:
            if self._buffered:
                if not self._deliver_buffered():
                    return
            else:
                if not self._deliver_bytes(receiver.take_some(_READ_BYTES)):
                    return

    def _deliver_bytes(self, chunk: bytes) -> bool:
        protocol: Any = self._protocol
        try:
            protocol.data_received(chunk)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # noqa: BLE001
            self._fatal_error(exc, "Fatal error: protocol.data_received() call failed.")
            return False
        return True

    def _deliver_buffered(self) -> bool:
        protocol: Any = self._protocol
        receiver = self._conn.receiver
        try:
            buffer = protocol.get_buffer(min(receiver.inbox.size, _READ_BYTES))
            size = len(buffer)
            if not size:
                raise RuntimeError("get_buffer() returned an empty buffer")
            chunk = receiver.take_some(size)
            buffer[: len(chunk)] = chunk
            protocol.buffer_updated(len(chunk))
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # noqa: BLE001 - asyncio's contract: the handler hears of it
            self._fatal_error(exc, "Fatal error: protocol.buffer_updated() call failed.")
            return False
        return True

    def _deliver_eof(self) -> None:
        self._eof_delivered = True
        protocol: Any = self._protocol
        try:
            keep_open = protocol.eof_received()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # noqa: BLE001
            self._fatal_error(exc, "Fatal error: protocol.eof_received() call failed.")
            return
        if not keep_open:
            self.close()

    def _take_notices(self) -> None:
        conn = self._conn
        notices, conn.notices = conn.notices, []
        for notice in notices:
            if notice is Notice.FINISHED and self._closing:
                self._lose(None)
            elif notice is Notice.CLOSED:
                if conn.reason is None and conn.receiver.fin_received and not self._closing:
                    self._ended = True  # orderly: what was received is still to be read
                else:
                    self._lose(error_for(conn.reason) if conn.reason is not None else None)

    def _lose(self, exc: BaseException | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._loop.call_soon(self._call_connection_lost, exc)
        if self._delivery is not None:
            self._delivery.end(exc)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        protocol = self._protocol
        server, self._server = self._server, None
        self._conn.owner = None
        try:
            protocol.connection_lost(exc if exc is None or isinstance(exc, Exception) else None)
        finally:
            self._protocol = _NO_PROTOCOL
            if server is not None:
                server._detach(self)

    def _can_take(self, data: object) -> bool:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"data argument must be a bytes-like object, not {type(data).__name__!r}"
            )
        if self._eof_sent:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or not self._conn.can_send:
            if self._lost:
                if self._writes_after_loss >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                    logger.warning("write() after the connection was lost.")
                self._writes_after_loss += 1
            return False
        return True


_NO_PROTOCOL = asyncio.Protocol()
