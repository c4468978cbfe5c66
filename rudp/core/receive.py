"""The receiving half of a connection: PAWS, the window, reassembly, when to acknowledge."""

from __future__ import annotations

import enum

from rudp.buffers.chunks import ChunkRun
from rudp.buffers.reassembly import Reassembly
from rudp.config import Config
from rudp.core.ecn import EcnReceiver
from rudp.core.stats import ConnectionStats
from rudp.wire.seq import from_wire, to_wire

SACK_BLOCKS = 28
"""Blocks reported at most: what one option carries, less one for a duplicate."""
_REPEATED_BLOCKS = 4
"""Blocks that were reported before and are again: lost ACKs matter less (RFC 2018 §4)."""

_FIRST_LIMIT = 1 << 18
_GROWTH = 8
_SHORTEST_ROUND_S = 0.001
_PAWS_SLACK_US = 500_000
_PAWS_VALID_S = 1_700.0
_TS_LAG_S = 60.0
_ACK_EVERY = 2
"""RFC 9293 §3.8.6.3: an ACK for at least every second full-sized segment (SHLD-18)."""


class AckNeed(enum.IntEnum):
    """How urgently the peer is to be acknowledged."""

    NONE = 0
    DELAYED = 1
    NOW = 2


_NOTHING = Reassembly(0)
"""Of the many connections to which nothing ever came out of order."""


class Receiver:
    """RCV.* of RFC 9293 §3.3.1 and what belongs to it.

    Args:
        config: Bounds of the receive buffer and its holes.
        stats: The connection's counters.
    """

    __slots__ = (
        "_duplicate",
        "_fresh_blocks",
        "_limit",
        "_max_holes",
        "_most",
        "_reassembly",
        "_stats",
        "_ts_seen_s",
        "_tuned_bytes",
        "ack_need",
        "ecn",
        "fin_at",
        "fin_received",
        "inbox",
        "irs",
        "last_ack_sent",
        "last_received_s",
        "may_scale",
        "peer_mss",
        "rcv_adv",
        "rcv_nxt",
        "sack_permitted",
        "scale",
        "squeezed",
        "ts_recent",
        "ts_recent_s",
        "tune_at_s",
        "unacked_bytes",
        "unacked_segments",
    )

    def __init__(self, config: Config, stats: ConnectionStats) -> None:
        self._most = config.receive_buffer
        self._limit = min(_FIRST_LIMIT, self._most)
        """Most bytes held now; grows up to `_most` with what arrives in a round trip."""
        self.tune_at_s = 0.0
        self._tuned_bytes = 0
        self.ecn: EcnReceiver | None = None
        self._max_holes = config.max_holes
        self._reassembly = _NOTHING
        self._stats = stats
        self._duplicate: tuple[int, int] | None = None
        """What came twice last and was not reported yet (RFC 2883)."""
        self._fresh_blocks = 0
        """Pieces that arrived out of order since the last acknowledgement."""
        self.inbox = ChunkRun()
        """Data in order that the application has not taken."""
        self.irs = 0
        self.rcv_nxt = 0
        self.rcv_adv = 0
        """The highest right edge of the window that was announced."""
        self.squeezed = False
        """Unread data made the window announced last smaller than it could be."""
        self.fin_at: int | None = None
        """SEQ of the peer's FIN, once known."""
        self.fin_received = False
        self.peer_mss = 0
        self.scale = window_scale(config.receive_buffer)
        self.may_scale = True
        """Window scaling works in both directions or in none (RFC 7323 §2.2)."""
        self.sack_permitted = False
        self.ts_recent = 0
        self.ts_recent_s = 0.0
        """The age of TS.Recent: when the peer's clock showed it."""
        self._ts_seen_s = 0.0
        self.last_ack_sent = 0
        self.last_received_s = 0.0
        self.ack_need = AckNeed.NONE
        self.unacked_segments = 0
        self.unacked_bytes = 0

    def start(self, irs: int, tsval: int, mss: int, now_s: float) -> None:
        """The peer's SYN arrived (RFC 9293 §3.10.7)."""
        self.irs = irs
        self.rcv_nxt = self.rcv_adv = self.last_ack_sent = irs + 1
        self.rcv_adv += min(self._limit, 0xFFFF)
        self.ts_recent = tsval
        self.ts_recent_s = self._ts_seen_s = self.last_received_s = now_s
        self.peer_mss = mss

    # -- acceptability ---------------------------------------------------------------------

    def is_old(self, tsval: int, now_s: float) -> bool:
        """PAWS: the segment comes from an earlier turn of the sequence space (RFC 7323 §5).

        The clock ticks in microseconds, a thousand times finer than RFC 7323 has in mind, so
        that a reordered segment would look old. Half a second of slack keeps those, and still
        is far less than 2^32 bytes take to send. TS.Recent is worthless once half a turn of
        the timestamp clock may have passed (§5.5).
        """
        age_us = (self.ts_recent - tsval) & 0xFFFF_FFFF
        return _PAWS_SLACK_US < age_us < 0x8000_0000 and now_s - self.ts_recent_s < _PAWS_VALID_S

    def is_acceptable(self, seq: int, length: int) -> bool:
        """The four cases of RFC 9293 §3.4 (table 6), with the edge that was announced."""
        if length == 0:
            # Up to the edge itself, as Linux: a peer that has filled the window acknowledges
            # from there, and what it acknowledges must not wait until the window moves.
            return self.rcv_nxt <= seq <= self.rcv_adv
        return seq < self.rcv_adv and seq + length > self.rcv_nxt

    def is_repeat(self, seq: int, length: int) -> bool:
        """Data that was acknowledged before, and not long ago."""
        return self.rcv_nxt - self._limit <= seq and seq + length <= self.rcv_nxt

    def note_timestamp(self, seq: int, tsval: int, now_s: float) -> None:
        """Update TS.Recent from a segment that begins at or before Last.ACK.sent (§4.3)."""
        if seq <= self.last_ack_sent and (
            (tsval - self.ts_recent) & 0xFFFF_FFFF < 0x8000_0000
            or now_s - self.ts_recent_s >= _PAWS_VALID_S
        ):
            # A segment that lay in the socket while nothing ran here is as old as its timestamp
            # says: our clock went on by more than the peer's has between the two.
            lag_s = now_s - self._ts_seen_s - ((tsval - self.ts_recent) & 0xFFFF_FFFF) * 1e-6
            self.ts_recent_s = now_s - lag_s if lag_s > _TS_LAG_S else now_s
            self._ts_seen_s = now_s
            self.ts_recent = tsval

    # -- data ------------------------------------------------------------------------------

    def accept(self, seq: int, payload: bytes, segments: int, *, fin: bool) -> None:
        """Take the payload of an acceptable segment, and its FIN."""
        length = len(payload)
        if seq == self.rcv_nxt and not self._reassembly and self.fin_at is None:
            room = self.rcv_adv - seq
            if length > room:
                payload, length, fin = payload[:room], room, False
                self._stats.window_drops += 1
            if length:
                self._deliver(payload)
            self._need_ack(length, segments)
        else:
            fin = self._accept_carefully(seq, payload, fin=fin)
        if fin and self.fin_at is None and self._is_end(seq + length):
            self.fin_at = seq + length
        if self.fin_at == self.rcv_nxt and not self.fin_received:
            self.rcv_nxt += 1
            self.fin_received = True
            self.ack_need = AckNeed.NOW

    def expects(self, length: int) -> bool:
        """Whether `length` bytes at RCV.NXT are wanted as they come: nothing is missing, nothing
        ends, and they fit."""
        return (
            length <= self.rcv_adv - self.rcv_nxt
            and self.fin_at is None
            and not self._reassembly.size
        )

    def take_expected(self, payload: bytes, segments: int) -> None:
        """Take what `expects()` has let in."""
        self._deliver(payload)
        self._need_ack(len(payload), segments)

    def take(self) -> list[bytes]:
        """The application reads all there is, chunk by chunk; opens the window."""
        chunks = self.inbox.take()
        self._after_read()
        return chunks

    def take_some(self, most: int) -> bytes:
        """The application reads at most `most` bytes of what there is; opens the window."""
        chunk = self.inbox.take_some(most)
        self._after_read()
        return chunk

    def discard(self) -> None:
        """Nobody will read any more: free what is held."""
        self.inbox.take()
        self._reassembly.clear()

    @property
    def has_holes(self) -> bool:
        """Whether data is missing before data that is here."""
        return len(self._reassembly) > 0

    @property
    def held_bytes(self) -> int:
        """Bytes held, in order and out of order."""
        return self.inbox.size + self._reassembly.size

    @property
    def held_chunks(self) -> int:
        """Chunks held: what the bytes cost beyond themselves."""
        return self.inbox.overhead() + self._reassembly.overhead()

    @property
    def has_blocks(self) -> bool:
        """Whether the next acknowledgement has something to report beside its number."""
        ecn = self.ecn
        return (
            len(self._reassembly) > 0
            or self._duplicate is not None
            or (ecn is not None and ecn.is_due)
        )

    def sack_blocks(self) -> tuple[tuple[int, int], ...]:
        """SACK blocks as they travel, the one that changed last first (RFC 2018 §4), before
        them what arrived twice (RFC 2883 §4).

        One acknowledgement stands for a batch of datagrams: it reports every range that the
        batch touched, and some that were reported before.
        """
        if not self.sack_permitted or not self.has_blocks:
            return ()
        most = min(self._fresh_blocks + _REPEATED_BLOCKS, SACK_BLOCKS)
        ranges = self._reassembly.ranges(most)
        if self._duplicate is not None:
            ranges.insert(0, self._duplicate)
        return tuple([(to_wire(start), to_wire(end)) for start, end in ranges])

    def note_mark(self, ecn: int, size: int) -> None:
        """`size` bytes of payload arrived with this ECN field."""
        if self.ecn is None:
            self.ecn = EcnReceiver()
        self.ecn.on_received(ecn, size)
        if self.ecn.is_due:
            self.ack_need = AckNeed.NOW

    def tune(self, now_s: float, srtt_s: float | None) -> None:
        """Once a round trip: let the window follow the path's volume (dynamic right-sizing).

        Eight times what arrived in the last one leaves room for a sender that nearly trebles its
        rate, and for data that waits round trips for a hole to be filled. An application that
        does not read stops the growth.
        """
        received = self._stats.bytes_received + self._reassembly.size
        wanted = _GROWTH * (received - self._tuned_bytes)
        if self._limit < wanted and self.inbox.size <= self._limit // _GROWTH:
            self._limit = min(wanted, self._most)
        self._tuned_bytes = received
        self.tune_at_s = now_s + max(srtt_s or 0.0, _SHORTEST_ROUND_S)

    def note_duplicate(self, seq: int, end: int) -> None:
        """[seq, end) arrived once more."""
        self._stats.bytes_duplicate += end - seq
        before = self._duplicate
        if before is not None and before[1] == seq:
            seq = before[0]
        self._duplicate = (seq, end)

    # -- window ----------------------------------------------------------------------------

    def window(self) -> int:
        """The window field to send, unscaled; moves the announced edge.

        The edge never moves left (RFC 9293 SHLD-14), and only moves by a useful amount
        (silly-window avoidance at the receiver, §3.8.6.2.2).
        """
        edge = self.rcv_nxt + max(0, self._limit - self.inbox.size)
        if edge - self.rcv_adv >= min(self._limit // 2, self.peer_mss):
            self.rcv_adv = edge
        self.squeezed = self.inbox.size > 0
        return self.rcv_adv - self.rcv_nxt

    def need_ack_now(self) -> None:
        """The next thing to leave has to acknowledge."""
        self.ack_need = AckNeed.NOW

    def ack_sent(self, *, reported: bool = False) -> None:
        """An acknowledgement of all that was received leaves now; `reported`: with blocks."""
        self.last_ack_sent = self.rcv_nxt
        self.ack_need = AckNeed.NONE
        self.unacked_segments = self.unacked_bytes = 0
        if reported:
            self._duplicate = None
            self._fresh_blocks = 0

    # -- inside ----------------------------------------------------------------------------

    def _deliver(self, payload: bytes) -> None:
        self.inbox.append(payload)
        self.rcv_nxt += len(payload)
        self._stats.bytes_received += len(payload)

    def _accept_carefully(self, seq: int, payload: bytes, *, fin: bool) -> bool:
        """Data with holes around it, or partly old; every such segment is acknowledged at once
        (RFC 5681 §4.2). Returns whether the FIN behind it still counts."""
        self.ack_need = AckNeed.NOW
        end = seq + len(payload)
        if seq < self.rcv_nxt:
            if end > seq:
                self.note_duplicate(seq, min(end, self.rcv_nxt))
            payload = payload[self.rcv_nxt - seq :]
            seq = self.rcv_nxt
        limit = self.rcv_adv if self.fin_at is None else min(self.rcv_adv, self.fin_at)
        if end > limit:
            self._stats.window_drops += 1
            payload = payload[: max(0, limit - seq)]
            fin = False
        if not payload:
            return fin
        if seq == self.rcv_nxt:
            self._fill(payload)
            return fin
        if self._reassembly.covers(seq, seq + len(payload)):
            self.note_duplicate(seq, seq + len(payload))
            self._reassembly.touch(seq)  # the second block has to contain it (RFC 2883 §4.2)
            return fin
        if self._reassembly is _NOTHING:
            self._reassembly = Reassembly(self._max_holes)
        kept = self._reassembly.insert(seq, payload)
        self._reassembly.touch(seq)
        self._fresh_blocks += 1
        if not kept:
            self._stats.hole_drops += 1
        return fin and kept

    def _fill(self, payload: bytes) -> None:
        """`payload` starts at the next expected byte: take it and the runs that it reaches."""
        while payload:
            first = self._reassembly.first()
            if first is None or first >= self.rcv_nxt + len(payload):
                self._deliver(payload)
                payload = b""
            else:
                taken = first - self.rcv_nxt
                if taken:
                    self._deliver(payload[:taken])
                run = self._take_run()
                self._stats.bytes_duplicate += min(run, len(payload) - taken)
                payload = payload[taken + run :]
        self._take_run()

    def _take_run(self) -> int:
        run = self._reassembly.pop(self.rcv_nxt)
        if run is None:
            return 0
        size = run.size
        self.rcv_nxt += size
        self._stats.bytes_received += size
        self.inbox.extend(run)
        return size

    def _is_end(self, seq: int) -> bool:
        """A FIN is believed where no data beyond it has been taken."""
        return seq >= self.rcv_nxt and seq >= self._reassembly.end()

    def _need_ack(self, length: int, segments: int) -> None:
        self.unacked_segments += segments
        self.unacked_bytes += length
        if self.ack_need is AckNeed.NOW:
            return
        if (
            self.unacked_segments >= _ACK_EVERY
            and self.unacked_bytes > (_ACK_EVERY - 1) * self.peer_mss
        ):
            self.ack_need = AckNeed.NOW
        else:
            self.ack_need = AckNeed.DELAYED

    def _after_read(self) -> None:
        """Tell the peer of a window that has become worth telling (§3.8.6.2.2)."""
        if not self.squeezed or self.fin_received:
            return
        left = self.rcv_adv - self.rcv_nxt
        gain = self.rcv_nxt + self._limit - self.inbox.size - self.rcv_adv
        if gain >= min(self._limit // 2, max(2 * self.peer_mss, left)):
            self.ack_need = AckNeed.NOW


def window_scale(limit: int) -> int:
    """The smallest shift that lets 16 bits announce `limit` bytes, at most 14 (RFC 7323 §2.2)."""
    shift = 0
    while shift < 14 and limit >> shift > 0xFFFF:
        shift += 1
    return shift


def widen(receiver: Receiver, seq: int) -> int:
    """The unbounded number of a SEQ that travelled."""
    return from_wire(seq, receiver.rcv_nxt)
