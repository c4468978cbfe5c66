"""A connection twice: one takes in every segment the predicted way first, one the careful way only.

Both get the same segments at the same times, and must not differ in anything afterwards.
"""

from __future__ import annotations

import random
from typing import Any

from rudp.config import Config
from rudp.core import arrivals, predicted
from rudp.core.connection import Connection, Identity
from rudp.core.ecn import CE, ECT_0, EcnSender
from rudp.core.states import State
from rudp.recovery.transmissions import Entry, TimeOrder
from rudp.wire.options import NONE, WIRE_VERSION
from rudp.wire.segment import ACK, FIN, PSH, RST, SYN, Segment
from rudp.wire.seq import MASK

TICK_S = 1 / 64
"""Both a power of two and whole microseconds: timestamps and times of sending are the same."""
START_S = 64.0
OUR_ID, PEER_ID = 0x0A0A_0A0A, 0x0B0B_0B0B
PEER_OFFSET = 0xFFFF_0000 - int(START_S * 1e6)
"""The peer's timestamp clock goes through zero soon."""
_SKIPPED = frozenset(("config", "observer", "prev", "next", "_stats", "peer"))


def snapshot(thing: Any) -> Any:
    """All that an object is made of, as plain values; times to the nanosecond."""
    if isinstance(thing, float):
        return float(f"{thing:.9g}")
    if isinstance(thing, TimeOrder):
        return _ordered(thing)
    if isinstance(thing, (list, tuple, set, frozenset)) or type(thing).__name__ == "deque":
        return [snapshot(item) for item in thing]
    if isinstance(thing, dict):
        return {repr(key): snapshot(value) for key, value in thing.items()}
    if isinstance(thing, (int, str, type(None), type)) or callable(thing):
        return thing
    if isinstance(thing, (bytes, bytearray, memoryview)):
        return bytes(thing)
    names = {name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())}
    names |= set(getattr(thing, "__dict__", ()))
    return {
        name: snapshot(getattr(thing, name))
        for name in sorted(names - _SKIPPED)
        if hasattr(thing, name)
    }


def _ordered(order: TimeOrder) -> list[tuple[int, int, float]]:
    found = []
    entry: Entry | None = order.first()
    while entry is not None:
        found.append((entry.start, entry.end, entry.sent_s))
        entry = order.after(entry)
    return found


def differing(left: Any, right: Any, path: str = "") -> list[str]:
    """Where two snapshots are not the same."""
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        return [
            where for name in left for where in differing(left[name], right[name], f"{path}.{name}")
        ]
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        pairs = enumerate(zip(left, right, strict=True))
        return [where for index, (a, b) in pairs for where in differing(a, b, f"{path}[{index}]")]
    return [] if repr(left) == repr(right) else [f"{path}: {left!r} is not {right!r}"]


def established(config: Config, *, iss: int, peer_iss: int, ecn: bool = True) -> Connection:
    """A connection that has shaken hands with nobody: its peer is who makes segments for it."""
    conn = Connection(config, Identity(OUR_ID, iss, 0xFFFF_F000), "peer", START_S)
    if ecn:
        conn.sender.ecn = EcnSender()
    conn.open()
    while conn.poll(START_S) is not None:
        pass
    options = NONE._replace(
        mss=1000, window_scale=2, sack_permitted=True, version=WIRE_VERSION, connection_id=PEER_ID
    )
    now_s = START_S + TICK_S
    tsval = peer_clock(now_s)
    flags = SYN | ACK
    sent = conn.timestamp(START_S)
    ack = (iss + 1) & MASK
    conn.arrive(Segment(OUR_ID, peer_iss, ack, flags, 60_000, tsval, sent, options), now_s)
    while conn.poll(now_s) is not None:
        pass
    conn.notices.clear()
    return conn


def peer_clock(now_s: float) -> int:
    """TSval of a segment that the peer sends now."""
    return (int(now_s * 1e6) + PEER_OFFSET) & MASK


class Twins:
    """The two connections, and a peer that is honest most of the time.

    Args:
        seed: Of everything that is random.
        config: Settings of the connections.
    """

    def __init__(self, seed: int, config: Config) -> None:
        self.rng = random.Random(seed)
        iss, peer_iss = (self.rng.choice((7, MASK - 3_000, MASK, 1 << 31)) for _ in range(2))
        self.quick = established(config, iss=iss, peer_iss=peer_iss)
        self.careful = established(config, iss=iss, peer_iss=peer_iss)
        self.now_s = START_S + TICK_S
        self.predictions = 0
        """How often the quick twin took in a segment the predicted way."""
        self._window = 15_000
        self._sent: list[tuple[int, int]] = []
        """The end of each train, and its TSval."""
        self.history: list[str] = []

    def step(self) -> None:
        """Something happens, to both the same; raises if they differ then."""
        rng = self.rng
        what = rng.random()
        if what < 0.3:
            self._write(rng.choice((1, 100, 999, 1000, 5000, 40_000)))
        elif what < 0.4:
            self._read(rng.choice((10, 3000, 1 << 20)))
        elif what < 0.42:
            self._change_path()
        else:
            self.now_s += TICK_S * rng.choice((1, 1, 1, 2, 5))
            if rng.random() < 0.1:
                self.now_s += TICK_S * rng.choice((20, 64, 256))
            self._expire()
            for _ in range(rng.choice((1, 1, 2, 3))):
                self._arrive(self._segment(), rng.choice((0, 0, ECT_0, ECT_0, ECT_0, CE)))
        self._poll()
        self._compare()

    # -- what may happen ---------------------------------------------------------------------

    def _write(self, size: int) -> None:
        self.history.append(f"write {size}")
        data = self.rng.randbytes(size)
        for conn in (self.quick, self.careful):
            if conn.can_send and len(conn.sender.buffer) < 200_000:
                conn.send(data)

    def _read(self, most: int) -> None:
        self.history.append(f"read {most}")
        for conn in (self.quick, self.careful):
            if conn.receiver.inbox.size:
                conn.receiver.take_some(most)

    def _change_path(self) -> None:
        self.history.append("path change")
        for conn in (self.quick, self.careful):
            conn.sender.forget_path(conn.config, self.now_s)

    def _expire(self) -> None:
        for conn in (self.quick, self.careful):
            if conn.next_s <= self.now_s:
                conn.on_timer(self.now_s)

    def _poll(self) -> None:
        for _ in range(100):
            trains = [conn.poll(self.now_s) for conn in (self.quick, self.careful)]
            left, right = (b"".join(train.buffers) if train else b"" for train in trains)
            if left != right:
                raise AssertionError(f"they send {left[:40]!r} and {right[:40]!r}: {self.history}")
            if trains[0] is None:
                return
            ledger = self.quick.sender.ledger
            self._sent.append((ledger.snd_nxt, self.quick.timestamp(self.now_s)))
        raise AssertionError("they send without end")

    def _segment(self) -> Segment:
        rng, conn = self.rng, self.quick
        ledger, receiver = conn.sender.ledger, conn.receiver
        una, nxt = ledger.snd_una, ledger.snd_nxt
        ends = [end for end, _ in self._sent if una < end <= nxt] or [una]
        ack = rng.choice((una, nxt, nxt, rng.choice(ends), rng.randint(una, nxt)))
        seq = receiver.rcv_nxt
        flags, options = ACK, NONE
        size = rng.choice((0, 0, 0, 1, 700, 1000, 2000, 9000))
        tsval = peer_clock(self.now_s)
        if rng.random() < 0.1:
            self._window = rng.choice((0, 300, 900, 5_000, 15_000, 65_535))
        odd = rng.random()
        if odd < 0.04:
            seq += rng.choice((1, 1000, 4000, 300_000))
        elif odd < 0.08:
            seq -= rng.choice((1, 500, 1000, 300_000))
        elif odd < 0.10:
            ack = rng.choice((nxt + 1, una - 1, una - 70_000, nxt + (1 << 30)))
        elif odd < 0.13:
            tsval -= rng.choice((1, 300_000, 600_000, 1 << 31))
        elif odd < 0.17 and nxt - una > 2:
            left = rng.randint(una + 1, nxt - 1)
            block = left & MASK, rng.randint(left + 1, nxt) & MASK
            options, ack = NONE._replace(sack=(block,)), una
        elif odd < 0.18:
            options = NONE._replace(ecn_counts=(rng.randrange(9999), 0, 0))
        elif odd < 0.184:
            flags |= FIN
        elif odd < 0.19:
            flags = rng.choice((RST, SYN, SYN | ACK, RST | ACK))
            seq += rng.choice((1, 50))
        if size and rng.random() < 0.5:
            flags |= PSH if flags == ACK else 0
        segments = max(1, -(-size // 1000))
        payload = bytes(size) if flags & ACK and not flags & (RST | SYN) else b""
        # A peer echoes the oldest segment that it had not acknowledged (RFC 7323 §4.3).
        echo = next((sent for end, sent in self._sent if end > una), conn.timestamp(self.now_s))
        numbers = seq & MASK, ack & MASK, flags, self._window, tsval & MASK, echo
        return Segment(OUR_ID, *numbers, options, payload, segments)

    def _arrive(self, segment: Segment, ecn: int) -> None:
        self.history.append(f"{self.now_s - START_S:.6f} {segment} {segment.options}")
        before = self.quick.state
        ecn = ecn if segment.payload else 0
        for conn in (self.quick, self.careful):
            if ecn:
                conn.receiver.note_mark(ecn, len(segment.payload))
        if predicted.arrive(self.quick, segment, self.now_s):
            self.predictions += 1
            if before is not State.ESTABLISHED:
                raise AssertionError(f"predicted in {before.name}")
        else:
            arrivals.arrive(self.quick, segment, self.now_s)
        arrivals.arrive(self.careful, segment, self.now_s)
        self._compare()

    def _compare(self) -> None:
        wrong = differing(snapshot(self.quick), snapshot(self.careful))
        if wrong:
            story = "\n".join(self.history[-12:])
            raise AssertionError("\n".join(wrong) + f"\nafter\n{story}")
