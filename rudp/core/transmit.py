"""What leaves next: handshake, retransmissions, new data, probes, acknowledgements, resets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rudp.config import HEADER_BYTES
from rudp.core import acks
from rudp.core.limits import Limit
from rudp.core.receive import AckNeed
from rudp.core.sender import Sender, TailProbe
from rudp.core.states import SYNCHRONIZED, State
from rudp.core.timers import NEVER, Timer
from rudp.wire.options import NONE, WIRE_VERSION, Options
from rudp.wire.segment import ACK, FIN, HEADER, HEADER_WORDS, PSH, SYN, Segment, encode
from rudp.wire.seq import MASK, to_wire
from rudp.wire.train import Train, encode_train

if TYPE_CHECKING:
    from rudp.core.connection import Connection

_IDLE_S = 0.001
"""A tick of a loop: what answers so soon has not been idle."""
_COUNTS_BYTES = 16
MAX_TRAIN_BYTES = 65_000
MAX_TRAIN_SEGMENTS = 64
"""UDP_MAX_SEGMENTS of Linux before 6.9, and what 16 bits of UDP length hold."""


def poll(conn: Connection, now_s: float) -> Train | None:
    """The next train to send, or None if nothing may leave now."""
    state = conn.state
    if state in SYNCHRONIZED:
        receiver = conn.receiver
        if conn.path_reply is not None:
            return _path_response(conn, now_s)
        if receiver.ack_need is AckNeed.NOW and receiver.has_blocks:
            # SACK blocks travel on an ACK of their own, so that data keeps its fixed stride.
            return _pure_ack(conn, now_s)
        train = _data(conn, now_s)
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
        _window(conn, now_s),
        conn.timestamp(now_s),
        receiver.ts_recent,
    )


def _window(conn: Connection, now_s: float) -> int:
    """The window field. What the application has left unread by now bounds it, and not what came a
    moment ago, which it had no chance to read."""
    receiver = conn.receiver
    if now_s >= receiver.tune_at_s:
        receiver.tune(now_s, conn.sender.rtt.srtt_s)
    window = receiver.window() >> receiver.scale
    return window if window < 0xFFFF else 0xFFFF


def _packed(conn: Connection, seq: int, flags: int, now_s: float) -> bytes:
    """The same as it travels, for a datagram without options."""
    receiver = conn.receiver
    return HEADER.pack(
        conn.peer_cid,
        seq & MASK,
        receiver.rcv_nxt & MASK,
        HEADER_WORDS,
        flags,
        _window(conn, now_s),
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
        rendezvous=None if passive else conn.rendezvous,
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


def _data(conn: Connection, now_s: float) -> Train | None:
    """A retransmission, new data or a tail loss probe, as windows and pacing allow."""
    sender = conn.sender
    lost = bool(sender.ledger.lost)
    if not lost and not sender.has_new and not sender.probe_due:
        sender.limits.note(Limit.APPLICATION, now_s)
        return None
    if sender.probe_due:
        sender.probe_due = False
        return _tail_probe(conn, now_s)
    if not lost and _is_dialogue(conn, now_s):
        return _send_new(conn, sender.unsent, now_s, fin=sender.fin_queued)
    if sender.cc_in_use is None:
        acks.introduce_controller(conn, now_s)
    budget = _train_limit(sender.mss)
    rate = sender.cc.pacing_rate if conn.config.pacing else None
    if rate is not None:
        due = sender.pacer.budget(rate, sender.mss, now_s)
        if not due:
            conn.timers.set(Timer.PACING, sender.pacer.next_s)
            sender.limits.note(Limit.PACING, now_s)
            return None
        budget = min(budget, due)
    if lost and sender.frto == 2:
        train = _new_data(conn, budget, now_s) if sender.has_new else None
        if train is not None or sender.ledger.in_flight:
            return train  # what is on its way will tell
        sender.frto = 0  # RFC 5682 §2.1: without new data there is nothing to judge by
    if lost:
        train = _retransmission(conn, budget, now_s)
        if train is not None:
            return train
    return _new_data(conn, budget, now_s) if sender.has_new else None


def _is_dialogue(conn: Connection, now_s: float) -> bool:
    """Whether all that is to be sent fits one segment and every bound, as messages mostly do."""
    sender = conn.sender
    ledger, cc = sender.ledger, sender.cc_in_use
    size = sender.buffer.end - ledger.snd_nxt
    after = ledger.snd_nxt - ledger.snd_una + size
    if (
        size > sender.mss
        or after + sender.fin_queued > sender.snd_wnd
        or after > sender.cwnd
        or sender.prr is not None
        or sender.frto
    ):
        return False
    if cc is None:
        return True
    if cc.pacing_rate is not None and not sender.pacer.is_free(cc.pacing_rate, now_s):
        return False
    if after == size:
        idle_s = now_s - sender.last_sent_s
        if idle_s > _IDLE_S:
            cc.on_idle(idle_s, sender.rtt.rto_s)
    return True


def _retransmission(conn: Connection, budget: int, now_s: float) -> Train | None:
    """The lowest lost range, as much of it as the congestion window lets out."""
    sender = conn.sender
    ledger = sender.ledger
    start, end = ledger.lost.first()
    room = sender.room()
    if end - start > room:
        whole = room // sender.mss * sender.mss
        if whole <= 0:
            if not sender.force_retransmit and ledger.in_flight:
                _blocked(sender, Limit.CWND, now_s)
                return None
            whole = sender.mss
        end = min(end, start + whole)
    sender.force_retransmit = False
    end = min(end, start + budget)
    train = _data_train(conn, start, end, now_s)
    _sent_again(conn, start, end, now_s)
    return train


def _sent_again(conn: Connection, start: int, end: int, now_s: float) -> None:
    sender = conn.sender
    sender.ledger.sent_again(start, end, now_s)
    sender.undo.on_sent_again(end - start)
    conn.stats.bytes_retransmitted += end - start
    if not sender.ledger.lost and not sender.has_new:
        sender.limits.note(Limit.APPLICATION, now_s)
    if start == sender.ledger.snd_una:
        # The oldest data gets a full timeout from its last transmission.
        acks.arm_retransmit(conn, now_s)
    _after_data(conn, end - start, sender.ledger.in_flight, now_s)


def _new_data(conn: Connection, budget: int, now_s: float) -> Train | None:
    """Data never sent, and the FIN behind it, as windows and silly-window avoidance allow."""
    sender = conn.sender
    available = sender.unsent
    window = sender.usable_window()
    if not sender.outstanding:
        sender.cc.on_idle(now_s - sender.last_sent_s, sender.rtt.rto_s)
    room = sender.room()
    sendable = min(window, room, budget)
    if now_s >= sender.mtu.next_s and not sender.in_recovery:
        train = _mtu_probe(conn, min(window, room, available), now_s)
        if train is not None:
            return train
    if available <= sendable:
        size = available
    else:
        size = sendable // sender.mss * sender.mss
        if size <= 0:
            if window < sender.mss and not sender.outstanding:
                return _squeezed(conn, window, now_s)
            _blocked(sender, Limit.RECEIVE_WINDOW if window < room else Limit.CWND, now_s)
            return None
    fin = sender.fin_queued and size == available and window > size
    if not size and not fin:
        if not sender.outstanding:
            _start_persist(conn, now_s)
        return None
    return _send_new(conn, size, now_s, fin=fin)


def _mtu_probe(conn: Connection, room: int, now_s: float) -> Train | None:
    """One segment larger than the others, if a probe is due and its data is there (RFC 8899 §4.1:
    probing with application data)."""
    sender = conn.sender
    size = sender.mtu.probe_size(now_s)
    if size is None or size - HEADER_BYTES > room:
        return None
    start = sender.ledger.snd_nxt
    payload = size - HEADER_BYTES
    sender.mtu.on_probe_sent(size, now_s)
    sender.mtu_probe = (start, start + payload)
    conn.stats.mtu_probes += 1
    ordinary, sender.mss = sender.mss, payload
    train = _send_new(conn, payload, now_s, fin=False)
    sender.mss = ordinary
    return train


def _blocked(sender: Sender, limit: Limit, now_s: float) -> None:
    sender.limits.note(limit, now_s)
    if limit is Limit.CWND:
        sender.full_until = sender.ledger.snd_nxt


def _send_new(conn: Connection, size: int, now_s: float, *, fin: bool) -> Train:
    sender = conn.sender
    ledger = sender.ledger
    start = ledger.snd_nxt
    end = start + size + fin
    train = _data_train(conn, start, end, now_s)
    in_flight = ledger.sent(end, now_s)
    if sender.ecn is not None:
        conn.mark = sender.ecn.mark_for(size, train.segments)
        ledger.newest.marked = conn.mark != 0
    if end >= sender.buffer.end:
        ledger.mark_app_limited()
        sender.limits.note(Limit.APPLICATION, now_s)
    conn.stats.bytes_sent += size
    _after_data(conn, size, in_flight, now_s)
    acks.arm_probe(conn, now_s)
    return train


def _tail_probe(conn: Connection, now_s: float) -> Train | None:
    """One segment more, whatever the congestion window says: new data if there is any, else the
    last segment again (RFC 8985 §7.3)."""
    sender = conn.sender
    ledger = sender.ledger
    if not sender.outstanding:
        return None
    size = min(sender.unsent, sender.mss, sender.usable_window())
    if size > 0:
        train = _send_new(conn, size, now_s, fin=False)
        sender.tail_probe = TailProbe(ledger.snd_nxt, again=False)
    else:
        end = ledger.snd_nxt
        start = max(ledger.snd_una, end - sender.mss - sender.fin_sent)
        train = _data_train(conn, start, end, now_s)
        _sent_again(conn, start, end, now_s)
        sender.tail_probe = TailProbe(end, again=True)
    conn.timers.stop(Timer.PROBE)
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
    return _send_new(conn, min(window, sender.unsent), now_s, fin=False)


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
    conn.receiver.ack_sent()
    if data_end == start:
        return _single(conn, header(conn, start, last_flags & ~PSH, now_s))
    if data_end - start <= sender.mss:
        (payload,) = buffer.payloads(start, data_end, sender.mss)
        conn.stats.segments_sent += 1
        size = HEADER_BYTES + data_end - start
        return Train([_packed(conn, start, last_flags, now_s), payload], size, 1)
    first = header(conn, start, ACK, now_s)
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
    if not receiver.has_blocks and (receiver.ecn is None or not receiver.ecn.has_news):
        datagram = _packed(conn, conn.sender.ledger.snd_nxt, ACK, now_s)
        receiver.ack_sent(reported=True)
        conn.stats.segments_sent += 1
        return Train([datagram], HEADER_BYTES, 1)
    segment = header(conn, conn.sender.ledger.snd_nxt, ACK, now_s)
    blocks = receiver.sack_blocks()
    if blocks:
        room = (conn.sender.mss - _COUNTS_BYTES - 4) // 8
        segment = segment._replace(options=NONE._replace(sack=blocks[:room]))
    if receiver.ecn is not None and (counts := receiver.ecn.counts()) is not None:
        segment = segment._replace(options=segment.options._replace(ecn_counts=counts))
    receiver.ack_sent(reported=True)
    return _single(conn, segment)


def _single(conn: Connection, segment: Segment) -> Train:
    conn.stats.segments_sent += 1
    datagram = encode(segment)
    return Train([datagram], len(datagram), 1)


def _after_data(conn: Connection, size: int, in_flight: int, now_s: float) -> None:
    """Data left: pacing, proportional rate reduction, the controller, the timers."""
    sender = conn.sender
    cc = sender.cc_in_use
    if cc is not None:
        if cc.pacing_rate is not None and conn.config.pacing:
            sender.pacer.on_sent(size)
        if sender.prr is not None:
            sender.prr.on_sent(size)
        cc.on_sent(now_s, size, in_flight)
    _after_sending(conn, now_s)


def _after_sending(conn: Connection, now_s: float) -> None:
    """Something that has to be acknowledged left: RFC 6298 §5.1."""
    sender, timers = conn.sender, conn.timers
    deadlines = timers.deadlines
    sender.last_sent_s = now_s
    if deadlines[Timer.RETRANSMIT] == NEVER:
        acks.arm_retransmit(conn, now_s)
        deadlines[Timer.PERSIST] = NEVER
        if deadlines[Timer.GIVE_UP] == NEVER:
            sender.progress_s = now_s
            conn.arm_give_up()


def _train_limit(mss: int) -> int:
    return max(1, min(MAX_TRAIN_SEGMENTS, MAX_TRAIN_BYTES // (mss + HEADER_BYTES))) * mss
