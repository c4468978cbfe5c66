"""Simulated transfers: they take the course that their link allows, and the same one again."""

from __future__ import annotations

from typing import Any

import pytest

from rudp.congestion import CONTROLLERS, NewReno
from rudp.plot.scenario import Scenario, simulate
from rudp.sim import LinkConfig

LINK = LinkConfig(rate_bytes_per_s=500e3, delay_s=0.02, queue_bytes=30_000, mtu=1472)


@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_transfer_fills_a_clean_link(name: str) -> None:
    scenario = Scenario(link=LINK, seconds=4.0, congestion=name)
    (recording,) = simulate(scenario)
    assert recording.header.congestion == name
    assert recording.header.title == scenario.describe()
    assert recording.header.bdp == 20_000
    last = recording.samples[-1]
    assert last.t_s == pytest.approx(4.0)
    assert 0.8 * 500e3 * 4 < last.bytes_acked < 500e3 * 4
    assert last.min_rtt_s == pytest.approx(0.04, rel=0.1)
    # Never more than the path and the queue hold, once what was lost has been noticed.
    assert last.in_flight < 60_000


def test_the_same_scenario_takes_the_same_course() -> None:
    def run(seed: int) -> list[Any]:
        link = LinkConfig(rate_bytes_per_s=500e3, delay_s=0.02, loss=0.03, mtu=1472)
        return simulate(Scenario(link=link, seconds=2.0, seed=seed))[0].samples

    first = run(7)
    assert first[-1].bytes_lost > 0
    assert run(7) == first
    assert run(8) != first


def test_flows_share_a_time_axis_and_begin_one_after_the_other() -> None:
    scenario = Scenario(link=LINK, seconds=3.0, flows=3, stagger_s=0.5)
    recordings = simulate(scenario)
    assert [one.header.title for one in recordings] == ["flow 1", "flow 2", "flow 3"]
    begins_s = [one.samples[0].t_s for one in recordings]
    assert [round(begin_s / 0.5) for begin_s in begins_s] == [0, 1, 2]
    assert all(one.samples[-1].t_s == pytest.approx(3.0) for one in recordings)
    acked = [one.samples[-1].bytes_acked for one in recordings]
    assert 0.7 * 500e3 * 3 < sum(acked) < 500e3 * 3
    assert min(acked) > 0


def test_a_class_of_ones_own() -> None:
    class Still(NewReno):
        __slots__ = ()
        name = "still"

        def on_ack(self, event: object) -> None:
            """Stay at the initial window."""

    (recording,) = simulate(Scenario(link=LINK, seconds=1.0, congestion=Still))
    assert recording.header.congestion == "still"
    assert set(recording.column("cwnd")) == {recording.samples[0].cwnd}


def test_a_dead_link_is_told() -> None:
    dead = LinkConfig(rate_bytes_per_s=1e6, loss=1.0)
    with pytest.raises(TimeoutError, match=r"no connection within 2\.0 s"):
        simulate(Scenario(link=dead, seconds=2.0))


def test_descriptions() -> None:
    assert Scenario(link=LINK, congestion="newreno").describe() == (
        "newreno: 4 Mbit/s, 40 ms round trip, queue 30 kB"
    )
    link = LinkConfig(
        rate_bytes_per_s=12.5e6,
        delay_s=0.02,
        loss=0.01,
        jitter_s=0.01,
        reorder=0.05,
        burst_enter=0.005,
        burst_exit=0.3,
        queue_bytes=500_000,
    )
    assert Scenario(link=link, congestion="newreno", flows=2).describe() == (
        "newreno × 2: 100 Mbit/s, 40 ms round trip, queue 500 kB, 1 % loss, "
        "bursts of 3.3 datagrams, 5 % early, jitter 10 ms"
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"link": LinkConfig()}, "link"),
        ({"seconds": 0.0}, "seconds"),
        ({"seconds": float("nan")}, "seconds"),
        ({"interval_s": -1.0}, "interval_s"),
        ({"flows": 0}, "flows"),
        ({"flows": 3, "stagger_s": 5.0}, "stagger_s"),
        ({"stagger_s": -1.0, "flows": 2}, "stagger_s"),
        ({"congestion": "carrier pigeon"}, "congestion"),
    ],
)
def test_impossible_scenarios_are_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Scenario(**{"link": LINK, **change})
