"""Header prediction: what nearly every segment of a working connection is, without detours.

Between peers of whom nothing is lost a segment is one of three things: the next data, an
acknowledgement of the oldest data outstanding, or both (V. Jacobson, "4BSD TCP header
prediction", 1990). For those the steps of SEGMENT ARRIVES (RFC 9293 §3.10.7.4) come to a few
assignments. `arrive()` makes every check that the careful way makes, and leaves what fails one,
untouched, to `rudp.core.arrivals`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rudp.core import acks
from rudp.core.states import State
from rudp.core.timers import Timer
from rudp.wire.options import NONE
from rudp.wire.segment import ACK, PSH, Segment
from rudp.wire.seq import MASK

if TYPE_CHECKING:
    from rudp.core.connection import Connection
    from rudp.core.receive import Receiver
    from rudp.core.sender import Sender

_HALF = 0x8000_0000
_FLAGS = (ACK, ACK | PSH)


def arrive(conn: Connection, seg: Segment, now_s: float) -> bool:
    """Take in a segment that was to be expected. False, with nothing changed, for any other."""
    _, seq, ack, flags, window, tsval, _, options, payload, segments = seg
    receiver, sender = conn.receiver, conn.sender
    ledger = sender.ledger
    snd_una = ledger.snd_una
    advanced = (ack - snd_una) & MASK
    window <<= sender.scale
    if (
        flags not in _FLAGS
        or options is not NONE
        or conn.state is not State.ESTABLISHED
        or seq != receiver.rcv_nxt & MASK
        or (tsval - receiver.ts_recent) & MASK >= _HALF  # PAWS, and more (RFC 7323 §5.3)
        or advanced > ledger.snd_nxt - snd_una
        or sender.snd_wl1 > receiver.rcv_nxt  # its window was overtaken (RFC 9293 §3.10.7.4)
        or (payload and not receiver.expects(len(payload)))
        or conn.orphaned
    ):
        return False
    if advanced:
        if not sender.is_calm:
            return False
        prior_in_flight = ledger.in_flight
        delivery = ledger.acknowledge_in_order(snd_una + advanced, now_s, sender.rtt.min_s)
        if delivery is None:
            return False
        _note_window(sender, receiver, window, snd_una + advanced)
        acks.in_order(conn, delivery, prior_in_flight, now_s)
    elif window != sender.snd_wnd or not payload or conn.timers.is_set(Timer.PERSIST):
        return False
    else:
        _note_window(sender, receiver, window, snd_una)
    conn.stats.segments_received += segments
    receiver.last_received_s = now_s
    receiver.note_timestamp(receiver.rcv_nxt, tsval, now_s)
    if payload:
        receiver.take_expected(payload, segments)
        conn.owe_ack(now_s)
    return True


def _note_window(sender: Sender, receiver: Receiver, window: int, ack: int) -> None:
    """SND.WND: where nothing beyond RCV.NXT was used for it, a segment there that acknowledges no
    less than before is the newest there is (RFC 9293 §3.10.7.4)."""
    sender.snd_wnd = window
    sender.snd_wl1 = receiver.rcv_nxt
    sender.snd_wl2 = ack
    if window > sender.max_snd_wnd:
        sender.max_snd_wnd = window
