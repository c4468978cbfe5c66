"""The way into each state of the diagram, as a script."""

from __future__ import annotations

from rudp.config import Config
from rudp.core.states import State

from .script import Script, ScriptError

PATHS = {
    State.SYN_SENT: "0 connect\n> S seq=0",
    State.SYN_RECEIVED: "0 listen 10\n< S seq=0 win=65535 mss=1000 ws=0 sackok=1\n> SA seq=0 ack=1",
    State.ESTABLISHED: "",
    State.FIN_WAIT_1: "shutdown\n> FA seq=1 ack=1",
    State.FIN_WAIT_2: "shutdown\n> FA seq=1 ack=1\n< A seq=1 ack=2",
    State.CLOSE_WAIT: "< FA seq=1 ack=1\n> A seq=1 ack=2",
    State.CLOSING: "shutdown\n> FA seq=1 ack=1\n< FA seq=1 ack=1\n> A seq=2 ack=2",
    State.LAST_ACK: "< FA seq=1 ack=1\n> A seq=1 ack=2\nshutdown\n> FA seq=1 ack=2",
    State.TIME_WAIT: "shutdown\n> FA seq=1 ack=1\n< FA seq=1 ack=2\n> A seq=2 ack=2",
    State.CLOSED: "abort\n> RA seq=1",
}
"""How to get into each state; from ESTABLISHED on but for the first two."""


def reach(state: State, config: Config | None = None) -> Script:
    """A script whose connection is in `state` (TIME_WAIT: remembered by the endpoint)."""
    script = Script(config)
    if state not in (State.SYN_SENT, State.SYN_RECEIVED):
        script.established()
    script.play(PATHS[state])
    left = (State.CLOSED, State.TIME_WAIT)
    if script.conn.state is not state and state not in left:
        raise ScriptError(f"{script.conn.state.name} was reached instead of {state.name}")
    script.notices.clear()
    return script
