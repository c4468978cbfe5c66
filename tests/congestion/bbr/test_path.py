"""BBR over a simulated path: the example test cases of draft-ietf-ccwg-bbr's appendix."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from rudp.congestion import AckEvent
from rudp.congestion.bbr import Bbr, Phase

from .path import MSS, Path, path


@pytest.mark.parametrize(("mbit", "rtt_ms"), [(20, 40), (2, 40), (100, 10), (10, 300)])
def test_startup_finds_the_bandwidth(mbit: float, rtt_ms: float) -> None:
    """ "Exiting STARTUP on Bandwidth Plateau": within 2 % of the link, in O(log BDP) rounds."""
    link = path(mbit, rtt_ms, queue_bdp=5)
    link.reach(Phase.DRAIN)
    assert link.cc.model.max_bw == pytest.approx(link.rate, rel=0.02)
    assert link.cc.model.full_bw_count == 3
    rounds = math.log2(link.bdp / link.cc.initial_window(MSS)) + 6
    assert link.now_s - link.start_s < max(rounds, 8) * 2 * link.rtt_s
    assert link.drops == 0


def test_drain_empties_the_queue() -> None:
    """ "Exiting DRAIN Based on Inflight"."""
    link = path()
    link.reach(Phase.DRAIN)
    assert link.queued > 0.5 * link.bdp, "Startup fills up to twice the BDP"
    link.reach(Phase.CRUISE)
    assert link.in_flight <= link.bdp
    link.run(0.05)
    assert link.queued <= 2 * MSS
    assert link.time_in()[Phase.DRAIN] < 4 * link.rtt_s


def test_drain_ends_although_the_bandwidth_fell() -> None:
    """ "Exiting DRAIN Based on Time", where it falls to half: the flight stays above the BDP."""
    link = path(queue_bdp=20)
    link.reach(Phase.DRAIN)
    link.rate *= 0.4
    link.free_s = link.now_s + (link.free_s - link.now_s) / 0.4
    start = link.cc.model.round_count
    link.run_until(lambda: link.cc.in_probe_bw, 5)
    assert link.cc.model.round_count <= start + 4


def test_the_steady_state() -> None:
    """§5.3.3: the link stays full, the queue short, and the states follow each other."""
    link = path()
    link.run(12)
    assert link.throughput(1) > 0.95 * link.rate
    later = [step for step in link.steps if step.now_s > link.start_s + 1]
    assert sum(step.rtt_s for step in later) / len(later) < 1.1 * link.rtt_s
    assert link.drops == 0
    follow = {
        Phase.STARTUP: {Phase.DRAIN},
        Phase.DRAIN: {Phase.DOWN, Phase.CRUISE},
        Phase.DOWN: {Phase.CRUISE, Phase.PROBE_RTT},
        Phase.CRUISE: {Phase.REFILL, Phase.PROBE_RTT},
        Phase.REFILL: {Phase.UP, Phase.PROBE_RTT},
        Phase.UP: {Phase.DOWN, Phase.PROBE_RTT},
        Phase.PROBE_RTT: {Phase.CRUISE},
    }
    phases = link.phases()
    for before, after in pairwise(phases):
        assert after in follow[before], (before, after)
    assert phases.count(Phase.UP) >= 2


def test_the_gains_of_the_cycle() -> None:
    """§5.6.1: what it paces at in each state."""
    link = path()
    link.run(12)
    gains = {
        Phase.DRAIN: 0.5,
        Phase.DOWN: 0.9,
        Phase.CRUISE: 1.0,
        Phase.REFILL: 1.0,
        Phase.UP: 1.25,
        Phase.PROBE_RTT: 1.0,
    }
    seen = set()
    for step in link.steps:
        if step.phase in gains:
            seen.add(step.phase)
            assert step.pacing_gain == gains[step.phase]
            assert step.pacing_rate == pytest.approx(0.99 * step.pacing_gain * link.rate, rel=0.03)
    assert seen == set(gains)


def test_the_time_between_probes() -> None:
    """§5.3.3.8.2: 2 to 3 s, or 63 rounds if those are less."""
    link = path(20, 40)
    link.run(16)
    starts = [at_s for at_s, phase in link.changes if phase is Phase.DOWN]
    probes = [at_s for at_s, phase in link.changes if phase is Phase.REFILL]
    undisturbed = 0
    for start_s, probe_s in zip(starts, probes[1:], strict=False):
        interrupted = any(
            start_s < at_s < probe_s for at_s, phase in link.changes if phase is Phase.PROBE_RTT
        )
        if not interrupted:
            undisturbed += 1
            assert 2.0 <= probe_s - start_s < 3.02
    assert undisturbed
    short = path(20, 10)
    short.run(4)
    probes = [at_s for at_s, phase in short.changes if phase is Phase.REFILL]
    gaps = [after - before for before, after in pairwise(probes)]
    assert gaps
    assert all(20 * 0.01 < gap < 70 * 0.012 for gap in gaps), gaps


def test_probe_rtt_every_five_seconds() -> None:
    """ "Entering and Exiting PROBE_RTT": 0.5 BDP for 200 ms and a round."""
    link = path()
    link.run(21)
    entered = [at_s for at_s, phase in link.changes if phase is Phase.PROBE_RTT]
    assert len(entered) == 4
    for before, after in pairwise(entered):
        assert 5.0 < after - before < 5.6
    spent = link.time_in()[Phase.PROBE_RTT] / 4
    assert 0.2 < spent < 0.2 + 3 * link.rtt_s
    inside = [step for step in link.steps if step.phase is Phase.PROBE_RTT]
    assert all(step.cwnd <= 0.5 * link.bdp + MSS for step in inside)
    assert min(step.in_flight for step in inside) > 0.4 * link.bdp
    assert link.cc.model.min_rtt_s == pytest.approx(link.rtt_s, rel=0.02)


def test_probe_rtt_finds_a_longer_path() -> None:
    """§5.3.4.1: the route has become longer; the estimate follows within its window."""
    link = path()
    link.run(2)
    link.rtt_s = 0.08
    link.run(14)
    assert link.cc.model.min_rtt_s == pytest.approx(0.08, rel=0.05)
    assert link.throughput(14) > 0.9 * link.rate


def test_idle_in_place_of_probe_rtt() -> None:
    """ "Skipping PROBE_RTT Due to Application-Limited Sending"."""
    link = path()
    link.run(4)
    assert link.cc.phase is not Phase.PROBE_RTT
    cwnd, bandwidth = link.cc.cwnd, link.cc.model.max_bw
    link.limit_app(0)
    link.run(6)
    assert link.in_flight == 0
    link.limit_app(math.inf)
    link.run(0.01)
    assert link.cc.idle_restart
    assert link.cc.cwnd == cwnd, "§5.4.1: the window is left as it is"
    assert link.cc.pacing_rate == pytest.approx(0.99 * bandwidth)
    link.run(0.5)
    assert Phase.PROBE_RTT not in link.phases()
    assert link.cc.model.max_bw == bandwidth
    assert link.throughput(10.1) > 0.9 * link.rate
    assert link.drops == 0


def test_an_application_that_sends_little_keeps_the_estimate() -> None:
    """§5.5.4, "Never Exiting PROBE_UP … When Application-Limited With No Loss"."""
    link = path()
    link.reach(Phase.CRUISE)
    link.limit_app(0.1 * link.rate)
    link.run(12)
    assert link.cc.model.max_bw > 0.98 * link.rate
    link.limit_app(math.inf)
    link.run(1)
    assert link.throughput(link.now_s - link.start_s - 0.9) > 0.9 * link.rate


def test_an_application_limited_startup_does_not_end() -> None:
    """The same appendix's case, of STARTUP."""
    link = path()
    link.limit_app(0.05 * link.rate)
    link.run(4)
    assert link.cc.phase is Phase.STARTUP
    link.limit_app(math.inf)
    link.reach(Phase.CRUISE, 2)
    assert link.cc.model.max_bw == pytest.approx(link.rate, rel=0.03)


def test_an_application_limited_refill() -> None:
    """ "Handling Application-Limited Sending During PROBE_REFILL"."""
    link = path()
    link.reach(Phase.CRUISE)
    link.reach(Phase.REFILL, 4)
    link.limit_app(0.1 * link.rate)
    link.reach(Phase.UP, 1)
    link.run(2)
    assert link.cc.phase is Phase.UP
    assert link.cc.model.max_bw > 0.98 * link.rate


@pytest.mark.parametrize("queue_bdp", [0.1, 0.3, 1.0, 8.0])
def test_shallow_and_deep_queues(queue_bdp: float) -> None:
    """§3.1: a full link with a short queue and few losses, however large the buffer is."""
    link = path(queue_bdp=queue_bdp)
    link.run(10)
    assert link.throughput(1) > 0.9 * link.rate
    assert link.drops < 0.015 * link.number
    assert link.timeouts == 0
    late = [step.rtt_s for step in link.steps if step.now_s > link.start_s + 1]
    assert sum(late) / len(late) < 1.15 * link.rtt_s


def test_a_shallow_queue_sets_the_long_term_bound() -> None:
    """ "Handling Loss During PROBE_UP After inflight_longterm is Set"."""
    link = path(queue_bdp=0.2)
    link.run(10)
    longterm = link.cc.model.inflight_longterm
    assert link.bdp <= longterm < 1.5 * link.bdp
    cruise = [step for step in link.steps[-2000:] if step.phase is Phase.CRUISE]
    assert cruise
    assert all(step.cwnd <= 0.86 * longterm + 20 * MSS for step in cruise)


# -- random loss ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_one_percent_of_random_loss(seed: int) -> None:
    """§5.3.3.8.3: the long-term estimate stands; between the probes the rate sinks by the share
    lost (and the pacing margin) each round, and each probe restores it."""
    link = path(50, 40, loss=0.01, seed=seed)
    link.run(8)
    assert link.cc.model.max_bw > 0.95 * link.rate
    assert link.throughput(1) > 0.7 * link.rate
    probes = [step for step in link.steps if step.phase is Phase.UP]
    assert max(step.pacing_rate for step in probes) > 1.2 * link.rate


def test_ten_percent_of_random_loss() -> None:
    """§5.5.10: as written, more than LossThresh ends each probe before it can tell anything. The
    rate collapses; that is what the document asks for, and what the other profile is there for."""
    link = path(50, 40, loss=0.1)
    link.run(8)
    assert link.throughput(3) < 0.3 * link.rate
    assert link.cc.cwnd >= 4 * MSS
    assert link.cc.model.inflight_longterm < 0.3 * link.bdp


class Tolerant(Bbr):
    """What a variant overrides: a threshold, and one method."""

    __slots__ = ()
    loss_threshold = 0.15

    def adapt_lower_bounds(self) -> None:
        """Random loss says nothing about the path."""


def test_a_variant_is_a_subclass() -> None:
    """The same path with another response to loss: the link stays full."""
    link = path(50, 40)
    link = Path(Tolerant(MSS), rate=link.rate, rtt_s=0.04, queue=2 * link.bdp, loss=0.1)
    link.run(4)
    assert link.throughput(1) > 0.85 * link.rate


# -- a path that changes -------------------------------------------------------------------------


def test_ten_times_the_bandwidth() -> None:
    """ "Increasing Bandwidth 10x": in O(log BDP) rounds of the next probe."""
    link = path(5, 40)
    link.reach(Phase.CRUISE)
    link.rate *= 10
    link.queue *= 10
    link.reach(Phase.UP, 4)
    start_s = link.now_s
    link.run_until(lambda: link.cc.model.max_bw > 0.95 * link.rate, 5)
    assert link.now_s - start_s < 20 * link.rtt_s


def test_a_tenth_of_the_bandwidth() -> None:
    """ "Decreasing Bandwidth 10x": the short term follows within rounds, the maximum in two
    cycles."""
    link = path(50, 40)
    link.reach(Phase.CRUISE)
    link.run(0.1)
    link.rate /= 10
    link.queue /= 10
    link.run_until(lambda: link.cc.model.bw < 1.25 * link.rate, 3)
    link.run_until(lambda: link.cc.model.max_bw < 1.25 * link.rate, 12)
    start_s = link.now_s - link.start_s
    link.run(5)
    assert link.throughput(start_s) > 0.9 * link.rate


@pytest.mark.parametrize("slot_s", [0.01, 0.03])
def test_aggregation(slot_s: float) -> None:
    """ "Achieving Expected STARTUP/Cruise Bandwidth on a Link With Aggregation"."""
    link = path(slot_s=slot_s)
    link.reach(Phase.CRUISE)
    assert link.cc.model.max_bw == pytest.approx(link.rate, rel=0.1)
    link.run(4)
    assert link.cc.model.extra_acked >= 0.8 * link.rate * slot_s
    later = [step for step in link.steps if step.phase is Phase.CRUISE][-100:]
    assert max(step.cwnd for step in later) > 2 * link.bdp + 0.8 * link.rate * slot_s
    assert link.throughput(1) > 0.93 * link.rate


def test_less_than_a_packet() -> None:
    """ "Correctly Managing Sub-Packet BDPs"."""
    link = path(0.2, 20, queue_bdp=40)
    assert link.bdp < MSS
    link.run(20)
    assert min(step.cwnd for step in link.steps) >= 4 * MSS
    assert link.cc.model.max_bw == pytest.approx(link.rate, rel=0.02)
    assert link.throughput(2) > 0.9 * link.rate


# -- recovery ------------------------------------------------------------------------------------


def test_after_a_timeout() -> None:
    """§5.6.4.4: an outage; the link is full again soon after it has ended."""
    link = path()
    link.run(2)
    link.loss = 1.0
    link.run(1.5)
    assert link.timeouts == 1
    link.loss = 0.0
    link.run(2.5)
    assert link.throughput(link.now_s - link.start_s - 0.8) > 0.9 * link.rate


def test_a_spurious_timeout() -> None:
    """ "Handling Spurious RTO Recovery": what was saved is there again."""
    link = path()
    link.reach(Phase.CRUISE)
    link.run(0.5)
    cwnd, bandwidth = link.cc.cwnd, link.cc.model.bw
    link.time_out()
    assert link.cc.cwnd == MSS
    link.cc.on_spurious(link.now_s)
    assert link.cc.cwnd == cwnd
    link.run(0.3)
    assert link.cc.model.bw == bandwidth
    assert link.cc.in_probe_bw


def test_two_flows_do_not_probe_together() -> None:
    """§5.3.3.8.2: randomised, by the numbers of each flow's own beginning."""
    waits = []
    for start_s in (100.0, 100.5, 101.25):
        link = Path(Bbr(MSS), rate=2.5e6, rtt_s=0.04, queue=2e5, start_s=start_s)
        link.reach(Phase.CRUISE)
        waits.append(link.cc.bw_probe_wait_s)
    assert len(set(waits)) == 3
    again = Path(Bbr(MSS), rate=2.5e6, rtt_s=0.04, queue=2e5, start_s=100.0)
    again.reach(Phase.CRUISE)
    assert again.cc.bw_probe_wait_s == waits[0]


def test_every_event_keeps_the_bounds() -> None:
    """The interface's promises, on a bad path."""
    link = path(20, 40, queue_bdp=0.2, loss=0.03, seed=7)

    def check(event: AckEvent) -> None:
        cc = link.cc
        assert type(cc.cwnd) is int
        assert cc.cwnd >= 4 * MSS
        assert cc.pacing_rate is not None
        assert MSS <= cc.pacing_rate < math.inf
        assert cc.model.bw <= cc.model.max_bw

    link.on_step = check
    link.run(5)
    assert len(link.steps) > 1000
