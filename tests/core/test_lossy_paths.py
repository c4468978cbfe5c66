"""Whole transfers over paths that lose and reorder, in virtual time: what recovery is for."""

from __future__ import annotations

import math

import pytest

from rudp.config import Config
from rudp.core.connection import Connection
from rudp.sim.link import LinkConfig
from rudp.sim.pair import CorePair

RATE = 5e6
CONFIG = Config(
    congestion="cubic", send_buffer=1 << 26, receive_buffer=1 << 24, mtu_discovery=False
)
BACK = LinkConfig(rate_bytes_per_s=RATE, queue_bytes=200_000, delay_s=0.02)


def transfer(pair: CorePair, size: int, *, patience_s: float = 120.0) -> tuple[Connection, float]:
    """Send `size` bytes from a to b; returns the sender's connection and the seconds it took."""
    left, right = pair.connect()
    data = pair.rng.randbytes(size)
    began_s = pair.now_s
    left.send(data)
    pair.flush(pair.a, left)
    got = pair.b.received.setdefault(right, bytearray())
    assert pair.run_until(lambda: len(got) >= size and left.sender.all_acked, patience_s)
    assert bytes(got) == data
    return left, pair.now_s - began_s


def path(**what: float) -> LinkConfig:
    return LinkConfig(rate_bytes_per_s=RATE, queue_bytes=200_000, delay_s=0.02, **what)


SEEDS = range(20260410, 20260414)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("congestion", ["newreno", "cubic", "bbr"])
def test_five_percent_loss_needs_no_timeout(seed: int, congestion: str) -> None:
    """RFC 8985 §3: lost retransmissions included. One retransmission in twenty is lost again, and
    one of these again: time finds them all."""
    pair = CorePair(seed, path(loss=0.05), back=BACK, config=CONFIG.replace(congestion=congestion))
    left, _ = transfer(pair, 3_000_000)
    assert left.stats.timeouts <= 1, f"seed {seed}"
    lost = pair.links["a"].stats.lost * 1176
    assert left.stats.bytes_retransmitted < 1.3 * lost + 20_000, f"seed {seed}"


@pytest.mark.parametrize("seed", SEEDS)
def test_bursts_of_loss_need_hardly_a_timeout(seed: int) -> None:
    """RFC 9937 §4: a burst is repaired as fast as what remains arrives. Only where it takes the
    whole flight, the probe or the retransmissions with it, nothing but the timer is left."""
    pair = CorePair(seed, path(burst_enter=0.005, burst_exit=0.3), back=BACK, config=CONFIG)
    left, _ = transfer(pair, 3_000_000)
    assert pair.links["a"].stats.lost > 20
    assert left.stats.timeouts <= 3, f"seed {seed}"


@pytest.mark.parametrize("lost", [1, 2, 5, 9])
@pytest.mark.parametrize("rtt_s", [0.02, 0.1, 0.4])
def test_a_lost_tail_is_repaired_in_about_a_probe_timeout(lost: int, rtt_s: float) -> None:
    """RFC 8985 §7: the last segments of a flight vanish; two round trips later the probe leaves,
    one later it is answered, one later the rest is repaired."""
    pair = CorePair(1, LinkConfig(delay_s=rtt_s / 2), config=CONFIG.replace(pacing=False))
    left, right = pair.connect()
    got = pair.b.received.setdefault(right, bytearray())
    for turn in range(1, 21):
        left.send(bytes(2 * 1176))  # two are acknowledged without delay
        pair.flush(pair.a, left)
        assert pair.run_until(lambda turn=turn: len(got) == turn * 2 * 1176, 10.0)
        pair.run(2 * rtt_s)
    began_s = pair.now_s
    left.send(bytes((10 - lost) * 1176))
    pair.flush(pair.a, left)
    pair.links["a"].up = False
    left.send(bytes(lost * 1176))
    pair.flush(pair.a, left)
    pair.links["a"].up = True
    assert pair.run_until(lambda: len(got) == 50 * 1176 and left.sender.all_acked, 30.0)
    assert left.stats.timeouts == 0
    assert left.stats.tail_probes == 1
    # PTO 2 SRTT after the last acknowledgement, which may be delayed, then a round trip, then
    # as many as slow start needs.
    rounds = 1 + 2 + 1 + math.ceil(math.log2(lost + 1))
    assert pair.now_s - began_s <= rounds * rtt_s + 3 * CONFIG.delayed_ack + 0.01
    assert left.stats.bytes_retransmitted <= (lost + 1) * 1176


def reordering(pair: CorePair, size: int) -> tuple[float, float]:
    """Shares of spurious retransmissions in the first half of a transfer and in the second."""
    left, right = pair.connect()
    got = pair.b.received.setdefault(right, bytearray())
    shares = []
    for half in (1, 2):
        before = left.stats.bytes_retransmitted
        left.send(bytes(size // 2))
        pair.flush(pair.a, left)
        assert pair.run_until(lambda half=half: len(got) >= half * size // 2, 120.0)
        shares.append((left.stats.bytes_retransmitted - before) / (size // 2))
    return shares[0], shares[1]


@pytest.mark.parametrize("seed", SEEDS)
def test_heavy_reordering_is_adapted_to(seed: int) -> None:
    """RFC 8985 §6.2, step 4: each segment comes up to a quarter of a round trip late; after the
    first DSACKs hardly anything is sent twice, and the window is not cut for it."""
    pair = CorePair(seed, path(jitter_s=0.01), back=BACK, config=CONFIG)
    _, later = reordering(pair, 6_000_000)
    assert later < 0.03, f"seed {seed}"


@pytest.mark.parametrize("seed", SEEDS)
def test_early_segments_are_adapted_to(seed: int) -> None:
    """RFC 8985 §6.2, step 4: 5 % of the segments are 15 ms early."""
    pair = CorePair(seed, path(reorder=0.05, reorder_early_s=0.015), back=BACK, config=CONFIG)
    _, later = reordering(pair, 6_000_000)
    assert later < 0.02, f"seed {seed}"


@pytest.mark.parametrize("seed", SEEDS)
def test_loss_on_a_path_that_reorders_is_found(seed: int) -> None:
    """RFC 8985 §6.2: patience with late segments is bounded by the round trip: what is lost is
    still found by time."""
    pair = CorePair(seed, path(jitter_s=0.01, loss=0.02), back=BACK, config=CONFIG)
    left, _ = transfer(pair, 2_000_000)
    assert left.stats.timeouts <= 1, f"seed {seed}"


def test_a_delay_spike_costs_no_window() -> None:
    """RFC 5682, RFC 3522: for 300 ms the path holds everything back; the timeout is undone, and
    no more than its own segment was sent twice."""
    pair = CorePair(7, path(), back=BACK, config=CONFIG.replace(congestion="newreno"))
    left, right = pair.connect()
    got = pair.b.received.setdefault(right, bytearray())
    left.send(bytes(20_000_000))
    pair.flush(pair.a, left)
    pair.run(0.6)
    before = left.sender.cc.cwnd
    retransmitted = left.stats.bytes_retransmitted
    link = pair.links["b"]
    link.config = LinkConfig(rate_bytes_per_s=RATE, queue_bytes=200_000, delay_s=0.9)
    pair.run(1.0)
    link.config = BACK
    pair.run(1.0)
    assert left.stats.timeouts >= 1
    assert left.stats.spurious_recoveries >= 1
    assert left.stats.bytes_retransmitted - retransmitted <= 10 * 1176
    assert left.sender.cc.cwnd >= before
    assert len(got) > 0
