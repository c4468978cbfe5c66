"""The errors that users see: the built-in ones a socket would raise, with the reason attached.

Every class here derives from the built-in exception that kernel TCP would have raised, so that
`except ConnectionResetError` keeps working after the import was changed, and carries a `reason`
for programs that want to tell the cases apart.
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
}


def error_for(reason: Reason) -> OSError:
    """The exception that reports `reason` to the application."""
    return _CLASSES[reason](reason)
