"""A connection's steps with somebody watching: the same steps, and the observer told of them.

Apart, so that a connection that nobody watches pays for one `is None` a train.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rudp.buffers.rangeset import RangeSet
from rudp.core import arrivals, expiry, predicted
from rudp.core.timers import NEVER
from rudp.telemetry.observer import Metrics, Observer
from rudp.wire.segment import Segment
from rudp.wire.train import Train

if TYPE_CHECKING:
    from rudp.core.connection import Connection


def arrive(
    conn: Connection, observer: Observer, segment: Segment, size: int, ecn: int, now_s: float
) -> None:
    """SEGMENT ARRIVES; `size` is the payload of every segment of a run but the last."""
    observer.segment_received(segment, size, ecn, now_s)
    if not observer.wants_metrics:
        _take(conn, segment, now_s)
        return
    before = list(conn.sender.ledger.lost)
    _take(conn, segment, now_s)
    trigger = "time_threshold" if conn.sender.peer_sack else "reordering_threshold"
    _tell(conn, observer, before, trigger, now_s)


def _take(conn: Connection, segment: Segment, now_s: float) -> None:
    if not predicted.arrive(conn, segment, now_s):
        arrivals.arrive(conn, segment, now_s)


def on_timer(conn: Connection, observer: Observer, now_s: float, *, acks_only: bool) -> None:
    """Handle whatever is due."""
    if not observer.wants_metrics:
        expiry.handle(conn, now_s, acks_only=acks_only)
        return
    before, timeouts = list(conn.sender.ledger.lost), conn.stats.timeouts
    expiry.handle(conn, now_s, acks_only=acks_only)
    trigger = "pto_expired" if conn.stats.timeouts > timeouts else "time_threshold"
    _tell(conn, observer, before, trigger, now_s)


def sent(conn: Connection, observer: Observer, train: Train, now_s: float) -> None:
    """`train` leaves, with the ECN field `conn.mark`."""
    observer.train_sent(train, conn.mark, now_s)
    if observer.wants_metrics:
        observer.metrics_updated(metrics_of(conn), now_s)


def metrics_of(conn: Connection) -> Metrics:
    """The connection's numbers as of now."""
    sender = conn.sender
    rtt, cc = sender.rtt, sender.cc
    measured = rtt.srtt_s is not None
    return Metrics(
        cwnd=cc.cwnd,
        in_flight=sender.ledger.in_flight,
        ssthresh=int(cc.ssthresh) if cc.ssthresh != NEVER else None,
        srtt_s=rtt.srtt_s,
        rttvar_s=rtt.var_s if measured else None,
        min_rtt_s=rtt.min_s if measured else None,
        latest_rtt_s=rtt.latest_s if measured else None,
        rto_s=rtt.rto_s,
        pacing_rate=cc.pacing_rate if measured else None,
        congestion_state=_congestion_state(conn),
    )


def _congestion_state(conn: Connection) -> str:
    sender = conn.sender
    if sender.in_recovery or sender.after_timeout:
        return "recovery"
    phase = getattr(sender.cc, "phase", None)
    if phase is not None:
        return str(getattr(phase, "name", phase)).lower()
    return "slow_start" if sender.cc.cwnd < sender.cc.ssthresh else "congestion_avoidance"


def _tell(
    conn: Connection, observer: Observer, before: list[tuple[int, int]], trigger: str, now_s: float
) -> None:
    """Report what was not deemed lost `before`, and the numbers."""
    after = list(conn.sender.ledger.lost)
    if after and after != before:
        known = RangeSet()
        for start, end in before:
            known.add(start, end)
        ranges = [gap for start, end in after for gap in known.gaps(start, end)]
        if ranges:
            observer.lost(ranges, trigger, now_s)
    observer.metrics_updated(metrics_of(conn), now_s)
