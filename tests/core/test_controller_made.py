"""A controller that is made when there is something to control: it knows what an eager one does."""

from __future__ import annotations

import random

import pytest

from rudp.config import Config
from rudp.core.connection import Connection
from rudp.sim.link import LinkConfig
from rudp.sim.pair import CorePair
from rudp.wire.segment import ACK, Segment
from rudp.wire.seq import to_wire

from .pairs import exchange
from .script import Script
from .twins import OUR_ID, TICK_S, established, peer_clock

CONTROLLERS = ["newreno", "cubic", "bbr", "resilient"]


def talk(pair: CorePair, left: Connection, right: Connection, seed: int) -> None:
    """Thirty messages, one a round trip, of up to 900 bytes."""
    rng = random.Random(seed)
    for _ in range(30):
        exchange(pair, [(pair.a, left, pair.b, right)], rng.randint(1, 900), 5.0)
        pair.run(rng.uniform(0.0, 0.05))


@pytest.mark.parametrize("congestion", CONTROLLERS)
def test_small_talk_makes_no_controller(congestion: str) -> None:
    """What fits the initial window tests no window: there is nothing to control."""
    pair = CorePair(3, LinkConfig(delay_s=0.01), config=Config(congestion=congestion))
    left, right = pair.connect()
    talk(pair, left, right, 3)
    assert left.sender.cc_in_use is None
    assert right.sender.cc_in_use is None
    assert left.info(pair.now_s).congestion == congestion


@pytest.mark.parametrize("congestion", CONTROLLERS)
@pytest.mark.parametrize("seed", [1, 2])
def test_it_is_told_of_the_small_talk(congestion: str, seed: int) -> None:
    """Window and rate are near those of one that heard every word, the transfer is as fast."""
    found = []
    for eager in (False, True):
        link = LinkConfig(delay_s=0.01, rate_bytes_per_s=500_000)
        config = Config(congestion=congestion, mtu_discovery=False)
        pair = CorePair(seed, link, config=config)
        left, right = pair.connect()
        if eager:
            assert left.sender.cc is left.sender.cc_in_use
        talk(pair, left, right, seed)
        first: list[tuple[int, float]] = []

        def look(conn: Connection = left, into: list[tuple[int, float]] = first) -> None:
            cc = conn.sender.cc_in_use
            if cc is not None:
                into.append((cc.cwnd, cc.pacing_rate or 0.0))

        began_s = pair.now_s
        pair.at(began_s + 0.001, look)
        exchange(pair, [(pair.a, left, pair.b, right)], 200_000, 60.0)
        found.append((first[0], left.sender.cwnd, pair.now_s - began_s))
    (lazy, lazy_cwnd, lazy_s), (heard, heard_cwnd, heard_s) = found
    # BBR's startup opens the window also while nothing fills it: the late one has not.
    for late, early in (*zip(lazy, heard, strict=True), (lazy_cwnd, heard_cwnd)):
        assert 0.4 * early <= late <= 1.2 * early, f"seed {seed}: {found}"
    assert lazy_s == pytest.approx(heard_s, rel=0.05), f"seed {seed}"


def test_the_initial_window_before_and_after_it_is_made() -> None:
    """RFC 6928 §2: by the segment size as it is, whatever it was before."""
    conn = established(Config(max_datagram_size=1024), iss=7, peer_iss=7)
    conn.send(b"too big")
    assert conn.poll(65.0) is not None
    conn.on_too_big(1024, 65.0)
    assert conn.sender.mss < 1000
    assert conn.sender.cc_in_use is None
    before = conn.sender.cwnd
    assert before == conn.sender.cc.cwnd


def test_what_another_path_delivered_is_not_told() -> None:
    """RFC 9000 §9.4: the controller of a new path starts from what that path shows."""
    conn = established(Config(max_datagram_size=1024), iss=7, peer_iss=7)
    conn.send(b"small")
    assert conn.poll(65.0) is not None
    sender, receiver = conn.sender, conn.receiver
    numbers = to_wire(receiver.rcv_nxt), to_wire(sender.ledger.snd_nxt), ACK, 15_000
    conn.arrive(Segment(OUR_ID, *numbers, peer_clock(65.0), conn.timestamp(65.0)), 65.0 + TICK_S)
    assert sender.untold_bytes > 0
    conn.sender.forget_path(conn.config, 65.0 + TICK_S)
    assert conn.sender.untold_bytes == 0


def test_a_lost_syn_is_remembered_by_the_controller() -> None:
    """RFC 5681 §3.1: the initial window after a lost SYN is one segment."""
    script = Script()
    script.play("""
        0     connect
        0     > S seq=0
        1000  > S seq=0
        1010  < SA seq=0 ack=1 win=65535 mss=1000 ws=0 sackok=1
        1010  > A seq=1 ack=1
        1020  send 3000
        1020  > A seq=1 len=1000
        1030  < A seq=1 ack=1001
        1030  > A seq=1001 len=1000
        1030  > PA seq=2001 len=1000
    """)


def test_a_full_initial_window_makes_it() -> None:
    """RFC 5681 §3.1: what fills the window opens it, from the first round trip on."""
    conn = established(Config(congestion="newreno", max_datagram_size=1024), iss=7, peer_iss=7)
    before = conn.sender.cwnd
    conn.send(bytes(before))
    while conn.poll(65.0 + TICK_S) is not None:
        pass
    assert conn.sender.cc.cwnd == before
