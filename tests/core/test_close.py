"""Closing: RFC 9293 §3.6 and §3.10.7.4, eighth; RFC 1122 §4.2.2.13; RFC 2525 §2.17."""

from __future__ import annotations

import pytest

from rudp.config import Config
from rudp.core.connection import Notice
from rudp.core.states import State

from .reach import reach
from .script import Script


def test_active_close() -> None:
    """RFC 9293 §3.6, figure 12: four segments, then TIME-WAIT."""
    script = Script().established()
    script.play("""
        0   close
        0   > FA seq=1 ack=1
        0   state FIN_WAIT_1
        10  < A seq=1 ack=2
        10  state FIN_WAIT_2
        10  notice FINISHED
        20  < FA seq=1 ack=2
        20  > A seq=2 ack=2
        20  notice EOF CLOSED
        20  reason none
    """)
    assert len(script.endpoint.time_wait) == 1


def test_passive_close() -> None:
    """RFC 9293 §3.6, figure 12, the other side: CLOSE-WAIT, LAST-ACK, gone."""
    script = Script().established()
    script.play("""
        0   < FA seq=1 ack=1
        0   > A seq=1 ack=2
        0   notice EOF
        5   close
        5   > FA seq=1 ack=2
        5   state LAST_ACK
        15  < A seq=2 ack=2
        15  state CLOSED
        15  notice FINISHED CLOSED
        15  reason none
        999999 quiet
    """)
    assert not script.endpoint.connections
    assert not script.endpoint.time_wait


@pytest.mark.parametrize("call", ["close", "shutdown"])
def test_simultaneous_close(call: str) -> None:
    """RFC 9293 §3.6, figure 13: FINs cross, CLOSING, then TIME-WAIT."""
    script = Script().established()
    script.play(f"""
        0   {call}
        0   > FA seq=1 ack=1
        5   < FA seq=1 ack=1
        5   > A seq=2 ack=2
        5   state CLOSING
        10  < A seq=2 ack=2
        10  notice EOF FINISHED CLOSED
        10  reason none
    """)
    assert len(script.endpoint.time_wait) == 1


def test_fin_follows_all_data_and_rides_on_the_last() -> None:
    """RFC 9293 §3.6: CLOSE is "I have no more data to send", not "forget what I wrote"."""
    script = Script().established()
    script.play("""
        0   send 12500
        0   > A seq=1 len=1000 x10
        0   close
        10  < A seq=1 ack=8001
        10  > A seq=10001 len=1000 x2
        10  > FPA seq=12001 len=500
        20  < A seq=1 ack=12502
        20  state FIN_WAIT_2
    """)


def test_fin_is_repeated_with_backoff_and_given_up() -> None:
    """RFC 9293 §3.8.3 (MUST-20): a FIN is retransmitted like data, for R2."""
    script = Script().established()
    script.play("0 shutdown\n> FA seq=1 ack=1")
    for at_ms in (200, 600, 1400, 3000, 6200, 12_600, 25_400, 51_000, 102_200):
        script.play(f"{at_ms} > FA seq=1 ack=1")
    script.play("""
        119999 state FIN_WAIT_1
        120000 > RA seq=2 ack=1
        120000 state CLOSED
        120000 reason RETRANSMISSION_TIMEOUT
        999999 quiet
    """)


def test_lost_fin_with_data() -> None:
    """RFC 9293 §3.10.4: the retransmission carries the FIN again."""
    script = Script().established()
    script.play("""
        0    send 100
        0    > PA seq=1 len=100
        0    shutdown
        0    > FA seq=101
        10   < A seq=1 ack=101
        10   state FIN_WAIT_1
        210  > FA seq=101
        220  < A seq=1 ack=102
        220  state FIN_WAIT_2
    """)


def test_fin_that_has_not_left_is_not_retransmitted() -> None:
    """RFC 9293 §3.10.4: it waits for the window; what is sent again is the data alone."""
    script = Script().established(options="win=1000 mss=1000 ws=0")
    script.play("""
        0    send 1000
        0    > PA seq=1 len=1000
        0    shutdown
        200  > PA seq=1 len=1000
        210  < A seq=1 ack=1001 win=1000
        210  > FA seq=1001
    """)


def test_half_close_with_hours_of_data_from_the_peer() -> None:
    """RFC 9293 §3.6: our direction is closed, the other goes on for as long as it likes."""
    script = Script().established()
    script.play("0 shutdown\n> FA seq=1 ack=1\n10 < A seq=1 ack=2\nnotice FINISHED")
    for index in range(30):
        at_ms, seq = 600_000 * (index + 1), 1 + 2000 * index
        script.play(f"{at_ms} < A seq={seq} ack=2 len=2000\n+25 > A seq=2 ack={seq + 2000}")
    script.play("""
        18000100  received 60000
        18000100  state FIN_WAIT_2
        18000100  < FA seq=60001 ack=2
        18000100  > A seq=2 ack=60002
    """)
    assert len(script.endpoint.time_wait) == 1


def test_half_close_with_hours_of_data_to_the_peer() -> None:
    """RFC 9293 §3.6: the peer's direction is closed, ours goes on for as long as we like."""
    script = Script().established()
    script.play("0 < FA seq=1 ack=1\n> A seq=1 ack=2\nnotice EOF")
    for index in range(30):
        at_ms, seq = 600_000 * (index + 1), 1 + 500 * index
        script.play(
            f"{at_ms} send 500\n> PA seq={seq} ack=2 len=500\n+10 < A seq=2 ack={seq + 500}"
        )
    script.play("""
        18000100  state CLOSE_WAIT
        18000100  shutdown
        18000100  > FA seq=15001 ack=2
        18000110  < A seq=2 ack=15002
        18000110  state CLOSED
        18000110  reason none
    """)


# -- the peer's FIN and data around it -----------------------------------------------------


def test_fin_before_missing_data() -> None:
    """RFC 9293 §3.10.7.4, eighth: a FIN counts when all data before it is here."""
    script = Script().established()
    script.play("""
        0   < FPA seq=11 ack=1 len=10
        0   > A ack=1 sack=11-21
        0   state ESTABLISHED
        10  < A seq=1 ack=1 len=10
        10  > A ack=22
        10  state CLOSE_WAIT
        10  received 20
        10  notice EOF
    """)


def test_bare_fin_before_missing_data() -> None:
    """RFC 9293 §3.10.7.4: the same for a FIN that carries no data."""
    script = Script().established()
    script.play("""
        0   < FA seq=11 ack=1
        0   > A ack=1
        10  < A seq=1 ack=1 len=10
        10  > A ack=12
        10  notice EOF
    """)


def test_data_beyond_a_fin_is_refused() -> None:
    """RFC 9293 §3.10.7.4: the stream ends at the FIN, however early the rest comes."""
    script = Script().established()
    script.play("""
        0   < FA seq=11 ack=1
        0   > A ack=1
        5   < A seq=11 ack=1 len=10
        5   > A ack=1
        6   < A seq=5 ack=1 len=10          # up to the FIN only
        6   > A ack=1 sack=5-11
        7   < FA seq=8 ack=1                # nor may the FIN move
        7   > A ack=1 sack=5-11
        10  < A seq=1 ack=1 len=100
        10  > A ack=12
        10  received 10
        10  notice EOF
        20  < A seq=12 ack=1 len=10
        20  > A ack=12
        20  received 10
    """)


def test_fin_below_data_that_is_here_is_not_believed() -> None:
    """RFC 9293 §3.10.7.4: a FIN inside what the peer has sent beyond it is a forgery."""
    script = Script().established()
    script.play("""
        0   < A seq=11 ack=1 len=10
        0   > A ack=1 sack=11-21
        5   < FA seq=5 ack=1
        5   > A ack=1 sack=11-21
        10  < A seq=1 ack=1 len=10
        10  > A ack=21
        10  state ESTABLISHED
    """)


@pytest.mark.parametrize("state", [State.CLOSE_WAIT, State.LAST_ACK, State.CLOSING])
def test_repeated_fin_is_acknowledged_again(state: State) -> None:
    """RFC 9293 §3.10.7.4, eighth: the state remains."""
    script = reach(state)
    script.play(f"10 < FA seq=1 ack=1\n> A ack=2\nstate {state.name}\nquiet")


@pytest.mark.parametrize("state", [State.CLOSE_WAIT, State.LAST_ACK, State.CLOSING])
def test_text_after_a_fin_is_ignored(state: State) -> None:
    """RFC 9293 §3.10.7.4, seventh: it should not occur; acknowledge and ignore."""
    script = reach(state)
    script.play(f"10 < PA seq=2 ack=1 len=9\n> A ack=2\nstate {state.name}\nreceived 0")


@pytest.mark.parametrize("state", [State.FIN_WAIT_1, State.FIN_WAIT_2])
def test_text_after_our_fin_is_taken(state: State) -> None:
    """RFC 9293 §3.10.7.4, seventh: both FIN-WAITs receive."""
    script = reach(state)
    script.play("10 < PA seq=1 ack=1 len=9\n35 > A ack=10\nreceived 9")


# -- closing with something left -----------------------------------------------------------


def test_close_with_unread_input_resets() -> None:
    """RFC 2525 §2.17: the peer must not take the close for success."""
    script = Script().established()
    script.play("""
        0   pause
        0   < PA seq=1 ack=1 len=100
        10  close
        10  > RA seq=1 ack=101
        10  state CLOSED
        999999 quiet
    """)


def test_close_with_unread_input_still_delivers_what_was_written() -> None:
    """RFC 2525 §2.17 and RFC 1122 §4.2.2.13: the reset follows the written data."""
    script = Script().established()
    script.play("""
        0    pause
        0    < PA seq=1 ack=1 len=100
        10   send 1500
        10   > A seq=1 ack=101 len=1000
        10   > PA seq=1001 ack=101 len=500
        10   close
        20   < A seq=101 ack=1001
        20   state ESTABLISHED
        220  > PA seq=1001 len=500          # lost; and repeated, close or not
        230  < A seq=101 ack=1501
        230  > RA seq=1501 ack=101
        230  state CLOSED
    """)
    assert Notice.FINISHED in script.notices


def test_data_after_close_resets() -> None:
    """RFC 1122 §4.2.2.13: nobody will read it, and the sender shall know."""
    script = Script().established()
    script.play("""
        0   close
        0   > FA seq=1 ack=1
        10  < A seq=1 ack=2
        20  < PA seq=1 ack=2 len=5
        20  > RA seq=2 ack=1
        20  state CLOSED
    """)


def test_data_after_close_resets_only_when_ours_is_delivered() -> None:
    """RFC 1122 §4.2.2.13: nothing that was written is lost by close()."""
    script = Script().established()
    script.play("""
        0    send 10
        0    > PA seq=1 len=10
        0    close
        0    > FA seq=11
        10   < PA seq=1 ack=1 len=5
        10   state FIN_WAIT_1
        200  > FPA seq=1 len=10
        210  < A seq=6 ack=11
        210  > RA seq=12
        210  state CLOSED
    """)


def test_old_data_after_close_does_not_reset() -> None:
    """RFC 1122 §4.2.2.13: a repetition of what was read is no new data."""
    script = Script().established()
    script.play("""
        0   < PA seq=1 ack=1 len=5
        25  > A ack=6
        30  close
        30  > FA seq=1 ack=6
        40  < PA seq=1 ack=2 len=5
        40  > A seq=2 ack=6 sack=1-6
        40  state FIN_WAIT_1
    """)


def test_orphaned_fin_wait_2_times_out() -> None:
    """RFC 9293 §3.6: nobody waits for ever for a FIN that nobody would notice."""
    script = Script(Config(fin_wait_2_timeout=60.0)).established()
    script.play("""
        0      close
        0      > FA seq=1
        10     < A seq=1 ack=2
        60009  state FIN_WAIT_2
        60010  > RA seq=2 ack=1
        60010  state CLOSED
        99999  quiet
    """)
    assert not script.endpoint.connections


def test_close_in_fin_wait_2_starts_the_orphan_timeout() -> None:
    """RFC 9293 §3.6: half-closed is for ever, closed is not."""
    script = reach(State.FIN_WAIT_2)
    script.play("7200000 close\nstate FIN_WAIT_2\n7259999 quiet\n7260000 > RA seq=2")


def test_last_ack_of_an_orphan() -> None:
    """RFC 9293 §3.6: all data is delivered; the application need not wait for the FIN's fate."""
    script = reach(State.CLOSE_WAIT)
    script.play("""
        0     close
        0     > FA seq=1 ack=2
        200   > FA seq=1 ack=2
        600   > FA seq=1 ack=2
        999   quiet
        1000  notice FINISHED
        1400  > FA seq=1 ack=2
        1500  < A seq=2 ack=2
        1500  notice FINISHED CLOSED
    """)


def test_the_first_fin_of_an_orphan_is_not_waited_for_either() -> None:
    """RFC 9293 §3.6: a peer that has vanished does not hold up an application that has closed."""
    script = Script().established()
    script.play("""
        0     close
        0     > FA seq=1
        200   > FA seq=1
        600   > FA seq=1
        999   state FIN_WAIT_1
        1000  notice FINISHED
        1400  > FA seq=1
        1500  < A seq=1 ack=2
        1500  state FIN_WAIT_2
    """)


def test_an_orphan_waits_for_its_data() -> None:
    """RFC 9293 §3.6: what is not acknowledged is not delivered."""
    script = Script().established()
    script.play("0 send 10\n> PA seq=1 len=10\nclose\n> FA seq=11")
    script.advance(60_000)
    assert script.conn.state is State.FIN_WAIT_1
    assert Notice.FINISHED not in script.notices


def test_close_and_abort_twice() -> None:
    """RFC 9293 §3.10.4 and §3.10.5: what is closing or closed stays as it is."""
    script = Script().established()
    script.play("0 close\n> FA seq=1\nclose\nabort\n> RA seq=2\nabort\nclose\n999999 quiet")
    script.play("reason ABORTED")
    assert script.notices.count(Notice.CLOSED) == 1
