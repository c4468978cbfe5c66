"""Counters of a connection and of an endpoint."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, fields
from typing import Any

from rudp.wire.segment import Malformed


@dataclass(slots=True)
class ConnectionStats:
    """What one connection has done; segments are datagrams, bytes are payload."""

    segments_sent: int = 0
    segments_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    bytes_acked: int = 0
    bytes_retransmitted: int = 0
    bytes_lost: int = 0
    bytes_duplicate: int = 0
    timeouts: int = 0
    fast_recoveries: int = 0
    challenge_acks: int = 0
    paws_drops: int = 0
    window_drops: int = 0
    hole_drops: int = 0
    ack_drops: int = 0
    zero_window_probes: int = 0
    keepalive_probes: int = 0
    path_changes: int = 0
    spurious_recoveries: int = 0
    bytes_duplicated: int = 0
    """What the peer reported to have got twice (RFC 2883)."""
    tail_probes: int = 0
    mtu_probes: int = 0
    mtu_falls: int = 0

    def add(self, other: ConnectionStats) -> None:
        """Count what `other` has counted, too."""
        _add(self, other, _OF_CONNECTIONS)


@dataclass(slots=True, frozen=True)
class ConnectionInfo:
    """A connection at one moment, in the manner of Linux' TCP_INFO. Seconds and bytes.

    `srtt_s`, `latest_rtt_s` and `min_rtt_s` are None before the first measurement, `ssthresh` is
    None while it has not been set, `pacing_rate` and `delivery_rate` are bytes a second (None:
    not paced), `in_flight` is RFC 6675's pipe, `bytes_duplicated` is what the peer reported to
    have got twice, `reordering_window_s` is RACK's, `limited_by` tells for how many seconds the
    application, the congestion window, the peer's window or pacing held the sender back.
    `datagram_size` is the path MTU in bytes of UDP payload as far as it is known and `mtu_state`
    the state of the search (RFC 8899 §5.2); `ecn` is the state of the validation (RFC 9000 §13.4.2)
    and `bytes_marked` what the peer reported as marked Congestion Experienced.
    """

    state: str
    congestion: str
    mss: int
    datagram_size: int
    mtu_state: str
    ecn: str
    bytes_marked: int
    srtt_s: float | None
    rttvar_s: float
    min_rtt_s: float | None
    rto_s: float
    cwnd: int
    ssthresh: int | None
    in_flight: int
    unacked: int
    unsent: int
    snd_wnd: int
    rcv_wnd: int
    unread: int
    age_s: float
    bytes_sent: int
    bytes_received: int
    bytes_acked: int
    bytes_retransmitted: int
    bytes_lost: int
    segments_sent: int
    segments_received: int
    timeouts: int
    fast_recoveries: int
    spurious_recoveries: int
    bytes_duplicated: int
    tail_probes: int
    latest_rtt_s: float | None
    pacing_rate: float | None
    delivery_rate: float
    reordering_seen: bool
    reordering_window_s: float
    in_recovery: bool
    limited_by: dict[str, float]

    @property
    def retransmitted_share(self) -> float:
        """Retransmitted bytes as a share of all bytes sent."""
        total = self.bytes_sent + self.bytes_retransmitted
        return self.bytes_retransmitted / total if total else 0.0


@dataclass(slots=True)
class EndpointStats:
    """What one endpoint has seen."""

    datagrams_received: int = 0
    segments_sent: int = 0
    malformed: dict[Malformed, int] = field(default_factory=lambda: dict.fromkeys(Malformed, 0))
    bad_syn: int = 0
    unknown_connection: int = 0
    wrong_address: int = 0
    resets_sent: int = 0
    answers_suppressed: int = 0
    half_open_evicted: int = 0
    resets_ignored: int = 0
    backlog_drops: int = 0
    limit_drops: int = 0
    refused: int = 0
    early_rendezvous: int = 0
    opened: int = 0
    accepted: int = 0
    closed: int = 0
    time_wait_acks: int = 0
    _ended: tuple[int, ...] = field(default_factory=lambda: (0,) * len(_OF_CONNECTIONS), repr=False)

    @property
    def ended(self) -> ConnectionStats:
        """What the connections that are gone had counted, all together."""
        return ConnectionStats(*self._ended)

    def connection_ended(self, stats: ConnectionStats) -> None:
        """Keep what a connection has counted."""
        self._ended = tuple(map(operator.add, self._ended, _counters_of(stats)))

    def add(self, other: EndpointStats) -> None:
        """Count what `other` has counted, too."""
        _add(self, other, _OF_ENDPOINTS)
        for why, count in other.malformed.items():
            self.malformed[why] += count
        self.connection_ended(other.ended)

    @property
    def malformed_total(self) -> int:
        """Datagrams that were no segments."""
        return sum(self.malformed.values())


_OF_CONNECTIONS: tuple[str, ...] = tuple(one.name for one in fields(ConnectionStats))
_counters_of = operator.attrgetter(*_OF_CONNECTIONS)
_OF_ENDPOINTS = tuple(
    one.name for one in fields(EndpointStats) if one.name not in ("malformed", "_ended")
)


def _add(total: Any, other: Any, names: tuple[str, ...]) -> None:
    for name in names:
        setattr(total, name, getattr(total, name) + getattr(other, name))
