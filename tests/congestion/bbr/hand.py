"""Driving BBR by hand, one acknowledgement a line."""

from __future__ import annotations

import random

from rudp.congestion import AckEvent, LossEvent
from rudp.congestion.bbr import Bbr, PathModel, Phase

MSS = 1000
RTT_S = 0.1
RATE = 1e6
BDP = 100_000
"""RATE * RTT_S."""


class Fixed(random.Random):
    """A generator that always draws the middle: probes wait 2.5 s, and no round."""

    def random(self) -> float:
        return 0.5

    def randint(self, a: int, b: int) -> int:
        return a


class Forever(PathModel):
    """A model whose round-trip time never asks to be probed."""

    __slots__ = ()
    probe_rtt_interval_s = 1e9


class Patient(Bbr):
    """BBR without ProbeRTT, for tests of everything else."""

    __slots__ = ()
    model_class = Forever


class Hand:
    """A controller, the clock, and what was delivered so far."""

    def __init__(self, controller: Bbr | None = None) -> None:
        self.cc = controller or Patient(MSS, rng=Fixed())
        self.now_s = 50.0
        self.delivered = 0

    @property
    def model(self):  # type: ignore[no-untyped-def]
        return self.cc.model

    def ack(
        self,
        delivered: int = MSS,
        *,
        new_round: bool = False,
        after_s: float = 0.001,
        rate: float = RATE,
        rtt_s: float | None = RTT_S,
        in_flight: int = BDP,
        prior_in_flight: int | None = None,
        app_limited: bool = False,
        in_recovery: bool = False,
        tx_in_flight: int = BDP,
        lost_since_sent: int = 0,
        marked: int = 0,
        prior_delivered: int | None = None,
    ) -> AckEvent:
        """Acknowledge; with `new_round` what was sent after the last acknowledgement."""
        self.now_s += after_s
        if prior_delivered is None:
            prior_delivered = self.delivered if new_round else max(0, self.delivered - BDP)
        self.delivered += delivered
        if prior_in_flight is None:
            prior_in_flight = in_flight + delivered
        event = AckEvent(
            self.now_s,
            delivered,
            self.delivered,
            prior_in_flight,
            in_flight,
            rtt_s,
            RTT_S,
            rate,
            app_limited,
            in_recovery,
            srtt_s=rtt_s or 0.0,
            prior_delivered=prior_delivered,
            tx_in_flight=tx_in_flight,
            lost_since_sent=lost_since_sent,
            marked=marked,
        )
        self.cc.on_ack(event)
        return event

    def round(self, rounds: int = 1, **kwargs) -> None:  # type: ignore[no-untyped-def]
        """Acknowledgements each of which ends a round trip."""
        for _ in range(rounds):
            self.ack(new_round=True, after_s=kwargs.pop("after_s", RTT_S), **kwargs)

    def lossy_rounds(self, rounds: int, *, rate: float, in_recovery: bool = True) -> None:
        """Round trips with a loss each, in which `rate` is delivered."""
        for _ in range(rounds):
            self.lose(lost_since_sent=1)
            self.ack(rate=rate, in_recovery=in_recovery)
            self.round(rate=rate, in_recovery=in_recovery)

    def lose(
        self,
        size: int = MSS,
        *,
        tx_in_flight: int = BDP,
        lost_since_sent: int | None = None,
        app_limited: bool = False,
    ) -> None:
        """A loss that the acknowledgement a millisecond from now reveals."""
        lost = size if lost_since_sent is None else lost_since_sent
        self.cc.on_lost(LossEvent(self.now_s + 0.001, size, tx_in_flight, lost, app_limited))


def in_startup(controller: Bbr | None = None) -> Hand:
    """After the handshake and a first round."""
    hand = Hand(controller)
    hand.ack(0, rate=0.0, in_flight=0)
    hand.round(delivered=20 * MSS, in_flight=20 * MSS)
    assert hand.cc.phase is Phase.STARTUP
    return hand


def in_drain(controller: Bbr | None = None) -> Hand:
    """The pipe is full: twice the BDP in flight."""
    hand = in_startup(controller)
    hand.round(3, delivered=50 * MSS, in_flight=2 * BDP)
    assert hand.cc.phase is Phase.DRAIN
    return hand


def in_cruise(controller: Bbr | None = None) -> Hand:
    """The steady state."""
    hand = in_drain(controller)
    hand.ack()
    assert hand.cc.phase is Phase.CRUISE
    hand.round()
    return hand


def in_refill(controller: Bbr | None = None) -> Hand:
    """The wait is over."""
    hand = in_cruise(controller)
    hand.ack(after_s=2.5)
    assert hand.cc.phase is Phase.REFILL
    return hand


def in_up(controller: Bbr | None = None) -> Hand:
    """A round of refilling later."""
    hand = in_refill(controller)
    hand.round()
    assert hand.cc.phase is Phase.UP
    return hand
