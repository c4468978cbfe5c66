"""Two dials that meet: a simultaneous open (RFC 9293 §3.5, MUST-10) through NATs (RFC 5128 §3.3).

Each side dials the address at which a third party sees the other. A NAT lets the peer's SYN in only
after ours went out, so that the first ones are lost or refused, and it may give ours another port
than it gave to the third party. So the two dials are paired not by addresses but by some bytes that
both sides know, in an option of the SYN; and until they have met, a refusal says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rudp.core.states import SYNCHRONIZED, State
from rudp.recovery.rtt import RttEstimator
from rudp.wire.options import RENDEZVOUS_BYTES

if TYPE_CHECKING:
    from rudp.core.connection import Connection
    from rudp.wire.segment import Segment

_STEADY_SYNS = 25
"""So many SYNs leave at `Config.punch_interval`: the two sides do not start at the same moment."""
_BACKOFF_MOST = 3
"""Then the interval doubles three times: the holes have to stay open, whoever comes late."""


def check_rendezvous(rendezvous: object) -> bytes:
    """Raises `TypeError` or `ValueError` for what no SYN can carry."""
    if not isinstance(rendezvous, bytes):
        raise TypeError(f"rendezvous must be bytes, not {type(rendezvous).__name__}")
    low, high = RENDEZVOUS_BYTES
    if not low <= len(rendezvous) <= high:
        raise ValueError(f"rendezvous must have {low} to {high} bytes, not {len(rendezvous)}")
    return rendezvous


def backs_off(conn: Connection) -> bool:
    """Whether a timeout makes the next one later (RFC 6298 §5.5); not so for the first SYNs of a
    dial that punches a hole, whose loss is no sign of congestion."""
    if conn.rendezvous is None or conn.state in SYNCHRONIZED:
        return True
    if conn.state is State.SYN_SENT and conn.stats.timeouts <= _STEADY_SYNS:
        return False
    return conn.sender.rtt.backoff < _BACKOFF_MOST


def may_cross(conn: Connection, syn: Segment) -> bool:
    """Whether a SYN from the address that is dialled may be the dial's counterpart: not if both
    name a rendezvous, since then they name two."""
    return conn.rendezvous is None or syn.options.rendezvous is None


class Meetings:
    """The dials of an endpoint that wait for the peer's, by what pairs them."""

    __slots__ = ("_dials",)

    def __init__(self) -> None:
        self._dials: dict[bytes, Connection] = {}

    def add(self, conn: Connection, rendezvous: bytes) -> None:
        """Let a dial that has not begun wait for its counterpart."""
        config = conn.config
        conn.rendezvous = rendezvous
        conn.sender.rtt = RttEstimator(config.punch_interval, config.min_rto, config.max_rto)
        self._dials[rendezvous] = conn

    def __contains__(self, rendezvous: object) -> bool:
        return rendezvous in self._dials

    def find(self, syn: Segment) -> Connection | None:
        """The dial that the SYN is the counterpart of."""
        token = syn.options.rendezvous
        return self._dials.get(token) if token is not None else None

    def remove(self, conn: Connection) -> None:
        """The dial is over, or the two have met."""
        token = conn.rendezvous
        if token is not None and self._dials.get(token) is conn:
            del self._dials[token]
