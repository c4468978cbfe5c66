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
    rtt_s: float | None = RTT_S,
    srtt_s: float = RTT_S,
    round_start: bool = False,
    cwnd_limited: bool = True,
) -> AckEvent:
    """An acknowledgement of `delivered` bytes, `in_flight` of them and others before it."""
    return AckEvent(
        now_s=now_s,
        delivered=delivered,
        delivered_total=delivered,
        prior_in_flight=in_flight,
        in_flight=max(0, in_flight - delivered),
        rtt_s=rtt_s,
        min_rtt_s=RTT_S,
        rate=0.0,
        rate_app_limited=False,
        in_recovery=in_recovery,
        srtt_s=srtt_s,
        round_start=round_start,
        cwnd_limited=cwnd_limited,
    )


def round_trip(
    controller: CongestionController,
    per_ack: int = 2 * MSS,
    *,
    flight: int | None = None,
    now_s: float = 1.0,
    srtt_s: float = RTT_S,
) -> None:
    """A round: a window of data is in flight, and acknowledged `per_ack` bytes at a time while
    each acknowledgement lets out as much as the window then allows. With `flight` the sender has
    only so much to send. The acknowledgements come evenly spaced in the `srtt_s` after `now_s`.
    """
    window = controller.cwnd if flight is None else flight
    done = 0
    while done < window:
        delivered = min(per_ack, window - done)
        done += delivered
        controller.on_ack(
            ack(
                delivered,
                controller.cwnd if flight is None else flight,
                now_s=now_s + srtt_s * done / window,
                srtt_s=srtt_s,
                rtt_s=srtt_s,
                round_start=done == delivered,
                cwnd_limited=flight is None,
            )
        )
