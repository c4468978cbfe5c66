"""Losses: finding them, repairing them in episodes, and taking back what was for nothing.

Recovery tells what is lost; this room tells the congestion controller, once a window (RFC 6675
§5, RFC 9937), and ends the episode (RFC 6582's recovery point).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rudp.config import HEADER_BYTES
from rudp.congestion import LossEvent
from rudp.core.mtu import MIN_PLPMTU
from rudp.core.timers import Timer
from rudp.recovery.dupthresh import DUP_THRESH
from rudp.recovery.prr import Prr

if TYPE_CHECKING:
    from rudp.core.connection import Connection
    from rudp.core.sender import Sender
    from rudp.recovery.ledger import Delivery


def after_ack(
    conn: Connection, delivery: Delivery, echo_s: float, flight_size: int, now_s: float
) -> int:
    """What an acknowledgement changes in the judgement; returns the bytes found to be lost.

    `echo_s` is when the segment that it echoes was sent, `flight_size` what was outstanding
    before it.
    """
    sender = conn.sender
    sender.rack.on_delivered(delivery, now_s)
    if delivery.advanced:
        if sender.undo.is_original(echo_s, delivery.head_again_s):
            take_back(conn, now_s)
        if sender.tail_probe is not None:
            _settle_tail_probe(conn, now_s)
        if sender.ledger.snd_una >= sender.recover:
            if sender.in_recovery:
                _leave_recovery(sender, now_s)
            elif sender.after_timeout:
                sender.rack.on_recovery_over()
            sender.after_timeout = False
    if sender.frto:
        _judge_timeout(conn, delivery, now_s)
    if not sender.peer_sack:
        return _without_sack(conn, delivery)
    lost = 0
    if sender.mtu_probe is not None:
        judge_probe(conn, now_s)
    if delivery.delivered:
        lost = detect(conn, delivery.delivered, flight_size, now_s)
    if sender.prr is not None:
        safe = delivery.advanced > 0 and not lost
        sender.prr.on_ack(delivery.delivered, sender.ledger.in_flight, safe=safe)
    return lost


def detect(conn: Connection, delivered: int, flight_size: int, now_s: float) -> int:
    """RACK's verdict by now (RFC 8985 §6.2, step 5); returns the bytes found to be lost."""
    sender, timers = conn.sender, conn.timers
    ledger, rtt = sender.ledger, sender.rtt
    repairing = sender.in_recovery or ledger.snd_una < sender.recover
    eager = (
        repairing
        or ledger.sacked.size >= DUP_THRESH * sender.mss
        or len(ledger.sacked) >= DUP_THRESH
    )
    srtt_s = rtt.srtt_s or 0.0
    reo_wnd_s = sender.rack.reo_wnd_s(min(rtt.min_s, srtt_s), srtt_s, eager=eager)
    losses, remaining_s = sender.rack.detect(ledger, reo_wnd_s, now_s)
    if remaining_s > 0:
        timers.set(Timer.REORDER, now_s + remaining_s)
    else:
        timers.stop(Timer.REORDER)
    total = 0
    probe = sender.mtu_probe
    for size, entry in losses:
        if probe is not None and entry.start == probe[0]:
            # A lost probe tells of its size, not of congestion (RFC 8899 §3, item 7).
            sender.mtu_probe = None
            sender.mtu.on_probe_lost(now_s)
            continue
        total += size
        if entry.retransmitted and entry.start == ledger.snd_una:
            _repeat_by_size(conn, size, now_s)
        since = ledger.lost_total - entry.at.lost
        sender.cc.on_lost(
            LossEvent(now_s, size, entry.tx_in_flight, since, entry.at.app_limited, entry.sent_s)
        )
    if total:
        conn.stats.bytes_lost += total
        if not repairing:
            enter_recovery(conn, delivered, flight_size, now_s)
    return total


def enter_recovery(
    conn: Connection, delivered: int, flight_size: int, now_s: float, *, marked: bool = False
) -> None:
    """A loss, or with `marked` a congestion mark, begins an episode: reduce once a window."""
    sender = conn.sender
    ledger, cc = sender.ledger, sender.cc
    sender.in_recovery = True
    sender.recover = ledger.snd_nxt
    sender.force_retransmit = not marked
    sender.tail_probe = None  # RFC 8985 §7.1
    conn.stats.fast_recoveries += 1
    if not marked:
        sender.undo.begin(now_s)
    cc.on_congestion(now_s, flight_size, marked=marked)
    if cc.uses_prr and sender.peer_sack:
        # RFC 9937 §6.1: what was selectively acknowledged before will not be delivered now.
        recover_fs = ledger.snd_nxt - ledger.snd_una - ledger.sacked.size + delivered
        sender.prr = Prr(recover_fs, cc.cwnd, sender.mss)
        sender.prr.on_ack(0, ledger.in_flight, safe=False)


def on_duplicate(conn: Connection, now_s: float) -> None:
    """A duplicate ACK of a peer without SACK (RFC 5681 §2, RFC 6582 §3.2)."""
    sender = conn.sender
    ledger = sender.ledger
    if ledger.snd_una < sender.recover and not sender.in_recovery:
        return  # they may be of what a timeout has sent again (RFC 6582 §3.2, step 1)
    ledger.assumed_left = min(ledger.assumed_left + sender.mss, sender.outstanding)
    threshold = sender.dup_acks.on_duplicate()
    if threshold and not sender.in_recovery and ledger.snd_una >= sender.recover:
        conn.stats.bytes_lost += ledger.mark_lost(ledger.snd_una, ledger.snd_una + sender.mss)
        enter_recovery(conn, 0, sender.outstanding, now_s)


def on_timeout(conn: Connection, now_s: float, *, reneged: bool = False) -> None:
    """The first segment and all that is old is deemed lost (RFC 8985 §6.3), or everything, of a
    peer without SACK or one that has `reneged`; what SACK blocks told is kept (RFC 6675 §5.1)."""
    sender = conn.sender
    ledger = sender.ledger
    if sender.peer_sack and not reneged:
        # RFC 8985 §6.3: the first segment, and what RACK gives no more time.
        first_end = min(ledger.snd_una + sender.mss, ledger.snd_nxt)
        conn.stats.bytes_lost += ledger.mark_lost(ledger.snd_una, first_end)
        srtt_s = sender.rtt.srtt_s or 0.0
        reo_wnd_s = sender.rack.reo_wnd_s(min(sender.rtt.min_s, srtt_s), srtt_s, eager=True)
        conn.stats.bytes_lost += sender.rack.on_timeout(ledger, reo_wnd_s, now_s)
    else:
        conn.stats.bytes_lost += ledger.mark_lost(ledger.snd_una, ledger.snd_nxt)
    sender.force_retransmit = True
    ledger.assumed_left = 0
    _timeout_by_size(conn, now_s)
    if sender.ecn is not None:
        sender.ecn.on_timeout(now_s)
    sender.frto = 0
    if ledger.snd_una >= sender.recover or sender.in_recovery:
        # Not for a further timeout of the same repair (RFC 5682 §3.1, step 1).
        sender.undo.begin(now_s)
        sender.frto = 1
    sender.after_timeout = True
    sender.timeout_s = now_s
    sender.dup_acks.on_new_ack()
    sender.recover = ledger.snd_nxt
    sender.in_recovery = False
    sender.prr = None
    sender.tail_probe = None
    sender.probe_due = False
    conn.timers.stop(Timer.REORDER)
    conn.timers.stop(Timer.PROBE)


def _timeout_by_size(conn: Connection, now_s: float) -> None:
    """Nothing arrives: it may be that the path no longer takes datagrams of this size."""
    sender = conn.sender
    if sender.mtu_probe is not None:
        sender.mtu_probe = None
        sender.mtu.on_probe_lost(now_s)
    if _is_large(min(sender.outstanding, sender.mss)) and sender.mtu.on_timeout(now_s):
        conn.stats.mtu_falls += 1
        sender.set_mss()


def _repeat_by_size(conn: Connection, size: int, now_s: float) -> None:
    """The oldest data was lost once more. Where what is small goes on arriving, no timer expires,
    and it may be its size that the path does not take (RFC 8899 §4.3); judged once a round trip."""
    sender = conn.sender
    if not _is_large(size) or now_s < sender.doubt_size_at_s:
        return
    sender.doubt_size_at_s = now_s + (sender.rtt.srtt_s or 0.0)
    if sender.mtu.on_loss_suspicion(now_s):
        conn.stats.mtu_falls += 1
        sender.set_mss()


def _is_large(size: int) -> bool:
    """Whether a datagram with `size` bytes of payload can be too large for a path."""
    return size + HEADER_BYTES > MIN_PLPMTU


def on_too_big(conn: Connection, size: int, now_s: float) -> None:
    """The local socket refused a train of datagrams of `size` bytes: nothing of it left."""
    sender = conn.sender
    if sender.outstanding:
        refused = sender.ledger.newest
        sender.ledger.mark_lost(refused.start, refused.end)
    sender.mtu_probe = None
    if sender.mtu.on_too_big(size, now_s):
        conn.stats.mtu_falls += 1
        sender.set_mss()


def judge_probe(conn: Connection, now_s: float) -> None:
    """Whether the path MTU probe has arrived (RFC 8899 §5.3); its loss is found as any other."""
    sender = conn.sender
    ledger = sender.ledger
    if sender.mtu_probe is None:
        return
    start, end = sender.mtu_probe
    if end <= ledger.snd_una or ledger.sacked.covers(max(start, ledger.snd_una), end):
        sender.mtu_probe = None
        if sender.mtu.on_probe_acked(now_s):
            sender.set_mss()


def on_dsack(conn: Connection, size: int, end: int, now_s: float) -> None:
    """The peer got `size` bytes up to `end` twice (RFC 2883): a retransmission was spurious.

    More duplicates than were ever sent again come from the network, and tell nothing.
    """
    sender, stats = conn.sender, conn.stats
    ledger = sender.ledger
    stats.bytes_duplicated += size
    if stats.bytes_duplicated > ledger.retransmitted_total:
        return
    sender.rack.on_dsack(ledger.snd_una, ledger.snd_nxt)
    probe = sender.tail_probe
    if probe is not None and probe.again and end == probe.end:
        sender.tail_probe = None  # RFC 8985 §7.4.2, case 1: nothing had been lost
    if sender.undo.on_duplicate(size):
        take_back(conn, now_s)


def take_back(conn: Connection, now_s: float) -> None:
    """Nothing had been lost: restore the window, end the episode (RFC 4015, RFC 9438 §4.9)."""
    sender = conn.sender
    sender.undo.stop()
    sender.ledger.unmark_lost()
    sender.in_recovery = False
    sender.prr = None
    sender.frto = 0
    sender.recover = sender.ledger.snd_una
    sender.force_retransmit = False
    sender.rtt.on_new_ack()
    conn.stats.spurious_recoveries += 1
    sender.cc.on_spurious(now_s)


def _leave_recovery(sender: Sender, now_s: float) -> None:
    sender.in_recovery = False
    sender.prr = None
    sender.force_retransmit = False
    sender.ledger.assumed_left = 0
    sender.rack.on_recovery_over()
    sender.cc.on_recovered(now_s)


def _without_sack(conn: Connection, delivery: Delivery) -> int:
    """A partial acknowledgement shows the next hole (RFC 6582 §3.2, step 3)."""
    sender = conn.sender
    ledger = sender.ledger
    if not (sender.in_recovery and delivery.advanced) or ledger.lost:
        return 0
    lost = ledger.mark_lost(ledger.snd_una, ledger.snd_una + sender.mss)
    conn.stats.bytes_lost += lost
    sender.force_retransmit = True
    return lost


def _judge_timeout(conn: Connection, delivery: Delivery, now_s: float) -> None:
    """F-RTO (RFC 5682 §3.1): do originals arrive that the timeout took for lost?"""
    sender = conn.sender
    ledger = sender.ledger
    if ledger.snd_una >= sender.recover:
        sender.frto = 0  # step 2a: nothing is left to judge by
    elif sender.frto == 1:
        if not delivery.advanced:
            sender.frto = 0
            return
        # Step 2b: two new segments tell more than two retransmissions, where there are any.
        can_send = sender.unsent > 0 and sender.usable_window() > 0
        sender.frto = 2 if can_send else 0
    elif delivery.oldest_original_s < sender.timeout_s:
        take_back(conn, now_s)  # step 3b
    else:
        sender.frto = 0  # step 3a


def _settle_tail_probe(conn: Connection, now_s: float) -> None:
    """RFC 8985 §7.4.2: a probe that repaired a loss hid it from the congestion controller."""
    sender = conn.sender
    probe = sender.tail_probe
    if probe is None or sender.ledger.snd_una < probe.end:
        return
    if probe.again and sender.ledger.snd_una == probe.end:
        return  # the original's, the probe's? What follows tells
    sender.tail_probe = None
    if probe.again and not sender.in_recovery:
        sender.undo.stop()  # what was watched is another reduction
        sender.cc.on_congestion(now_s, sender.outstanding)
        sender.cc.on_recovered(now_s)
