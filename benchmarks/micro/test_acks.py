"""What sending a train and hearing of it costs, with little and with much in flight.

The window's size is a parameter: the figures of 1 MB and of 16 MB of the same test must not differ.
(`tests/core/test_cost.py` counts the lines that run, and fails if they grow.)
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from rudp.config import HEADER_BYTES, Config
from rudp.core.connection import Connection
from rudp.recovery.ledger import Ledger
from rudp.sim.pair import CorePair
from rudp.wire.segment import ACK, Segment
from rudp.wire.seq import to_wire

MSS = 1200 - HEADER_BYTES
TRAIN = 54 * MSS
IN_FLIGHT = [pytest.param(1 << 20, id="1 MB"), pytest.param(16 << 20, id="16 MB")]


def filled_ledger(size_bytes: int) -> Ledger:
    """A ledger with so much in flight, in full trains 10 µs apart."""
    ledger = Ledger(0)
    for index in range(size_bytes // TRAIN):
        ledger.sent((index + 1) * TRAIN, index * 1e-5)
    return ledger


@pytest.mark.parametrize("in_flight", IN_FLIGHT)
def test_ledger_sent_and_acknowledged(benchmark: BenchmarkFixture, in_flight: int) -> None:
    """One train leaves, the oldest one is acknowledged: the window stays as it is."""
    ledger = filled_ledger(in_flight)
    now_s = 1.0

    def turn() -> None:
        nonlocal now_s
        now_s += 1e-5
        ledger.acknowledge(ledger.snd_una + TRAIN, (), now_s, 0.01)
        ledger.sent(ledger.snd_nxt + TRAIN, now_s)

    benchmark(turn)
    assert ledger.in_flight == in_flight // TRAIN * TRAIN


@pytest.mark.parametrize("in_flight", IN_FLIGHT)
def test_ledger_with_a_loss_a_train(benchmark: BenchmarkFixture, in_flight: int) -> None:
    """The first segment of the train is lost, the rest selectively acknowledged; it goes out
    again, and then all of the train is acknowledged."""
    ledger = filled_ledger(in_flight)
    now_s = 1.0

    def turn() -> None:
        nonlocal now_s
        now_s += 1e-5
        una = ledger.snd_una
        ledger.acknowledge(una, [(una + MSS, una + TRAIN)], now_s, 0.01)
        ledger.mark_lost(una, una + MSS)
        ledger.sent_again(una, una + MSS, now_s)
        ledger.acknowledge(una + TRAIN, (), now_s, 0.01)
        ledger.sent(ledger.snd_nxt + TRAIN, now_s)

    benchmark(turn)
    assert ledger.in_flight == in_flight // TRAIN * TRAIN
    assert ledger.retransmitted_total > 0


@pytest.mark.parametrize("in_flight", IN_FLIGHT)
def test_connection_acknowledgement(benchmark: BenchmarkFixture, in_flight: int) -> None:
    """The whole of it: the segment arrives, recovery and the controller hear of it, and the train
    that it makes room for is polled."""
    conn, turn = connection_in_flight(in_flight)
    benchmark(turn)
    assert conn.sender.ledger.in_flight > 0.9 * in_flight


def connection_in_flight(size_bytes: int) -> tuple[Connection, Callable[[], None]]:
    """A connection with so much in flight, and what acknowledges its oldest train."""
    config = Config(
        congestion="newreno", max_datagram_size=1200, pacing=False, receive_buffer=1 << 26
    )
    pair = CorePair(1, config=config)
    conn, _ = pair.connect()
    ledger = conn.sender.ledger
    now_s = pair.now_s + 0.1
    written = bytes(TRAIN)

    def turn() -> None:
        nonlocal now_s
        now_s += 1e-4
        conn.sender.cc.cwnd = size_bytes  # whatever the controller would make of it
        conn.send(written)
        oldest = min(ledger.snd_una + TRAIN, ledger.snd_nxt)
        conn.arrive(acknowledgement(conn, oldest, now_s), now_s)
        conn.notices.clear()
        while conn.poll(now_s) is not None:
            pass

    while ledger.in_flight < size_bytes - TRAIN:
        conn.sender.cc.cwnd = size_bytes
        conn.send(written)
        conn.arrive(acknowledgement(conn, ledger.snd_una, now_s), now_s)  # the window is open
        while conn.poll(now_s) is not None:
            pass
        now_s += 1e-5
    return conn, turn


def acknowledgement(conn: Connection, ack: int, now_s: float) -> Segment:
    """What a peer with an empty buffer of its largest size says."""
    return Segment(
        cid=conn.local_cid,
        seq=to_wire(conn.receiver.rcv_nxt),
        ack=to_wire(ack),
        flags=ACK,
        window=65535,
        tsval=to_wire(int(now_s * 1e6)),
        tsecr=to_wire(conn.timestamp(now_s - 0.02)),
    )
