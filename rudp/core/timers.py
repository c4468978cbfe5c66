"""A connection's timers: an enum and a table of deadlines."""

from __future__ import annotations

import enum
import math


class Timer(enum.IntEnum):
    """What a deadline is for."""

    RETRANSMIT = 0
    """RFC 6298; SYN and FIN included."""
    PERSIST = 1
    """Zero-window probes (RFC 9293 §3.8.6.1)."""
    DELAYED_ACK = 2
    """RFC 9293 §3.8.6.3."""
    KEEPALIVE = 3
    """RFC 9293 §3.8.4."""
    GIVE_UP = 4
    """The last moment that unacknowledged data is waited for (R2, user timeout)."""
    ORPHAN = 5
    """FIN-WAIT-2 without an application."""
    LINGER = 6
    """Only our FIN is unacknowledged: the latest moment that the application is told so."""
    REORDER = 7
    """RACK's: what is waited for is lost by then (RFC 8985 §6.3)."""
    PROBE = 8
    """A tail loss probe (RFC 8985 §7.2)."""
    PACING = 9
    """The next train's time has come."""


NEVER = math.inf
_TIMERS = len(Timer)
_RECOVERY = (Timer.RETRANSMIT, Timer.PERSIST, Timer.GIVE_UP, Timer.REORDER, Timer.PROBE)
_HARMLESS = (Timer.DELAYED_ACK, Timer.PACING)


class Timers:
    """Deadlines in seconds of the caller's clock; `NEVER` where a timer is stopped.

    Moving a deadline is one store. Nothing is armed here: whoever owns the clock asks for the
    earliest deadline.
    """

    __slots__ = ("deadlines", "next_s")

    def __init__(self) -> None:
        self.deadlines = [NEVER] * _TIMERS
        """By timer. Who puts one off, or stops it, may store it here: that moves `next_s` only
        where it is set for earlier."""
        self.next_s = NEVER
        """No deadline lies before this one; after a timer was stopped or put off there may be
        none at it either, and the wake-up finds nothing due."""

    def __getitem__(self, timer: Timer) -> float:
        return self.deadlines[timer]

    def set(self, timer: Timer, deadline_s: float) -> None:
        """Let `timer` expire at `deadline_s`, whatever it was set to before."""
        self.deadlines[timer] = deadline_s
        if deadline_s < self.next_s:
            self.next_s = deadline_s

    def stop(self, timer: Timer) -> None:
        """Stop `timer`."""
        self.deadlines[timer] = NEVER

    def stop_recovery(self) -> None:
        """Stop what waits for acknowledgements: nothing is outstanding, nothing is to be sent."""
        deadlines = self.deadlines
        for timer in _RECOVERY:
            deadlines[timer] = NEVER

    def stop_all(self) -> None:
        """Stop every timer."""
        self.deadlines = [NEVER] * _TIMERS
        self.next_s = NEVER

    def is_set(self, timer: Timer) -> bool:
        """Whether `timer` is running."""
        return self.deadlines[timer] != NEVER

    def expired(self, now_s: float, *, acks_only: bool = False) -> list[Timer]:
        """Stop and return the timers that are due, earliest deadline first.

        `acks_only` leaves alone those that judge what the peer did, or did not do.
        """
        deadlines = self.deadlines
        due = [timer for timer in Timer if deadlines[timer] <= now_s]
        if acks_only:
            due = [timer for timer in due if timer in _HARMLESS]
        if len(due) > 1:
            due.sort(key=deadlines.__getitem__)
        for timer in due:
            deadlines[timer] = NEVER
        self.next_s = min(deadlines)
        return due
