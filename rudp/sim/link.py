"""One direction of a simulated path: loss, a bottleneck queue, a delay.

Nothing here reads a clock or does I/O. The caller says what time it is, and is told when which
bytes arrive; so a link serves a bare protocol core, the simulated network and a plot alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

__all__ = ["Link", "LinkConfig", "LinkStats"]

# A reordered datagram overtakes its neighbours by skipping this share of the delay.
_REORDER_SHARE = 0.75

# The queue's length is known as a time, in floating point; a datagram that fits exactly shall fit.
_ROUNDING_BYTES = 0.5


def _check_number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    return value


def _check_probability(name: str, value: object) -> None:
    if not 0.0 <= _check_number(name, value) <= 1.0:
        raise ValueError(f"{name} must be a probability between 0 and 1, got {value!r}")


def _check_duration(name: str, value: object) -> None:
    number = _check_number(name, value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{name} must be a finite number of seconds, 0 or more, got {value!r}")


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1 byte, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkConfig:
    """What one direction of a path does to datagrams. The default is a perfect link.

    A datagram meets, in this order: the MTU, loss, the queue, the delay. Sizes are bytes of UDP
    payload; times are seconds; probabilities are per datagram and independent of each other.

    Args:
        rate_bytes_per_s: Rate of the bottleneck; None is infinitely fast and never queues.
        queue_bytes: Length of the drop-tail queue before the bottleneck, the datagram that is being
            sent included. Without a rate there is no queue.
        delay_s: One-way propagation delay, which starts when the datagram has left the queue.
        jitter_s: Upper bound of an extra delay, uniform and drawn for every datagram on its own,
            so that it reorders too.
        loss: Probability of an independent loss.
        burst_enter: Probability, at each datagram, that a burst of losses begins with it
            (Gilbert-Elliott: everything is lost in the bad state).
        burst_exit: Probability, at each datagram within a burst, that the burst ended before it;
            bursts are ``1 / burst_exit`` datagrams long on average.
        reorder: Probability that a datagram overtakes those before it.
        reorder_early_s: How much of the delay an overtaking datagram skips; it has no jitter.
            None means three quarters of ``delay_s``. Must not exceed ``delay_s``.
        duplicate: Probability that a second copy is sent right behind the datagram. The copy takes
            its own place in the queue and its own jitter.
        corrupt: Probability that one random bit is flipped.
        corrupt_is_dropped: Whether the receiver's UDP checksum catches the flipped bit, so that the
            datagram is not delivered. False delivers it as it is.
        mtu: Datagrams with more payload than this vanish without a word; None lets all pass.

    Raises:
        TypeError: An argument is not a number.
        ValueError: An argument is out of range; the message names it.
    """

    rate_bytes_per_s: float | None = None
    queue_bytes: int = 1 << 20
    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    burst_enter: float = 0.0
    burst_exit: float = 1.0
    reorder: float = 0.0
    reorder_early_s: float | None = None
    duplicate: float = 0.0
    corrupt: float = 0.0
    mtu: int | None = None
    corrupt_is_dropped: bool = True

    def __post_init__(self) -> None:
        for name in ("loss", "burst_enter", "burst_exit", "reorder", "duplicate", "corrupt"):
            _check_probability(name, getattr(self, name))
        for name in ("delay_s", "jitter_s"):
            _check_duration(name, getattr(self, name))
        _check_count("queue_bytes", self.queue_bytes)
        if self.mtu is not None:
            _check_count("mtu", self.mtu)
        if self.rate_bytes_per_s is not None:
            rate = _check_number("rate_bytes_per_s", self.rate_bytes_per_s)
            if not math.isfinite(rate) or rate <= 0:
                raise ValueError(
                    f"rate_bytes_per_s must be a finite number above 0, or None, got {rate!r}"
                )
        if self.reorder_early_s is not None:
            _check_duration("reorder_early_s", self.reorder_early_s)
            if self.reorder_early_s > self.delay_s:
                raise ValueError(
                    f"reorder_early_s must not exceed delay_s ({self.delay_s!r}), "
                    f"got {self.reorder_early_s!r}"
                )

    @property
    def early_s(self) -> float:
        """How much of the delay a reordered datagram skips, in seconds."""
        early = self.reorder_early_s
        return self.delay_s * _REORDER_SHARE if early is None else early


@dataclass(slots=True)
class LinkStats:
    """What became of the datagrams given to a link. All are counts of datagrams but ``bytes``.

    ``sent + duplicated == delivered + lost + queue_drops + mtu_drops``, plus ``corrupted`` while
    ``corrupt_is_dropped`` holds.

    Attributes:
        sent: Datagrams given to the link.
        delivered: Datagrams, copies included, that arrive (some may still be on their way).
        lost: Lost at random, in a burst, or because the link was down.
        queue_drops: Dropped because the queue was full.
        mtu_drops: Vanished because they were bigger than the MTU.
        duplicated: Extra copies made.
        reordered: Sent ahead of their turn.
        corrupted: Had a bit flipped, delivered or not.
        bytes: UDP payload bytes of what was delivered.
    """

    sent: int = 0
    delivered: int = 0
    lost: int = 0
    queue_drops: int = 0
    mtu_drops: int = 0
    duplicated: int = 0
    reordered: int = 0
    corrupted: int = 0
    bytes: int = 0


class Link:
    """One direction of a path.

    Args:
        config: What the link does; see `LinkConfig`.
        rng: Source of all of the link's randomness. The same generator state and the same
            datagrams at the same times give the same deliveries.

    Attributes:
        config: May be replaced at any time; datagrams that are already on their way keep their
            time of arrival.
        up: False loses everything (a partition) until it is True again.
        stats: Counters since the link was made.
    """

    __slots__ = ("_bad", "_free_at_s", "_rng", "config", "stats", "up")

    def __init__(self, config: LinkConfig, rng: random.Random) -> None:
        self.config = config
        self.up = True
        self.stats = LinkStats()
        self._rng = rng
        self._bad = False
        self._free_at_s = 0.0

    def __repr__(self) -> str:
        return f"<Link {'up' if self.up else 'down'} {self.config!r} {self.stats!r}>"

    def restart(self) -> None:
        """Empty the queue and end a burst, because time begins again at zero."""
        self._free_at_s = 0.0
        self._bad = False

    def queued_bytes(self, now_s: float) -> float:
        """Return how many bytes wait at the bottleneck, the datagram being sent included."""
        rate = self.config.rate_bytes_per_s
        return 0.0 if rate is None else max(0.0, self._free_at_s - now_s) * rate

    def transmit(self, datagram: bytes, now_s: float) -> list[tuple[float, bytes]]:
        """Send a datagram, and return what arrives of it.

        Args:
            datagram: The UDP payload; may be empty.
            now_s: The time in seconds, on any clock that does not go back between two calls.

        Returns:
            No, one or two pairs of the time of arrival and the bytes that arrive. The pairs of
            different calls are not in order of time when the link reorders; deliver those of equal
            time in the order in which they were returned.
        """
        config = self.config
        stats = self.stats
        stats.sent += 1
        if not self.up or ((config.burst_enter or config.loss) and self._is_lost()):
            stats.lost += 1
            return []
        if config.mtu is not None and len(datagram) > config.mtu:
            stats.mtu_drops += 1
            return []
        deliveries: list[tuple[float, bytes]] = []
        self._queue(datagram, now_s, deliveries)
        if config.duplicate and self._rng.random() < config.duplicate:
            stats.duplicated += 1
            self._queue(datagram, now_s, deliveries)
        return deliveries

    def _is_lost(self) -> bool:
        config = self.config
        draw = self._rng.random
        if config.burst_enter:
            self._bad = draw() >= config.burst_exit if self._bad else draw() < config.burst_enter
            if self._bad:
                return True
        return config.loss > 0 and draw() < config.loss

    def _queue(self, datagram: bytes, now_s: float, deliveries: list[tuple[float, bytes]]) -> None:
        config = self.config
        leave_s = now_s if self._free_at_s < now_s else self._free_at_s
        rate = config.rate_bytes_per_s
        if rate is not None:
            if (leave_s - now_s) * rate + len(datagram) > config.queue_bytes + _ROUNDING_BYTES:
                self.stats.queue_drops += 1
                return
            leave_s += len(datagram) / rate
            self._free_at_s = leave_s
        due_s = leave_s + config.delay_s
        if config.jitter_s:
            due_s += self._rng.random() * config.jitter_s
        if config.reorder and self._rng.random() < config.reorder:
            due_s = leave_s + config.delay_s - config.early_s
            self.stats.reordered += 1
        if config.corrupt and self._rng.random() < config.corrupt:
            corrupted = self._corrupt(datagram)
            if corrupted is None:
                return
            datagram = corrupted
        self.stats.delivered += 1
        self.stats.bytes += len(datagram)
        deliveries.append((due_s, datagram))

    def _corrupt(self, datagram: bytes) -> bytes | None:
        if self.config.corrupt_is_dropped:
            self.stats.corrupted += 1
            return None
        if not datagram:
            return datagram
        self.stats.corrupted += 1
        bit = self._rng.randrange(len(datagram) * 8)
        flipped = bytearray(datagram)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        return bytes(flipped)
