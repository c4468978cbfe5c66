"""Making a controller believe that it has a path."""

from __future__ import annotations

from rudp.congestion import AckEvent, CongestionController

MSS = 1000
RTT_S = 0.1


def ack(
    delivered: int,
    in_flight: int,
    *,
    in_recovery: bool = False,
    now_s: float = 1.0,
) -> AckEvent:
    """An acknowledgement of `delivered` bytes, `in_flight` of them and others before it."""
    return AckEvent(
        now_s=now_s,
        delivered=delivered,
        delivered_total=delivered,
        prior_in_flight=in_flight,
        in_flight=max(0, in_flight - delivered),
        rtt_s=RTT_S,
        min_rtt_s=RTT_S,
        rate=0.0,
        rate_app_limited=False,
        in_recovery=in_recovery,
    )


def round_trip(
    controller: CongestionController, per_ack: int = 2 * MSS, *, flight: int | None = None
) -> None:
    """A round: a window of data is in flight, and acknowledged `per_ack` bytes at a time while
    each acknowledgement lets out as much as the window then allows."""
    window = controller.cwnd if flight is None else flight
    left = window
    while left > 0:
        delivered = min(per_ack, left)
        in_flight = controller.cwnd if flight is None else flight
        controller.on_ack(ack(delivered, in_flight))
        left -= delivered
