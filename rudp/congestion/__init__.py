"""Congestion control: the controller interface, the registry, the controllers.

A controller sees plain numbers, never a connection: it can be fuzzed and plotted alone, and a
user can bring a class of their own (`Config(congestion=MyController)`).
"""

from __future__ import annotations

from rudp.congestion.bbr import Bbr
from rudp.congestion.controller import AckEvent, CongestionController, LossEvent
from rudp.congestion.cubic import Cubic
from rudp.congestion.new_reno import NewReno
from rudp.congestion.resilient import Resilient

__all__ = [
    "CONTROLLERS",
    "AckEvent",
    "Bbr",
    "CongestionController",
    "Cubic",
    "LossEvent",
    "NewReno",
    "Resilient",
    "resolve",
]

CONTROLLERS: dict[str, type[CongestionController]] = {
    controller.name: controller for controller in (NewReno, Cubic, Bbr, Resilient)
}
"""The controllers that `Config.congestion` knows by name."""


def resolve(congestion: str | type) -> type[CongestionController]:
    """The controller class for a name or a class.

    Raises `ValueError` for an unknown name and `TypeError` for another kind of class.
    """
    if isinstance(congestion, str):
        try:
            return CONTROLLERS[congestion]
        except KeyError:
            known = ", ".join(sorted(CONTROLLERS))
            raise ValueError(f"congestion {congestion!r} is not one of {known}") from None
    if not issubclass(congestion, CongestionController):
        raise TypeError(f"congestion class {congestion!r} is no CongestionController")
    return congestion
