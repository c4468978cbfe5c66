"""The state diagram: RFC 9293 §3.3.2, figure 5, as a table and on the segments themselves."""

from __future__ import annotations

import itertools

import pytest

from rudp.core.states import CAN_RECEIVE, CAN_SEND, SYNCHRONIZED, TRANSITIONS, Event, State
from rudp.core.states import next_state as follow
from rudp.errors import LocalProtocolError

from .reach import reach
from .script import Script

S, E = State, Event
FIGURE_5: list[tuple[State, Event, State]] = [
    # CLOSED -> LISTEN -> SYN-RECEIVED is one arrow here: LISTEN belongs to the endpoint.
    (S.CLOSED, E.PASSIVE_OPEN, S.SYN_RECEIVED),
    (S.CLOSED, E.ACTIVE_OPEN, S.SYN_SENT),
    (S.SYN_SENT, E.RECEIVE_SYN, S.SYN_RECEIVED),
    (S.SYN_SENT, E.RECEIVE_SYN_ACK, S.ESTABLISHED),
    (S.SYN_RECEIVED, E.SYN_ACKED, S.ESTABLISHED),
    (S.SYN_RECEIVED, E.SEND_FIN, S.FIN_WAIT_1),
    (S.ESTABLISHED, E.SEND_FIN, S.FIN_WAIT_1),
    (S.ESTABLISHED, E.RECEIVE_FIN, S.CLOSE_WAIT),
    (S.FIN_WAIT_1, E.FIN_ACKED, S.FIN_WAIT_2),
    (S.FIN_WAIT_1, E.RECEIVE_FIN, S.CLOSING),
    (S.FIN_WAIT_2, E.RECEIVE_FIN, S.TIME_WAIT),
    (S.CLOSING, E.FIN_ACKED, S.TIME_WAIT),
    (S.CLOSE_WAIT, E.SEND_FIN, S.LAST_ACK),
    (S.LAST_ACK, E.FIN_ACKED, S.CLOSED),
    (S.TIME_WAIT, E.TIME_WAIT_OVER, S.CLOSED),
]
ABORTS: list[tuple[State, Event, State]] = [
    (state, E.ABORT, S.CLOSED) for state in State if state is not S.CLOSED
]
"""A reset, sent or received (note 3 of the figure), CLOSE in SYN-SENT, a connection given up."""


@pytest.mark.parametrize(("state", "event", "after"), FIGURE_5 + ABORTS)
def test_every_arrow(state: State, event: Event, after: State) -> None:
    """RFC 9293 §3.3.2: each arrow of the figure is in the table."""
    assert follow(state, event) is after


def test_no_other_arrow() -> None:
    """RFC 9293 §3.3.2: what the figure does not draw is an error of ours, and moves nothing."""
    arrows = {(state, event) for state, event, _ in FIGURE_5 + ABORTS}
    assert not set(TRANSITIONS) - arrows
    for state, event in itertools.product(State, Event):
        if (state, event) not in arrows:
            with pytest.raises(LocalProtocolError, match=f"{event.name}.*{state.name}"):
                follow(state, event)


def test_sets_of_states() -> None:
    """RFC 9293 §3.5.3 and §3.10.7.4: who is synchronized, who may send, who takes text."""
    assert {S.CLOSED, S.SYN_SENT, S.SYN_RECEIVED} == set(State) - SYNCHRONIZED
    assert {S.SYN_SENT, S.SYN_RECEIVED, S.ESTABLISHED, S.CLOSE_WAIT} == CAN_SEND
    assert {S.ESTABLISHED, S.FIN_WAIT_1, S.FIN_WAIT_2} == CAN_RECEIVE


@pytest.mark.parametrize("state", State)
def test_every_state_is_reached_on_the_wire(state: State) -> None:
    """RFC 9293 §3.3.2: the segments of the figure lead through its arrows."""
    script = reach(state)
    if state is State.TIME_WAIT:
        assert len(script.endpoint.time_wait) == 1
    else:
        assert script.conn.state is state


@pytest.mark.parametrize("state", State)
def test_calls_that_a_state_does_not_allow(state: State) -> None:
    """RFC 9293 §3.10.2: SEND is refused where no data can be sent, and changes nothing."""
    script = reach(state)
    before = script.conn.state
    assert script.conn.can_send is (state in CAN_SEND)
    if state in SYNCHRONIZED & CAN_SEND:
        script.play("send 10\n> PA seq=1 len=10")
    elif state in CAN_SEND:
        script.play("send 10\nquiet")
    else:
        with pytest.raises(LocalProtocolError, match="cannot send"):
            script.conn.send(b"late")
        script.play("quiet")
    assert script.conn.state is before


@pytest.mark.parametrize("state", [state for state in State if state not in CAN_SEND])
def test_closing_what_is_closing_is_harmless(state: State) -> None:
    """RFC 9293 §3.10.4: a second CLOSE of the sending direction sends no second FIN."""
    script = reach(state)
    before = script.conn.state
    script.play("shutdown\nquiet")
    assert script.conn.state is before


def test_fin_wait_1_to_time_wait_at_once() -> None:
    """RFC 9293 §3.3.2, note 2: a FIN that acknowledges ours leads straight to TIME-WAIT."""
    script = Script().established()
    script.play("""
        0   shutdown
        0   > FA seq=1 ack=1
        10  < FA seq=1 ack=2
        10  > A seq=2 ack=2
    """)
    assert len(script.endpoint.time_wait) == 1
    assert not script.endpoint.connections


@pytest.mark.parametrize("call", ["close", "shutdown"])
def test_close_in_syn_received_waits_for_the_ack(call: str) -> None:
    """RFC 9293 §3.10.4: queued until our SYN is acknowledged; then what was written, and a FIN."""
    script = reach(State.SYN_RECEIVED)
    script.play(f"""
        10  send 1500
        20  {call}
        20  quiet
        20  state SYN_RECEIVED
        30  < A seq=1 ack=1
        30  > A seq=1 ack=1 len=1000
        30  > FPA seq=1001 ack=1 len=500
        30  state FIN_WAIT_1
        40  < A seq=1 ack=1502
        40  state FIN_WAIT_2
        50  < FA seq=1 ack=1502
        50  > A seq=1502 ack=2
        50  reason none
    """)
    assert len(script.endpoint.time_wait) == 1


def test_data_written_while_opening_follows_the_handshake() -> None:
    """RFC 9293 §3.10.2: queued in SYN-SENT, sent with what completes the handshake."""
    script = reach(State.SYN_SENT)
    script.play("""
        5   send 1200
        5   quiet
        10  < SA seq=0 ack=1 win=65535 mss=1000 ws=0
        10  > A seq=1 ack=1 len=1000
        10  > PA seq=1001 ack=1 len=200
        20  < A seq=1 ack=1201
        999 quiet
    """)
