"""TLS over connections: asyncio's own implementation of it, with asyncio's own arguments.

What is encrypted is the byte stream, as TCP's would be: whoever sees the datagrams can neither
read nor change what is in the stream, but sees the protocol's headers, and can reset the
connection if it can forge them (as with TCP).

A stream ends with TLS's own end, close_notify (RFC 8446 §6.1), which `close()` sends. If the peer's
FIN comes without one, the reader gets `ssl.SSLEOFError` instead of an EOF: the rest may have been
cut off. (asyncio over kernel TCP takes this for an EOF.) As everywhere in OpenSSL 3, the option
`ssl.OP_IGNORE_UNEXPECTED_EOF` of the context turns that off. There is no half-close in TLS as
asyncio has it: `can_write_eof()` is False, and an EOF from the peer closes the connection.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from asyncio import sslproto
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from rudp.errors import ConnectionAborted, ConnectionReset, ConnectionTimedOut, Reason

ProtocolFactory = Callable[[], asyncio.BaseProtocol]
Connected = tuple[asyncio.Transport, asyncio.BaseProtocol]

_IGNORE_EOF: int | None = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", None)
"""None before OpenSSL 3, which let it pass always."""

_SSLState = sslproto.SSLProtocolState
_AppState = sslproto.AppProtocolState


class TlsProtocol(sslproto.SSLProtocol):
    """asyncio's TLS, between a connection's transport and the program's protocol.

    It notices a stream that was cut off, and its errors carry a `reason`.
    """

    if TYPE_CHECKING:
        # Of the base class, which has no other way in; typeshed leaves some out.
        _transport: Any
        _app_transport: Any
        _incoming: ssl.MemoryBIO
        _outgoing: ssl.MemoryBIO
        _state: Any
        _app_state: Any

        def _set_state(self, new_state: sslproto.SSLProtocolState) -> None: ...
        def _fatal_error(self, exc: BaseException, message: str = "") -> None: ...

    _cut_off = False

    @property
    def app_transport(self) -> asyncio.Transport:
        """What the program's protocol talks to; until the connection is lost."""
        transport: asyncio.Transport = self._app_transport
        return transport

    def close(self) -> None:
        """End TLS, then the connection."""
        if self._app_transport is not None:
            self._app_transport.close()

    def take(self, encrypted: bytes | bytearray) -> None:
        """Take bytes that were received before this protocol was there; before the handshake."""
        self._incoming.write(encrypted)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is over."""
        if exc is None and self._waiter is not None:
            exc = ConnectionAborted(Reason.ABORTED)  # or the handshake would pass for done
        if self._app_state is _AppState.STATE_CON_MADE:
            # The base class tells nobody of an end during the handshake: after `start_tls()` the
            # program's protocol has to know.
            self._set_state(_SSLState.UNWRAPPED)
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """The peer's FIN."""
        required = _IGNORE_EOF is not None and not self._sslcontext.options & _IGNORE_EOF
        self._cut_off = required and self._state is _SSLState.WRAPPED
        return super().eof_received()

    def _do_shutdown(self) -> None:
        # By now all that came before the FIN has been read: a close_notify would have shown.
        if self._cut_off and self._app_state is _AppState.STATE_CON_MADE:
            self._set_state(_SSLState.UNWRAPPED)  # what was scheduled finds nothing left to do
            text = "the peer ended the connection without ending TLS: the stream may be cut off"
            self._on_shutdown_complete(ssl.SSLEOFError(ssl.SSL_ERROR_EOF, text))
        else:
            super()._do_shutdown()  # type: ignore[misc] # left out by typeshed

    def _on_shutdown_complete(self, shutdown_exc: BaseException | None) -> None:
        # The base class keeps the last records back from a transport that has paused it, and
        # closes that all the same: the answer to the peer's close_notify would be lost.
        if shutdown_exc is None and self._outgoing.pending:
            self._transport.write(self._outgoing.read())
        super()._on_shutdown_complete(shutdown_exc)  # type: ignore[misc] # left out by typeshed

    def _on_handshake_complete(self, handshake_exc: Any) -> None:
        if handshake_exc is ConnectionResetError:
            handshake_exc = ConnectionReset(Reason.TLS_HANDSHAKE_EOF)
        super()._on_handshake_complete(handshake_exc)

    def _check_handshake_timeout(self) -> None:
        if self._state is _SSLState.DO_HANDSHAKE:
            self._fatal_error(ConnectionAborted(Reason.TLS_HANDSHAKE_TIMEOUT))

    def _check_shutdown_timeout(self) -> None:
        if self._state in (_SSLState.FLUSHING, _SSLState.SHUTDOWN):
            self._transport._force_close(ConnectionTimedOut(Reason.TLS_SHUTDOWN_TIMEOUT))


@dataclass(frozen=True, slots=True)
class Tls:
    """How connections are to be secured: asyncio's TLS arguments, checked.

    `context` is None for a client's default context.
    """

    context: ssl.SSLContext | None
    server_side: bool
    server_hostname: str | None
    handshake_timeout_s: float | None
    shutdown_timeout_s: float | None

    def __post_init__(self) -> None:
        for name in ("handshake_timeout", "shutdown_timeout"):
            timeout_s = getattr(self, f"{name}_s")
            if timeout_s is None:
                continue
            if not isinstance(timeout_s, (int, float)):
                raise TypeError(f"ssl_{name} must be a number of seconds, not {timeout_s!r}")
            if not timeout_s > 0:
                raise ValueError(f"ssl_{name} should be a positive number, got {timeout_s}")

    def protocol(
        self,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        call_connection_made: bool = True,
    ) -> TlsProtocol:
        """A protocol that puts TLS under `protocol`; `waiter` hears of the handshake's end."""
        return TlsProtocol(
            asyncio.get_running_loop(),
            protocol,
            self.context,  # type: ignore[arg-type] # None is fine, which typeshed does not know
            waiter,  # type: ignore[arg-type] # here, too
            self.server_side,
            self.server_hostname,
            call_connection_made=call_connection_made,
            ssl_handshake_timeout=self.handshake_timeout_s,  # type: ignore[arg-type] # and here
            ssl_shutdown_timeout=self.shutdown_timeout_s,
        )

    def over(self, protocol_factory: ProtocolFactory) -> ProtocolFactory:
        """A factory that puts TLS under the protocols of `protocol_factory`."""
        return lambda: self.protocol(protocol_factory())

    async def connect(
        self,
        dial: Callable[[ProtocolFactory], Awaitable[object]],
        protocol_factory: ProtocolFactory,
    ) -> Connected:
        """Dial, and wait for the end of the handshake.

        Raises what `dial` raises, `ssl.SSLError`, and `OSError` for a connection that ends
        meanwhile. Cancellation leaves nothing open.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        made: list[Connected] = []
        try:
            await dial(functools.partial(self._make, protocol_factory, waiter, made))
            await waiter
        except BaseException:
            for transport, _ in made:
                transport.close()
            raise
        finally:
            del waiter  # the traceback of its exception leads back here
        return made[0]

    def _make(
        self,
        protocol_factory: ProtocolFactory,
        waiter: asyncio.Future[None],
        made: list[Connected],
    ) -> TlsProtocol:
        protocol = protocol_factory()
        secured = self.protocol(protocol, waiter)
        # Kept there: it forgets both when the connection is lost, which may be at once.
        made.append((secured.app_transport, protocol))
        return secured


def for_client(
    ssl_argument: ssl.SSLContext | bool | None,
    host: str | None,
    server_hostname: str | None,
    ssl_handshake_timeout: float | None,
    ssl_shutdown_timeout: float | None,
) -> Tls | None:
    """What a client's TLS arguments ask for; None for no TLS.

    Raises `ValueError` and `TypeError` as `loop.create_connection()` does.
    """
    if not ssl_argument:
        _check_unused(server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
        return None
    if server_hostname is None:
        if not host:
            raise ValueError("You must set server_hostname when using ssl without a host")
        server_hostname = host
    context = None if isinstance(ssl_argument, bool) else ssl_argument
    if context is not None and not isinstance(context, ssl.SSLContext):
        raise TypeError(f"ssl argument must be an SSLContext, a bool or None, not {context!r}")
    return Tls(context, False, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)


def for_server(
    ssl_argument: ssl.SSLContext | None,
    ssl_handshake_timeout: float | None,
    ssl_shutdown_timeout: float | None,
) -> Tls | None:
    """What a server's TLS arguments ask for; None for no TLS.

    Raises `ValueError` and `TypeError` as `loop.create_server()` does.
    """
    if ssl_argument is None:
        _check_unused(None, ssl_handshake_timeout, ssl_shutdown_timeout)
        return None
    if not isinstance(ssl_argument, ssl.SSLContext):
        raise TypeError(f"ssl argument must be an SSLContext or None, not {ssl_argument!r}")
    return Tls(ssl_argument, True, None, ssl_handshake_timeout, ssl_shutdown_timeout)


def check_no_ssl_socket(sock: socket.socket | None) -> None:
    """Raise `TypeError` for a socket that has TLS already."""
    if isinstance(sock, ssl.SSLSocket):
        raise TypeError("Socket cannot be of type SSLSocket")


def _check_unused(server_hostname: str | None, *timeouts_s: float | None) -> None:
    """Raise `ValueError` for arguments that mean nothing without TLS."""
    names = ("server_hostname", "ssl_handshake_timeout", "ssl_shutdown_timeout")
    for name, value in zip(names, (server_hostname, *timeouts_s), strict=True):
        if value is not None:
            raise ValueError(f"{name} is only meaningful with ssl")


async def start_tls(
    transport: asyncio.BaseTransport,
    protocol: asyncio.BaseProtocol,
    sslcontext: ssl.SSLContext,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
) -> asyncio.Transport:
    """Put TLS under `protocol` in mid-stream; `loop.start_tls()` that works on every loop.

    For a writer of rudp there is `writer.start_tls()`. On stock asyncio `loop.start_tls()` works
    with rudp's transports, too; uvloop's takes none but its own.

    Args:
        transport: What `rudp.create_connection()` returned, or a protocol got.
        protocol: Its protocol; it is to use what is returned from now on.
        sslcontext: The context.
        server_side: Whether this side is TLS's server.
        server_hostname: The name that the server's certificate must have; "" for any.
        ssl_handshake_timeout: Seconds; 60 by default.
        ssl_shutdown_timeout: Seconds that `close()` waits for the peer to end TLS, too; 30 by
            default.

    Returns:
        The transport to write to. `connection_made()` is not called.

    Raises:
        TypeError: `sslcontext` is no context, or `transport` cannot be upgraded.
        ValueError: A time-out is not positive.
        ssl.SSLError: The handshake failed.
        OSError: The connection ended meanwhile, or the handshake took too long.

    Cancellation closes the connection.
    """
    if not isinstance(sslcontext, ssl.SSLContext):
        raise TypeError(
            f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}"
        )
    if not getattr(transport, "_start_tls_compatible", False):
        raise TypeError(f"transport {transport!r} is not supported by start_tls()")
    tls = Tls(sslcontext, server_side, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
    return await _upgrade(tls, cast("asyncio.Transport", transport), protocol)


async def _upgrade(
    tls: Tls, transport: asyncio.Transport, protocol: asyncio.BaseProtocol
) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    secured = tls.protocol(protocol, waiter, call_connection_made=False)
    upgraded = secured.app_transport
    # Nothing may reach the new protocol before `connection_made()`.
    transport.pause_reading()
    transport.set_protocol(secured)
    _hand_over_unread(protocol, secured)
    calls = [
        loop.call_soon(secured.connection_made, transport),
        loop.call_soon(transport.resume_reading),
    ]
    try:
        await waiter
    except BaseException:
        transport.close()
        for call in calls:
            call.cancel()
        raise
    finally:
        del waiter  # the traceback of its exception leads back here
    return upgraded


def _hand_over_unread(protocol: asyncio.BaseProtocol, secured: TlsProtocol) -> None:
    """The peer may begin the handshake before we do: what a stream has of it belongs to TLS."""
    unread: bytearray | None = getattr(getattr(protocol, "_stream_reader", None), "_buffer", None)
    if unread:
        secured.take(unread)
        unread.clear()
