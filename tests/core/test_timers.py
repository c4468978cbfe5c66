"""Timers: the table, keepalive (RFC 9293 §3.8.4), user timeout (RFC 5482), R2 (§3.8.3)."""

from __future__ import annotations

import math

import pytest

from rudp.config import Config
from rudp.core.states import State
from rudp.core.timers import NEVER, Timer, Timers
from rudp.errors import Reason
from rudp.sim.link import LinkConfig
from rudp.wire.segment import RST

from .pairs import watched_pair
from .reach import reach
from .script import Script

KEEP = Config(keepalive=60.0, keepalive_interval=10.0, keepalive_probes=3)


# -- the table -----------------------------------------------------------------------------


def test_deadlines() -> None:
    """Design, section 3: a deadline is moved by a store; the earliest one is known."""
    timers = Timers()
    assert timers.next_s == NEVER == math.inf
    timers.set(Timer.KEEPALIVE, 9.0)
    timers.set(Timer.RETRANSMIT, 5.0)
    assert (timers.next_s, timers[Timer.KEEPALIVE]) == (5.0, 9.0)
    timers.set(Timer.RETRANSMIT, 7.0)
    assert timers.next_s <= 7.0
    assert timers.expired(6.9) == []
    assert timers.next_s == 7.0
    assert timers.is_set(Timer.RETRANSMIT)
    assert not timers.is_set(Timer.PERSIST)


def test_expired_come_in_the_order_of_their_deadlines() -> None:
    """Design, section 5: a wake-up that is late handles everything, in order, once."""
    timers = Timers()
    timers.set(Timer.RETRANSMIT, 3.0)
    timers.set(Timer.LINGER, 1.0)
    timers.set(Timer.DELAYED_ACK, 2.0)
    timers.set(Timer.ORPHAN, 4.0)
    assert timers.expired(3.0) == [Timer.LINGER, Timer.DELAYED_ACK, Timer.RETRANSMIT]
    assert timers.expired(3.0) == []
    assert timers.next_s == 4.0


def test_stopping() -> None:
    """Design, section 3: a stopped timer never goes off."""
    timers = Timers()
    for timer in Timer:
        timers.set(timer, float(timer))
    timers.stop(Timer.PERSIST)
    assert Timer.PERSIST not in timers.expired(1.0)
    timers.stop_all()
    assert timers.next_s == NEVER
    assert timers.expired(99.0) == []


# -- keepalive -----------------------------------------------------------------------------


def test_no_keepalive_unless_asked_for() -> None:
    """RFC 9293 §3.8.4 (MUST-25): it is off by default."""
    Script().established().play("86400000 quiet\nstate ESTABLISHED")


def test_keepalive_probes_and_gives_up() -> None:
    """RFC 9293 §3.8.4 (MUST-26, 27): only after silence, only after several unanswered ones."""
    script = Script(KEEP).established()
    script.play("""
        60000  > A seq=0 ack=1
        70000  > A seq=0 ack=1
        80000  > A seq=0 ack=1
        90000  > RA seq=1 ack=1
        90000  state CLOSED
        90000  reason KEEPALIVE_TIMEOUT
        999999 quiet
    """)
    assert script.conn.stats.keepalive_probes == 3


def test_answered_keepalive_starts_over() -> None:
    """RFC 9293 §3.8.4 (MUST-29): a lost probe or answer means nothing by itself."""
    script = Script(KEEP).established()
    script.play("""
        60000   > A seq=0 ack=1
        70000   > A seq=0 ack=1
        70010   < A seq=1 ack=1
        130010  > A seq=0 ack=1
        130020  < A seq=1 ack=1
        190020  > A seq=0 ack=1
        200020  > A seq=0 ack=1
        210020  > A seq=0 ack=1
        220020  > RA seq=1 ack=1
    """)


def test_interval_longer_than_the_idle_time() -> None:
    """RFC 9293 §3.8.4: answered probes never add up to a failure, whatever the settings are."""
    script = Script(
        Config(keepalive=5.0, keepalive_interval=15.0, keepalive_probes=4)
    ).established()
    for _ in range(20):
        script.advance((script.endpoint.next_s - script.zero_s) * 1e3)
        while script.sent:
            assert not script.sent.popleft().segment.flags & 4, "the connection was given up"
            script.inject_line(["A", "seq=1", "ack=1"])
    script.play("state ESTABLISHED")


def test_traffic_postpones_keepalive() -> None:
    """RFC 9293 §3.8.4 (MUST-26): probes only where nothing was received for the interval."""
    script = Script(KEEP).established()
    script.play("""
        50000   < PA seq=1 ack=1 len=10
        50025   > A ack=11
        110000  > A seq=0 ack=11
        110001  < A seq=11 ack=1
        170001  > A seq=0 ack=11
    """)


def test_keepalive_leaves_unacknowledged_data_to_retransmission() -> None:
    """RFC 9293 §3.8.4 and §3.8.3: data that is out watches over the connection already."""
    script = Script(KEEP.replace(retransmit_timeout=300.0)).established()
    script.play("59000 send 10\n> PA seq=1 len=10")
    for wait_ms in (200, 600, 1400, 3000, 6200, 12_600, 25_400, 51_000, 102_200):
        script.play(f"{59_000 + wait_ms} > PA seq=1 len=10")
    script.play("161300 < A seq=1 ack=11\nstate ESTABLISHED")
    assert script.conn.stats.keepalive_probes == 0


@pytest.mark.parametrize("state", [State.CLOSE_WAIT, State.FIN_WAIT_2])
def test_keepalive_of_half_closed_connections(state: State) -> None:
    """RFC 9293 §3.8.4: a peer that dies is noticed in the half-closed states as well."""
    script = reach(state, KEEP)
    script.advance(89_999)
    assert script.conn.state is state
    assert len(script.sent) == 3
    script.advance(90_100)
    assert script.conn.state is State.CLOSED


def test_both_sides_keep_alive() -> None:
    """RFC 9293 §3.8.4: two real cores, hours of silence, one of them cut off in the end."""
    pair = watched_pair(1, LinkConfig(delay_s=0.01), config=KEEP)
    left, right = pair.connect()
    pair.run(7200.0)
    assert left.state is right.state is State.ESTABLISHED
    assert left.stats.keepalive_probes > 50
    pair.links["a"].up = pair.links["b"].up = False
    pair.run(200.0)
    assert not pair.a.endpoint.connections
    assert not pair.b.endpoint.connections


# -- giving up -----------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [100.0, 120.0, 1000.0])
def test_data_is_given_up_after_r2(timeout: float) -> None:
    """RFC 9293 §3.8.3 (MUST-20): then the peer is told, and the application."""
    script = Script(Config(retransmit_timeout=timeout)).established()
    script.play("0 send 10\n> PA seq=1 len=10")
    script.advance(timeout * 1e3 - 1)
    assert script.conn.state is State.ESTABLISHED
    script.sent.clear()
    script.play(f"{timeout * 1e3} > RA seq=11\nreason RETRANSMISSION_TIMEOUT\nnotice CLOSED")


def test_progress_moves_r2() -> None:
    """RFC 9293 §3.8.3: R2 counts from the last acknowledgement of something new."""
    script = Script().established()
    script.play("0 send 2000\n> A seq=1 len=1000\n> PA seq=1001 len=1000")
    script.advance(110_000)
    script.sent.clear()
    script.play("110000 < A seq=1 ack=1001\n> PA seq=1001 len=1000")
    script.advance(229_999)
    assert script.conn.state is State.ESTABLISHED
    script.advance(600_000)  # the RTO has grown: six tries take longer than R2
    assert script.conn.reason is Reason.RETRANSMISSION_TIMEOUT


def test_duplicates_do_not_move_r2() -> None:
    """RFC 9293 §3.8.3: a peer that repeats itself acknowledges nothing."""
    script = Script().established()
    script.play("0 send 10\n> PA seq=1 len=10")
    for at_s in range(1, 120):
        script.advance(at_s * 1e3)
        script.inject_line(["A", "seq=1", "ack=1"])
    script.sent.clear()
    script.play("120000 > RA seq=11")


def test_idle_time_is_no_timeout() -> None:
    """RFC 9293 §3.8.3: R2 begins with data that is sent, not with the last news."""
    script = Script().established()
    script.play("0 send 1\n> PA seq=1 len=1\n10 < A seq=1 ack=2\n3600000 send 1\n> PA seq=2 len=1")
    script.advance(3_719_999)
    assert script.endpoint.connections
    script.advance(3_720_100)
    assert not script.endpoint.connections


@pytest.mark.parametrize("line", ["A seq=1 ack=1 win=100", "A seq=1 ack=1 win=100 len=2000"])
@pytest.mark.parametrize("passive", [False, True])
def test_window_update_on_an_idle_connection_starts_no_clock(passive: bool, line: str) -> None:
    """RFC 9293 §3.8.3: R2 is for what is unacknowledged; a connection may be idle for days."""
    script = Script().established(passive=passive)
    script.inject_line(line.split())
    script.advance(86_400_000)
    assert script.conn.state is State.ESTABLISHED


def test_user_timeout() -> None:
    """RFC 5482 §2: the user's say on how long data may stay unacknowledged."""
    script = Script(Config(user_timeout=3.0)).established()
    script.play("""
        0     send 10
        0     > PA seq=1 len=10
        200   > PA seq=1 len=10
        600   > PA seq=1 len=10
        1400  > PA seq=1 len=10
        3000  > RA seq=11
        3000  reason USER_TIMEOUT
    """)


def test_user_timeout_of_data_written_before_the_connection_is_established() -> None:
    """RFC 5482 §2: it waits with the patience of data, not with that of the handshake."""
    script = Script(Config(user_timeout=1.0, connect_timeout=30.0))
    script.play("""
        0     connect
        0     > S seq=0
        0     send 10
        10    < SA seq=0 ack=1 win=65535 mss=1000 ws=0 sackok=1
        10    > PA seq=1 len=10
        210   > PA seq=1 len=10
        610   > PA seq=1 len=10
        1010  > RA seq=11
        1010  reason USER_TIMEOUT
    """)


def test_user_timeout_of_a_closed_connection() -> None:
    """RFC 5482 §2: a FIN counts as well."""
    script = Script(Config(user_timeout=1.0)).established()
    script.play("0 close\n> FA seq=1\n200 > FA seq=1\n600 > FA seq=1\n1000 > RA seq=2")
    script.play("reason USER_TIMEOUT")


def test_late_wake_up() -> None:
    """Design, section 5: a loop that stalled for a minute handles what is due, once each."""
    script = Script().established()
    script.play("0 < A seq=1 ack=1 len=10\n5 send 10\n> PA seq=1 ack=11 len=10")
    script.play("6 < A seq=11 ack=1 len=10")
    script.now_s += 60.0
    for conn in script.endpoint.due(script.now_s):
        script.flush(conn)
    assert [(len(s.segment.payload), s.segment.ack - script.peer_iss) for s in script.sent] == [
        (10, 21)
    ]
    assert script.conn.stats.timeouts == 1
    assert script.endpoint.next_s > script.now_s


def test_nothing_is_judged_before_the_socket_is_drained() -> None:
    """Design, section 5: after a stall ACKs that are overdue leave, losses wait for the news."""
    script = Script().established()
    script.play("0 send 10\n> PA seq=1 len=10\n1 < A seq=1 ack=1 len=10")
    script.now_s += 5.0
    for conn in script.endpoint.due(script.now_s, acks_only=True):
        script.flush(conn)
    assert [sent.segment.payload for sent in script.sent] == [b""]
    script.sent.clear()
    assert script.conn.stats.timeouts == 0
    assert script.endpoint.next_s <= script.now_s
    script.inject_line(["A", "seq=11", "ack=11"])
    assert script.endpoint.due(script.now_s)
    script.flush(script.conn)
    assert not script.sent
    assert script.conn.stats.timeouts == 0


@pytest.mark.parametrize("state", [State.SYN_SENT, State.SYN_RECEIVED, State.ESTABLISHED])
def test_suspended_laptop(state: State) -> None:
    """Design, section 5: an hour in which nothing ran is no hour of unanswered segments.

    The loop wakes with everything due at once. What is out is sent again; the peer gets a chance
    to answer before anything is given up.
    """
    script = reach(state)
    if state is State.ESTABLISHED:
        script.play("0 send 10\n> PA seq=1 len=10")
    script.now_s += 3600.0
    for conn in script.endpoint.due(script.now_s):
        script.flush(conn)
    assert script.conn.state is state
    assert len(script.sent) == 1
    script.sent.clear()
    answers = {
        State.SYN_SENT: "SA seq=0 ack=1 mss=1000",
        State.SYN_RECEIVED: "A seq=1 ack=1",
        State.ESTABLISHED: "A seq=1 ack=11",
    }
    script.advance(script.now_ms + 10)
    script.inject_line(answers[state].split())
    assert script.conn.state is State.ESTABLISHED
    assert script.conn.sender.outstanding == 0


def test_silence_after_a_suspension_is_given_up_all_the_same() -> None:
    """RFC 9293 §3.8.3 (MUST-20): the grace after a late wake-up ends."""
    script = Script().established()
    script.play("0 send 10\n> PA seq=1 len=10")
    script.now_s += 3600.0
    script.advance(script.now_ms + 300_000)
    assert script.conn.state is State.CLOSED


def test_few_retransmissions_are_not_given_up() -> None:
    """RFC 9293 §3.8.3 (R2): on a path whose RTO is 35 s, 120 s hold only two retransmissions."""
    config = Config(min_rto=35.0)
    script = Script(config).established()
    script.play("0 send 10\n> PA seq=1 len=10")
    tries = 1
    at_ms = 0.0
    while script.conn.state is State.ESTABLISHED:
        at_ms += 1000.0
        script.advance(at_ms)
        tries += sum(not one.segment.flags & RST for one in script.sent)
        script.sent.clear()
    assert tries == 1 + 6
    assert script.conn.reason is Reason.RETRANSMISSION_TIMEOUT
