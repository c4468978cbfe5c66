"""What an acceptable acknowledgement does: window, ledger, RTT, loss, congestion, timers.

One call an acknowledgement, whose cost does not grow with the window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rudp.congestion import AckEvent
from rudp.core.timers import NEVER, Timer
from rudp.wire.segment import FIN, SYN, Segment
from rudp.wire.seq import MASK, from_wire

if TYPE_CHECKING:
    from rudp.core.connection import Connection
    from rudp.core.sender import Sender
    from rudp.recovery.ledger import Delivery


_LONGEST_RTT_S = 60.0
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
    if ack == snd_una and not seg.options.sack:
        if not window_moved and ack == ledger.snd_nxt and not sender.has_new:
            return  # a stream the other way: nothing of ours is waiting
        if ack != ledger.snd_nxt:
            duplicate = not seg.payload and not seg.flags & (SYN | FIN) and not window_moved
            if duplicate and not sender.peer_sack:
                _on_duplicate(conn, now_s)
        if window_moved:
            _on_window(conn, now_s)
        elif conn.timers.is_set(Timer.PERSIST):
            conn.timers.stop(Timer.GIVE_UP)  # a probe was answered: the peer lives (MUST-37)
        return
    prior_in_flight, flight_size = ledger.in_flight, sender.outstanding
    delivery = ledger.acknowledge(max(ack, snd_una), _blocks(sender, seg, ack), now_s)
    rtt_s = None
    if delivery.advanced:
        rtt_s = _on_advance(conn, seg, now_s)
    _detect_losses(conn, delivery, flight_size, now_s)
    if delivery.delivered:
        _tell_controller(conn, delivery, prior_in_flight, rtt_s, now_s)
    rearm(conn, now_s, restart=delivery.advanced > 0)


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
    """Set the retransmission and persist timers as what is outstanding asks for (RFC 6298 §5)."""
    sender, timers = conn.sender, conn.timers
    if sender.outstanding:
        if restart or timers[Timer.RETRANSMIT] == NEVER:
            timers.set(Timer.RETRANSMIT, now_s + sender.rtt.rto_s)
        timers.stop(Timer.PERSIST)
        return
    timers.stop(Timer.RETRANSMIT)
    if not sender.has_new:
        timers.stop(Timer.PERSIST)
        timers.stop(Timer.GIVE_UP)
        sender.persist_backoff = 0


def _blocks(sender: Sender, seg: Segment, ack: int) -> list[tuple[int, int]]:
    """The SACK blocks that can be true: inside what is outstanding, beyond the ACK."""
    if not seg.options.sack or not sender.peer_sack:
        return []
    ledger = sender.ledger
    if len(ledger.sacked) > MAX_SACKED_RANGES:
        return []
    snd_una = max(ack, ledger.snd_una)
    blocks = []
    for left32, right32 in seg.options.sack:
        left = from_wire(left32, snd_una)
        right = from_wire(right32, snd_una)
        if snd_una < left < right <= ledger.snd_nxt:
            blocks.append((left, right))
    return blocks


def _on_advance(conn: Connection, seg: Segment, now_s: float) -> float | None:
    """SND.UNA moved: free the data, measure, note progress. Returns the RTT sample."""
    sender = conn.sender
    ledger, buffer = sender.ledger, sender.buffer
    held = len(buffer)
    buffer.release(min(ledger.snd_una, buffer.end))
    conn.stats.bytes_acked += held - len(buffer)
    sender.rtt.on_new_ack()
    sender.detector.on_new_ack()
    sender.progress_s = now_s
    conn.arm_give_up()
    # RTTM (RFC 7323 §4.1): the echoed timestamp tells which transmission arrived, so that
    # retransmissions give samples too.
    elapsed_us = (conn.timestamp(now_s) - seg.tsecr) & MASK
    rtt_s = max(elapsed_us, 1) * 1e-6
    if rtt_s > min(now_s - conn.opened_s + 1e-6, max(conn.config.max_rto, _LONGEST_RTT_S)):
        return None  # not a round trip: forged, or the machine was suspended in between
    sender.rtt.sample(rtt_s)
    return rtt_s


def _on_window(conn: Connection, now_s: float) -> None:
    """The peer's window moved without an acknowledgement of data."""
    sender = conn.sender
    if sender.outstanding:
        sender.progress_s = now_s
        conn.arm_give_up()
    else:
        conn.timers.stop(Timer.GIVE_UP)
    if sender.usable_window() > 0:
        conn.timers.stop(Timer.PERSIST)
        sender.persist_backoff = 0


def _on_duplicate(conn: Connection, now_s: float) -> None:
    """A duplicate ACK of a peer without SACK (RFC 5681 §2, RFC 6582 §3.2)."""
    sender = conn.sender
    ledger = sender.ledger
    if ledger.snd_una < sender.recover and not sender.in_recovery:
        return  # they may be of what a timeout has sent again (RFC 6582 §3.2, step 1)
    ledger.assumed_left = min(ledger.assumed_left + sender.mss, sender.outstanding)
    threshold = sender.detector.on_duplicate()
    if threshold and not sender.in_recovery and ledger.snd_una >= sender.recover:
        conn.stats.bytes_lost += ledger.mark_lost(ledger.snd_una, ledger.snd_una + sender.mss)
        _enter_recovery(conn, sender.outstanding, now_s)


def _detect_losses(conn: Connection, delivery: Delivery, flight_size: int, now_s: float) -> None:
    sender = conn.sender
    ledger = sender.ledger
    if sender.in_recovery and ledger.snd_una >= sender.recover:
        sender.in_recovery = False
        ledger.assumed_left = 0
        sender.cc.on_recovered(now_s)
    if sender.peer_sack:
        if not delivery.newly_sacked and not ledger.sacked:
            return
        lost = sender.detector.detect(ledger, sender.mss)
        conn.stats.bytes_lost += lost
        if lost and not sender.in_recovery and ledger.snd_una >= sender.recover:
            _enter_recovery(conn, flight_size, now_s)
    elif sender.in_recovery and delivery.advanced and not ledger.lost:
        # A partial acknowledgement shows the next hole (RFC 6582 §3.2, step 3).
        conn.stats.bytes_lost += ledger.mark_lost(ledger.snd_una, ledger.snd_una + sender.mss)
        sender.force_retransmit = True


def _enter_recovery(conn: Connection, flight_size: int, now_s: float) -> None:
    sender = conn.sender
    sender.in_recovery = True
    sender.recover = sender.ledger.snd_nxt
    sender.force_retransmit = True
    conn.stats.fast_recoveries += 1
    sender.cc.on_congestion(now_s, flight_size)


def _tell_controller(
    conn: Connection,
    delivery: Delivery,
    prior_in_flight: int,
    rtt_s: float | None,
    now_s: float,
) -> None:
    sender = conn.sender
    sender.cc.on_ack(
        AckEvent(
            now_s,
            delivery.delivered,
            sender.ledger.delivered,
            prior_in_flight,
            sender.ledger.in_flight,
            rtt_s,
            sender.rtt.min_s,
            delivery.rate,
            delivery.rate_app_limited,
            sender.in_recovery,
        )
    )
