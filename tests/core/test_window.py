"""Flow control: RFC 9293 §3.8.6 (windows, zero windows), RFC 7323 §2."""

from __future__ import annotations

import pytest

from rudp.config import Config
from rudp.core.states import State
from rudp.sim.link import LinkConfig
from rudp.wire.segment import RST

from .pairs import watched_pair
from .script import Script, pattern

SMALL = Config(receive_buffer=4096)


# -- the peer's window ---------------------------------------------------------------------


def test_window_is_never_exceeded() -> None:
    """RFC 9293 §3.8.6 (MUST-34 and before): SND.UNA + SND.WND is the end."""
    script = Script().established(options="win=3000 mss=1000 ws=0")
    script.play("""
        0   send 9000
        0   > A seq=1 len=1000 x3
        10  < A seq=1 ack=1001 win=2000
        11  < A seq=1 ack=1001 win=3500
        11  > A seq=3001 len=1000
        20  < A seq=1 ack=4001 win=2999
        20  > A seq=4001 len=1000 x2
    """)


def test_old_segments_do_not_move_the_window() -> None:
    """RFC 9293 §3.10.7.4, fifth: SND.WL1 and SND.WL2 tell which window is the newest."""
    script = Script().established()
    script.play("""
        0   send 10
        0   > PA seq=1 len=10
        10  < A seq=1 ack=11 win=5000 len=10
        20  < A seq=11 ack=11 win=6000 len=10
        35  > A ack=21
        40  < A seq=1 ack=11 win=1 len=20       # a repetition
        40  > A ack=21 sack=1-21
        41  < A seq=21 ack=1 win=2              # an old acknowledgement
    """)
    assert script.conn.sender.snd_wnd == 6000


def test_shrunk_window() -> None:
    """RFC 9293 §3.8.6 (MUST-34): be robust; what is out may be sent again, nothing new goes."""
    script = Script().established()
    script.play("""
        0    send 9000
        0    > A seq=1 len=1000 x8
        0    > PA seq=8001 len=1000
        0    send 3000
        0    > A seq=9001 len=1000
        10   < A seq=1 ack=2001 win=1000
        20   < A seq=1 ack=2001 win=0
        210  > A seq=2001 len=1000
        220  < A seq=1 ack=10001 win=0
        420  > A seq=10000
        425  < A seq=1 ack=10001 win=5000
        425  > A seq=10001 len=1000
        425  > PA seq=11001 len=1000
    """)


def test_fin_waits_for_a_shrunk_window() -> None:
    """RFC 9293 §3.8.6: a FIN takes a sequence number and waits for room as well."""
    script = Script().established(options="win=1000 mss=1000 ws=0")
    script.play("""
        0    send 1000
        0    > PA seq=1 len=1000
        0    shutdown
        10   < A seq=1 ack=1001 win=0
        210  > A seq=1000
        220  < A seq=1 ack=1001 win=1
        220  > FA seq=1001
        230  < A seq=1 ack=1002 win=0
        230  state FIN_WAIT_2
        9999 quiet
    """)


# -- zero window ---------------------------------------------------------------------------


def test_zero_window_is_probed_for_ever_while_answered() -> None:
    """RFC 9293 §3.8.6.1 (MUST-35 to 37, SHLD-29, 30): backoff up to a minute, no giving up."""
    script = Script().established(options="win=0 mss=1000 ws=0")
    script.play("0 send 500\nquiet")
    at_ms, wait_ms = 0.0, 200.0
    while at_ms < 3 * 3600_000:
        at_ms += wait_ms
        wait_ms = min(2 * wait_ms, 60_000)
        script.play(f"{at_ms} > A seq=0 ack=1\n+10 < A seq=1 ack=1 win=0")
    script.play("+500 < A seq=1 ack=1 win=1000\n> PA seq=1 len=500\nstate ESTABLISHED")


@pytest.mark.parametrize("config", [Config(user_timeout=30.0), Config(max_rto=200.0)])
def test_answered_probes_outlive_every_timeout(config: Config) -> None:
    """RFC 9293 §3.8.6.1 (MUST-37): as long as probes are answered, the connection stays open."""
    script = Script(config).established(options="win=0 mss=1000 ws=0")
    script.play("0 send 500\nquiet")
    for _ in range(40):
        script.advance((script.endpoint.next_s - script.zero_s) * 1e3)
        while script.sent:
            probe = script.sent.popleft().segment
            assert not probe.flags & RST, "the connection was given up"
            script.inject_line(["A", "seq=1", "ack=1", "win=0"])
    script.play("state ESTABLISHED\n< A seq=1 ack=1 win=1000\n> PA seq=1 len=500")


def test_probes_a_minute_apart_are_given_up_by_their_number() -> None:
    """RFC 9293 §3.8.3 (MUST-20): R2 has room for two of them only, which any path may lose."""
    script = Script().established(options="win=0 mss=1000 ws=0")
    script.play("0 send 500\nquiet")
    at_ms, wait_ms = 0.0, 200.0
    while wait_ms < 60_000:
        at_ms += wait_ms
        wait_ms = min(2 * wait_ms, 60_000)
        script.play(f"{at_ms} > A seq=0 ack=1\n+10 < A seq=1 ack=1 win=0")
    for last_words in ("+10 < A seq=1 ack=1 win=0", "state ESTABLISHED"):
        for _ in range(6):
            at_ms += 60_000
            script.play(f"{at_ms} > A seq=0 ack=1")
        script.play(last_words)
    script.advance(at_ms + 120_001)
    assert script.sent.pop().segment.flags & RST
    script.play("reason RETRANSMISSION_TIMEOUT")


def test_unanswered_probes_are_given_up() -> None:
    """RFC 9293 §3.8.3 (MUST-20): a peer that answers no probe at all is gone, after R2."""
    script = Script().established(options="win=0 mss=1000 ws=0")
    script.play("0 send 500\nquiet")
    for at_ms in (200, 600, 1400, 3000, 6200, 12_600, 25_400, 51_000, 102_200):
        script.play(f"{at_ms} > A seq=0")
    script.play("119999 state ESTABLISHED")
    script.advance(121_000)
    assert script.sent.pop().segment.flags & RST
    script.play("reason RETRANSMISSION_TIMEOUT")


def test_lost_window_update_is_repaired_by_a_probe() -> None:
    """RFC 9293 §3.8.6.1: the answer to the probe tells of the window that we missed."""
    script = Script().established(options="win=1000 mss=1000 ws=0")
    script.play("""
        0    send 3000
        0    > A seq=1 len=1000
        10   < A seq=1 ack=1001 win=0
        210  > A seq=1000 ack=1
        220  < A seq=1 ack=1001 win=0
        610  > A seq=1000 ack=1
        620  < A seq=1 ack=1001 win=2000
        620  > A seq=1001 len=1000
        620  > PA seq=2001 len=1000
        630  < A seq=1 ack=3001 win=0
        99999 quiet
    """)


def test_probe_backoff_begins_anew() -> None:
    """RFC 9293 §3.8.6.1: a window that opened in between makes the next closing a new one."""
    script = Script().established(options="win=0 mss=1000 ws=0")
    script.play("""
        0    send 3000
        200  > A seq=0
        210  < A seq=1 ack=1 win=0
        600  > A seq=0
        610  < A seq=1 ack=1 win=1000
        610  > A seq=1 len=1000
        620  < A seq=1 ack=1001 win=0
        820  > A seq=1000
        830  < A seq=1 ack=1001 win=2000
        830  > A seq=1001 len=1000
        830  > PA seq=2001 len=1000
        840  < A seq=1 ack=3001 win=0
        900  send 10
        1100 > A seq=3000
    """)


def test_zero_window_probe_is_answered() -> None:
    """RFC 9293 §3.8.6.1 (MUST-36): ours with a byte or without, it gets our window."""
    script = Script(SMALL).established()
    script.play("""
        0    pause
        0    < A seq=1 ack=1 len=1000
        0    < A seq=1001 ack=1 len=3096
        0    > A ack=4097 win=0
        10   < A seq=4096 ack=1
        10   > A ack=4097 win=0
        20   < PA seq=4097 ack=1 len=1
        20   > A ack=4097 win=0
        20   held 4096
        20   stat window_drops 2
    """)


def test_acks_are_taken_with_a_closed_window() -> None:
    """RFC 9293 §3.8.6.1 (MUST-39): a full receiver still processes ACK and window."""
    script = Script(SMALL).established()
    script.play("""
        0    pause
        0    send 1000
        0    > PA seq=1 len=1000
        5    < A seq=1 ack=1 len=1000
        5    < A seq=1001 ack=1 len=3096
        5    > A ack=4097 win=0
        10   < A seq=4097 ack=1001 win=5
        10   quiet
    """)
    assert script.conn.sender.outstanding == 0
    assert script.conn.sender.snd_wnd == 5


# -- our window and the application --------------------------------------------------------


def test_window_follows_what_the_application_reads() -> None:
    """RFC 9293 §3.8.6: the window is the room in the buffer, in the order of reading."""
    script = Script(Config(receive_buffer=20_000)).established()
    script.play("""
        0   pause
        0   < A seq=1 ack=1 len=5000
        0   < A seq=5001 ack=1 len=5000
        0   > A ack=10001 win=10000
        10  read 3000
        10  quiet
        20  < A seq=10001 ack=1 len=1000
        20  < A seq=11001 ack=1 len=1000
        20  > A ack=12001 win=11000
        30  resume                           # more than half is open as it is
        30  quiet
        30  received 12000
        40  < A seq=12000 ack=1
        40  > A ack=12001 win=20000
    """)


def test_reading_everything_at_once_opens_the_window() -> None:
    """RFC 9293 §3.8.6.2.2: however the application reads."""
    script = Script(SMALL).established()
    script.play("0 pause\n0 < A seq=1 ack=1 len=2000\n0 < A seq=2001 ack=1 len=2096\n> A win=0")
    assert b"".join(script.conn.receiver.take()) == pattern(1, 4096)
    script.flush(script.conn)
    script.play("0 > A ack=4097 win=4096")


def test_no_update_where_nothing_was_squeezed() -> None:
    """RFC 9293 §3.8.6.2.2: who reads at once has nothing to tell before the ACK is due."""
    script = Script(SMALL).established()
    script.play("0 < A seq=1 ack=1 len=3000\n25 > A ack=3001 win=4096\n999 quiet")


def test_data_beyond_the_window_is_cut_off() -> None:
    """RFC 9293 §3.10.7.4, first: a segment is trimmed to the window, in order or not."""
    script = Script(SMALL).established()
    script.play("""
        0    pause
        0    < A seq=4001 ack=1 len=1000
        0    > A ack=1 win=4096 sack=4001-4097
        10   < A seq=4097 ack=1 len=1000
        10   > A ack=1 sack=4001-4097
        20   < FA seq=1 ack=1 len=9000
        20   > A ack=4097 win=0
        20   held 4096
        20   state ESTABLISHED
        20   stat window_drops 3
    """)


@pytest.mark.parametrize("buffer", [4096, 65_536, 1 << 20])
def test_paused_peer_never_holds_more_than_its_buffer(buffer: int) -> None:
    """Issue, item 5: whatever is sent, an application that does not read costs the buffer."""
    pair = watched_pair(
        1, LinkConfig(delay_s=0.005, loss=0.01), config_b=Config(receive_buffer=buffer)
    )
    left, right = pair.connect()
    data = pair.rng.randbytes(3 * buffer + 1)
    left.send(data)
    pair.b.reading = False
    pair.flush(pair.a)
    most = 0
    for _ in range(200):
        pair.run(0.5)
        most = max(most, right.receiver.held_bytes)
    assert min(buffer, 1 << 18) * 0.9 < most <= buffer, "the window begins with 256 KiB"
    assert left.state is right.state is State.ESTABLISHED
    pair.b.reading = True
    pair.flush(pair.b)
    pair.run(600.0)
    assert pair.b.received[right] == data


def test_every_window_update_is_lost_once() -> None:
    """RFC 9293 §3.8.6.1: pausing and resuming over a path that loses: no deadlock."""
    config = Config(receive_buffer=8192)
    pair = watched_pair(3, LinkConfig(delay_s=0.01, loss=0.2), config=config)
    left, right = pair.connect()
    data = pair.rng.randbytes(200_000)
    left.send(data)
    pair.flush(pair.a)
    for _ in range(400):
        pair.b.reading = not pair.b.reading
        pair.flush(pair.b)
        pair.run(pair.rng.random() * 2)
    pair.b.reading = True
    pair.flush(pair.b)
    pair.run(900.0)
    assert left.state is State.ESTABLISHED
    assert pair.b.received[right] == data
