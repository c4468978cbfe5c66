"""Data both ways, segment by segment, and numbers that wrap: RFC 9293 §3.4, §3.7, §3.10.7.4."""

from __future__ import annotations

import random

import pytest

from rudp.config import Config
from rudp.core.connection import Notice
from rudp.core.states import State
from rudp.sim.link import LinkConfig
from rudp.wire.segment import encode

from .pairs import exchange, watched_pair
from .reach import PATHS
from .script import LOCAL_ID, Script, pattern

WRAP = 1 << 32
EDGES = [(0, 0), (WRAP - 1, WRAP - 1), (WRAP - 700, 5), ((1 << 31) - 3, (1 << 31) - 700)]
"""Initial sequence numbers around the places where 32 bits turn."""


def test_full_duplex_with_piggybacked_acks() -> None:
    """RFC 9293 §3.8.6.3: an acknowledgement rides on data that goes the other way anyway."""
    script = Script().established()
    script.play("""
        0   send 20
        0   > PA seq=1 ack=1 len=20
        10  < PA seq=1 ack=21 len=10
        10  received 10
        12  send 5
        12  > PA seq=21 ack=11 len=5
        20  < PA seq=11 ack=26 len=10
        21  send 5
        21  > PA seq=26 ack=21 len=5
        30  < A seq=21 ack=31
        999 quiet
    """)


def test_push_marks_the_end_of_what_was_written() -> None:
    """RFC 9293 §3.9.1.2 (MUST-60, 61): PSH where there is no more to send."""
    script = Script().established()
    script.play("""
        0  send 2500
        0  > A seq=1 len=1000 x2
        0  > PA seq=2001 len=500
        0  send 1
        0  > PA seq=2501 len=1
    """)


def test_small_writes_join_in_one_segment() -> None:
    """RFC 9293 §3.7: the stream has no boundaries; what waits together leaves together."""
    script = Script().established()
    script.play("0 send 10000\n> A seq=1 len=1000 x9\n> PA seq=9001 len=1000")
    script.play("0 send 90\n" * 20)
    script.play("10 < A seq=1 ack=10001\n> A seq=10001 len=1000\n> PA seq=11001 len=800")


@pytest.mark.parametrize(("iss", "peer_iss"), EDGES)
@pytest.mark.parametrize("state", [state for state in State if state is not State.CLOSED])
def test_every_state_at_the_edges_of_sequence_space(state: State, iss: int, peer_iss: int) -> None:
    """RFC 9293 §3.4: all arithmetic is modulo 2^32."""
    script = Script(iss=iss, peer_iss=peer_iss)
    if state not in (State.SYN_SENT, State.SYN_RECEIVED):
        script.established()
    script.play(PATHS[state])


@pytest.mark.parametrize(("iss", "peer_iss"), EDGES)
@pytest.mark.parametrize("passive", [False, True])
def test_transfer_across_the_edges(iss: int, peer_iss: int, passive: bool) -> None:
    """RFC 9293 §3.4: data, holes, SACK blocks, retransmission and FIN over the wrap."""
    script = Script(iss=iss, peer_iss=peer_iss).established(passive=passive)
    script.play("""
        0   send 3000
        0   > A seq=1 len=1000 x2
        0   > PA seq=2001 len=1000
        10  < A seq=1 ack=1 sack=1001-3001
        12.5 > A seq=1 len=1000
        20  < A seq=601 ack=1 sack=1001-3001 len=600
        20  > A ack=1 sack=601-1201
        30  < A seq=1801 ack=1 sack=1001-3001 len=600
        30  > A ack=1 sack=1801-2401,601-1201
        40  < A seq=1 ack=1 sack=1001-3001 len=600
        40  > A ack=1201 sack=1801-2401
        50  < A seq=1201 ack=1 sack=1001-3001 len=600
        50  > A ack=2401
        50  received 2400
        212.5 > A seq=1 len=1000
        220 < A seq=2401 ack=3001
        230 close
        230 > FA seq=3001 ack=2401
        240 < FA seq=2401 ack=3002
        240 > A seq=3002 ack=2402
        240 reason none
    """)


@pytest.mark.parametrize("seed", range(3))
def test_long_transfer_across_the_edges(seed: int) -> None:
    """RFC 9293 §3.4: two real cores over a bad path, both streams wrapping in the middle."""
    link = LinkConfig(delay_s=0.02, jitter_s=0.005, loss=0.03, duplicate=0.03, reorder=0.05)
    numbers = ((11, WRAP - 60_000, WRAP - 1_000_000), (22, WRAP - 90_000, WRAP - 1_500_000))
    pair = watched_pair(seed, link, identities=numbers)
    left, right = pair.connect()
    exchange(pair, [(pair.a, left, pair.b, right), (pair.b, right, pair.a, left)], 200_000, 600)
    assert left.sender.ledger.snd_nxt > WRAP
    assert right.sender.ledger.snd_nxt > WRAP


def test_timestamps_wrap() -> None:
    """RFC 7323 §5.4: both clocks turn over in mid-connection and nobody minds."""
    wrap_us = 1 << 32
    script = Script(
        ts_offset=wrap_us - 100_050_000, peer_ts_offset=wrap_us - 100_060_000
    ).established()
    for index in range(10):
        at_ms, seq = 10 * index, 1 + 100 * index
        script.play(f"{at_ms} < PA seq={seq} ack={seq} len=100")
        script.play(f"{at_ms} send 100\n> PA seq={seq} ack={seq + 100} len=100")
    script.play("100 < A seq=1001 ack=1001\nreceived 1000\nstat paws_drops 0")
    assert script.conn.sender.rtt.srtt_s == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("repetition", "ack", "twice"),
    [
        ("seq=1 len=100", 101, "1-101"),
        ("seq=1 len=50", 101, "1-51"),
        ("seq=51 len=50", 101, "51-101"),
        ("seq=51 len=100", 151, "51-101"),
    ],
)
def test_repeated_data_is_delivered_once(repetition: str, ack: int, twice: str) -> None:
    """RFC 9293 §3.10.7.4, first: segments are trimmed to what is new; RFC 2883: what was not is
    told."""
    script = Script().established()
    script.play(f"""
        0   < PA seq=1 ack=1 len=100
        25  > A ack=101
        30  < PA {repetition} ack=1
        30  > A ack={ack} sack={twice}
        30  received {ack - 1}
    """)


def test_first_copy_of_held_data_stays() -> None:
    """RFC 9293 §3.10.7.4: what is here is not replaced by what comes later with other bytes."""
    script = Script().established()
    script.play("0 < A seq=11 ack=1 len=10\n> A sack=11-21")
    forged = script.segment("A", seq="6", ack="1")._replace(payload=b"!" * 20)
    script.inject(encode(forged))
    script.play("0 > A ack=1 sack=6-26")
    script.reading = False
    script.play("0 < A seq=1 ack=1 len=5\n> A ack=26")
    data = b"".join(script.conn.receiver.take())
    assert data == pattern(1, 5) + b"!" * 5 + pattern(11, 10) + b"!" * 5


def test_a_run_of_segments_is_taken_at_once() -> None:
    """Design, section 4: the receive path takes trains; one acknowledgement for all of it."""
    script = Script().established()
    run = [script.segment("A", seq=str(1 + 500 * i), ack="1", len="500") for i in range(8)]
    buffer = b"".join(map(encode, run))
    touched = script.endpoint.receive(buffer, 524, "peer", script.now_s)
    script.flush(touched[0])
    script.play("0 > A ack=4001\nreceived 4000\nstat segments_received 9")


def test_a_run_with_strangers_in_it() -> None:
    """Design, section 4: a buffer from one address may mix connections, and lie."""
    script = Script().established()
    good = [encode(script.segment("A", seq=str(1 + 100 * i), ack="1", len="100")) for i in (0, 1)]
    other = encode(script.segment("A", seq="1", ack="1", len="100", cid="77"))
    buffer = good[0] + other + bytes(124) + good[1]
    touched = script.endpoint.receive(buffer, 124, "peer", script.now_s)
    assert touched == [script.conn]
    script.flush(script.conn)
    script.take_outbox()
    script.play("""
        0   > R cid=0 unknown=77
        0   received 200
        25  > A ack=201
        25  counted unknown_connection 1
    """)
    assert script.endpoint.stats.malformed_total == 1


def test_segments_without_ack_are_dropped() -> None:
    """RFC 9293 §3.10.7.4, fifth: if the ACK bit is off, drop the segment."""
    script = Script().established()
    bare = script.segment("P", seq="1", len="5")
    script.conn.arrive(bare, script.now_s)
    script.flush(script.conn)
    script.play("0 quiet\nreceived 0")


@pytest.mark.parametrize("seed", range(3))
def test_both_directions_over_a_bad_path(seed: int) -> None:
    """RFC 9293 §2.2: a reliable, in-order byte stream, whatever the path does."""
    link = LinkConfig(
        rate_bytes_per_s=2e6, delay_s=0.03, jitter_s=0.02, loss=0.05, reorder=0.1, duplicate=0.05
    )
    config = Config(sack=seed != 0)
    pair = watched_pair(seed, link, config=config)
    left, right = pair.connect()
    exchange(pair, [(pair.a, left, pair.b, right), (pair.b, right, pair.a, left)], 150_000, 600)
    small = random.Random(seed)
    for _ in range(20):
        exchange(pair, [(pair.b, right, pair.a, left)], small.randrange(1, 3000), 600)
    assert left.info(pair.now_s).retransmitted_share > 0
    assert left.local_cid != LOCAL_ID


def test_capacity_follows_the_congestion_window() -> None:
    """Design, section 5: buffers up to two windows, so that ACKs never find them empty."""
    script = Script(Config(send_buffer=100_000)).established()
    sender = script.conn.sender
    assert sender.capacity == 65_536
    sender.cc.cwnd = 40_000
    assert sender.capacity == 80_000
    sender.cc.cwnd = 1_000_000
    assert sender.capacity == 100_000
    assert Script(Config(send_buffer=4096)).established().conn.sender.capacity == 4096


@pytest.mark.parametrize("seed", range(4))
def test_close_delivers_everything_over_a_bad_path(seed: int) -> None:
    """RFC 9293 §3.6: nothing that was accepted is lost by close(), in either direction."""
    link = LinkConfig(delay_s=0.02, jitter_s=0.01, loss=0.05, reorder=0.05, duplicate=0.02)
    pair = watched_pair(seed, link)
    left, right = pair.connect()
    data = {left: pair.rng.randbytes(60_000), right: pair.rng.randbytes(70_000)}
    for node, conn in ((pair.a, left), (pair.b, right)):
        conn.send(data[conn])
        conn.shutdown()
        pair.flush(node, conn)
    pair.run(600.0)
    assert pair.b.received[right] == data[left]
    assert pair.a.received[left] == data[right]
    for node, conn in ((pair.a, left), (pair.b, right)):
        assert conn.reason is None
        assert conn.state is State.CLOSED
        assert node.notices[conn].count(Notice.CLOSED) == 1
        assert not node.endpoint.connections
        assert not node.endpoint.time_wait
        assert node.endpoint.next_s == float("inf")
