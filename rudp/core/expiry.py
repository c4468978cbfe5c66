"""What happens when a connection's timers expire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rudp.core import acks, losses, rendezvous
from rudp.core.states import SYNCHRONIZED, State
from rudp.core.timers import Timer
from rudp.errors import Reason

if TYPE_CHECKING:
    from rudp.core.connection import Connection

_SUSPENDED_S = 10.0
"""A timer that is handled so late shows that nothing ran at all."""
_STALLED_S = 0.01
_LEAST_RETRANSMISSIONS = 6
_HALF_OPEN_S = 63.0
"""A SYN costs its sender nothing: its SYN-ACK is repeated five times, as Linux does, and then it is
forgotten."""


def handle(conn: Connection, now_s: float, *, acks_only: bool) -> None:
    """Handle every timer of the connection that is due, or only the delayed ACK's."""
    if not acks_only and now_s - conn.timers.next_s > _SUSPENDED_S:
        _forgive(conn, now_s)
    if not acks_only and conn.timers[Timer.PROBE] < now_s - _STALLED_S:
        # The loop stood still, and the peer's with it, maybe: its answer may be on its way.
        conn.timers.set(Timer.PROBE, now_s + max(conn.config.delayed_ack, _STALLED_S))
    for timer in conn.timers.expired(now_s, acks_only=acks_only):
        if conn.state is not State.CLOSED:
            _HANDLERS[timer](conn, now_s)


def _forgive(conn: Connection, now_s: float) -> None:
    """The machine was suspended: the peer had no chance to answer, which is no failure of its."""
    conn.keepalive_sent = 0
    if conn.timers.is_set(Timer.GIVE_UP):
        conn.sender.progress_s = now_s
        conn.arm_give_up()


def patience_s(conn: Connection) -> float:
    """How long the peer may leave what was sent unanswered (RFC 9293 §3.8.3, R2)."""
    config = conn.config
    if conn.state is State.SYN_RECEIVED and conn.passive:
        return min(config.connect_timeout, _HALF_OPEN_S)
    if conn.state in (State.SYN_SENT, State.SYN_RECEIVED):
        return config.connect_timeout
    if config.user_timeout is not None:
        return config.user_timeout
    return config.retransmit_timeout


def _on_retransmit(conn: Connection, now_s: float) -> None:
    """RFC 6298 §5.4 to 5.7; what SACK blocks told is kept (RFC 6675 §5.1)."""
    sender = conn.sender
    ledger = sender.ledger
    if not sender.outstanding:
        return
    conn.stats.timeouts += 1
    reneged = ledger.snd_una in ledger.sacked
    if reneged:
        ledger.forget_sacks()  # RFC 2018 §8: the receiver has reneged
    losses.on_timeout(conn, now_s, reneged=reneged)
    first = sender.rtt.backoff == 0
    if rendezvous.backs_off(conn):
        sender.rtt.on_timeout()
    if conn.state in SYNCHRONIZED:
        sender.cc.on_timeout(now_s, sender.outstanding, first=first)


def _on_reorder(conn: Connection, now_s: float) -> None:
    """What RACK waited for did not come (RFC 8985 §6.3)."""
    sender = conn.sender
    if losses.detect(conn, 0, sender.outstanding, now_s) and sender.prr is not None:
        sender.prr.on_ack(0, sender.ledger.in_flight, safe=False)


def _on_probe(conn: Connection, now_s: float) -> None:
    """The tail may be lost: one more segment makes the peer tell (RFC 8985 §7.3)."""
    sender = conn.sender
    if sender.outstanding and not sender.in_recovery and not sender.ledger.sacked:
        sender.probe_due = True
        conn.stats.tail_probes += 1
        acks.arm_retransmit(conn, now_s)


def _on_pacing(conn: Connection, now_s: float) -> None:
    """Whoever handles timers polls the connection afterwards, which is all there is to do."""


def _on_persist(conn: Connection, now_s: float) -> None:
    """Probe a closed window, for as long as the peer answers (RFC 9293 §3.8.6.1, MUST-36, 37).

    The probe is an empty segment one below SND.UNA, as Linux sends it: it obliges the peer to
    answer with its window and, unlike a byte of data, needs no retransmission of its own.
    """
    sender = conn.sender
    if sender.outstanding or not sender.has_new or sender.usable_window() >= sender.mss:
        acks.rearm(conn, now_s, restart=False)
        return
    usable = sender.usable_window()
    if usable > 0 and sender.unsent > 0:
        # The override time-out of silly-window avoidance: send what fits (§3.8.6.2.1, case 4).
        sender.override = True
        return
    if not sender.unanswered_probes:
        # Patience is counted from the first probe that is not answered.
        sender.progress_s = now_s
        conn.arm_give_up()
    sender.persist_backoff += 1
    sender.unanswered_probes += 1
    conn.stats.zero_window_probes += 1
    conn.probe_seq = sender.ledger.snd_una - 1
    conn.timers.set(Timer.PERSIST, now_s + conn.persist_interval_s())


def _on_delayed_ack(conn: Connection, now_s: float) -> None:
    if conn.receiver.ack_need:
        conn.receiver.need_ack_now()


def _on_keepalive(conn: Connection, now_s: float) -> None:
    """RFC 9293 §3.8.4: probe after silence; only several unanswered probes mean anything."""
    config, receiver = conn.config, conn.receiver
    if config.keepalive is None:
        return
    if receiver.last_received_s >= conn.keepalive_at_s:
        conn.keepalive_sent = 0
    quiet_until_s = receiver.last_received_s + config.keepalive
    if now_s < quiet_until_s or conn.sender.outstanding:
        # Unacknowledged data keeps the connection under watch already.
        conn.timers.set(Timer.KEEPALIVE, max(quiet_until_s, now_s + config.keepalive_interval))
        return
    if conn.keepalive_sent >= config.keepalive_probes:
        conn.abort(now_s, Reason.KEEPALIVE_TIMEOUT)
        return
    conn.keepalive_sent += 1
    conn.keepalive_at_s = now_s
    conn.stats.keepalive_probes += 1
    conn.probe_seq = conn.sender.ledger.snd_una - 1
    conn.timers.set(Timer.KEEPALIVE, now_s + config.keepalive_interval)


def _on_give_up(conn: Connection, now_s: float) -> None:
    """R2, the user timeout, or a peer that stopped answering zero-window probes."""
    if now_s < conn.sender.progress_s + patience_s(conn):
        conn.arm_give_up()  # the peer has answered meanwhile
    elif conn.state in (State.SYN_SENT, State.SYN_RECEIVED):
        conn.fail(Reason.CONNECT_TIMEOUT)
    elif conn.config.user_timeout is not None:
        conn.abort(now_s, Reason.USER_TIMEOUT)
    elif conn.sender.outstanding and conn.sender.rtt.backoff < _LEAST_RETRANSMISSIONS:
        # On a path with round trips of seconds the time is over before the tries are.
        conn.timers.set(Timer.GIVE_UP, now_s + conn.sender.rtt.rto_s)
    elif conn.timers.is_set(Timer.PERSIST) and (
        conn.sender.unanswered_probes <= _LEAST_RETRANSMISSIONS
    ):
        # Probes a minute apart are two in the time of R2, and two are easily lost.
        conn.timers.set(Timer.GIVE_UP, now_s + conn.persist_interval_s())
    else:
        conn.abort(now_s, Reason.RETRANSMISSION_TIMEOUT)


def _on_orphan(conn: Connection, now_s: float) -> None:
    """FIN-WAIT-2 of a closed connection: the peer may be gone for good."""
    conn.note_finished()
    conn.abort(now_s)


def _on_linger(conn: Connection, now_s: float) -> None:
    """All data is delivered; the FIN goes on being repeated without the application."""
    conn.note_finished()


_HANDLERS = {
    Timer.RETRANSMIT: _on_retransmit,
    Timer.PERSIST: _on_persist,
    Timer.DELAYED_ACK: _on_delayed_ack,
    Timer.KEEPALIVE: _on_keepalive,
    Timer.GIVE_UP: _on_give_up,
    Timer.ORPHAN: _on_orphan,
    Timer.LINGER: _on_linger,
    Timer.REORDER: _on_reorder,
    Timer.PROBE: _on_probe,
    Timer.PACING: _on_pacing,
}
