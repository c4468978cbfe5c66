"""The connection state diagram of RFC 9293 §3.3.2 (figure 5) as a table."""

from __future__ import annotations

import enum

from rudp.errors import LocalProtocolError


class State(enum.IntEnum):
    """States of RFC 9293 §3.3.2. LISTEN belongs to the endpoint: a listener has no connection."""

    CLOSED = 0
    SYN_SENT = 1
    SYN_RECEIVED = 2
    ESTABLISHED = 3
    FIN_WAIT_1 = 4
    FIN_WAIT_2 = 5
    CLOSE_WAIT = 6
    CLOSING = 7
    LAST_ACK = 8
    TIME_WAIT = 9


class Event(enum.Enum):
    """What moves a connection from one state to another."""

    ACTIVE_OPEN = "open() was called; a SYN is sent"
    PASSIVE_OPEN = "a SYN reached a listener; a SYN-ACK is sent"
    RECEIVE_SYN = "a SYN crossed ours: simultaneous open"
    RECEIVE_SYN_ACK = "our SYN was answered and acknowledged"
    SYN_ACKED = "our SYN was acknowledged"
    SEND_FIN = "the application ended its direction; a FIN is due"
    FIN_ACKED = "our FIN was acknowledged"
    RECEIVE_FIN = "the peer's FIN, and all data before it, arrived"
    TIME_WAIT_OVER = "2 MSL have passed, or the record of them has moved to the endpoint"
    ABORT = "a reset was sent or received, or the connection was given up"


_S, _E = State, Event
TRANSITIONS: dict[tuple[State, Event], State] = {
    (_S.CLOSED, _E.ACTIVE_OPEN): _S.SYN_SENT,
    (_S.CLOSED, _E.PASSIVE_OPEN): _S.SYN_RECEIVED,
    (_S.SYN_SENT, _E.RECEIVE_SYN): _S.SYN_RECEIVED,
    (_S.SYN_SENT, _E.RECEIVE_SYN_ACK): _S.ESTABLISHED,
    (_S.SYN_RECEIVED, _E.SYN_ACKED): _S.ESTABLISHED,
    (_S.SYN_RECEIVED, _E.SEND_FIN): _S.FIN_WAIT_1,
    (_S.ESTABLISHED, _E.SEND_FIN): _S.FIN_WAIT_1,
    (_S.ESTABLISHED, _E.RECEIVE_FIN): _S.CLOSE_WAIT,
    (_S.FIN_WAIT_1, _E.FIN_ACKED): _S.FIN_WAIT_2,
    (_S.FIN_WAIT_1, _E.RECEIVE_FIN): _S.CLOSING,
    (_S.FIN_WAIT_2, _E.RECEIVE_FIN): _S.TIME_WAIT,
    (_S.CLOSE_WAIT, _E.SEND_FIN): _S.LAST_ACK,
    (_S.CLOSING, _E.FIN_ACKED): _S.TIME_WAIT,
    (_S.LAST_ACK, _E.FIN_ACKED): _S.CLOSED,
    (_S.TIME_WAIT, _E.TIME_WAIT_OVER): _S.CLOSED,
    **{(state, _E.ABORT): _S.CLOSED for state in State if state is not State.CLOSED},
}

SYNCHRONIZED = frozenset(state for state in State if state >= State.ESTABLISHED)
"""Both sequence spaces are known (RFC 9293 §3.5.3)."""

CAN_SEND = frozenset((_S.SYN_SENT, _S.SYN_RECEIVED, _S.ESTABLISHED, _S.CLOSE_WAIT))
"""New data from the application is accepted, before ESTABLISHED to be sent then (§3.10.2)."""

CAN_RECEIVE = frozenset((_S.ESTABLISHED, _S.FIN_WAIT_1, _S.FIN_WAIT_2))
"""The peer's data is taken (RFC 9293 §3.10.7.4, seventh)."""


def next_state(state: State, event: Event) -> State:
    """The state that `event` leads to. Raises `LocalProtocolError` where there is no such arrow."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise LocalProtocolError(f"{event.name} is not possible in {state.name}") from None
