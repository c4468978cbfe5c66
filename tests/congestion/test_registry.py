"""rudp.congestion: controllers by name, and controllers of one's own."""

from __future__ import annotations

import inspect

import pytest

from rudp.config import Config
from rudp.congestion import (
    CONTROLLERS,
    AckEvent,
    CongestionController,
    NewReno,
    Resilient,
    resolve,
)
from rudp.sim.pair import CorePair

from .support import ack


class Fixed(CongestionController):
    """The smallest controller that a user can write: a window that never moves."""

    __slots__ = ("heard",)

    name = "fixed"

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self.heard: list[str] = []

    def on_ack(self, event: AckEvent) -> None:
        self.heard.append("ack")

    def on_congestion(self, now_s: float, flight_size: int, *, marked: bool = False) -> None:
        self.heard.append("congestion")

    def on_timeout(self, now_s: float, flight_size: int, *, first: bool) -> None:
        self.heard.append("timeout")


def test_by_name() -> None:
    assert resolve("newreno") is NewReno
    assert resolve(Config().congestion) is Resilient
    assert sorted(CONTROLLERS) == ["bbr", "cubic", "newreno", "resilient"]


def test_by_class() -> None:
    assert resolve(Fixed) is Fixed
    assert resolve(NewReno) is NewReno


@pytest.mark.parametrize("name", sorted(CONTROLLERS))
def test_the_registry(name: str) -> None:
    controller = CONTROLLERS[name]
    assert controller.name == name
    assert resolve(name) is controller
    assert not inspect.isabstract(controller)
    assert isinstance(controller(1200), CongestionController)


@pytest.mark.parametrize("name", ["", "NEWRENO", "reno", "vegas"])
def test_an_unknown_name(name: str) -> None:
    """The error names what was asked for and what there is."""
    with pytest.raises(ValueError, match="newreno") as caught:
        resolve(name)
    assert repr(name) in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("other", [int, dict, AckEvent, Config])
def test_another_kind_of_class(other: type) -> None:
    with pytest.raises(TypeError, match="CongestionController"):
        resolve(other)


def test_the_interface_asks_for_three_methods() -> None:
    """What to do about ACKs, losses and timeouts has to be said; the rest is optional."""
    assert CongestionController.__abstractmethods__ == {"on_ack", "on_congestion", "on_timeout"}
    with pytest.raises(TypeError, match="abstract"):
        CongestionController(1000)  # type: ignore[abstract]
    controller = Fixed(1000)
    assert controller.cwnd == 10_000
    controller.on_sent(0.0, 1000, 1000)
    controller.on_recovered(0.0)
    controller.on_idle(100.0, 1.0)
    controller.on_ack(ack(1000, 1000))
    assert controller.cwnd == 10_000
    controller.on_mss(2000)
    assert (controller.mss, controller.cwnd) == (2000, 10_000)
    controller.on_mss(20_000)
    assert controller.cwnd == 20_000
    assert controller.heard == ["ack"]


def test_controllers_have_slots() -> None:
    """They are called for every acknowledgement; a stray attribute is a typing error."""
    controller = NewReno(1000)
    with pytest.raises(AttributeError):
        controller.cwind = 1  # type: ignore[attr-defined]


def test_a_controller_of_ones_own_drives_a_connection() -> None:
    """Config(congestion=MyController): it hears of every ACK, and its window is kept."""
    pair = CorePair(1, config=Config(congestion=Fixed, mtu_discovery=False))
    conn, peer = pair.connect()
    controller = conn.sender.cc
    assert isinstance(controller, Fixed)
    conn.send(bytes(200_000))
    highest = 0
    pair.flush(pair.a, conn)
    while conn.sender.outstanding or conn.sender.has_new:
        highest = max(highest, conn.sender.ledger.in_flight)
        assert pair.step(pair.now_s + 10)
    assert peer.stats.bytes_received == 200_000
    window = Fixed.initial_window(conn.sender.mss)
    assert window - conn.sender.mss < highest <= window
    assert controller.heard
    assert set(controller.heard) == {"ack"}
