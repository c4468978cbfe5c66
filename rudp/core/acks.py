"""What an acceptable acknowledgement does: window, ledger, RTT, loss, congestion, timers.

One call an acknowledgement, whose cost does not grow with the window.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from rudp.congestion import AckEvent
from rudp.core import losses
from rudp.core.limits import Limit
from rudp.core.timers import NEVER, Timer
from rudp.wire.segment import FIN, SYN, Segment
from rudp.wire.seq import MASK, from_wire

if TYPE_CHECKING:
    from rudp.core.connection import Connection
    from rudp.core.sender import Sender
    from rudp.recovery.ledger import Delivery


_LONGEST_RTT_S = 60.0
_TELL_EVERY_S = 0.01
"""Of a dialogue of small messages, which tests no window, a controller learns as much from one
acknowledgement in so long a time as from all of them."""
_LEAST_PROBE_S = 0.01
"""A loop that is busy for some milliseconds must not look like a lost tail."""
MAX_SACKED_RANGES = 2048
"""SACK is advice (RFC 2018 §8): beyond this many ranges a peer is not taken at its word."""


def is_acceptable(sender: Sender, ack: int) -> bool:
    """RFC 5961 §5.2: neither older than the largest window nor beyond what was sent."""
    ledger = sender.ledger
    return ledger.snd_una - sender.max_snd_wnd <= ack <= ledger.snd_nxt


def process(conn: Connection, seg: Segment, seq: int, ack: int, now_s: float) -> None:
    """Take in the ACK, window and SACK fields of an acceptable segment."""
    sender = conn.sender
    ledger = sender.ledger
    window_moved = update_window(sender, seg, seq, ack)
    snd_una = ledger.snd_una
    if ack == snd_una and not seg.options.sack and not seg.options.ecn_counts:
        if not window_moved and ack == ledger.snd_nxt and not sender.has_new:
            return  # a stream the other way: nothing of ours is waiting
        _without_news(conn, seg, ack, now_s, window_moved=window_moved)
        return
    prior_in_flight, flight_size = ledger.in_flight, sender.outstanding
    blocks = _blocks(conn, seg, ack, now_s)
    least_s = sender.rtt.min_s
    least_s = least_s if least_s != math.inf else 0.0
    delivery = ledger.acknowledge(max(ack, snd_una), blocks, now_s, least_s)
    echo_s = now_s - ((conn.timestamp(now_s) - seg.tsecr) & MASK) * 1e-6
    rtt_s = _round_trip(conn, delivery, echo_s, now_s) if delivery.delivered else None
    if delivery.advanced:
        _on_advance(conn, now_s)
    in_recovery = sender.in_recovery
    lost = losses.after_ack(conn, delivery, echo_s, flight_size, now_s)
    marked = _on_marks(conn, seg, delivery, flight_size, now_s) if sender.ecn is not None else 0
    if delivery.delivered:
        in_recovery = in_recovery or sender.in_recovery
        was_full = snd_una < sender.full_until
        told = _Told(prior_in_flight, rtt_s, lost, marked, was_full, in_recovery)
        _tell_controller(conn, delivery, told, now_s)
    if not ledger.lost and not sender.has_new:
        sender.limits.note(Limit.APPLICATION, now_s)  # nobody polls where nothing is to be sent
    # While data arrives behind a hole RACK finds whatever is lost, by time: the timer is for when
    # nothing arrives any more.
    repairing = in_recovery and delivery.newly_sacked
    rearm(conn, now_s, restart=delivery.advanced > 0 or repairing)


def in_order(conn: Connection, delivery: Delivery, prior_in_flight: int, now_s: float) -> None:
    """The oldest data was acknowledged, and nothing is or was in doubt (`Sender.is_calm`)."""
    sender = conn.sender
    ledger, newest = sender.ledger, delivery.newest
    rtt_s = None
    if newest is not None:
        rtt_s = now_s - newest.sent_s
        if rtt_s > 0 and _is_round_trip(conn, rtt_s, now_s):
            sender.rtt.sample(rtt_s)
        else:
            rtt_s = None
    sender.rack.on_delivered(delivery, now_s)
    was_full = ledger.snd_una - delivery.advanced < sender.full_until
    _on_advance(conn, now_s)
    if delivery.marked and sender.ecn is not None:
        sender.ecn.on_feedback(None, delivery.marked, now_s)
    told = _Told(prior_in_flight, rtt_s, 0, 0, was_full, False)
    _tell_controller(conn, delivery, told, now_s)
    rearm(conn, now_s, restart=True)


def _without_news(
    conn: Connection, seg: Segment, ack: int, now_s: float, *, window_moved: bool
) -> None:
    """Nothing is newly acknowledged: a duplicate, a window update, the answer to a probe."""
    sender = conn.sender
    if ack != sender.ledger.snd_nxt:
        duplicate = not seg.payload and not seg.flags & (SYN | FIN) and not window_moved
        if duplicate and not sender.peer_sack:
            losses.on_duplicate(conn, now_s)
    if window_moved:
        _on_window(conn, now_s)
    elif conn.timers.is_set(Timer.PERSIST):
        conn.timers.stop(Timer.GIVE_UP)  # a probe was answered: the peer lives (MUST-37)
        sender.unanswered_probes = 0


def update_window(sender: Sender, seg: Segment, seq: int, ack: int) -> bool:
    """SND.WND from a segment that is not older than the last one used (RFC 9293 §3.10.7.4)."""
    if ack < sender.ledger.snd_una or not (
        sender.snd_wl1 < seq or (sender.snd_wl1 == seq and sender.snd_wl2 <= ack)
    ):
        return False
    window = seg.window << (0 if seg.flags & SYN else sender.scale)
    moved = window != sender.snd_wnd
    sender.snd_wnd = window
    sender.snd_wl1 = seq
    sender.snd_wl2 = ack
    if window > sender.max_snd_wnd:
        sender.max_snd_wnd = window
    return moved


def rearm(conn: Connection, now_s: float, *, restart: bool) -> None:
    """Set the retransmission, probe and persist timers as what is outstanding asks for (RFC 6298
    §5, RFC 8985 §7.2)."""
    sender, timers = conn.sender, conn.timers
    if sender.ledger.snd_nxt > sender.ledger.snd_una:
        if restart or timers[Timer.RETRANSMIT] == NEVER:
            arm_retransmit(conn, now_s)
            arm_probe(conn, now_s)
        timers.stop(Timer.PERSIST)
        return
    if not sender.has_new:
        timers.stop_recovery()
        sender.persist_backoff = 0
        return
    timers.stop(Timer.RETRANSMIT)
    timers.stop(Timer.PROBE)
    timers.stop(Timer.REORDER)


def arm_probe(conn: Connection, now_s: float) -> None:
    """Schedule a tail loss probe, where RFC 8985 §7.2 has one: with SACK, outside of recovery,
    one at a time, and earlier than the retransmission timeout."""
    sender, timers = conn.sender, conn.timers
    ledger, rtt, deadlines = sender.ledger, sender.rtt, timers.deadlines
    srtt_s = rtt.srtt_s
    if (
        srtt_s is None
        or not (sender.peer_sack and conn.config.tail_loss_probe)
        or sender.in_recovery
        or sender.tail_probe is not None
        or ledger.sacked.size
        or ledger.snd_una < sender.recover
    ):
        deadlines[Timer.PROBE] = NEVER
        return
    pto_s = 2 * srtt_s
    if ledger.snd_nxt - ledger.snd_una <= sender.mss:
        # Its acknowledgement may be delayed; the peer's delay is taken to be like ours.
        pto_s += conn.config.delayed_ack
    deadline_s = now_s + (pto_s if pto_s > _LEAST_PROBE_S else _LEAST_PROBE_S)
    if sender.rto_at_s <= deadline_s:
        # The probe takes the timeout's place (RFC 8985 §7.2), which counts from it (§7.3). What is
        # sent meanwhile puts neither off: the timeout is that of the oldest data.
        deadline_s = sender.rto_at_s
        deadlines[Timer.RETRANSMIT] = deadline_s + rtt.rto_s
    timers.set(Timer.PROBE, deadline_s)


def arm_retransmit(conn: Connection, now_s: float) -> None:
    """A full timeout from now on (RFC 6298 §5)."""
    sender = conn.sender
    sender.rto_at_s = now_s + sender.rtt.rto_s
    conn.timers.set(Timer.RETRANSMIT, sender.rto_at_s)


def _blocks(conn: Connection, seg: Segment, ack: int, now_s: float) -> list[tuple[int, int]]:
    """The SACK blocks that can be true: inside what is outstanding, beyond the ACK. A first block
    that repeats what the same segment acknowledges otherwise is a duplicate SACK (RFC 2883 §4);
    one that only a later ACK has overtaken is not."""
    sender = conn.sender
    if not seg.options.sack or not sender.peer_sack:
        return []
    ledger = sender.ledger
    if len(ledger.sacked) > MAX_SACKED_RANGES:
        return []
    snd_una = max(ack, ledger.snd_una)
    told = [
        (from_wire(left, snd_una), from_wire(right, snd_una)) for left, right in seg.options.sack
    ]
    left, right = told[0]
    if left < right and (
        snd_una - sender.max_snd_wnd <= left < right <= ack
        or (len(told) > 1 and told[1][0] <= left and right <= told[1][1])
    ):
        losses.on_dsack(conn, right - left, right, now_s)
    return [block for block in told if snd_una < block[0] < block[1] <= ledger.snd_nxt]


def _on_advance(conn: Connection, now_s: float) -> None:
    """SND.UNA moved: free the data, note progress."""
    sender = conn.sender
    buffer = sender.buffer
    start = buffer.start
    buffer.release(min(sender.ledger.snd_una, buffer.end))
    conn.stats.bytes_acked += buffer.start - start
    sender.rtt.on_new_ack()
    sender.dup_acks.on_new_ack()
    sender.progress_s = now_s


def _round_trip(conn: Connection, delivery: Delivery, echo_s: float, now_s: float) -> float | None:
    """One round-trip sample, if the acknowledgement gives any.

    The echoed timestamp tells which transmission arrived, so that retransmissions give samples
    too (RFC 7323 §4.1), but only where SND.UNA advances, and delayed acknowledgements echo the
    oldest. What arrived for the first time was sent once (Karn). Both are at least a round
    trip: the lesser one is nearer to it.
    """
    newest = delivery.newest
    rtt_s = math.inf
    if newest is not None and not newest.retransmitted:
        rtt_s = now_s - newest.sent_s
    if delivery.advanced:
        rtt_s = min(rtt_s, now_s - echo_s)
    rtt_s = max(rtt_s, 1e-6)
    if not _is_round_trip(conn, rtt_s, now_s):
        return None
    conn.sender.rtt.sample(rtt_s)
    return rtt_s


def _is_round_trip(conn: Connection, rtt_s: float, now_s: float) -> bool:
    """Whether it can be one: it was not forged, nor was the machine suspended in between."""
    return rtt_s <= now_s - conn.opened_s + 1e-6 and rtt_s <= max(
        conn.config.max_rto, _LONGEST_RTT_S
    )


def _on_window(conn: Connection, now_s: float) -> None:
    """The peer's window moved without an acknowledgement of data."""
    sender = conn.sender
    if sender.outstanding:
        sender.progress_s = now_s
        conn.arm_give_up()
    else:
        conn.timers.stop(Timer.GIVE_UP)
        sender.unanswered_probes = 0
    if sender.usable_window() > 0:
        conn.timers.stop(Timer.PERSIST)
        sender.persist_backoff = 0


def _on_marks(
    conn: Connection, seg: Segment, delivery: Delivery, flight_size: int, now_s: float
) -> int:
    """Bytes newly reported as marked; they count as a loss, once a window (RFC 3168 §6.1.2)."""
    sender = conn.sender
    if sender.ecn is None or not (seg.options.ecn_counts or delivery.marked):
        return 0
    marked = sender.ecn.on_feedback(seg.options.ecn_counts, delivery.marked, now_s)
    if marked and not sender.in_recovery and sender.ledger.snd_una >= sender.recover:
        losses.enter_recovery(conn, delivery.delivered, flight_size, now_s, marked=True)
    return marked


class _Told(NamedTuple):
    """What else the controller is told of an acknowledgement."""

    prior_in_flight: int
    rtt_s: float | None
    lost: int
    marked: int
    was_full: bool
    in_recovery: bool


def _oldest_rtt_s(conn: Connection, delivery: Delivery, now_s: float) -> float | None:
    rtt_s = now_s - delivery.oldest_original_s
    return rtt_s if rtt_s > 0 and _is_round_trip(conn, rtt_s, now_s) else None


def introduce_controller(conn: Connection, now_s: float) -> None:
    """There is something to control: make the controller, and tell it of the path what the
    handshake and small messages have shown."""
    sender = conn.sender
    ledger, rtt, delivered = sender.ledger, sender.rtt, sender.untold_bytes
    sender.untold_bytes = 0
    if rtt.srtt_s is None:
        return
    sender.cc.on_ack(
        AckEvent(
            now_s,
            delivered,
            ledger.delivered,
            ledger.in_flight,
            ledger.in_flight,
            rtt.latest_s,
            rtt.min_s,
            0.0,
            rate_app_limited=True,
            in_recovery=False,
            srtt_s=rtt.srtt_s,
            cwnd_limited=False,
            prior_delivered=ledger.delivered - delivered,
        )
    )


def _tell_controller(conn: Connection, delivery: Delivery, told: _Told, now_s: float) -> None:
    sender = conn.sender
    prior_in_flight, rtt_s, lost, marked, was_full, in_recovery = told
    cc, newest = sender.cc_in_use, delivery.newest
    if newest is not None and newest.end - newest.start >= sender.mss:
        sender.mtu.on_acked(sender.mtu.size)
    # In slow start half a window in use is use enough: it doubles within the round (RFC 7661).
    half_used = 2 * prior_in_flight >= sender.cwnd
    limited = was_full or (half_used and (cc is None or cc.cwnd < cc.ssthresh))
    app_limited = newest is not None and newest.at.app_limited
    delivered = delivery.delivered + sender.untold_bytes
    if not (limited or lost or marked or in_recovery) and (
        cc is None or (app_limited and now_s < sender.tell_at_s)
    ):
        sender.untold_bytes = delivered
        return
    cc = sender.cc
    ledger, rtt = sender.ledger, sender.rtt
    sender.untold_bytes = 0
    sender.tell_at_s = now_s + _TELL_EVERY_S
    prior_delivered = newest.at.delivered if newest is not None else 0
    round_start = newest is not None and prior_delivered >= sender.next_round_delivered
    if round_start:
        sender.next_round_delivered = ledger.delivered
    if delivery.rate and not (app_limited and delivery.rate < sender.delivery_rate):
        sender.delivery_rate = delivery.rate
    # RFC 5681 §3.2, step 1: duplicates let new data out (RFC 3042), and do not open the window.
    limited = limited and (delivery.advanced > 0 or ledger.snd_una < sender.recover)
    cc.on_ack(
        AckEvent(
            now_s,
            delivered,
            ledger.delivered,
            prior_in_flight,
            ledger.in_flight,
            rtt_s,
            rtt.min_s,
            delivery.rate,
            app_limited,
            in_recovery,
            rtt.srtt_s or 0.0,
            round_start,
            limited,
            lost,
            ledger.lost_total,
            prior_delivered,
            newest.tx_in_flight if newest is not None else 0,
            ledger.lost_total - newest.at.lost if newest is not None else 0,
            marked,
            _oldest_rtt_s(conn, delivery, now_s),
        )
    )
