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
    """A connection at one moment, in the manner of Linux' TCP_INFO. Seconds and bytes of payload.

    Attributes:
        state: The state of RFC 9293 §3.3.2, as "ESTABLISHED".
        congestion: The controller's name.
        mss: Bytes of payload in a full segment to the peer.
        datagram_size: The path MTU in bytes of UDP payload, as far as it is known.
        mtu_state: The state of the search for it (RFC 8899 §5.2).
        ecn: The state of ECN's validation (RFC 9000 §13.4.2).
        bytes_marked: What the peer reported as marked Congestion Experienced.
        srtt_s: The smoothed round-trip time; None before the first measurement.
        rttvar_s: Its mean deviation.
        min_rtt_s: The smallest sample; None before the first.
        rto_s: The retransmission timeout (RFC 6298).
        cwnd: The congestion window.
        ssthresh: The slow-start threshold; None while it has not been set.
        in_flight: Bytes on their way, RFC 6675's pipe.
        unacked: Bytes sent and not cumulatively acknowledged, a SYN or FIN counted as one.
        unsent: Bytes written and not sent yet.
        snd_wnd: What the peer's window allows to be under way.
        rcv_wnd: What the window announced to the peer still allows.
        unread: Bytes received in order that the application has not got.
        age_s: Since the connection was begun.
        bytes_sent: Sent for the first time.
        bytes_received: Received in order.
        bytes_acked: Acknowledged by the peer.
        bytes_retransmitted: Sent again.
        bytes_lost: Deemed lost.
        segments_sent: Segments, those without payload included.
        segments_received: Likewise.
        timeouts: Expiries of the retransmission timer.
        fast_recoveries: Episodes of recovery that a loss or a congestion mark began, not a timeout.
        spurious_recoveries: Episodes that were for nothing and were undone.
        bytes_duplicated: What the peer reported to have got twice (RFC 2883).
        tail_probes: Tail loss probes (RFC 8985 §7).
        latest_rtt_s: The latest sample; None before the first.
        pacing_rate: Bytes a second; None: not paced.
        delivery_rate: Bytes a second, the latest sample.
        reordering_seen: Whether segments were seen to overtake others.
        reordering_window_s: RACK's (RFC 8985 §6.2).
        in_recovery: Whether losses are being repaired.
        limited_by: For how many seconds the sender was held back by `application`, `cwnd`,
            `receive_window` (the peer's) or `pacing`.
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
    """What one endpoint has seen, as counts.

    Attributes:
        datagrams_received: Malformed ones included.
        segments_sent: Datagrams sent.
        malformed: Datagrams that were no segments, by why.
        bad_syn: SYNs without an id, or of another version.
        unknown_connection: Segments of a connection that nobody has.
        wrong_address: Resets, SYNs and the like that name a connection and come from elsewhere.
        resets_sent: Resets to whom no connection belongs.
        answers_suppressed: Answers to those that were not sent, because there were too many.
        half_open_evicted: Half-open connections that were given up for a new SYN.
        resets_ignored: Resets that name no connection of their sender's.
        backlog_drops: SYNs beyond the server's backlog.
        limit_drops: SYNs beyond `Config.max_connections`.
        refused: SYNs that no server was there for.
        early_rendezvous: SYNs with a rendezvous that no dial here names yet.
        opened: Connections that this side began.
        accepted: Connections that peers began and that were established.
        closed: Connections that are gone.
        time_wait_acks: Repeated FINs that were acknowledged in TIME-WAIT.
    """

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
