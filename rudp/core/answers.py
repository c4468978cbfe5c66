"""Answers that belong to no connection: resets, and ACKs in TIME-WAIT."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from typing import NamedTuple

from rudp.config import Config
from rudp.core.connection import Address
from rudp.core.stats import EndpointStats
from rudp.wire.options import NONE
from rudp.wire.segment import ACK, RST, Segment, encode
from rudp.wire.seq import MASK
from rudp.wire.train import Train

_ANSWERS_PER_S = 1000.0
_ANSWERS_BURST = 1000.0
_OUTBOX_MOST = 1000
"""Answers kept while the socket takes none."""


class TimeWait(NamedTuple):
    """A connection in TIME-WAIT: what answering a repeated FIN takes."""

    expires_s: float
    peer: Address
    peer_cid: int
    snd_nxt: int
    rcv_nxt: int
    ts_offset: int


class StatelessAnswers:
    """The records of TIME-WAIT, and an outbox of segments with the address each goes to."""

    __slots__ = ("_at_s", "_config", "_stats", "_tokens", "outbox", "time_wait")

    def __init__(self, config: Config, stats: EndpointStats) -> None:
        self._config = config
        self._stats = stats
        self.time_wait: OrderedDict[int, TimeWait] = OrderedDict()
        self.outbox: deque[tuple[Address, Train]] = deque()
        self._tokens = _ANSWERS_BURST
        self._at_s = -math.inf

    def remember(
        self, cid: int, peer: Address, numbers: tuple[int, int, int, int], now_s: float
    ) -> None:
        """A connection entered TIME-WAIT; `numbers` is what `pass_to_time_wait()` gave."""
        self._put(cid, TimeWait(now_s + self._config.time_wait, peer, *numbers))

    @property
    def next_s(self) -> float:
        """When the next record of TIME-WAIT expires; `math.inf` for never."""
        return next(iter(self.time_wait.values())).expires_s if self.time_wait else math.inf

    def _put(self, cid: int, entry: TimeWait) -> None:
        if len(self.time_wait) >= self._config.max_connections:
            self.time_wait.popitem(last=False)
        self.time_wait[cid] = entry
        self.time_wait.move_to_end(cid)

    def expire(self, now_s: float) -> None:
        """Forget the records that are due."""
        records = self.time_wait
        while records and next(iter(records.values())).expires_s <= now_s:
            records.popitem(last=False)

    def in_time_wait(self, entry: TimeWait, segment: Segment, now_s: float) -> None:
        """Acknowledge a repeated FIN or old data once more; a reset changes nothing
        (RFC 9293 §3.10.7.4, RFC 1337)."""
        if segment.flags & RST or not segment.length:
            return
        if not self._may_answer(now_s):
            return
        self._stats.time_wait_acks += 1
        tsval = (int(now_s * 1e6) + entry.ts_offset) & MASK
        self.emit(
            Segment(
                entry.peer_cid, entry.snd_nxt, entry.rcv_nxt, ACK, 0xFFFF, tsval, segment.tsval
            ),
            entry.peer,
        )
        # Data before the FIN, too: its sender may be about to wait for longer than is left.
        if entry.expires_s - now_s < 0.75 * self._config.time_wait:
            restarted = entry._replace(expires_s=now_s + self._config.time_wait)
            self._put(segment.cid, restarted)

    def refuse(self, syn: Segment, peer: Address, now_s: float) -> None:
        """Answer a SYN that nobody listens for (RFC 9293 §3.10.7.1)."""
        if self._may_answer(now_s):
            self._stats.resets_sent += 1
            ack = (syn.seq + syn.length) & MASK
            cid = syn.options.connection_id or 0
            self.emit(Segment(cid, 0, ack, RST | ACK, 0, 0, syn.tsval), peer)

    def reset(self, segment: Segment, peer: Address, now_s: float) -> None:
        """Answer a segment for a connection that nobody has; a reset is never answered."""
        if segment.flags & RST or not self._may_answer(now_s):
            return
        self._stats.resets_sent += 1
        options = NONE._replace(unknown_id=segment.cid)
        if segment.flags & ACK:
            reset = Segment(0, segment.ack, 0, RST, 0, 0, segment.tsval, options)
        else:
            ack = (segment.seq + segment.length) & MASK
            reset = Segment(0, 0, ack, RST | ACK, 0, 0, segment.tsval, options)
        self.emit(reset, peer)

    def _may_answer(self, now_s: float) -> bool:
        """At most so many answers a second to whom no connection belongs: a flood of strangers
        must not turn into a flood of ours."""
        elapsed_s = max(0.0, now_s - self._at_s)
        self._at_s = max(now_s, self._at_s)
        tokens = min(_ANSWERS_BURST, self._tokens + elapsed_s * _ANSWERS_PER_S)
        allowed = tokens >= 1
        self._tokens = tokens - allowed
        self._stats.answers_suppressed += not allowed
        return allowed

    def emit(self, segment: Segment, peer: Address) -> None:
        """Put a segment into the outbox, unless the socket has not taken any for long."""
        datagram = encode(segment)
        if len(self.outbox) < _OUTBOX_MOST:
            self.outbox.append((peer, Train([datagram], len(datagram), 1)))
