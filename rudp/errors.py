"""The errors that users see: the built-in ones a socket would raise, with the reason attached.

Every class here derives from the built-in exception that kernel TCP would have raised, so that
`except ConnectionResetError` keeps working after the import was changed, and carries a `reason`
for programs that want to tell the cases apart.

Who gets which:

| class | built-in | reasons |
|---|---|---|
| `ConnectionRefused` | `ConnectionRefusedError` | REFUSED, UNREACHABLE |
| `ConnectionTimedOut` | `TimeoutError` | CONNECT_TIMEOUT, RETRANSMISSION_TIMEOUT, USER_TIMEOUT, |
| | | KEEPALIVE_TIMEOUT, TLS_SHUTDOWN_TIMEOUT |
| `ConnectionReset` | `ConnectionResetError` | RESET_BY_PEER, UNKNOWN_TO_PEER, DATA_AFTER_CLOSE, |
| | | CLOSED, TLS_HANDSHAKE_EOF |
| `ConnectionAborted` | `ConnectionAbortedError` | ENDPOINT_CLOSED, ABORTED, TLS_HANDSHAKE_TIMEOUT |

- The functions that open a connection raise REFUSED, UNREACHABLE, CONNECT_TIMEOUT and the reasons
  of the TLS handshake; ENDPOINT_CLOSED and RESET_BY_PEER where that happens meanwhile.
- `connection_lost()`, and with it the reader, `drain()`, `wait_closed()` and
  `rudp.acknowledged()`, get the reasons for which an established connection ends. It is None, no
  error, after `close()`, after `abort()`, and after both sides have closed.
- CLOSED is for `drain()` alone, after a connection has ended without an error. ABORTED is for
  `rudp.acknowledged()` alone, after `abort()` on this side.
- No exception carries DATA_AFTER_CLOSE: a connection was closed with input unread, or more came
  in, and its peer was reset after all that was written had arrived. Only the event of the end
  tells it.

TLS adds the errors of `ssl` as asyncio does: `ssl.SSLCertVerificationError`, `ssl.SSLError`, and
`ssl.SSLEOFError` for a stream that ends without TLS's own end (`rudp.aio.tls`). What a protocol's
callback raised goes to its `connection_lost()` as it is.
"""

from __future__ import annotations

import enum
import errno
from typing import Self


class Reason(enum.Enum):
    """Why a connection could not be opened or did not end in an orderly way."""

    REFUSED = "the peer has no listener there"
    UNREACHABLE = "the network reported the peer's port as unreachable"
    CONNECT_TIMEOUT = "the peer did not answer the SYN in time"
    RESET_BY_PEER = "the peer reset the connection"
    UNKNOWN_TO_PEER = "the peer no longer knows the connection"
    DATA_AFTER_CLOSE = "the peer sent data after close()"
    RETRANSMISSION_TIMEOUT = "sent data was not acknowledged in time"
    USER_TIMEOUT = "sent data was not acknowledged within the user timeout"
    KEEPALIVE_TIMEOUT = "the peer did not answer keepalive probes"
    ENDPOINT_CLOSED = "the local endpoint was closed"
    ABORTED = "the connection was aborted locally"
    CLOSED = "the connection is closed"
    TLS_HANDSHAKE_TIMEOUT = "the SSL handshake is taking longer than allowed"
    TLS_HANDSHAKE_EOF = "the peer ended the connection during the TLS handshake"
    TLS_SHUTDOWN_TIMEOUT = "the SSL shutdown timed out"


class ConnectionRefused(ConnectionRefusedError):
    """The opener was refused: a reset or an ICMP error answered its SYN (RFC 9293 §3.10.7.3)."""

    def __init__(self, reason: Reason = Reason.REFUSED) -> None:
        super().__init__(errno.ECONNREFUSED, reason.value)
        self.reason = reason

    def __reduce__(self) -> tuple[type[Self], tuple[Reason]]:
        return type(self), (self.reason,)


class ConnectionReset(ConnectionResetError):
    """An established connection was reset (RFC 9293 §3.5.2)."""

    def __init__(self, reason: Reason = Reason.RESET_BY_PEER) -> None:
        super().__init__(errno.ECONNRESET, reason.value)
        self.reason = reason

    def __reduce__(self) -> tuple[type[Self], tuple[Reason]]:
        return type(self), (self.reason,)


class ConnectionTimedOut(TimeoutError):
    """Nobody answered for too long: R2 (RFC 9293 §3.8.3), user timeout or keepalive."""

    def __init__(self, reason: Reason = Reason.RETRANSMISSION_TIMEOUT) -> None:
        super().__init__(errno.ETIMEDOUT, reason.value)
        self.reason = reason

    def __reduce__(self) -> tuple[type[Self], tuple[Reason]]:
        return type(self), (self.reason,)


class ConnectionAborted(ConnectionAbortedError):
    """The connection ended because of this side: its endpoint was closed or it was aborted."""

    def __init__(self, reason: Reason = Reason.ABORTED) -> None:
        super().__init__(errno.ECONNABORTED, reason.value)
        self.reason = reason

    def __reduce__(self) -> tuple[type[Self], tuple[Reason]]:
        return type(self), (self.reason,)


class LocalProtocolError(RuntimeError):
    """A call that the connection's state does not allow (as h11 has it: the fault is ours)."""


_CLASSES: dict[Reason, type[OSError]] = {
    Reason.REFUSED: ConnectionRefused,
    Reason.UNREACHABLE: ConnectionRefused,
    Reason.CONNECT_TIMEOUT: ConnectionTimedOut,
    Reason.RESET_BY_PEER: ConnectionReset,
    Reason.UNKNOWN_TO_PEER: ConnectionReset,
    Reason.DATA_AFTER_CLOSE: ConnectionReset,
    Reason.RETRANSMISSION_TIMEOUT: ConnectionTimedOut,
    Reason.USER_TIMEOUT: ConnectionTimedOut,
    Reason.KEEPALIVE_TIMEOUT: ConnectionTimedOut,
    Reason.ENDPOINT_CLOSED: ConnectionAborted,
    Reason.ABORTED: ConnectionAborted,
    Reason.CLOSED: ConnectionReset,
    Reason.TLS_HANDSHAKE_TIMEOUT: ConnectionAborted,
    Reason.TLS_HANDSHAKE_EOF: ConnectionReset,
    Reason.TLS_SHUTDOWN_TIMEOUT: ConnectionTimedOut,
}


def error_for(reason: Reason) -> OSError:
    """The exception that reports `reason` to the application."""
    return _CLASSES[reason](reason)
