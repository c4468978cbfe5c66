"""Counters of a connection and of an endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

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
    resets_suppressed: int = 0
    resets_ignored: int = 0
    backlog_drops: int = 0
    limit_drops: int = 0
    refused: int = 0
    opened: int = 0
    accepted: int = 0
    closed: int = 0
    time_wait_acks: int = 0

    @property
    def malformed_total(self) -> int:
        """Datagrams that were no segments."""
        return sum(self.malformed.values())
