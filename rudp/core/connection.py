"""One connection without I/O: RFC 9293's user calls, segments in, trains out, timers.

The work is done in the rooms around: `arrivals` (segments), `acks` (what they acknowledge),
`receive` and `sender` (the two halves' state), `transmit` (what leaves), `states` (the diagram).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rudp.config import Config
from rudp.core import arrivals, expiry, losses, predicted, transmit, watched
from rudp.core.receive import AckNeed, Receiver
from rudp.core.sender import Sender
from rudp.core.states import CAN_SEND, Event, State, next_state
from rudp.core.stats import ConnectionInfo, ConnectionStats
from rudp.core.timers import NEVER, Timer, Timers
from rudp.errors import LocalProtocolError, Reason
from rudp.telemetry.observer import Observer
from rudp.wire.segment import ACK, RST, Segment, encode
from rudp.wire.seq import MASK, to_wire
from rudp.wire.train import Train

if TYPE_CHECKING:
    from rudp.core.paths import PathProbe

Address = Hashable
"""Where a peer is; the core only compares addresses."""

_CHALLENGES_PER_S = 10.0
_CHALLENGES_MAX = 10.0
_ORPHAN_FIN_RTOS = 3
_FIN_SENT = frozenset((State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK))


class Notice(enum.Enum):
    """What the application's side has to be told, in the order it happened."""

    CONNECTED = "the connection is established"
    EOF = "the peer will send no more; all it sent is in the inbox"
    FINISHED = "all that was written, and the FIN, is acknowledged (or only the FIN is not)"
    CLOSED = "the connection is gone; `reason` tells why if it was not orderly"


@dataclass(slots=True, frozen=True)
class Identity:
    """The numbers that an attacker must not guess (RFC 6528, RFC 7323 §7.1)."""

    cid: int
    iss: int
    timestamp_offset: int


class Connection:
    """A connection's life, driven by whoever owns the socket and the clock.

    After any call, take `notices` and `receiver.inbox`, send what `poll()` gives until it gives
    None, and call `on_timer()` when `timers.next_s` has come.

    Args:
        config: Settings.
        identity: Local connection id, initial sequence number, timestamp offset.
        peer: The peer's address.
        now_s: Seconds of the caller's clock, here and everywhere else.
        observer: Told of events and segments, if given.
    """

    __slots__ = (
        "_challenge_at_s",
        "_challenge_tokens",
        "_final",
        "_unread",
        "armed_s",
        "config",
        "finished",
        "keepalive_at_s",
        "keepalive_sent",
        "local_cid",
        "mark",
        "notices",
        "observer",
        "opened_s",
        "orphaned",
        "owner",
        "passive",
        "path_probe",
        "path_reply",
        "peer",
        "peer_cid",
        "probe_seq",
        "reason",
        "receiver",
        "rendezvous",
        "sender",
        "state",
        "stats",
        "timers",
        "ts_offset",
        "undelivered",
    )

    def __init__(
        self,
        config: Config,
        identity: Identity,
        peer: Address,
        now_s: float,
        observer: Observer | None = None,
    ) -> None:
        self.config = config
        self.local_cid = identity.cid
        self.peer_cid = 0
        self.peer = peer
        self.ts_offset = identity.timestamp_offset
        self.opened_s = now_s
        self.state = State.CLOSED
        self.passive = False
        self.rendezvous: bytes | None = None
        """What pairs this dial with the peer's; see `rudp.core.rendezvous`."""
        self.orphaned = False
        """The application has closed both directions: nobody will read."""
        self.finished = False
        """The application has been told that all it wrote arrived."""
        self.reason: Reason | None = None
        self.undelivered = 0
        """Bytes that were not acknowledged when the connection ended."""
        self.owner: object = None
        """For whoever drives the connection; not used here."""
        self.armed_s = NEVER
        """For the endpoint: the deadline under which its heap has this connection."""
        self.observer = observer
        self.stats = ConnectionStats()
        self.sender = Sender(config, identity.iss, now_s)
        self.receiver = Receiver(config, self.stats)
        self.timers = Timers()
        self.notices: list[Notice] = []
        self.mark = 0
        """The ECN field of the train that `poll()` gave last."""
        self.probe_seq: int | None = None
        self.path_probe: PathProbe | None = None
        self.path_reply: bytes | None = None
        """A path challenge of the peer's to return."""
        self.keepalive_sent = 0
        self.keepalive_at_s = now_s
        self._final: Segment | None = None
        self._unread = False
        self._challenge_tokens = _CHALLENGES_MAX
        self._challenge_at_s = now_s

    # -- user calls (RFC 9293 §3.9.1) --------------------------------------------------------

    def open(self) -> None:
        """Active OPEN: the SYN is what `poll()` gives first."""
        self.move(Event.ACTIVE_OPEN)

    def open_passively(self, syn: Segment, now_s: float) -> None:
        """Passive OPEN by a SYN that reached a listener."""
        self.passive = True
        arrivals.synchronize(self, syn, now_s)
        self.move(Event.PASSIVE_OPEN)

    def send(self, data: bytes) -> None:
        """SEND: take `data`, which must be non-empty and must not change.

        Raises `LocalProtocolError` once the sending direction was ended.
        """
        if self.sender.fin_queued or self.state not in CAN_SEND:
            raise LocalProtocolError(f"cannot send in {self.state.name}")
        self.sender.buffer.append(data)

    @property
    def can_send(self) -> bool:
        """Whether `send()` takes data."""
        return self.state in CAN_SEND and not self.sender.fin_queued

    def shutdown(self) -> None:
        """CLOSE of the sending direction: a FIN follows all that was written (§3.6).

        Before our SYN is acknowledged it is queued until then (§3.10.4).
        """
        if self.sender.fin_queued or self.state not in CAN_SEND:
            return
        self.sender.fin_queued = True
        if self.state not in (State.SYN_SENT, State.SYN_RECEIVED):
            self.move(Event.SEND_FIN)

    def close(self, now_s: float) -> None:
        """CLOSE of both directions: what was written is still delivered, nothing is read.

        Input that nobody read turns the FIN into a reset, so that the peer does not take the
        close for success (RFC 2525 §2.17); it follows the data that was written.
        """
        if self.orphaned or self.state is State.CLOSED:
            return
        self.orphaned = True
        if self.state is State.SYN_SENT:
            self.abort(now_s)
            return
        self._unread = self.receiver.inbox.size > 0
        self.receiver.discard()
        if not self._unread:
            self.shutdown()
        if self.sender.fin_acked:
            self.note_finished()
        self.after_ack_as_orphan(now_s)
        self.arm_orphan(now_s)

    def abort(self, now_s: float, reason: Reason = Reason.ABORTED) -> None:
        """ABORT: forget everything, send a reset to a peer that knows of us (§3.10.5)."""
        if self.state is State.CLOSED:
            return
        if self.peer_cid:
            self._final = transmit.header(self, self.sender.ledger.snd_nxt, RST | ACK, now_s)
        self.fail(reason)

    # -- the endpoint's calls ------------------------------------------------------------------

    def arrive(self, segment: Segment, now_s: float, ecn: int = 0, size: int = 0) -> None:
        """A segment, or a run of alike ones with one ECN field, for this connection. Never
        raises. `size` is the payload of every segment of a run but the last, in bytes."""
        if ecn and segment.payload:
            self.receiver.note_mark(ecn, len(segment.payload))
        if self.observer is not None:
            watched.arrive(self, self.observer, segment, size, ecn, now_s)
        elif not predicted.arrive(self, segment, now_s):
            arrivals.arrive(self, segment, now_s)

    def poll(self, now_s: float) -> Train | None:
        """The next train to send to `peer`, with the ECN field `mark`; call until it gives None."""
        self.mark = 0
        if self._final is not None:
            segment, self._final = self._final, None
            self.stats.segments_sent += 1
            datagram = encode(segment)
            train: Train | None = Train([datagram], len(datagram), 1)
        else:
            train = transmit.poll(self, now_s)
        if train is not None and self.observer is not None:
            watched.sent(self, self.observer, train, now_s)
        return train

    @property
    def may_send(self) -> bool:
        """Whether `poll()` may give something: false is certain, and cheaper to ask for."""
        sender = self.sender
        ledger = sender.ledger
        return (
            self.receiver.ack_need is AckNeed.NOW
            or sender.buffer.end - ledger.snd_nxt + sender.fin_queued > 0
            or ledger.lost.size > 0
            or sender.probe_due
            or self.probe_seq is not None
            or self.path_reply is not None
            or self._final is not None
            or self.state < State.ESTABLISHED
        )

    def on_too_big(self, size: int, now_s: float) -> None:
        """The socket refused the train that `poll()` gave last: its datagrams of `size` bytes are
        larger than the local interface takes (RFC 8899 §4.6). Its data is sent again, smaller."""
        losses.on_too_big(self, size, now_s)

    def on_timer(self, now_s: float, *, acks_only: bool = False) -> None:
        """Handle whatever is due; with `acks_only` nothing that judges the peer."""
        if self.observer is None:
            expiry.handle(self, now_s, acks_only=acks_only)
        else:
            watched.on_timer(self, self.observer, now_s, acks_only=acks_only)

    # -- what the rooms call -------------------------------------------------------------------

    def timestamp(self, now_s: float) -> int:
        """TSval: microseconds, from an offset of the connection's own (RFC 7323 §7.1)."""
        return (int(now_s * 1e6) + self.ts_offset) & MASK

    def move(self, event: Event) -> None:
        """Follow the arrow of the state diagram."""
        before = self.state
        self.state = next_state(before, event)
        if self.observer is not None:
            self.observer.state_changed(before, self.state, event)

    def established(self, now_s: float) -> None:
        """Both SYNs are acknowledged."""
        sender = self.sender
        self.timers.stop(Timer.GIVE_UP)  # data that waits for this has a patience of its own
        if self.stats.timeouts:
            sender.rtt.on_handshake_timeout()
            if self.rendezvous is None:  # else a NAT dropped it, which is no congestion
                sender.cc.cwnd = min(sender.cc.cwnd, sender.mss)  # RFC 5681 §3.1: the SYN was lost
        self.notices.append(Notice.CONNECTED)
        if self.config.keepalive is not None:
            self.timers.set(Timer.KEEPALIVE, now_s + self.config.keepalive)

    def challenge(self, now_s: float) -> None:
        """Answer with an ACK that makes an honest peer prove itself, at a limited rate
        (RFC 5961 §7: no more than a peer could cost by being honest)."""
        elapsed_s = max(0.0, now_s - self._challenge_at_s)
        self._challenge_at_s = max(now_s, self._challenge_at_s)
        tokens = min(_CHALLENGES_MAX, self._challenge_tokens + elapsed_s * _CHALLENGES_PER_S)
        if tokens >= 1:
            tokens -= 1
            self.stats.challenge_acks += 1
            self.receiver.need_ack_now()
        self._challenge_tokens = tokens

    def owe_ack(self, now_s: float) -> None:
        """Data was taken: acknowledge it soon (RFC 9293 §3.8.6.3)."""
        needed = self.receiver.ack_need is AckNeed.DELAYED
        if needed and not self.timers.is_set(Timer.DELAYED_ACK):
            self.timers.set(Timer.DELAYED_ACK, now_s + self.config.delayed_ack)

    def repeat_syn_ack(self) -> None:
        """The peer's SYN came again: our SYN-ACK may be lost."""
        ledger = self.sender.ledger
        if not ledger.lost and ledger.snd_nxt > self.sender.iss:
            ledger.mark_lost(self.sender.iss, self.sender.iss + 1)

    def refuse(self, segment: Segment) -> None:
        """Reset a segment that acknowledges what was never sent, without changing state."""
        cid = segment.options.connection_id or self.peer_cid
        if cid:
            seq = segment.ack
            self._final = Segment(cid, seq, 0, RST, 0, 0, segment.tsval)

    def arm_give_up(self) -> None:
        """Give up a full period after the last progress; what progress follows is looked at when
        the time has come."""
        if not self.timers.is_set(Timer.GIVE_UP):
            self.timers.set(Timer.GIVE_UP, self.sender.progress_s + expiry.patience_s(self))

    def arm_orphan(self, now_s: float) -> None:
        """Wait only so long in FIN-WAIT-2 once the application is gone."""
        if self.orphaned and self.state is State.FIN_WAIT_2:
            self.timers.set(Timer.ORPHAN, now_s + self.config.fin_wait_2_timeout)

    def after_ack_as_orphan(self, now_s: float) -> None:
        """Act once a closed connection's data is acknowledged, whatever became of its FIN."""
        sender = self.sender
        if not sender.all_acked:
            return
        if self._unread:
            self.note_finished()
            self.abort(now_s, Reason.DATA_AFTER_CLOSE)
        elif self.state in _FIN_SENT and not self.timers.is_set(Timer.LINGER):
            wait_s = max(1.0, _ORPHAN_FIN_RTOS * sender.rtt.rto_s)
            self.timers.set(Timer.LINGER, now_s + wait_s)

    def note_unread(self, now_s: float) -> None:
        """Data came that nobody will read: reset (RFC 1122 §4.2.2.13), but not before what was
        written has arrived."""
        self._unread = True
        self.after_ack_as_orphan(now_s)

    def persist_interval_s(self) -> float:
        """Time to the next zero-window probe: RTO with backoff (RFC 9293 §3.8.6.1)."""
        rto_s = self.sender.rtt.rto_s * (1 << min(self.sender.persist_backoff, 16))
        return min(rto_s, self.config.max_rto)

    def note_eof(self) -> None:
        """The peer's FIN was reached."""
        self.notices.append(Notice.EOF)

    def note_finished(self) -> None:
        """Everything that was written has arrived."""
        self.finished = True
        if Notice.FINISHED not in self.notices:
            self.notices.append(Notice.FINISHED)

    @property
    def is_delivered(self) -> bool:
        """All that was written is acknowledged, and no more can come that anyone would read."""
        closing = self.sender.fin_sent and (self.orphaned or self.receiver.fin_received)
        return closing and self.sender.all_acked

    def finish(self) -> None:
        """An orderly end, though not every step of the diagram was seen."""
        if self.state is State.CLOSED:
            return
        self.note_finished()
        self._gone(Event.FIN_ACKED if self.state is State.LAST_ACK else Event.ABORT)

    def fail(self, reason: Reason) -> None:
        """The connection is over, and not in an orderly way."""
        if self.state is not State.CLOSED:
            self.reason = reason
            self._gone(Event.ABORT)

    def pass_to_time_wait(self) -> tuple[int, int, int, int]:
        """What an endpoint has to remember in TIME-WAIT; the connection itself is over.

        Returns peer id, SND.NXT and RCV.NXT as they travel, and the timestamp offset.
        """
        remembered = (
            self.peer_cid,
            to_wire(self.sender.ledger.snd_nxt),
            to_wire(self.receiver.rcv_nxt),
            self.ts_offset,
        )
        self._gone(Event.TIME_WAIT_OVER)
        return remembered

    def info(self, now_s: float) -> ConnectionInfo:
        """The connection as of now, for people and metrics."""
        sender, receiver, stats = self.sender, self.receiver, self.stats
        rtt, cc = sender.rtt, sender.cc_in_use
        ssthresh = cc.ssthresh if cc is not None else math.inf
        return ConnectionInfo(
            state=self.state.name,
            congestion=sender.congestion,
            mss=sender.mss,
            datagram_size=sender.mtu.size,
            mtu_state=sender.mtu.state.name,
            ecn=sender.ecn.state.name if sender.ecn is not None else "OFF",
            bytes_marked=sender.ecn.ce_bytes if sender.ecn is not None else 0,
            srtt_s=rtt.srtt_s,
            rttvar_s=rtt.var_s,
            min_rtt_s=rtt.min_s if rtt.srtt_s is not None else None,
            rto_s=rtt.rto_s,
            cwnd=sender.cwnd,
            ssthresh=int(ssthresh) if ssthresh != NEVER else None,
            in_flight=sender.ledger.in_flight,
            unacked=sender.outstanding,
            unsent=max(0, sender.unsent),
            snd_wnd=sender.snd_wnd,
            rcv_wnd=receiver.rcv_adv - receiver.rcv_nxt,
            unread=receiver.inbox.size,
            age_s=now_s - self.opened_s,
            bytes_sent=stats.bytes_sent,
            bytes_received=stats.bytes_received,
            bytes_acked=stats.bytes_acked,
            bytes_retransmitted=stats.bytes_retransmitted,
            bytes_lost=stats.bytes_lost,
            segments_sent=stats.segments_sent,
            segments_received=stats.segments_received,
            timeouts=stats.timeouts,
            fast_recoveries=stats.fast_recoveries,
            spurious_recoveries=stats.spurious_recoveries,
            bytes_duplicated=stats.bytes_duplicated,
            tail_probes=stats.tail_probes,
            latest_rtt_s=rtt.latest_s if rtt.srtt_s is not None else None,
            pacing_rate=cc.pacing_rate if cc is not None else None,
            delivery_rate=sender.delivery_rate,
            reordering_seen=sender.rack.reordering_seen,
            reordering_window_s=sender.rack.reo_wnd_s(
                rtt.min_s if rtt.srtt_s is not None else 0.0, rtt.srtt_s or 0.0, eager=True
            ),
            in_recovery=sender.in_recovery,
            limited_by=sender.limits.shares_s(now_s),
        )

    @property
    def next_s(self) -> float:
        """When `on_timer()` wants to be called; `math.inf` for never."""
        return self.timers.next_s

    def _gone(self, event: Event) -> None:
        self.move(event)
        self.timers.stop_all()
        self.probe_seq = None
        self.undelivered = len(self.sender.buffer)
        self.sender.buffer.release(self.sender.buffer.end)
        self.sender.ledger.close()
        self.notices.append(Notice.CLOSED)


__all__ = ["NEVER", "Connection", "Identity", "Notice"]
