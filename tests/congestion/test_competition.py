"""rudp.congestion.competition: who else is there, and what to answer (docs/congestion.md)."""

from __future__ import annotations

import math

import pytest

from rudp.congestion.competition import Competition
from rudp.congestion.controller import AckEvent

MSS = 1448
WINDOW = 200 * MSS
QUEUE_S = 0.005


def probe(
    competition: Competition, now_s: float, *rtts_s: float, min_rtt_s: float = 0.04
) -> Competition:
    """A ProbeRTT that sees these round trips."""
    competition.begin_probe(min_rtt_s)
    for rtt_s in rtts_s:
        competition.on_probe_rtt(rtt_s)
    competition.end_probe(now_s, QUEUE_S, MSS, WINDOW)
    return competition


def contested(now_s: float = 10.0) -> Competition:
    competition = Competition()
    competition.on_overflow(now_s - 1.0)
    probe(competition, now_s, 0.2, 0.12)
    assert competition.cubic is not None
    return competition


def ack(now_s: float) -> AckEvent:
    return AckEvent(
        now_s,
        delivered=10 * MSS,
        delivered_total=1000 * MSS,
        prior_in_flight=WINDOW,
        in_flight=WINDOW - 10 * MSS,
        rtt_s=0.2,
        min_rtt_s=0.04,
        rate=WINDOW / 0.2,
        rate_app_limited=False,
        in_recovery=False,
        srtt_s=0.2,
    )


def test_it_takes_an_overflow_and_a_queue_that_stands() -> None:
    competition = contested()
    assert competition.cwnd == WINDOW, "it goes on from where it is"


def test_a_queue_that_goes_is_ones_own() -> None:
    competition = Competition()
    competition.on_overflow(9.0)
    probe(competition, 10.0, 0.2, 0.044)
    assert competition.cubic is None
    assert competition.cwnd == competition.pacing_rate == 0


def test_a_queue_that_never_overflows_is_no_competition() -> None:
    """Flows with a model of the path may leave one standing."""
    assert probe(Competition(), 10.0, 0.2, 0.12).cubic is None


def test_an_old_overflow_is_none() -> None:
    competition = Competition()
    competition.on_overflow(10.0)
    assert probe(competition, 10.1 + competition.overflow_s, 0.2).cubic is None


def test_a_probe_without_a_round_trip_tells_nothing() -> None:
    competition = Competition()
    competition.on_overflow(9.0)
    assert probe(competition, 10.0).cubic is None


def test_it_ends_when_the_queue_goes() -> None:
    assert probe(contested(), 15.0, 0.1, 0.042).cubic is None


def test_the_path_is_not_forgotten_under_a_standing_queue() -> None:
    """After ten seconds the smallest round trip is one with the queue."""
    competition = probe(contested(), 15.0, 0.13)
    assert probe(competition, 20.0, 0.13, min_rtt_s=0.13).cubic is not None


def test_the_evidence_grows_old() -> None:
    """A path that has become longer looks the same."""
    competition = contested(10.0)
    assert probe(competition, 39.0, 0.12).cubic is not None
    assert probe(competition, 41.0, 0.12).cubic is None
    assert probe(competition, 46.0, 0.12, min_rtt_s=0.12).cubic is None


def test_the_window_is_cubics() -> None:
    """It grows with time while it is used, shrinks to 70 %, and comes back if that was wrong."""
    competition = contested()
    for number in range(100):
        competition.on_ack(ack(10.0 + 0.05 * number), probing=False)
    grown = competition.cwnd
    assert grown > WINDOW + 20 * MSS
    assert competition.pacing_rate > grown / 0.2
    competition.on_congestion(15.1, grown, marked=False)
    assert competition.cwnd == pytest.approx(0.7 * grown, abs=1)
    competition.on_spurious(15.2)
    assert competition.cwnd == grown
    competition.on_mss(1000)
    assert competition.cubic is not None
    assert competition.cubic.mss == 1000


def test_a_window_that_probe_rtt_leaves_unused_does_not_grow() -> None:
    competition = contested()
    for number in range(100):
        competition.on_ack(ack(10.0 + 0.05 * number), probing=True)
    assert competition.cwnd == WINDOW


def test_without_competition_nothing_happens() -> None:
    competition = Competition()
    competition.on_ack(ack(1.0), probing=False)
    competition.on_congestion(1.0, WINDOW, marked=False)
    competition.on_spurious(1.1)
    competition.on_mss(1000)
    assert competition.cubic is None
    competition = contested()
    competition.end()
    assert competition.cwnd == 0
    assert math.isfinite(competition.pacing_rate)
