"""rudp.errors: the built-in exceptions that a socket would raise, with the reason."""

from __future__ import annotations

import asyncio
import copy
import errno
import pickle

import pytest

from rudp.errors import (
    ConnectionAborted,
    ConnectionRefused,
    ConnectionReset,
    ConnectionTimedOut,
    LocalProtocolError,
    Reason,
    error_for,
)

# Reason, our class, the built-in one that kernel TCP raises, errno.
TABLE: list[tuple[Reason, type[OSError], type[OSError], int]] = [
    (Reason.REFUSED, ConnectionRefused, ConnectionRefusedError, errno.ECONNREFUSED),
    (Reason.UNREACHABLE, ConnectionRefused, ConnectionRefusedError, errno.ECONNREFUSED),
    (Reason.CONNECT_TIMEOUT, ConnectionTimedOut, TimeoutError, errno.ETIMEDOUT),
    (Reason.RESET_BY_PEER, ConnectionReset, ConnectionResetError, errno.ECONNRESET),
    (Reason.UNKNOWN_TO_PEER, ConnectionReset, ConnectionResetError, errno.ECONNRESET),
    (Reason.DATA_AFTER_CLOSE, ConnectionReset, ConnectionResetError, errno.ECONNRESET),
    (Reason.RETRANSMISSION_TIMEOUT, ConnectionTimedOut, TimeoutError, errno.ETIMEDOUT),
    (Reason.USER_TIMEOUT, ConnectionTimedOut, TimeoutError, errno.ETIMEDOUT),
    (Reason.KEEPALIVE_TIMEOUT, ConnectionTimedOut, TimeoutError, errno.ETIMEDOUT),
    (Reason.ENDPOINT_CLOSED, ConnectionAborted, ConnectionAbortedError, errno.ECONNABORTED),
    (Reason.ABORTED, ConnectionAborted, ConnectionAbortedError, errno.ECONNABORTED),
    (Reason.CLOSED, ConnectionReset, ConnectionResetError, errno.ECONNRESET),
    (Reason.TLS_HANDSHAKE_TIMEOUT, ConnectionAborted, ConnectionAbortedError, errno.ECONNABORTED),
    (Reason.TLS_HANDSHAKE_EOF, ConnectionReset, ConnectionResetError, errno.ECONNRESET),
    (Reason.TLS_SHUTDOWN_TIMEOUT, ConnectionTimedOut, TimeoutError, errno.ETIMEDOUT),
]
CLASSES = sorted({ours for _, ours, _, _ in TABLE}, key=lambda cls: cls.__name__)


def test_every_reason_has_its_row() -> None:
    assert [reason for reason, *_ in TABLE] == list(Reason)


@pytest.mark.parametrize(("reason", "ours", "builtin", "number"), TABLE)
def test_reasons(reason: Reason, ours: type[OSError], builtin: type[OSError], number: int) -> None:
    """RFC 9293 §3.9.1 reports in words; a socket reports in exceptions, and so does this."""
    error = error_for(reason)
    assert type(error) is ours
    assert isinstance(error, builtin)
    assert isinstance(error, OSError)
    assert error.errno == number
    assert error.strerror == reason.value
    assert reason.value in str(error)
    assert error.reason is reason  # type: ignore[attr-defined]


@pytest.mark.parametrize(("reason", "ours", "builtin", "number"), TABLE)
def test_except_clauses_written_for_tcp_go_on_catching(
    reason: Reason, ours: type[OSError], builtin: type[OSError], number: int
) -> None:
    with pytest.raises(builtin):
        raise error_for(reason)
    if builtin is TimeoutError:
        assert issubclass(ours, asyncio.TimeoutError)
    else:
        assert issubclass(ours, ConnectionError)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_reason_of_its_own_by_default(cls: type[OSError]) -> None:
    error = cls()
    assert type(error_for(error.reason)) is cls  # type: ignore[attr-defined]


@pytest.mark.parametrize("reason", Reason)
def test_errors_survive_pickling_and_copying(reason: Reason) -> None:
    """A worker process hands its exception to the parent; a framework copies one to raise it
    again: built-in exceptions allow both."""
    error = error_for(reason)
    for twin in (
        pickle.loads(pickle.dumps(error)),  # noqa: S301 - our own bytes
        copy.copy(error),
        copy.deepcopy(error),
    ):
        assert type(twin) is type(error)
        assert twin.reason is reason
        assert (twin.errno, twin.strerror) == (error.errno, error.strerror)


def test_notes_and_causes_can_be_attached() -> None:
    error = error_for(Reason.USER_TIMEOUT)
    error.add_note("while sending the file")
    error.__cause__ = OSError(errno.ENETUNREACH, "unreachable")
    assert error.__notes__ == ["while sending the file"]


def test_a_call_out_of_turn_is_our_own_fault() -> None:
    """As h11 has it: LocalProtocolError is a programming error, not an error of the network."""
    assert issubclass(LocalProtocolError, RuntimeError)
    assert not issubclass(LocalProtocolError, OSError)


def test_reasons_read_as_sentences() -> None:
    texts = [reason.value for reason in Reason]
    assert len(set(texts)) == len(texts)
    assert all(text and text[0].islower() and not text.endswith(".") for text in texts)
