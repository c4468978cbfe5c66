"""rudp.sim.link: each effect alone, measured; all of them together, as properties."""

from __future__ import annotations

import dataclasses
import math
import random
from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.sim import Link, LinkConfig

SEED = 20240607
MANY = 20_000


def make_link(*, seed: int = SEED, **options: object) -> Link:
    return Link(LinkConfig(**options), random.Random(seed))


def numbered(index: int) -> bytes:
    return index.to_bytes(4, "big")


def send_many(link: Link, count: int = MANY, gap_s: float = 0.001) -> list[list[tuple[float, int]]]:
    """Send numbered datagrams, and return the deliveries of each as (due time, number)."""
    return [
        [(due, int.from_bytes(data, "big")) for due, data in link.transmit(numbered(i), i * gap_s)]
        for i in range(count)
    ]


def arrival_order(deliveries: list[list[tuple[float, int]]]) -> list[int]:
    flat = [arrival for each in deliveries for arrival in each]
    return [number for _, number in sorted(flat, key=lambda arrival: arrival[0])]


def test_perfect_link_delivers_at_once() -> None:
    link = make_link()
    assert link.transmit(b"abc", 5.0) == [(5.0, b"abc")]
    assert link.stats.sent == link.stats.delivered == 1
    assert link.stats.bytes == 3


def test_empty_datagram_is_delivered() -> None:
    assert make_link(delay_s=0.5).transmit(b"", 1.0) == [(1.5, b"")]


def test_delay_is_added() -> None:
    assert make_link(delay_s=0.25).transmit(b"abc", 1.0) == [(1.25, b"abc")]


@pytest.mark.parametrize("loss", [0.01, 0.05, 0.3])
def test_loss_rate(loss: float) -> None:
    link = make_link(loss=loss)
    send_many(link)
    sigma = math.sqrt(loss * (1 - loss) / MANY)
    assert abs(link.stats.lost / MANY - loss) < 4 * sigma
    assert link.stats.delivered == MANY - link.stats.lost


def test_certain_loss_and_none() -> None:
    assert not any(send_many(make_link(loss=1.0), 100))
    assert all(send_many(make_link(loss=0.0), 100))


def burst_lengths(link: Link) -> list[int]:
    lost = [not each for each in send_many(link)]
    return [len(list(run)) for is_lost, run in groupby(lost) if is_lost]


@pytest.mark.parametrize(("enter", "leave"), [(0.01, 0.25), (0.02, 0.5)])
def test_burst_lengths_are_geometric(enter: float, leave: float) -> None:
    lengths = burst_lengths(make_link(burst_enter=enter, burst_exit=leave))
    assert sum(lengths) / len(lengths) == pytest.approx(1 / leave, rel=0.15)
    assert lengths.count(1) / len(lengths) == pytest.approx(leave, rel=0.2)
    # The chain is in its bad state for enter / (enter + leave) of the time.
    assert sum(lengths) / MANY == pytest.approx(enter / (enter + leave), rel=0.2)


def test_burst_exit_of_one_loses_single_datagrams() -> None:
    assert set(burst_lengths(make_link(burst_enter=0.05, burst_exit=1.0))) == {1}


def test_burst_exit_of_zero_never_recovers() -> None:
    assert len(burst_lengths(make_link(burst_enter=0.05, burst_exit=0.0))) == 1


def test_rate_spaces_datagrams() -> None:
    link = make_link(rate_bytes_per_s=1000.0, delay_s=1.0)
    dues = [link.transmit(bytes(100), 0.0)[0][0] for _ in range(5)]
    assert dues == pytest.approx([1.1, 1.2, 1.3, 1.4, 1.5])


def test_idle_time_is_not_saved_up() -> None:
    link = make_link(rate_bytes_per_s=1000.0)
    assert link.transmit(bytes(100), 0.0)[0][0] == pytest.approx(0.1)
    assert link.transmit(bytes(100), 60.0)[0][0] == pytest.approx(60.1)


def test_queue_is_drop_tail_in_bytes() -> None:
    link = make_link(rate_bytes_per_s=1000.0, queue_bytes=350)
    assert [len(link.transmit(bytes(100), 0.0)) for _ in range(5)] == [1, 1, 1, 0, 0]
    assert link.stats.queue_drops == 2
    assert link.queued_bytes(0.0) == pytest.approx(300)
    # A smaller one fits where a bigger one did not, and so does a bigger one once there is room.
    assert link.transmit(bytes(50), 0.0)
    assert not link.transmit(bytes(50), 0.0)
    assert link.transmit(bytes(100), 0.101)


def test_no_rate_never_queues() -> None:
    link = make_link(queue_bytes=1)
    assert all(link.transmit(bytes(1000), 0.0) for _ in range(10))
    assert link.queued_bytes(0.0) == 0


def test_jitter_is_uniform_and_reorders() -> None:
    link = make_link(delay_s=0.1, jitter_s=0.05)
    deliveries = send_many(link)
    extra = [each[0][0] - (0.1 + index * 0.001) for index, each in enumerate(deliveries)]
    assert min(extra) >= -1e-9
    assert max(extra) <= 0.05 + 1e-9
    assert sum(extra) / MANY == pytest.approx(0.025, rel=0.03)
    assert arrival_order(deliveries) != sorted(arrival_order(deliveries))


def test_no_jitter_keeps_order() -> None:
    deliveries = send_many(make_link(delay_s=0.1, rate_bytes_per_s=3000.0), 2000)
    assert arrival_order(deliveries) == list(range(2000))


@pytest.mark.parametrize(("early", "expected"), [(None, 0.075), (0.04, 0.04)])
def test_reordered_datagrams_come_early(early: float | None, expected: float) -> None:
    link = make_link(delay_s=0.1, reorder=0.05, reorder_early_s=early)
    deliveries = send_many(link)
    saved = [0.1 + index * 0.001 - each[0][0] for index, each in enumerate(deliveries)]
    overtaking = [seconds for seconds in saved if seconds > 1e-9]
    assert len(overtaking) == link.stats.reordered == pytest.approx(0.05 * MANY, rel=0.1)
    assert overtaking == pytest.approx([expected] * len(overtaking))
    order = arrival_order(deliveries)
    assert sum(after < before for before, after in pairwise(order)) > 0.8 * len(overtaking)


def test_reordering_does_not_jump_the_queue() -> None:
    link = make_link(delay_s=0.1, rate_bytes_per_s=100.0, reorder=1.0)
    dues = [link.transmit(bytes(100), 0.0)[0][0] for _ in range(3)]
    assert dues == pytest.approx([1.025, 2.025, 3.025])


def test_duplicates() -> None:
    link = make_link(duplicate=0.1)
    deliveries = send_many(link)
    doubles = [each for each in deliveries if len(each) == 2]
    assert len(doubles) == link.stats.duplicated == pytest.approx(0.1 * MANY, rel=0.1)
    assert all(first == second for first, second in doubles)
    assert link.stats.delivered == MANY + len(doubles)


def test_a_copy_takes_its_own_place_in_the_queue() -> None:
    link = make_link(duplicate=1.0, rate_bytes_per_s=100.0, queue_bytes=250)
    assert [due for due, _ in link.transmit(bytes(100), 0.0)] == pytest.approx([1.0, 2.0])
    assert link.transmit(bytes(50), 0.0) == [(2.5, bytes(50))]
    assert link.stats.queue_drops == 1


def test_corruption_flips_one_bit() -> None:
    link = make_link(corrupt=0.1, corrupt_is_dropped=False)
    original = bytes(range(64))
    received = [link.transmit(original, float(i))[0][1] for i in range(5000)]
    flips = [int.from_bytes(data, "big") ^ int.from_bytes(original, "big") for data in received]
    assert {flip.bit_count() for flip in flips} == {0, 1}
    flipped = [flip for flip in flips if flip]
    assert len(flipped) == link.stats.corrupted == pytest.approx(500, rel=0.15)
    assert len(set(flipped)) > 200, "anywhere, not always the same bit"
    assert link.stats.delivered == 5000


def test_checksum_drops_the_corrupted() -> None:
    link = make_link(corrupt=0.25)
    received = send_many(link, 4000)
    assert link.stats.corrupted == pytest.approx(1000, rel=0.15)
    assert sum(map(len, received)) == link.stats.delivered == 4000 - link.stats.corrupted


def test_an_empty_datagram_has_no_bit_to_flip() -> None:
    link = make_link(corrupt=1.0, corrupt_is_dropped=False)
    assert link.transmit(b"", 0.0) == [(0.0, b"")]
    assert link.stats.corrupted == 0


def test_mtu_is_exact() -> None:
    link = make_link(mtu=1200)
    assert link.transmit(bytes(1200), 0.0)
    assert not link.transmit(bytes(1201), 0.0)
    assert link.stats.mtu_drops == 1


def test_down_loses_all_and_what_flies_stays() -> None:
    link = make_link(delay_s=1.0)
    flying = link.transmit(b"before", 0.0)
    link.up = False
    assert link.transmit(b"during", 0.5) == []
    link.up = True
    assert flying == [(1.0, b"before")]
    assert link.transmit(b"after", 0.6) == [(1.6, b"after")]
    assert link.stats.lost == 1


def test_config_can_be_replaced() -> None:
    link = make_link(delay_s=1.0)
    assert link.transmit(b"x", 0.0)[0][0] == 1.0
    link.config = dataclasses.replace(link.config, delay_s=3.0)
    assert link.transmit(b"x", 0.0)[0][0] == 3.0


def test_removing_the_rate_does_not_overtake_the_queue() -> None:
    link = make_link(rate_bytes_per_s=100.0)
    assert link.transmit(bytes(100), 0.0)[0][0] == 1.0
    link.config = LinkConfig()
    assert link.transmit(bytes(100), 0.5)[0][0] == 1.0


def test_restart_empties_queue_and_burst() -> None:
    link = make_link(rate_bytes_per_s=100.0, burst_enter=1.0, burst_exit=0.0)
    assert not link.transmit(b"x", 0.0)
    link.config = LinkConfig(rate_bytes_per_s=100.0, burst_enter=1e-9, burst_exit=0.0)
    assert not link.transmit(b"x", 0.0), "still in the burst"
    link.restart()
    assert link.transmit(bytes(100), 100.0)
    link.restart()
    assert link.transmit(bytes(100), 0.0) == [(1.0, bytes(100))]


def test_repr_names_state() -> None:
    link = make_link()
    assert "up" in repr(link)
    link.up = False
    assert "down" in repr(link)


PROBABILITIES = ("loss", "burst_enter", "burst_exit", "reorder", "duplicate", "corrupt")


@pytest.mark.parametrize("name", PROBABILITIES)
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf])
def test_probabilities_are_validated(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a probability"):
        LinkConfig(**{name: value})


@pytest.mark.parametrize("name", ["delay_s", "jitter_s", "reorder_early_s"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_durations_are_validated(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a finite number of seconds"):
        LinkConfig(**{name: value})


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf])
def test_rate_is_validated(value: float) -> None:
    with pytest.raises(ValueError, match=r"^rate_bytes_per_s must be"):
        LinkConfig(rate_bytes_per_s=value)


@pytest.mark.parametrize("name", ["queue_bytes", "mtu"])
def test_sizes_are_validated(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be at least 1"):
        LinkConfig(**{name: 0})
    with pytest.raises(TypeError, match=f"^{name} must be an integer"):
        LinkConfig(**{name: 10.5})


@pytest.mark.parametrize("name", [*PROBABILITIES, "delay_s", "rate_bytes_per_s"])
@pytest.mark.parametrize("value", ["0.1", True])
def test_types_are_validated(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be a number"):
        LinkConfig(**{name: value})


def test_early_cannot_exceed_delay() -> None:
    with pytest.raises(ValueError, match=r"^reorder_early_s must not exceed delay_s"):
        LinkConfig(delay_s=0.1, reorder_early_s=0.2)


probability = st.sampled_from([0.0, 0.1, 0.5, 1.0])
configs = st.builds(
    LinkConfig,
    rate_bytes_per_s=st.one_of(st.none(), st.floats(10, 1e6)),
    queue_bytes=st.integers(1, 5000),
    delay_s=st.floats(0, 2),
    jitter_s=st.floats(0, 1),
    loss=probability,
    burst_enter=probability,
    burst_exit=probability,
    reorder=probability,
    duplicate=probability,
    corrupt=probability,
    mtu=st.one_of(st.none(), st.integers(1, 500)),
    corrupt_is_dropped=st.booleans(),
)
traffic = st.lists(st.tuples(st.floats(0, 0.5), st.binary(max_size=600)), max_size=40)


@given(config=configs, sends=traffic, seed=st.integers(0, 2**32))
def test_every_datagram_is_accounted_for(
    config: LinkConfig, sends: list[tuple[float, bytes]], seed: int
) -> None:
    link = Link(config, random.Random(seed))
    now = 0.0
    arrived = arrived_bytes = 0
    for gap, datagram in sends:
        now += gap
        backlog = link.queued_bytes(now)
        deliveries = link.transmit(datagram, now)
        assert len(deliveries) <= 2
        if config.rate_bytes_per_s is not None:
            assert link.queued_bytes(now) <= config.queue_bytes + 0.6
        for due, data in deliveries:
            arrived += 1
            arrived_bytes += len(data)
            waited = backlog / (config.rate_bytes_per_s or math.inf)
            assert due >= now + waited + config.delay_s - config.early_s - 1e-9
            flipped = int.from_bytes(data, "big") ^ int.from_bytes(datagram, "big")
            assert len(data) == len(datagram)
            assert flipped.bit_count() <= (config.corrupt > 0 and not config.corrupt_is_dropped)
    stats = link.stats
    dropped = stats.lost + stats.queue_drops + stats.mtu_drops
    if config.corrupt_is_dropped:
        dropped += stats.corrupted
    assert stats.sent == len(sends)
    assert stats.delivered == arrived
    assert stats.bytes == arrived_bytes
    assert stats.sent + stats.duplicated == stats.delivered + dropped


@given(config=configs, sends=traffic, seed=st.integers(0, 2**32))
def test_same_seed_same_deliveries(
    config: LinkConfig, sends: list[tuple[float, bytes]], seed: int
) -> None:
    def trace() -> list[list[tuple[float, bytes]]]:
        link = Link(config, random.Random(seed))
        return [link.transmit(data, float(index)) for index, (_, data) in enumerate(sends)]

    assert trace() == trace()


@given(
    rate=st.floats(10, 1e6),
    delay=st.floats(0, 1),
    sends=traffic,
)
def test_a_rate_is_never_exceeded_and_keeps_order(
    rate: float, delay: float, sends: list[tuple[float, bytes]]
) -> None:
    link = Link(LinkConfig(rate_bytes_per_s=rate, delay_s=delay), random.Random(0))
    now = last = 0.0
    for gap, datagram in sends:
        now += gap
        ((due, _),) = link.transmit(datagram, now)
        assert due >= last + len(datagram) / rate - 1e-9
        last = due
