"""How much a path loses whatever is sent: measured in spells of sending below its bandwidth."""

from __future__ import annotations

_LEAST_BYTES = 48_000
"""A sample of less says little: forty packets, of which one in ten is lost, or one in five."""
_WEIGHT_BYTES = 400_000
"""Bytes that weigh as much as everything before: some hundred packets see 10 % as 7 to 13 %."""


class PathLoss:
    """The share of bytes lost of those sent between `begin()` and `end()`."""

    __slots__ = ("_ended_s", "_lost", "_open", "_sent", "_since_s", "_weight", "is_due", "share")

    def __init__(self) -> None:
        self.share = 0.0
        self.is_due = False
        """Something was lost since the last sample: how much, another one has to tell."""
        self._weight = 0.0
        self._open = False
        self._since_s = 0.0
        self._ended_s: float | None = None
        self._sent = 0
        self._lost = 0

    @property
    def is_known(self) -> bool:
        """Whether there has been a sample."""
        return self._weight > 0

    def begin(self, now_s: float) -> None:
        """What is sent from now on counts; a spell whose losses are not all known is dropped."""
        self._open = True
        self._since_s = now_s
        self._ended_s = None
        self._sent = self._lost = 0

    def skip(self) -> None:
        """No spell was needed: nothing was lost, however fast it was sent."""
        self._weight = max(self._weight, _LEAST_BYTES)

    def end(self, now_s: float) -> None:
        """What is sent from now on does not count."""
        if self._open:
            self._open = False
            self._ended_s = now_s

    def cancel(self) -> None:
        """The spell says nothing: what it lost may have been lost to a queue."""
        self._open = False
        self._ended_s = None

    def on_sent(self, size: int) -> None:
        """`size` bytes were sent."""
        if self._open:
            self._sent += size

    def on_lost(self, sent_s: float, size: int) -> None:
        """`size` bytes that were sent at `sent_s` are lost."""
        self.is_due = True
        if sent_s > self._since_s and (self._open or self._ended_s is not None):
            if self._ended_s is not None and sent_s > self._ended_s:
                return
            self._lost += size

    def settle(self, now_s: float, srtt_s: float) -> None:
        """Take the sample once everything that was sent in the spell must have been judged."""
        if self._ended_s is None or now_s < self._ended_s + 2 * srtt_s:
            return
        self._ended_s = None
        if self._sent < _LEAST_BYTES:
            return
        sample = min(1.0, self._lost / self._sent)
        weight = self._sent / (self._sent + min(self._weight, _WEIGHT_BYTES))
        self.share += weight * (sample - self.share)
        self._weight += self._sent
        self.is_due = self.share > 0
