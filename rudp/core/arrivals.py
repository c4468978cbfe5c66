"""SEGMENT ARRIVES (RFC 9293 §3.10.7), with the checks of RFC 5961 and RFC 7323."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rudp.core import acks
from rudp.core.receive import AckNeed, widen, window_scale
from rudp.core.states import CAN_RECEIVE, Event, State
from rudp.errors import Reason
from rudp.wire.options import WIRE_VERSION
from rudp.wire.segment import ACK, FIN, RST, SYN, Segment
from rudp.wire.seq import from_wire

if TYPE_CHECKING:
    from rudp.core.connection import Connection


def arrive(conn: Connection, seg: Segment, now_s: float) -> None:
    """Process one segment, or a run of them that are alike, addressed to this connection."""
    conn.stats.segments_received += seg.segments
    state = conn.state
    if state is State.SYN_SENT:
        _in_syn_sent(conn, seg, now_s)
        return
    if state is State.CLOSED or state is State.TIME_WAIT:
        return
    receiver = conn.receiver
    seq = widen(receiver, seg.seq)
    flags = seg.flags
    length = seg.length
    if _proves_another_peer(conn, seg, seq):
        synchronize(conn, seg, now_s)
        receiver.need_ack_now()
        seq = receiver.irs
    if flags & SYN and state is State.SYN_RECEIVED and seq == receiver.irs:
        # Figure 7's crossing SYN-ACK of a simultaneous open: its SYN was counted already.
        flags, seq, length = flags & ~SYN, seq + 1, length - 1
        receiver.note_timestamp(seq, seg.tsval, now_s)
        if conn.sender.ledger.lost:
            receiver.need_ack_now()  # our own SYN-ACK has not left: only an ACK tells of it
    if not _passes(conn, seg, seq, length, now_s):
        return
    if flags & RST:
        _reset(conn, seg, seq, now_s)
        return
    if flags & SYN:
        conn.challenge(now_s)  # RFC 5961 §4.2
        return
    if not flags & ACK:
        return
    if seg.options.path_challenge is not None:
        conn.path_reply = seg.options.path_challenge
    receiver.last_received_s = now_s
    receiver.note_timestamp(seq, seg.tsval, now_s)
    if not _acknowledge(conn, seg, seq, now_s):
        return
    if seg.payload or flags & FIN:
        _take_data(conn, seg, seq, now_s)


def _passes(conn: Connection, seg: Segment, seq: int, length: int, now_s: float) -> bool:
    """PAWS and the sequence number check (§3.10.7.4, first); answers what fails them."""
    receiver = conn.receiver
    if not seg.flags & RST and receiver.is_old(seg.tsval, now_s):
        conn.stats.paws_drops += 1
        if length:
            receiver.ack_need = AckNeed.NOW  # RFC 7323 §5.3, R1
        return False
    if receiver.is_acceptable(seq, length):
        return True
    if not seg.flags & RST:
        if (
            length
            and seg.flags & ACK
            and receiver.is_repeat(seq, length)
            and acks.is_acceptable(conn.sender, from_wire(seg.ack, conn.sender.ledger.snd_una))
        ):
            receiver.note_timestamp(seq, seg.tsval, now_s)
        if seg.payload or seg.flags & FIN:
            if seg.payload and receiver.is_repeat(seq, len(seg.payload)):
                receiver.note_duplicate(seq, seq + len(seg.payload))
            else:
                conn.stats.bytes_duplicate += len(seg.payload)
            receiver.ack_need = AckNeed.NOW
        else:
            # Answers to empty segments are limited: two peers that disagree would loop.
            conn.challenge(now_s)
        conn.stats.window_drops += 1
    return False


def _proves_another_peer(conn: Connection, seg: Segment, seq: int) -> bool:
    """A SYN-ACK for our SYN, after a SYN that crossed it and named other numbers.

    Anybody who knows our address can forge a bare SYN and make it look like a simultaneous
    open; only who received our SYN can acknowledge it, or knows our rendezvous.
    """
    if conn.state is not State.SYN_RECEIVED or conn.passive or seq == conn.receiver.irs:
        return False
    options, kind = seg.options, seg.flags & (SYN | ACK | RST)
    if not options.connection_id or options.version != WIRE_VERSION:
        return False
    if kind == SYN:
        return conn.rendezvous is not None and options.rendezvous == conn.rendezvous
    return kind == SYN | ACK and from_wire(seg.ack, conn.sender.iss) == conn.sender.iss + 1


def _reset(conn: Connection, seg: Segment, seq: int, now_s: float) -> None:
    """A reset in the window counts only at exactly RCV.NXT (RFC 5961 §3.2)."""
    if seq != conn.receiver.rcv_nxt:
        conn.challenge(now_s)
        return
    if conn.state is State.SYN_RECEIVED:
        # A passive open goes back to LISTEN without a word (§3.10.7.4, second).
        conn.fail(Reason.REFUSED)
    elif conn.is_delivered:
        conn.finish()  # the peer has all of it and has forgotten us: nothing is lost
    else:
        stranger = seg.options.unknown_id
        conn.fail(Reason.UNKNOWN_TO_PEER if stranger else Reason.RESET_BY_PEER)


def _acknowledge(conn: Connection, seg: Segment, seq: int, now_s: float) -> bool:
    """The ACK field (§3.10.7.4, fifth). Returns whether the segment may go on."""
    sender = conn.sender
    ack = from_wire(seg.ack, sender.ledger.snd_una)
    if conn.state is State.SYN_RECEIVED:
        if not sender.iss < ack <= sender.ledger.snd_nxt:
            conn.refuse(seg)
            return False
        sender.snd_wl1 = seq - 1  # whatever the SYN said, this window is newer
        conn.move(Event.SEND_FIN if sender.fin_queued else Event.SYN_ACKED)
        acks.process(conn, seg, seq, ack, now_s)
        conn.established(now_s)
        return True
    if not acks.is_acceptable(sender, ack):
        conn.stats.ack_drops += 1
        conn.challenge(now_s)
        return False
    acks.process(conn, seg, seq, ack, now_s)
    if sender.fin_acked:
        _fin_acked(conn, now_s)
    elif conn.orphaned:
        conn.after_ack_as_orphan(now_s)
    return conn.state is not State.CLOSED


def _fin_acked(conn: Connection, now_s: float) -> None:
    state = conn.state
    if state is State.FIN_WAIT_1:
        conn.move(Event.FIN_ACKED)
        conn.note_finished()
        conn.arm_orphan(now_s)
    elif state is State.CLOSING:
        conn.move(Event.FIN_ACKED)
        conn.note_finished()
    elif state is State.LAST_ACK:
        conn.note_finished()
        conn.finish()


def _take_data(conn: Connection, seg: Segment, seq: int, now_s: float) -> None:
    """Segment text and FIN (§3.10.7.4, seventh and eighth)."""
    receiver = conn.receiver
    if conn.state not in CAN_RECEIVE:
        receiver.ack_need = AckNeed.NOW  # a repeated FIN, or data that we have
        return
    if conn.orphaned and seg.payload and seq + len(seg.payload) > receiver.rcv_nxt:
        conn.note_unread(now_s)
        return
    receiver.accept(seq, seg.payload, seg.segments, fin=bool(seg.flags & FIN))
    if receiver.fin_received:
        conn.move(Event.RECEIVE_FIN)
        conn.note_eof()
        if conn.orphaned:
            conn.after_ack_as_orphan(now_s)
    conn.owe_ack(now_s)


def _in_syn_sent(conn: Connection, seg: Segment, now_s: float) -> None:
    """RFC 9293 §3.10.7.3."""
    flags = seg.flags
    sender = conn.sender
    acked = False
    if flags & ACK:
        ack = from_wire(seg.ack, sender.ledger.snd_una)
        if not sender.iss < ack <= sender.ledger.snd_nxt:
            if not flags & RST:
                conn.refuse(seg)
            return
        acked = True
    if flags & RST:
        if acked and conn.rendezvous is None:  # a peer that has not dialled yet refuses
            conn.fail(Reason.REFUSED)
        return
    options = seg.options
    if not flags & SYN or not options.connection_id or options.version != WIRE_VERSION:
        return
    synchronize(conn, seg, now_s)
    if not acked:
        conn.move(Event.RECEIVE_SYN)
        sender.ledger.mark_lost(sender.iss, sender.iss + 1)  # now as a SYN-ACK (§3.5, figure 8)
        return
    conn.move(Event.RECEIVE_SYN_ACK)
    acks.process(conn, seg, conn.receiver.irs, from_wire(seg.ack, sender.iss), now_s)
    conn.receiver.ack_need = AckNeed.NOW
    conn.established(now_s)
    if sender.fin_queued:
        conn.move(Event.SEND_FIN)
    if seg.payload or flags & FIN:
        rest = seg._replace(flags=flags & ~SYN)
        _take_data(conn, rest, conn.receiver.irs + 1, now_s)


def synchronize(conn: Connection, seg: Segment, now_s: float) -> None:
    """Take the peer's sequence space and options from its SYN."""
    options = seg.options
    conn.peer_cid = options.connection_id or 0
    sender, receiver = conn.sender, conn.receiver
    sack = options.sack_permitted and conn.config.sack
    sender.negotiate(conn.config, options.mss, options.window_scale, sack=sack)
    receiver.start(seg.seq, seg.tsval, sender.mss, now_s)
    receiver.sack_permitted = sack
    receiver.may_scale = options.window_scale is not None
    receiver.scale = window_scale(conn.config.receive_buffer) if receiver.may_scale else 0
    sender.snd_wnd = sender.max_snd_wnd = seg.window
    sender.snd_wl1 = seg.seq
    sender.snd_wl2 = sender.iss
