"""Bounds on what a peer can make us hold: issue item 5, design section 1."""

from __future__ import annotations

import itertools
import random
import struct

import pytest

from rudp.config import Config
from rudp.core.acks import MAX_SACKED_RANGES
from rudp.core.endpoint import Endpoint
from rudp.core.states import State
from rudp.wire.options import CONNECTION_ID, MAX_SACK_BLOCKS, MSS, SACK, VERSION, WINDOW_SCALE
from rudp.wire.segment import HEADER, Malformed, encode

from .held import items_held
from .reach import reach
from .script import LOCAL_ID, Script

STATES = list(State)


# -- one-byte segments ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6])
def test_every_order_of_one_byte_segments(size: int) -> None:
    """RFC 9293 §3.10.7.4: whatever the order, the bytes come out in theirs."""
    for order in itertools.permutations(range(1, size + 1)):
        script = Script()
        script.endpoint.listen(1)
        for line in ("S seq=0 mss=1000 sackok=1", "A seq=1 ack=1"):
            script.inject_line(line.split())
        for seq in order:
            script.inject_line(f"A seq={seq} ack=1 len=1".split())
        assert len(script.received) == size
        assert script.conn.receiver.held_bytes == 0
        assert not script.conn.receiver.has_holes


@pytest.mark.parametrize("order", ["up", "down", "outside in", "inside out", "shuffled"])
def test_many_one_byte_segments(order: str) -> None:
    """Issue, item 5: bytes that come singly cost no more than their size and a little."""
    size = 3000
    up = list(range(1, size + 1))
    seqs = {
        "up": up,
        "down": up[::-1],
        "outside in": [n for pair in zip(up, up[::-1], strict=True) for n in pair][:size],
        "inside out": [n for pair in zip(up, up[::-1], strict=True) for n in pair][:size][::-1],
        "shuffled": random.Random(5).sample(up, size),
    }[order]
    script = Script(Config(max_holes=1500)).established()
    script.reading = False
    receiver = script.conn.receiver
    for seq in seqs:
        script.conn.arrive(script.segment("A", seq=str(seq), ack="1", len="1"), script.now_s)
        assert receiver.held_bytes <= size
    assert receiver.held_bytes == size
    assert receiver.held_chunks <= 8
    assert receiver.rcv_nxt == script.peer_iss + 1 + size
    script.reading = True
    script.flush(script.conn)
    assert len(script.received) == size


def test_holes_are_bounded_and_the_next_byte_is_never_refused() -> None:
    """Design, section 5: one hole more than `max_holes` is dropped; what fills one is taken."""
    script = Script(Config(max_holes=4)).established()
    script.play(
        "0 < A seq=11 ack=1 len=5\n> A sack=11-16\n< A seq=21 ack=1 len=5\n> A sack=21-26,11-16"
    )
    script.play("0 < A seq=31 ack=1 len=5\n> A sack=31-36,21-26,11-16")
    script.play("0 < A seq=41 ack=1 len=5\n> A sack=41-46,31-36,21-26,11-16")
    script.play("""
        0  < A seq=51 ack=1 len=5              # one too many
        0  > A ack=1 sack=41-46,31-36,21-26,11-16
        0  stat hole_drops 1
        0  held 20
        0  < FA seq=61 ack=1 len=5             # neither does its FIN count
        0  > A ack=1 sack=41-46,31-36,21-26,11-16
        0  < A seq=46 ack=1 len=15             # next to a run: no new hole
        0  > A ack=1 sack=41-61,31-36,21-26,11-16
        0  < A seq=1 ack=1 len=10
        0  > A ack=16 sack=41-61,31-36,21-26
        0  < A seq=16 ack=1 len=45
        0  > A ack=61
        0  received 60
        0  state ESTABLISHED
    """)


def test_window_overrun() -> None:
    """Issue, item 5: a peer that ignores the window fills the buffer and not a byte more."""
    script = Script(Config(receive_buffer=10_000)).established()
    script.reading = False
    for seq in (*range(1, 60_000, 700), *range(60_000, 1, -700)):
        script.conn.arrive(script.segment("A", seq=str(seq), ack="1", len="1000"), script.now_s)
        assert script.conn.receiver.held_bytes <= 10_000
    assert script.conn.receiver.held_bytes == 10_000
    assert script.conn.stats.window_drops > 50


def test_chunks_are_bounded_with_every_second_byte_missing() -> None:
    """Issue, item 5: overhead, too; a run is at least one chunk, and runs are bounded."""
    script = Script(Config(max_holes=100)).established()
    for seq in range(2, 4000, 2):
        script.conn.arrive(script.segment("A", seq=str(seq), ack="1", len="1"), script.now_s)
    assert script.conn.receiver.held_chunks == 100
    assert script.conn.stats.hole_drops == 1999 - 100


def test_scoreboard_is_bounded() -> None:
    """Issue, item 5: a peer that reports every second byte costs no list of every second byte.

    (CVE-2019-11477 and its sisters: SACK blocks finer than the segments that were sent.)
    """
    script = Script().established()
    script.play("0 send 10000\n> A seq=1 len=1000 x9\n> PA seq=9001 len=1000")
    for left in range(2, 10_000, 16):
        blocks = ",".join(f"{at}-{at + 1}" for at in range(left, left + 16, 2))
        script.inject_line(f"A seq=1 ack=1 sack={blocks}".split())
        script.sent.clear()
    ledger = script.conn.sender.ledger
    assert len(ledger.sacked) <= MAX_SACKED_RANGES + MAX_SACK_BLOCKS
    assert len(ledger.lost) <= len(ledger.sacked) + 1
    assert len(ledger._entries) <= 2 * len(ledger.sacked) + 10
    script.play("10 < A seq=1 ack=10001\n9999 state ESTABLISHED")


@pytest.mark.parametrize("end", ["0 abort\n> RA seq=10001", "0 < R seq=1"])
def test_what_was_written_is_freed_at_the_end(end: str) -> None:
    """Issue, item 5: who still holds the connection does not hold its data."""
    script = Script().established()
    script.play("0 send 90000\n> A seq=1 len=1000 x10")
    script.play(end)
    assert script.conn.state is State.CLOSED
    assert len(script.conn.sender.buffer) == 0


# -- connections ---------------------------------------------------------------------------


def test_half_open_connections_are_bounded_by_the_backlog() -> None:
    """Issue, item 5: `backlog` full, the SYN is dropped and counted."""
    script = Script()
    script.play("0 listen 3")
    for index in range(50):
        script.inject_line(f"S seq=0 id={index + 1} mss=1000".split())
    assert len(script.sent) == 3
    assert script.endpoint.half_open == len(script.endpoint.connections) == 3
    assert script.endpoint.stats.backlog_drops == 47
    script.sent.clear()
    script.play("10 < A seq=1 ack=1\naccepted 1\n< S seq=0 id=51\n> SA\n< S seq=0 id=52\nquiet")


def test_half_open_connections_make_way_for_new_ones() -> None:
    """Issue, item 5: forged SYNs must not close a listener for as long as they like.

    Who has not answered two repetitions of the SYN-ACK gives way, the oldest first.
    """
    script = Script()
    script.play("0 listen 2\n< S seq=0 id=1\n> SA cid=1\n100 < S seq=0 id=2\n> SA cid=2")
    script.advance(3400)
    script.sent.clear()
    script.play("3400 < S seq=0 id=3\nquiet\ncounted backlog_drops 1")
    script.play("3500 < S seq=0 id=3\n> SA cid=3\nstate CLOSED\nreason CONNECT_TIMEOUT")
    script.play("3500 < S seq=0 id=4\nquiet\n3600 < S seq=0 id=4\n> SA cid=4")
    script.play("3600 counted half_open_evicted 2")
    assert script.endpoint.half_open == len(script.endpoint.connections) == 2


def test_half_open_limit_of_the_endpoint() -> None:
    """Issue, item 5: `max_half_open` holds whatever the backlog; a backlog of 0 is one of 1."""
    script = Script(Config(max_half_open=2))
    script.play("0 listen 100\n< S seq=0 id=1\n> SA\n< S seq=0 id=2\n> SA\n< S seq=0 id=3\nquiet")
    script = Script()
    script.play("0 listen 0\n< S seq=0 id=1\n> SA\n< S seq=0 id=2\nquiet")


def test_connections_are_bounded() -> None:
    """Issue, item 5: `max_connections`; SYNs beyond it are dropped, dialling is an error."""
    script = Script(Config(max_connections=2))
    script.play("0 listen 100\n< S seq=0 id=1\n> SA\n< S seq=0 id=2\n> SA\n< S seq=0 id=3\nquiet")
    script.play("0 counted limit_drops 1")
    with pytest.raises(OSError, match="max_connections"):
        script.endpoint.connect("peer", 0.0)


def test_connections_in_time_wait_are_bounded() -> None:
    """Issue, item 5: neither may what is remembered of closed connections outgrow the limit."""
    script = Script(Config(max_connections=10))
    endpoint = script.endpoint
    endpoint.listen(5)
    held = []
    for index in range(400):
        script.inject_line(f"S seq=0 id={index + 1} mss=1000".split())
        conn = next(iter(endpoint.connections.values()))
        ack = conn.sender.iss - script.iss
        script.inject_line(f"A seq=1 ack={ack + 1} cid={conn.local_cid}".split())
        conn.shutdown()
        script.flush(conn)
        script.inject_line(f"FA seq=1 ack={ack + 2} cid={conn.local_cid}".split())
        script.sent.clear()
        endpoint.accepted.clear()
        assert not endpoint.connections
        held.append(items_held(endpoint))
    assert 0 < len(endpoint.time_wait) <= 10
    assert max(held[200:]) <= max(held[:200])


def test_reset_half_open_connections_make_room() -> None:
    """RFC 9293 §3.10.7.4, second: back to LISTEN; the place is free again."""
    script = Script()
    script.play("""
        0  listen 1
        0  < S seq=0 id=7 mss=1000
        0  > SA
        0  < R seq=1
        0  < S seq=0 id=8
        0  > SA cid=8
    """)


# -- malformed datagrams -------------------------------------------------------------------


def settle_down(script: Script) -> tuple[object, ...]:
    """What must not change by datagrams that are nothing."""
    conn = script.conn
    script.sent.clear()
    return (conn.state, conn.receiver.rcv_nxt, conn.sender.ledger.snd_una, conn.notices)


@pytest.mark.parametrize("state", STATES)
def test_every_length_of_random_bytes(state: State) -> None:
    """Issue, item 5: lengths 0 to 100, dropped and counted, in every state."""
    script = reach(state)
    before = settle_down(script)
    rng = random.Random(f"lengths {state}")
    for length in range(101):
        for _ in range(4):
            data = rng.randbytes(length)
            script.inject(data)
            # The same with the right id in front: all that a forger can know at most.
            script.inject(LOCAL_ID.to_bytes(4, "big")[:length] + data[4:])
    assert script.endpoint.stats.malformed[Malformed.TOO_SHORT] == 24 * 8
    assert script.endpoint.stats.malformed_total > 24 * 8
    assert settle_down(script)[0] == before[0]


@pytest.mark.parametrize("state", STATES)
def test_header_fields_at_their_extremes(state: State) -> None:
    """Issue, item 5: every combination, with and without the right id; nothing is raised."""
    wide = (0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
    script = reach(state)
    before = settle_down(script)
    sent = 0
    for seq, ack, words, flags, window in itertools.product(
        wide, wide, (0, 5, 6, 7, 255), (0, 1, 0x10, 0x13, 0x20, 0xFF), (0, 0xFFFF)
    ):
        for cid in (LOCAL_ID, 0, 99):
            if cid == LOCAL_ID and flags == 1:
                continue
            header = HEADER.pack(cid, seq, ack, words, flags, window, wide[sent % 5], ack)
            script.inject(header + bytes(sent % 9))
            sent += 1
    assert script.conn.state is before[0]
    assert len(script.endpoint.connections) <= 1
    stats = script.endpoint.stats
    assert stats.malformed[Malformed.FLAGS] > 1000
    assert stats.malformed[Malformed.HEADER_LENGTH] > 100


OPTION_BLOCKS = {
    "loop of zero length": bytes([MSS, 0, 0, 0]),
    "length of one": bytes([MSS, 1, 0, 0]),
    "unknown kind of zero length": bytes([200, 0, 0, 0]),
    "runs over the header": bytes([SACK, 40, 0, 0]),
    "no room for a length": bytes([1, 1, 1, MSS]),
    "wrong length": bytes([MSS, 3, 5, 1]),
    "half a block": bytes([SACK, 6, 1, 2, 3, 4, 0, 0]),
    "empty SACK": bytes([SACK, 2, 0, 0]),
    "window scale of two bytes": bytes([WINDOW_SCALE, 4, 1, 1]),
    "twice": bytes([MSS, 4, 1, 1, MSS, 4, 1, 1]),
    "overlapping": bytes([VERSION, 3, CONNECTION_ID, 6, 1, 2, 3, 4]),
    "short id": bytes([CONNECTION_ID, 4, 1, 2]),
}


@pytest.mark.parametrize("block", OPTION_BLOCKS.values(), ids=OPTION_BLOCKS.keys())
@pytest.mark.parametrize("flags", [0x02, 0x10, 0x12])
def test_malformed_options(block: bytes, flags: int) -> None:
    """RFC 9293 §3.1 (MUST-7): illegal option lengths; dropped and counted, and end."""
    for state in (State.SYN_SENT, State.SYN_RECEIVED, State.ESTABLISHED):
        script = reach(state)
        header = struct.pack(
            ">IIIBBHII", LOCAL_ID, 8001, 1001, 6 + len(block) // 4, flags, 9, 100_000_000, 0
        )
        script.inject(header + block + b"data")
        assert not script.sent
        assert script.endpoint.stats.malformed[Malformed.OPTIONS] == 1
        assert script.conn.state is state


def test_absurd_number_of_options() -> None:
    """Issue, item 5: a header full of options must not cost as much as a thousand segments."""
    script = Script().established()
    segment = encode(script.segment("PA", seq="1", ack="1", len="9"))
    block = bytes([200, 2]) * 498
    script.inject(segment[:12] + b"\xff" + segment[13:24] + block + segment[24:])
    script.play("25 quiet\nreceived 0")
    assert script.endpoint.stats.malformed[Malformed.OPTIONS] == 1


@pytest.mark.parametrize("block", [b"\x01" * 4, b"\x00\xff\xff\xff", bytes([200, 8]) + bytes(6)])
def test_harmless_options(block: bytes) -> None:
    """RFC 9293 §3.1 (MUST-6): no-op, end of list and unknown options are skipped."""
    script = Script().established()
    segment = encode(script.segment("PA", seq="1", ack="1", len="9"))
    words = 6 + len(block) // 4
    script.inject(segment[:12] + bytes([words]) + segment[13:24] + block + segment[24:])
    script.play("25 > A ack=10\nreceived 9")


def test_longest_header() -> None:
    """Design, section 2: 255 words of header are legal, and so is every byte of them."""
    script = Script().established()
    segment = encode(script.segment("PA", seq="1", ack="1", len="9"))
    script.inject(segment[:12] + b"\xff" + segment[13:24] + b"\x01" * (1020 - 24) + segment[24:])
    script.play("25 > A ack=10\nreceived 9")


def test_empty_buffer() -> None:
    """Issue, item 5: a datagram of no bytes, and a stride that fits nothing."""
    endpoint = Endpoint(Config(), random.Random(1).getrandbits)
    assert endpoint.receive(b"", 1, "peer", 0.0) == []
    assert endpoint.receive(bytes(99), 1, "peer", 0.0) == []
    assert endpoint.receive(bytes(99), 24, "peer", 0.0) == []
    assert endpoint.stats.malformed_total == 1 + 99 + 5
