"""When acknowledgements leave, and what they say: RFC 9293 §3.8.6.3, RFC 5681 §4.2, RFC 2018."""

from __future__ import annotations

import pytest

from rudp.config import Config

from .script import Script


def test_lone_segment_is_acknowledged_after_25_ms() -> None:
    """RFC 9293 §3.8.6.3 (SHLD-18, MUST-40): an ACK may wait for company, less than 0.5 s."""
    script = Script().established()
    script.play("0 < A seq=1 ack=1 len=1000\n25 > A seq=1 ack=1001\n999 quiet")


def test_every_second_full_segment_is_acknowledged_at_once() -> None:
    """RFC 9293 §3.8.6.3 (SHLD-18)."""
    script = Script().established()
    script.play("""
        0   < A seq=1 ack=1 len=1000
        1   < A seq=1001 ack=1 len=1000
        1   > A ack=2001
        2   < A seq=2001 ack=1 len=1000
        3   < A seq=3001 ack=1 len=1000
        3   > A ack=4001
        104 < A seq=4001 ack=1 len=1000
        129 > A ack=5001
    """)


def test_small_segments_wait_together() -> None:
    """RFC 9293 §3.8.6.3: "full-sized" segments count; a chat needs no ACK of its own a word."""
    script = Script().established()
    script.play("""
        0   < PA seq=1 ack=1 len=10
        5   < PA seq=11 ack=1 len=10
        10  < PA seq=21 ack=1 len=10
        25  > A ack=31
    """)


@pytest.mark.parametrize("delay_ms", [0, 100, 499])
def test_delay_is_configurable(delay_ms: int) -> None:
    """RFC 9293 §3.8.6.3 (MUST-40): up to half a second."""
    script = Script(Config(delayed_ack=delay_ms / 1e3)).established()
    script.play(f"0 < A seq=1 ack=1 len=10\n{delay_ms} > A ack=11")


def test_data_takes_the_acknowledgement_along() -> None:
    """RFC 9293 §3.8.6.3: piggyback; no ACK of its own follows."""
    script = Script().established()
    script.play("""
        0   < PA seq=1 ack=1 len=10
        10  send 10
        10  > PA seq=1 ack=11 len=10
        12  < A seq=11 ack=11
        999 quiet
    """)


def test_acknowledgements_are_not_acknowledged() -> None:
    """RFC 9293 §3.8.6.3: an empty segment takes no sequence numbers."""
    script = Script().established()
    script.play("0 < A seq=1 ack=1\n5 < A seq=1 ack=1 win=9\n10 < A seq=1 ack=1\n999 quiet")


def test_out_of_order_data_is_acknowledged_at_once() -> None:
    """RFC 5681 §4.2: so that the sender sees duplicate ACKs, one for each."""
    script = Script().established()
    script.play("""
        0  < A seq=1001 ack=1 len=1000
        0  > A ack=1 sack=1001-2001
        1  < A seq=2001 ack=1 len=1000
        1  > A ack=1 sack=1001-3001
        2  < A seq=3001 ack=1 len=10
        2  > A ack=1 sack=1001-3011
        999 quiet
    """)


def test_filling_a_gap_is_acknowledged_at_once() -> None:
    """RFC 5681 §4.2 and RFC 9293 §3.10.7.4: in part and in full."""
    script = Script().established()
    script.play("""
        0   < A seq=2001 ack=1 len=1000
        0   > A ack=1 sack=2001-3001
        5   < A seq=1 ack=1 len=1000
        5   > A ack=1001 sack=2001-3001
        10  < A seq=1001 ack=1 len=1000
        10  > A ack=3001
        10  received 3000
        15  < A seq=3001 ack=1 len=10
        40  > A ack=3011
    """)


def test_duplicates_are_acknowledged_at_once() -> None:
    """RFC 9293 §3.10.7.4, first: our ACK was lost. RFC 2883 §4.1: the first block says so, once."""
    script = Script().established()
    script.play("""
        0   < A seq=1 ack=1 len=9
        25  > A ack=10
        50  < A seq=1 ack=1 len=9
        50  > A ack=10 sack=1-10
        60  < A seq=10 ack=1 len=9
        85  > A ack=19
    """)


def test_duplicates_in_a_train_are_one_block() -> None:
    """RFC 2883 §4: contiguous duplicates that one acknowledgement answers are one range."""
    script = Script().established()
    script.play("0 < A seq=1 ack=1 len=3000\n25 > A ack=3001")
    for seq in (1, 1001):
        segment = script.segment("A", seq=str(seq), ack="1", len="1000")
        script.conn.arrive(segment, script.now_s)
    script.flush(script.conn)
    script.play("25 > A ack=3001 sack=1-2001")


def test_a_peer_without_sack_gets_no_duplicate_blocks() -> None:
    """RFC 2883 §3: only what negotiated SACK is told of duplicates."""
    script = Script().established(options="win=65535 mss=1000 ws=0")
    script.play("0 < A seq=1 ack=1 len=9\n25 > A ack=10\n50 < A seq=1 ack=1 len=9\n> A ack=10")


def test_partly_new_data_is_a_duplicate_in_part() -> None:
    """RFC 2883 §4: the block covers what arrived twice, not what came with it."""
    script = Script().established()
    script.play("""
        0   < A seq=1 ack=1 len=10
        25  > A ack=11
        30  < A seq=6 ack=1 len=10
        30  > A ack=16 sack=6-11
    """)


def test_acknowledgement_of_data_while_there_are_holes_travels_alone() -> None:
    """Design, section 2: data keeps its fixed stride, SACK blocks go on an ACK of their own."""
    script = Script().established()
    script.play("""
        0   < A seq=1001 ack=1 len=1000
        0   > A ack=1 sack=1001-2001
        5   send 10
        5   > PA seq=1 ack=1 len=10
        6   < A seq=2001 ack=1 len=1000
        6   > A seq=11 ack=1 sack=1001-3001
    """)


# -- blocks --------------------------------------------------------------------------------


def test_blocks_are_newest_first() -> None:
    """RFC 2018 §4: the first block holds the segment that caused the ACK, then the others."""
    script = Script().established()
    script.play("""
        0  < A seq=101 ack=1 len=10
        0  > A sack=101-111
        1  < A seq=301 ack=1 len=10
        1  > A sack=301-311,101-111
        2  < A seq=201 ack=1 len=10
        2  > A sack=201-211,301-311,101-111
        3  < A seq=311 ack=1 len=10
        3  > A sack=301-321,201-211,101-111
        4  < A seq=111 ack=1 len=90
        4  > A sack=101-211,301-321
        5  < A seq=301 ack=1 len=5          # a duplicate: RFC 2883 §4.2, its block behind it
        5  > A sack=301-306,301-321,101-211
        6  < A seq=1 ack=1 len=100
        6  > A ack=211 sack=301-321
        7  < A seq=211 ack=1 len=90
        7  > A ack=321
    """)


def test_blocks_are_bounded() -> None:
    """RFC 2018 §4: what is new, and the latest four that were reported before, so that every
    block is repeated in several acknowledgements however many holes there are."""
    script = Script().established()
    starts = [101 + 20 * index for index in range(30)]
    random_order = starts[::2] + starts[1::2]
    for count in range(1, len(starts) + 1):
        newest = random_order[:count][::-1][:5]
        blocks = ",".join(f"{start}-{start + 10}" for start in newest)
        script.play(f"0 < A seq={newest[0]} ack=1 len=10\n> A ack=1 sack={blocks}")


def test_blocks_fit_the_smallest_datagram() -> None:
    """RFC 2018 §3: as many as the peer's MSS has room for (RFC 9293 §3.7.1), of a batch
    that left many holes."""
    script = Script(Config(max_datagram_size=128)).established(options="win=999 mss=50 sackok=1")
    for index in range(20):
        segment = script.segment("A", seq=str(101 + 20 * index), ack="1", len="10")
        script.conn.arrive(segment, script.now_s)
    script.flush(script.conn)
    newest = ",".join(f"{101 + 20 * index}-{111 + 20 * index}" for index in range(19, 14, -1))
    script.play(f"0 > A ack=1 sack={newest}")


def test_a_batch_with_many_holes_is_reported_whole() -> None:
    """RFC 2018 §4: one acknowledgement stands for a batch; what it touched is told at once, as
    far as one option carries it."""
    script = Script().established()
    for index in range(40):
        segment = script.segment("A", seq=str(101 + 20 * index), ack="1", len="10")
        script.conn.arrive(segment, script.now_s)
    script.flush(script.conn)
    newest = ",".join(f"{101 + 20 * index}-{111 + 20 * index}" for index in range(39, 11, -1))
    script.play(f"0 > A ack=1 sack={newest}")


def test_no_blocks_of_data_below_the_acknowledgement() -> None:
    """RFC 2018 §4: blocks tell of what is not cumulatively acknowledged; only a duplicate's may
    lie below (RFC 2883 §4.1)."""
    script = Script().established()
    script.play("""
        0   < A seq=11 ack=1 len=10
        0   > A ack=1 sack=11-21
        1   < A seq=1 ack=1 len=10
        1   > A ack=21
        2   < A seq=31 ack=1 len=10
        2   > A ack=21 sack=31-41
        3   < A seq=11 ack=1 len=10
        3   > A ack=21 sack=11-21,31-41
    """)
