"""rudp.congestion.resilient: what loss means there (docs/congestion.md, "resilient")."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.config import Config
from rudp.congestion import AckEvent, LossEvent, Resilient
from rudp.congestion.average import AverageRate
from rudp.congestion.bbr import Phase
from rudp.congestion.confirmed import ConfirmedPathModel
from rudp.congestion.delay import TypicalRtt, queue_threshold_s
from rudp.congestion.path_loss import PathLoss
from rudp.sim.link import LinkConfig
from rudp.sim.pair import CorePair

from .bbr.path import MSS, Path

RATE = 50e6 / 8
RTT_S = 0.04
BDP = RATE * RTT_S


# -- the round-trip time -------------------------------------------------------------------------


@given(st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=60))
def test_the_typical_round_trip_is_the_median_of_the_last_sixteen(samples: list[float]) -> None:
    typical = TypicalRtt()
    for number, rtt_s in enumerate(samples, 1):
        assert typical.sample(rtt_s, number) is (number == 16)
        if number < 16:
            assert typical.median_s is None
            assert typical.queue_s(1e-9) == 0.0, "before enough samples there is no queue"
        else:
            assert typical.median_s == statistics.median_high(samples[number - 16 : number])
    assert typical.deviation_s >= 0


def test_early_and_late_packets_are_neither_queue_nor_none() -> None:
    """A third of the packets overtakes, a third is held up: the rest tells the truth."""
    typical = TypicalRtt()
    for number in range(300):
        typical.sample((0.025, 0.040, 0.055)[number % 3], 0.01 * number)
    assert typical.median_s == 0.040
    assert typical.queue_s(0.030) == pytest.approx(0.010)
    assert 0.005 < typical.deviation_s < 0.015


def test_what_one_acknowledgement_overtook_does_not_hide_the_rest() -> None:
    """Sixteen acknowledgements within a millisecond are one opinion, not sixteen."""
    typical = TypicalRtt()
    for number in range(16):
        typical.sample(0.040, 0.01 * number)
    for number in range(100):
        typical.sample(0.010, 0.2 + 1e-6 * number)
    assert typical.median_s == 0.040


@pytest.mark.parametrize(
    ("min_rtt_s", "threshold_s"), [(0.001, 0.003), (0.04, 0.005), (0.08, 0.01), (0.6, 0.016)]
)
def test_what_counts_as_a_queue(min_rtt_s: float, threshold_s: float) -> None:
    """RFC 9406 §4.2: an eighth of the round trip, within bounds."""
    assert queue_threshold_s(min_rtt_s) == pytest.approx(threshold_s)


# -- the average rate ----------------------------------------------------------------------------


def test_the_average_takes_no_burst_for_bandwidth() -> None:
    """Acknowledgements in bursts of 20 ms: a single interval shows twice the rate."""
    average = AverageRate()
    rates = []
    delivered = 0
    for burst in range(50):
        for part in range(4):
            delivered += 5_000
            rate = average.update(1.0 + 0.02 * burst + 0.001 * part, delivered, 0.1)
            if rate is not None:
                rates.append(rate)
    assert max(rates) < 1.25 * 20_000 / 0.02
    average.restart()
    assert average.update(3.0, delivered, 0.1) is None


# -- the path's own loss -------------------------------------------------------------------------


def spell(loss: PathLoss, now_s: float, sent: int, lost: int) -> None:
    """A spell of half a second in which `lost` of `sent` bytes vanish."""
    loss.begin(now_s)
    loss.on_sent(sent)
    loss.on_lost(now_s + 0.2, lost)
    loss.end(now_s + 0.5)
    loss.settle(now_s + 0.5, 0.1)


def test_a_sample_is_taken_when_everything_was_judged() -> None:
    loss = PathLoss()
    spell(loss, 10.0, 400_000, 30_000)
    assert not loss.is_known, "two round trips after its end more losses may be found"
    loss.on_lost(10.4, 10_000)
    loss.on_lost(10.6, 99_000)  # sent after the spell
    loss.on_lost(9.9, 99_000)  # sent before it
    loss.settle(10.71, 0.1)
    assert loss.is_known
    assert loss.share == pytest.approx(0.1)
    loss.settle(11.0, 0.1)
    assert loss.share == pytest.approx(0.1), "one sample a spell"


def test_later_samples_move_the_share() -> None:
    loss = PathLoss()
    for number in range(12):
        spell(loss, 10.0 * number, 400_000, 0 if number < 4 else 40_000)
        loss.settle(10.0 * number + 9, 0.1)
    assert loss.share == pytest.approx(0.1, rel=0.05)


def test_a_spell_with_a_queue_tells_nothing() -> None:
    """Its losses may be the queue's: those of somebody who is just starting, for instance."""
    loss = PathLoss()
    loss.begin(1.0)
    loss.on_sent(400_000)
    loss.on_lost(1.2, 60_000)
    loss.cancel()
    loss.end(1.5)
    loss.settle(9.0, 0.1)
    assert not loss.is_known
    assert loss.is_due


def test_a_newcomers_overshoot_is_not_the_paths_loss() -> None:
    """It falls into a spell: made up for by pacing, it would never go away."""
    controller = warmed()
    controller._loss.begin(1.1)
    controller.on_sent(1.1, 400_000, int(BDP))
    controller.on_lost(LossEvent(1.2, 60_000, int(BDP), 60_000, False))
    for number in range(20):
        controller.on_ack(ack(2.0 + number * 0.001, 100_000 + number * MSS, RTT_S + 0.02))
    controller._loss.end(2.1)
    controller.on_ack(ack(5.0, 200_000, RTT_S))
    assert controller.path_loss == 0.0


def test_a_sample_is_due_after_losses_only() -> None:
    loss = PathLoss()
    assert not loss.is_due
    loss.skip()
    assert loss.is_known, "everything arrived"
    loss.on_lost(0.5, 1_000)
    assert loss.is_due
    spell(loss, 1.0, 400_000, 0)
    loss.settle(9.0, 0.1)
    assert not loss.is_due
    spell(loss, 10.0, 400_000, 4_000)
    loss.settle(19.0, 0.1)
    assert loss.is_due, "a path that loses something has to be watched"


def test_few_bytes_tell_nothing() -> None:
    loss = PathLoss()
    spell(loss, 1.0, 40_000, 20_000)
    loss.settle(9.0, 0.1)
    assert not loss.is_known
    assert loss.share == 0.0


# -- rules ---------------------------------------------------------------------------------------


def warmed(rtt_s: float = RTT_S) -> Resilient:
    """A controller whose typical round trip is known."""
    controller = Resilient(MSS)
    delivered = 0
    for number in range(40):
        delivered += MSS
        controller.on_ack(ack(1.0 + number * 0.001, delivered, rtt_s))
    return controller


def ack(now_s: float, delivered: int, rtt_s: float, *, lost: int = 0, flight: int = 0) -> AckEvent:
    return AckEvent(
        now_s,
        MSS,
        delivered,
        prior_in_flight=int(BDP),
        in_flight=int(BDP),
        rtt_s=rtt_s,
        min_rtt_s=RTT_S,
        rate=RATE,
        rate_app_limited=False,
        in_recovery=False,
        srtt_s=rtt_s,
        lost=lost,
        prior_delivered=max(0, delivered - int(BDP)),
        tx_in_flight=flight,
        lost_since_sent=lost,
    )


def test_loss_without_a_queue_is_no_congestion_before_the_path_is_known() -> None:
    controller = warmed()
    assert not controller.has_queue()
    assert not controller.is_inflight_too_high(30_000, 100_000)


def test_loss_with_a_queue_is_congestion() -> None:
    """The draft's threshold of 2 % holds where packets wait."""
    controller = warmed()
    for number in range(20):
        controller.on_ack(ack(2.0 + number * 0.001, 100_000 + number * MSS, RTT_S + 0.02))
    assert controller.has_queue()
    assert controller.is_inflight_too_high(2_100, 100_000)
    assert not controller.is_inflight_too_high(1_900, 100_000)


def test_loss_beyond_the_paths_own_is_congestion_even_without_a_queue() -> None:
    """A queue too short to be seen: twice the path's loss and 5 % more."""
    controller = warmed()
    spell(controller._loss, 3.0, 400_000, 40_000)
    controller._loss.settle(9.0, 0.1)
    controller.phase = Phase.CRUISE
    assert controller.path_loss == pytest.approx(0.1)
    assert not controller.is_inflight_too_high(24_000, 100_000)
    assert controller.is_inflight_too_high(26_000, 100_000)


def test_pacing_makes_up_for_the_paths_loss_but_not_while_measuring() -> None:
    controller = warmed()
    spell(controller._loss, 3.0, 400_000, 40_000)
    controller._loss.settle(9.0, 0.1)
    controller.model.full_bw_reached = True
    rates = {}
    for phase in (Phase.CRUISE, Phase.DOWN, Phase.DRAIN, Phase.REFILL):
        controller.phase = phase
        controller.set_pacing_rate(1.0)
        rates[phase] = controller.pacing_rate or math.nan
    assert rates[Phase.CRUISE] == pytest.approx(rates[Phase.DOWN] / 0.9)
    assert rates[Phase.REFILL] == pytest.approx(rates[Phase.CRUISE])
    assert rates[Phase.DRAIN] == rates[Phase.DOWN]


def test_more_than_a_path_can_lose_is_not_made_up_for() -> None:
    controller = warmed()
    spell(controller._loss, 3.0, 400_000, 380_000)
    controller._loss.settle(9.0, 0.1)
    assert controller.path_loss == controller.most_loss


def test_cruise_yields_to_a_queue_within_bounds() -> None:
    controller = warmed()
    assert controller.yielding_gain() == 1.0
    own_s = controller.own_trains * controller.send_quantum / controller.model.bw
    for number in range(20):
        controller.on_ack(ack(2.0 + number * 0.001, 100_000 + number * MSS, RTT_S + own_s))
    assert controller.yielding_gain() == 1.0, "trains of its own"
    for number in range(20):
        rtt_s = RTT_S + own_s + 0.004
        controller.on_ack(ack(2.5 + number * 0.001, 150_000 + number * MSS, rtt_s))
    assert 0.9 < controller.yielding_gain() < 1.0
    for number in range(200):
        controller.on_ack(ack(3.0 + number * 0.001, 200_000 + number * MSS, 5 * RTT_S))
    assert controller.yielding_gain() == controller.least_gain


def test_down_yields_as_cruise_does() -> None:
    """Or it would leave a queue standing on which several flows have settled."""
    controller = warmed()
    controller.model.full_bw_reached = True
    for number in range(200):
        controller.on_ack(ack(3.0 + number * 0.001, 200_000 + number * MSS, 5 * RTT_S))
    controller.phase = Phase.DOWN
    controller.set_pacing_rate(controller.down_pacing_gain)
    down = controller.down_pacing_gain * controller.least_gain * controller.model.bw
    assert controller.pacing_rate == pytest.approx(down)


@pytest.mark.parametrize("lost", [0, MSS])
def test_down_measures_the_paths_loss_only_if_there_was_any(lost: int) -> None:
    """Below the bandwidth a link stands idle: without loss there is nothing to find out."""
    controller = warmed()
    controller.model.full_bw_reached = True
    if lost:
        controller.on_lost(LossEvent(1.5, lost, int(BDP), lost, False))
    controller.start_down(2.0)
    controller.on_ack(ack(2.0, 100_000, RTT_S)._replace(in_flight=0))
    event = ack(2.001, 101_000, RTT_S)._replace(in_flight=0)
    assert controller.is_time_to_cruise(event) is not bool(lost)
    controller.model.round_count += controller.down_rounds + 1
    assert controller.is_time_to_cruise(event)


@pytest.mark.parametrize(("deviation_s", "confirmed"), [(0.0, False), (0.0025, True)])
def test_jitter_is_no_reason_to_look_for_the_shortest_round_trip(
    deviation_s: float, confirmed: bool
) -> None:
    """The smallest of many medians is smaller than most: by about their mean deviation."""
    model = ConfirmedPathModel()
    model.start_clock(1.0)
    model.update_min_rtt(ack(1.0, 1_000, RTT_S))
    model.deviation_s = deviation_s
    model.update_min_rtt(ack(5.0, 2_000, 1.03 * RTT_S + 0.002))
    model.update_min_rtt(ack(6.5, 3_000, 1.5 * RTT_S))
    assert model.probe_rtt_expired is not confirmed
    assert model.min_rtt_s == RTT_S


def test_no_noise_confirms_what_would_count_as_a_queue() -> None:
    model = ConfirmedPathModel()
    model.start_clock(1.0)
    model.update_min_rtt(ack(1.0, 1_000, RTT_S))
    model.deviation_s = RTT_S
    model.update_min_rtt(ack(5.0, 2_000, 1.03 * RTT_S + 2 * queue_threshold_s(RTT_S)))
    model.update_min_rtt(ack(6.5, 3_000, 1.5 * RTT_S))
    assert model.probe_rtt_expired


def contested() -> Resilient:
    """Somebody keeps the queue full: it overflows, and stands in ProbeRTT."""
    controller = warmed()
    controller.model.full_bw_reached = True
    controller.phase = Phase.CRUISE
    for number in range(40):
        controller.on_ack(ack(2.0 + number * 0.001, 100_000 + number * MSS, 4 * RTT_S, lost=MSS))
    controller.enter_probe_rtt(2.1)
    for number in range(40):
        now_s, delivered = 2.2 + number * 0.02, 200_000 + number * int(BDP)
        event = ack(now_s, delivered, 4 * RTT_S)._replace(in_flight=0, prior_delivered=delivered)
        controller.on_ack(event)
    assert controller.phase is not Phase.PROBE_RTT
    return controller


def test_against_a_full_queue_the_window_is_cubics_at_least() -> None:
    controller = contested()
    cubic = controller._competition.cubic
    assert controller.is_contested
    assert cubic is not None
    cubic.cwnd = 3 * int(controller.max_inflight())
    controller.on_ack(ack(4.0, 9_000_000, 4 * RTT_S))
    assert controller.cwnd == cubic.cwnd
    assert controller.pacing_rate == max(cubic.pacing_rate or 0.0, controller.model.bw)
    assert controller.yielding_gain() == 1.0, "what is left to them, they take"
    controller.enter_probe_rtt(4.0)
    controller.on_ack(ack(4.01, 9_000_000 + MSS, 4 * RTT_S))
    assert controller.cwnd <= max(controller.probe_rtt_cwnd(), controller.min_pipe_cwnd)


def test_a_timeout_or_a_pause_ends_the_competition() -> None:
    for end in ("timeout", "pause"):
        controller = contested()
        if end == "timeout":
            controller.on_timeout(5.0, int(BDP), first=True)
            assert controller.cwnd == MSS
        else:
            controller.on_idle(10.0, 1.0)
        assert not controller.is_contested


@pytest.mark.parametrize(("part", "widens"), [(4, False), (1, True)])
def test_startup_widens_only_a_window_that_is_used(part: int, widens: bool) -> None:
    """Where the peer's window limits, what arrives says nothing of a larger flight (RFC 7661)."""
    controller = Resilient(MSS)
    before = controller.cwnd
    used = before // part
    for number in range(1, 50):
        now_s, delivered = 1.0 + 0.001 * number, number * used
        controller.on_sent(now_s, used, used)
        event = ack(now_s, delivered, 0.001)._replace(
            delivered=used, prior_in_flight=used, in_flight=0, rate=used / 0.001, prior_delivered=0
        )
        controller.on_ack(event)
    assert controller.phase is Phase.STARTUP
    assert (controller.cwnd > before) is widens


@pytest.mark.parametrize(
    ("queue_s", "part", "rounds"), [(0.0, 0.8, 0), (0.02, 1.0, 0), (0.02, 0.8, 4)]
)
def test_a_probe_with_others_lasts_until_the_average_shows_it(
    queue_s: float, part: float, rounds: int
) -> None:
    """Others are there if a queue stands and less arrives than the bandwidth."""
    controller = warmed()
    controller.model.full_bw_reached = True
    for number in range(20):
        controller.on_ack(ack(2.0 + number * 0.001, 100_000 + number * MSS, RTT_S + queue_s))
    controller._average_bw = part * controller.model.max_bw
    event = ack(3.0, 200_000, RTT_S + 0.02)
    controller.start_up(event._replace(in_flight=int(BDP)))
    assert controller.model.is_shared is (rounds > 0)
    began = controller.model.round_count
    for number in range(20):  # now there is a queue in any case: of the probe, or of others
        controller.on_ack(ack(3.0 + number * 0.001, 300_000 + number * MSS, RTT_S + 0.02))
    controller.phase = Phase.UP
    event = event._replace(in_flight=int(1.3 * BDP), round_start=True)
    controller.model.round_count = began + max(rounds - 1, 0)
    assert controller.is_time_to_go_down(event) is (rounds == 0)
    controller.model.round_count = began + rounds
    assert controller.is_time_to_go_down(event)
    assert not controller.is_time_to_go_down(event._replace(in_flight=int(1.2 * BDP)))


@pytest.mark.parametrize("shared", [False, True])
def test_on_a_shared_link_a_bandwidth_of_the_past_is_forgotten(shared: bool) -> None:
    """Alone, the maximum covers two cycles (MaxBwFilterLen)."""
    model = ConfirmedPathModel()
    model.start_clock(1.0)
    model.update_max_bw(ack(1.0, 1_000, RTT_S))
    model.is_shared = shared
    model.advance_max_bw_filter()
    model.update_max_bw(ack(2.0, 2_000, RTT_S)._replace(rate=0.7 * RATE))
    assert model.max_bw == pytest.approx(0.7 * RATE if shared else RATE)


def test_the_first_window() -> None:
    """32 ordinary segments; jumbo segments no more bytes than those, but two at least."""
    assert Resilient.initial_window(1176) == 32 * 1176
    assert Resilient.initial_window(8928) == 32 * 1460
    assert Resilient.initial_window(65_483) == 2 * 65_483


def test_a_late_loss_event_is_harmless() -> None:
    """on_lost for something sent before the controller existed."""
    controller = Resilient(MSS)
    controller.on_lost(LossEvent(5.0, MSS, 10 * MSS, MSS, False))
    assert controller.path_loss == 0.0


@pytest.mark.parametrize(("lossy", "probes"), [(False, False), (True, True)])
def test_equal_round_trips_confirm_the_shortest_unless_packets_are_lost(
    lossy: bool, probes: bool
) -> None:
    """A queue that is always full gives equal round trips, too: then ProbeRTT has to look."""
    model = Resilient.model_class()
    model.start_clock(1.0)
    expired = []
    for number in range(200):
        event = ack(1.0 + 0.1 * number, 10_000 + number, RTT_S, lost=MSS if lossy else 0)
        model.update_min_rtt(event)
        expired.append(model.probe_rtt_expired)
    assert any(expired) is probes
    assert not any(expired[:100]), "for ten seconds what was measured holds"


# -- on a path -----------------------------------------------------------------------------------


def share_of(path: Path, seconds: float) -> float:
    """Delivered bytes as a share of the link, over `seconds` from now."""
    before = path.delivered
    path.run(seconds)
    return (path.delivered - before) / (seconds * path.rate)


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.05, 0.1, 0.2])
def test_random_loss_leaves_the_link_full(loss: float) -> None:
    """The loss comes before the bottleneck or behind it: at most what it takes is missing."""
    path = Path(Resilient(MSS), rate=RATE, rtt_s=RTT_S, queue=BDP, loss=loss)
    path.run(3.0)
    assert share_of(path, 5.0) > 0.9 * (1 - loss)
    assert path.timeouts == 0


def test_startup_ends_when_a_queue_builds() -> None:
    """With a queue of many round trips: long before it overflows."""
    path = Path(Resilient(MSS), rate=RATE, rtt_s=RTT_S, queue=20 * BDP)
    path.run(1.0)
    assert path.drops == 0
    assert path.cc.phase is not Phase.STARTUP
    assert path.cc.model.max_bw == pytest.approx(RATE, rel=0.1)


def test_the_queue_stays_short() -> None:
    """Mean delay over the path's own below an eighth of the round trip."""
    path = Path(Resilient(MSS), rate=RATE, rtt_s=RTT_S, queue=2 * BDP)
    path.run(2.0)
    path.steps.clear()
    path.run(6.0)
    mean_s = statistics.fmean(step.rtt_s for step in path.steps)
    assert mean_s - RTT_S < RTT_S / 8


def pair_of(seed: int, **what: float) -> CorePair:
    link = LinkConfig(rate_bytes_per_s=2.5e6, delay_s=0.02, queue_bytes=100_000, mtu=1472, **what)
    return CorePair(seed, link, config=Config(congestion="resilient"))


@pytest.mark.parametrize("seed", [20261122, 20261123])
def test_a_transfer_through_ten_percent_of_loss(seed: int) -> None:
    """A real connection: 6 MB in at most half as much time again as the link needs."""
    pair = pair_of(seed, loss=0.1)
    left, right = pair.connect()
    data = random.Random(seed).randbytes(6_000_000)
    left.send(data)
    pair.flush(pair.a, left)
    got = pair.b.received.setdefault(right, bytearray())
    began_s = pair.now_s
    assert pair.run_until(lambda: len(got) >= len(data), 30.0), f"seed {seed}"
    assert bytes(got) == data
    assert pair.now_s - began_s < 1.5 * len(data) / 2.5e6, f"seed {seed}"
