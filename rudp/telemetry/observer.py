"""What the core tells whoever watches a connection; costs nothing where nobody does."""

from __future__ import annotations

import enum
from typing import Protocol

from rudp.wire.segment import Segment


class Observer(Protocol):
    """Receives a connection's events. States and events are enums of `rudp.core.states`."""

    def state_changed(self, before: enum.IntEnum, after: enum.IntEnum, event: enum.Enum) -> None:
        """The connection followed an arrow of the state diagram."""

    def segment_received(self, segment: Segment, now_s: float) -> None:
        """A segment, or a run of alike ones, arrived."""

    def train_sent(self, first: bytes, segments: int, size: int, now_s: float) -> None:
        """Datagrams left: the first one's header, how many, bytes in all."""

    def closed(self, reason: enum.Enum | None) -> None:
        """The connection is gone; None for an orderly end."""
