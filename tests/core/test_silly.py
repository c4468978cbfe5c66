"""Silly-window avoidance at both ends: RFC 9293 §3.8.6.2."""

from __future__ import annotations

import itertools

from rudp.config import Config

from .script import Script

SMALL = Config(receive_buffer=4096)


def test_sender_avoids_silly_segments() -> None:
    """RFC 9293 §3.8.6.2.1 (MUST-38): neither a full segment nor half the largest window."""
    script = Script().established(options="win=4000 mss=1000 ws=0")
    script.play("""
        0    send 4000
        0    > A seq=1 len=1000 x3
        0    > PA seq=3001 len=1000
        0    send 5000
        10   < A seq=1 ack=4001 win=900
        10   quiet
        210  > A seq=4001 len=900            # case (4): the override timeout
        220  < A seq=1 ack=4901 win=1900
        220  > A seq=4901 len=1000           # (1) of 1900 bytes
        230  < A seq=1 ack=5901 win=900
        235  < A seq=1 ack=5901 win=1000
        235  > A seq=5901 len=1000
    """)


def test_half_of_the_largest_window_is_worth_a_segment() -> None:
    """RFC 9293 §3.8.6.2.1, case (3): a peer with a buffer smaller than a segment."""
    script = Script().established(options="win=800 mss=1000 ws=0")
    script.play("""
        0    send 3000
        0    > A seq=1 len=800
        10   < A seq=1 ack=801 win=400
        10   > A seq=801 len=400
        20   < A seq=1 ack=1201 win=399
        20   quiet
        220  > A seq=1201 len=399
    """)


def test_last_bytes_are_not_silly() -> None:
    """RFC 9293 §3.8.6.2.1, case (2): all that there is fits."""
    script = Script().established()
    script.play(
        "0 send 10\n> PA seq=1 len=10\n10 < A seq=1 ack=11 win=20\nsend 15\n> PA seq=11 len=15"
    )


def test_receiver_avoids_silly_windows() -> None:
    """RFC 9293 §3.8.6.2.2 (MUST-39): the edge moves by a segment or half a buffer, or not."""
    script = Script(SMALL).established()
    script.play("""
        0    pause
        0    < A seq=1 ack=1 len=1000
        0    < A seq=1001 ack=1 len=3096
        0    > A ack=4097 win=0
        10   read 500
        20   read 400
        20   quiet
        30   < A seq=4096 ack=1              # asked, the answer is still: nothing
        30   > A ack=4097 win=0
        40   read 200                        # 1100 in all
        40   quiet
        50   < A seq=4096 ack=1
        50   > A ack=4097 win=1100
        60   read 2996
        60   > A ack=4097 win=4096
        99   quiet
    """)


def test_reading_opens_the_window_by_itself() -> None:
    """RFC 9293 §3.8.6.2.2: an update goes when the opening is worth one, once."""
    script = Script(SMALL).established()
    script.play("""
        0    pause
        0    < A seq=1 ack=1 len=1000
        0    < A seq=1001 ack=1 len=3096
        0    > A ack=4097 win=0
        10   read 1999
        10   quiet
        20   read 1
        20   > A ack=4097 win=2000
        30   read 1000
        30   quiet
        40   resume
        40   > A ack=4097 win=4096
        99   quiet
    """)


def test_right_edge_never_moves_left() -> None:
    """RFC 9293 §3.8.6.2.2 (SHLD-14): data that is not read shrinks the window, not the edge."""
    script = Script(SMALL).established()
    script.play("0 pause")
    edge = 4097
    for index in range(8):
        seq = 1 + 500 * index
        script.play(f"{100 * index} < PA seq={seq} ack=1 len=500")
        script.play(f"+25 > A ack={seq + 500} win={edge - seq - 500}")


def test_small_reads_and_small_segments() -> None:
    """RFC 9293 §3.8.6.2.2: between updates the announced edge stays where it is."""
    script = Script(SMALL).established()
    edges = set()
    script.reading = False
    for index in range(60):
        script.inject_line(f"PA seq={1 + 100 * index} ack=1 len=100".split())
        script.take(100)
        script.flush(script.conn)
        script.advance(30 * index)
        while script.sent:
            segment = script.sent.popleft().segment
            edges.add((segment.ack - script.peer_iss) + segment.window)
    steps = sorted(edges)
    assert all(right - left >= 1000 for left, right in itertools.pairwise(steps))
    assert len(script.received) == 6000
