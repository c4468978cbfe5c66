"""What leaves next: handshake, retransmissions, new data, probes, acknowledgements, resets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rudp.config import HEADER_BYTES
from rudp.core.receive import AckNeed
from rudp.core.states import SYNCHRONIZED, State
from rudp.core.timers import NEVER, Timer
from rudp.wire.options import NONE, WIRE_VERSION, Options
from rudp.wire.segment import ACK, FIN, PSH, SYN, Segment, encode
from rudp.wire.seq import to_wire
from rudp.wire.train import Train, encode_train

if TYPE_CHECKING:
    from rudp.core.connection import Connection

MAX_TRAIN_BYTES = 65_000
MAX_TRAIN_SEGMENTS = 64
"""UDP_MAX_SEGMENTS of Linux before 6.9, and what 16 bits of UDP length hold."""


def poll(conn: Connection, now_s: float) -> Train | None:
    """The next train to send, or None if nothing may leave now."""
    state = conn.state
    sender = conn.sender
    if state in SYNCHRONIZED:
        receiver = conn.receiver
        if conn.path_reply is not None:
            return _path_response(conn, now_s)
        if receiver.ack_need is AckNeed.NOW and receiver.has_holes:
            # SACK blocks travel on an ACK of their own, so that data keeps its fixed stride.
            return _pure_ack(conn, now_s)
        if sender.ledger.lost:
            train = _retransmission(conn, now_s)
            if train is not None:
                return train
        if sender.has_new:
            train = _new_data(conn, now_s)
            if train is not None:
                return train
        if conn.probe_seq is not None:
            return _probe(conn, now_s)
        if receiver.ack_need is AckNeed.NOW:
            return _pure_ack(conn, now_s)
        return None
    if state in (State.SYN_SENT, State.SYN_RECEIVED):
        return _handshake(conn, now_s)
    return None


def header(conn: Connection, seq: int, flags: int, now_s: float) -> Segment:
    """A segment's fixed fields; ACK, window and timestamps as of now."""
    receiver = conn.receiver
    return Segment(
        conn.peer_cid,
        to_wire(seq),
        to_wire(receiver.rcv_nxt),
        flags,
        min(receiver.window() >> receiver.scale, 0xFFFF),
        conn.timestamp(now_s),
        receiver.ts_recent,
    )


def _handshake(conn: Connection, now_s: float) -> Train | None:
    """The SYN, or the SYN-ACK, where it was not sent yet or is deemed lost."""
    sender = conn.sender
    ledger = sender.ledger
    first = ledger.snd_nxt == sender.iss
    if not first and not ledger.lost:
        if conn.state is State.SYN_RECEIVED and conn.receiver.ack_need is AckNeed.NOW:
            return _pure_ack(conn, now_s)
        return None
    if first:
        ledger.sent(sender.iss + 1, now_s)
    else:
        ledger.sent_again(sender.iss, sender.iss + 1, now_s)
    _after_sending(conn, now_s)
    passive = conn.state is State.SYN_RECEIVED
    receiver = conn.receiver
    options = Options(
        mss=conn.config.mss,
        window_scale=receiver.scale if receiver.may_scale else None,
        sack_permitted=conn.config.sack and (not passive or sender.peer_sack),
        version=WIRE_VERSION,
        connection_id=conn.local_cid,
    )
    window = min(receiver.rcv_adv - receiver.rcv_nxt if passive else 0xFFFF, 0xFFFF)
    segment = Segment(
        conn.peer_cid,
        to_wire(sender.iss),
        to_wire(receiver.rcv_nxt),
        SYN | ACK if passive else SYN,
        min(window, conn.config.receive_buffer),
        conn.timestamp(now_s),
        receiver.ts_recent,
        options,
    )
    if passive:
        receiver.ack_sent()
    return _single(conn, segment)


def _retransmission(conn: Connection, now_s: float) -> Train | None:
    """The lowest lost range, as much of it as the congestion window lets out."""
    sender = conn.sender
    ledger = sender.ledger
    start, end = ledger.lost.first()
    room = sender.cc.cwnd - ledger.in_flight
    if end - start > room:
        whole = room // sender.mss * sender.mss
        if whole <= 0:
            if not sender.force_retransmit and ledger.in_flight:
                return None
            whole = sender.mss
        end = min(end, start + whole)
    sender.force_retransmit = False
    end = min(end, start + _train_limit(sender.mss))
    again = end - start
    train = _data_train(conn, start, end, now_s)
    ledger.sent_again(start, end, now_s)
    conn.stats.bytes_retransmitted += again
    _after_sending(conn, now_s)
    return train


def _new_data(conn: Connection, now_s: float) -> Train | None:
    """Data never sent, and the FIN behind it, as windows and silly-window avoidance allow."""
    sender = conn.sender
    ledger = sender.ledger
    available = sender.unsent
    window = sender.usable_window()
    in_flight = ledger.in_flight
    if not sender.outstanding:
        sender.cc.on_idle(now_s - sender.last_sent_s, sender.rtt.rto_s)
    sendable = min(window, sender.cc.cwnd - in_flight, _train_limit(sender.mss))
    if available <= sendable:
        size = available
    else:
        size = sendable // sender.mss * sender.mss
        if size <= 0:
            if window < sender.mss and not sender.outstanding:
                return _squeezed(conn, window, now_s)
            return None
    fin = sender.fin_queued and size == available and window > size
    if not size and not fin:
        if not sender.outstanding:
            _start_persist(conn, now_s)
        return None
    start = ledger.snd_nxt
    train = _data_train(conn, start, start + size + fin, now_s)
    ledger.sent(start + size + fin, now_s)
    if size == available:
        ledger.mark_app_limited()
    conn.stats.bytes_sent += size
    _after_sending(conn, now_s)
    return train


def _squeezed(conn: Connection, window: int, now_s: float) -> Train | None:
    """Less than a segment fits the peer's window and nothing is in flight that could open it.

    Sender's silly-window avoidance (RFC 9293 §3.8.6.2.1): half of the largest window that the
    peer ever offered is worth a segment; less waits for the persist timer.
    """
    sender = conn.sender
    if window <= 0 or (window < sender.max_snd_wnd // 2 and not sender.override):
        _start_persist(conn, now_s)
        return None
    sender.override = False
    start = sender.ledger.snd_nxt
    size = min(window, sender.unsent)
    train = _data_train(conn, start, start + size, now_s)
    sender.ledger.sent(start + size, now_s)
    conn.stats.bytes_sent += size
    _after_sending(conn, now_s)
    return train


def _start_persist(conn: Connection, now_s: float) -> None:
    if not conn.timers.is_set(Timer.PERSIST):
        conn.timers.set(Timer.PERSIST, now_s + conn.persist_interval_s())


def _data_train(conn: Connection, start: int, end: int, now_s: float) -> Train:
    """The train of [start, end), the FIN counted if `end` lies behind it."""
    sender = conn.sender
    buffer = sender.buffer
    fin = sender.fin_queued and end > buffer.end
    data_end = end - fin
    last_flags = ACK
    if data_end == buffer.end:
        last_flags |= PSH
    if fin:
        last_flags |= FIN
    first = header(conn, start, ACK, now_s)
    conn.receiver.ack_sent()
    if data_end == start:
        return _single(conn, first._replace(flags=last_flags & ~PSH))
    payloads = buffer.payloads(start, data_end, sender.mss)
    train = encode_train(first, payloads, sender.mss, last_flags)
    conn.stats.segments_sent += train.segments
    return train


def _probe(conn: Connection, now_s: float) -> Train:
    """An empty segment with a SEQ that makes the peer answer (keepalive, zero window)."""
    seq = conn.probe_seq
    conn.probe_seq = None
    segment = header(conn, seq if seq is not None else 0, ACK, now_s)
    conn.receiver.ack_sent()
    return _single(conn, segment)


def _path_response(conn: Connection, now_s: float) -> Train:
    """Return the peer's path challenge (docs/protocol.md, "Changing addresses")."""
    segment = header(conn, conn.sender.ledger.snd_nxt, ACK, now_s)
    token, conn.path_reply = conn.path_reply, None
    conn.receiver.ack_sent()
    return _single(conn, segment._replace(options=NONE._replace(path_response=token)))


def _pure_ack(conn: Connection, now_s: float) -> Train:
    receiver = conn.receiver
    segment = header(conn, conn.sender.ledger.snd_nxt, ACK, now_s)
    blocks = receiver.sack_blocks()
    if blocks:
        room = (conn.config.max_datagram_size - HEADER_BYTES - 4) // 8
        segment = segment._replace(options=NONE._replace(sack=blocks[:room]))
    receiver.ack_sent()
    return _single(conn, segment)


def _single(conn: Connection, segment: Segment) -> Train:
    conn.stats.segments_sent += 1
    datagram = encode(segment)
    return Train([datagram], len(datagram), 1)


def _after_sending(conn: Connection, now_s: float) -> None:
    """Something that has to be acknowledged left: RFC 6298 §5.1."""
    sender, timers = conn.sender, conn.timers
    sender.last_sent_s = now_s
    if timers[Timer.RETRANSMIT] == NEVER:
        timers.set(Timer.RETRANSMIT, now_s + sender.rtt.rto_s)
        timers.stop(Timer.PERSIST)
        if not timers.is_set(Timer.GIVE_UP):
            sender.progress_s = now_s
            conn.arm_give_up()


def _train_limit(mss: int) -> int:
    return max(1, min(MAX_TRAIN_SEGMENTS, MAX_TRAIN_BYTES // (mss + HEADER_BYTES))) * mss
