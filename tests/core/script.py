"""A connection driven by hand, one line a step, in virtual time.

In the manner of packetdrill: "we" are a bare `rudp.core.endpoint.Endpoint`, the peer is the
script, and nothing happens that the script does not say. A line is

    [TIME] > FLAGS [field=value ...] [xN]   we send exactly this (xN: a run of N alike)
    [TIME] < FLAGS [field=value ...]        the peer sends this
    [TIME] VERB [argument ...]              a user call or a check, see `_VERBS`

TIME is in milliseconds since the connection was established (or since the script began),
absolute, or after the previous line with a "+"; a line without one happens at the time of the
line before. FLAGS are letters of S, F, R, P, A. Sequence numbers count from the initial one of
their direction. A segment that is sent and not expected fails the script, and so does one that
comes at another time than it should; `len` and `sack` of an expected segment are none unless
given, other fields that are not given are not compared. "#" begins a comment.

Both streams carry a fixed pattern, which is checked on everything sent and received.
"""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from rudp.config import Config
from rudp.core.connection import Connection, Notice
from rudp.core.endpoint import Endpoint
from rudp.wire.options import NONE, WIRE_VERSION, Options
from rudp.wire.segment import ACK, RST, SYN, Segment, decode, encode
from rudp.wire.seq import MASK

from .diagram import Diagram, describe, fields, flag_bits, relative

LOCAL_ID, PEER_ID = 0x0A0A_0A0A, 0x0B0B_0B0B
START_S = 100.0
_TIME = re.compile(r"\+?\d+(\.\d+)?$")
_TOLERANCE_MS = 0.05
_MOST_AT_ONCE = 20_000
_TEXTBOOK = Config(
    congestion="newreno", max_datagram_size=1200, receive_buffer=4 << 20, send_buffer=4 << 20
)
_MIN_RTO_S = 0.19
"""With the scripts' round trip of 10 ms it makes the first timeout a round number: 200 ms."""
_BLOCK = bytes(range(251)) * 4400


def pattern(start: int, size: int) -> bytes:
    """Bytes `start` to `start + size` of the stream that both sides send."""
    offset = start % 251
    if offset + size <= len(_BLOCK):
        return _BLOCK[offset : offset + size]
    return (_BLOCK * (size // len(_BLOCK) + 2))[offset : offset + size]


class Sent(NamedTuple):
    """A datagram that left."""

    at_ms: float
    to: object
    segment: Segment


class ScriptError(AssertionError):
    """The exchange did not go as written."""


class Script:
    """One connection of a bare endpoint, and a peer made of lines.

    Args:
        config: Settings of the endpoint.
        probes: Whether tail loss probes are sent; most scripts are about something else.
        pacing: Whether trains are paced.
        iss: Our initial sequence number.
        peer_iss: The peer's.
        ts_offset: Added to our timestamps.
        peer_ts_offset: Added to the peer's timestamps.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        iss: int = 1000,
        peer_iss: int = 8000,
        ts_offset: int = 0,
        peer_ts_offset: int = 0,
        probes: bool = False,
        pacing: bool = False,
    ) -> None:
        config = (config or _TEXTBOOK).replace(
            tail_loss_probe=probes, pacing=pacing, mtu_discovery=False
        )
        if config.min_rto == Config().min_rto:
            config = config.replace(min_rto=_MIN_RTO_S)
        bits = iter((LOCAL_ID, iss, ts_offset))
        spare = random.Random(iss)
        self.endpoint = Endpoint(config, lambda n: next(bits, spare.getrandbits(n)))
        self.conn_or_none: Connection | None = None
        self.iss, self.peer_iss = iss, peer_iss
        self.peer_ts_offset = peer_ts_offset
        self.now_s = self.zero_s = START_S
        self.reading = True
        self.checking = True
        """Whether what comes out has to be the pattern; not so where data is forged."""
        self.received = bytearray()
        self.notices: list[Notice] = []
        self.sent: deque[Sent] = deque()
        self.diagram = Diagram("we", "peer")
        self.last_tsval = 0
        """What a peer echoes."""
        self._written = 0

    @property
    def conn(self) -> Connection:
        """The connection under test."""
        if self.conn_or_none is None:
            raise ScriptError("there is no connection yet")
        return self.conn_or_none

    @property
    def now_ms(self) -> float:
        """Time since the script's zero."""
        return (self.now_s - self.zero_s) * 1e3

    def established(
        self,
        *,
        passive: bool = False,
        rtt_ms: float = 10,
        options: str = "win=65535 mss=1000 ws=0 sackok=1",
    ) -> Script:
        """Shake hands, with what the peer's SYN says as `options`; time begins at zero after."""
        if passive:
            self.play(f"0 listen 10\n< S seq=0 {options}\n> SA seq=0 ack=1")
            self.play(f"{rtt_ms} < A seq=1 ack=1\naccepted 1")
        else:
            self.play(f"0 connect\n> S seq=0\n{rtt_ms} < SA seq=0 ack=1 {options}\n> A seq=1 ack=1")
        self.play("state ESTABLISHED\nnotice CONNECTED")
        self.zero_s = self.now_s
        return self

    def play(self, text: str) -> Script:
        """Play lines; raises `ScriptError` with a diagram where it goes otherwise."""
        for raw in text.splitlines():
            words = raw.split("#")[0].split()
            if not words:
                continue
            at_ms = self._time(words.pop(0)) if _TIME.match(words[0]) else self.now_ms
            try:
                self._step(at_ms, words)
            except ScriptError as error:
                message = f"{error}\nin line: {raw.strip()}\n\n{self.diagram}"
                raise ScriptError(message) from None
        if self.sent:
            raise ScriptError(f"{self._unexpected()}\nat the script's end\n\n{self.diagram}")
        return self

    # -- what may be called between plays ---------------------------------------------------

    def inject(self, datagram: bytes, sender: object = "peer") -> None:
        """Deliver a datagram now."""
        touched = self.endpoint.receive(datagram, max(1, len(datagram)), sender, self.now_s)
        if self.endpoint.accepted:
            self.conn_or_none = self.conn_or_none or self.endpoint.accepted[0]
        if self.conn_or_none is None and self.endpoint.connections:
            self.conn_or_none = next(iter(self.endpoint.connections.values()))
        for conn in touched:
            self.flush(conn)
        self.take_outbox()

    def inject_line(self, words: list[str]) -> None:
        """Deliver what a line with "<" says."""
        given = dict(word.split("=") for word in words[1:])
        sender = given.pop("from", "peer")
        segment = self.segment(words[0], **given)
        text = describe(segment, self.peer_iss, self.iss)
        self.diagram.arrow(self.now_ms, self._state(), text, right=False)
        self.inject(encode(segment), sender)

    def flush(self, conn: Connection) -> None:
        """Send what a connection has to send, and let the application read."""
        for _ in range(2):
            left = 0
            while (train := conn.poll(self.now_s)) is not None:
                for datagram in train.datagrams():
                    self._left(conn.peer, datagram)
                left += train.segments
                if left > _MOST_AT_ONCE:
                    raise ScriptError("it sends without end")
            self.endpoint.settle(conn, self.now_s)
            self._application(conn)

    def advance(self, to_ms: float) -> None:
        """Let time pass; timers go off when they are due."""
        end_s = self.zero_s + to_ms / 1e3
        while self.endpoint.next_s <= end_s + 1e-7:
            self.now_s = max(self.now_s, self.endpoint.next_s)
            for conn in self.endpoint.due(self.now_s):
                self.flush(conn)
        self.now_s = max(self.now_s, end_s)

    def segment(self, flags: str, **given: str) -> Segment:
        """A segment of the peer's as a line of a script would give it."""
        bits = flag_bits(flags)
        sack = [edge.split("-") for edge in given.get("sack", "").split(",") if edge]
        opening = bool(bits & SYN)
        options = NONE
        if opening or sack or {"unknown", "challenge", "response", "rdv"} & given.keys():
            options = Options(
                mss=_number(given, "mss"),
                window_scale=_number(given, "ws"),
                sack_permitted="sackok" in given,
                sack=tuple(
                    ((int(a) + self.iss) & MASK, (int(b) + self.iss) & MASK) for a, b in sack
                ),
                version=_number(given, "version", WIRE_VERSION if opening else None),
                connection_id=_number(given, "id", PEER_ID if opening else None) or None,
                unknown_id=_number(given, "unknown"),
                path_challenge=_token(given, "challenge"),
                path_response=_token(given, "response"),
                rendezvous=given["rdv"].encode() if "rdv" in given else None,
            )
        seq = int(given.get("seq", 0))
        now = int(self.now_s * 1e6) + self.peer_ts_offset
        tsval = int(given["ts"]) if "ts" in given else now + int(given.get("ts+", 0))
        return Segment(
            int(given.get("cid", 0 if opening and not bits & ACK else LOCAL_ID)),
            (seq + self.peer_iss) & MASK,
            (int(given["ack"]) + self.iss) & MASK if "ack" in given else 0,
            bits,
            int(given.get("win", 0 if bits & RST else 65535)),
            tsval & MASK,
            int(given.get("ecr", self.last_tsval)) & MASK,
            options,
            pattern(seq + opening, int(given.get("len", 0))),
        )

    # -- inside -----------------------------------------------------------------------------

    def _time(self, word: str) -> float:
        return self.now_ms + float(word) if word.startswith("+") else float(word)

    def _step(self, at_ms: float, words: list[str]) -> None:
        verb, arguments = words[0], words[1:]
        if at_ms < self.now_ms - _TOLERANCE_MS:
            raise ScriptError(f"it is {self.now_ms:.1f} ms already")
        self.advance(at_ms)
        if verb == ">":
            self._expect(at_ms, arguments)
            return
        if self.sent:
            raise ScriptError(self._unexpected())
        if verb == "<":
            self.inject_line(arguments)
            return
        if verb not in ("state", "notice", "received", "quiet"):
            self.diagram.note(self.now_ms, self._state(), " ".join(words))
        self._do(verb, arguments)
        if self.conn_or_none is not None:
            self.flush(self.conn_or_none)
        self.take_outbox()

    def _do(self, verb: str, arguments: list[str]) -> None:
        handler = _VERBS.get(verb)
        if handler is None:
            raise ScriptError(f"no such verb: {verb}")
        handler(self, *arguments)

    def _expect(self, at_ms: float, words: list[str]) -> None:
        count = int(words.pop()[1:]) if re.match(r"x\d+$", words[-1]) else 1
        wanted = {"len": "0", "sack": "", "flags": words[0], "to": "peer"}
        wanted |= dict(word.split("=") for word in words[1:])
        for index in range(count):
            if not self.sent:
                raise ScriptError("nothing was sent")
            sent = self.sent.popleft()
            found = fields(sent.segment, self.iss, self.peer_iss) | {"to": str(sent.to)}
            told = describe(sent.segment, self.iss, self.peer_iss)
            if "seq" in wanted and index:
                wanted["seq"] = str(int(wanted["seq"]) + int(wanted["len"]))
            differing = [name for name in wanted if found.get(name, "") != wanted[name]]
            if differing:
                got = {name: found.get(name, "") for name in differing}
                raise ScriptError(f"sent was {told}: {got} is not as wanted")
            if abs(sent.at_ms - at_ms) > _TOLERANCE_MS:
                raise ScriptError(f"{told} was sent at {sent.at_ms:.1f} ms")

    def _unexpected(self) -> str:
        sent = self.sent[0]
        told = describe(sent.segment, self.iss, self.peer_iss)
        return f"not expected: {told} at {sent.at_ms:.1f} ms ({len(self.sent)} in all)"

    def _left(self, to: object, datagram: bytes) -> None:
        segment = decode(datagram)
        if not isinstance(segment, Segment):
            raise ScriptError(f"a malformed datagram was sent: {segment}")
        if len(datagram) > self.endpoint.config.max_datagram_size:
            raise ScriptError(f"a datagram of {len(datagram)} bytes was sent")
        self.last_tsval = segment.tsval
        text = describe(segment, self.iss, self.peer_iss)
        self.diagram.arrow(self.now_ms, self._state(), text, right=True)
        if segment.payload != pattern(relative(segment.seq, self.iss), len(segment.payload)):
            raise ScriptError(f"the payload of {text} is not what was written")
        self.sent.append(Sent(self.now_ms, to, segment))

    def take_outbox(self) -> None:
        """Send what the endpoint answers on its own."""
        while self.endpoint.outbox:
            to, train = self.endpoint.outbox.popleft()
            for datagram in train.datagrams():
                self._left(to, datagram)

    def _application(self, conn: Connection) -> None:
        if conn is not self.conn_or_none:
            conn.notices.clear()
            return
        if self.reading:
            self.take(conn.receiver.inbox.size)
        for notice in conn.notices:
            self.diagram.note(self.now_ms, self._state(), f"{notice.name}: {notice.value}")
        self.notices += conn.notices
        conn.notices.clear()

    def take(self, most: int) -> None:
        """The application reads at most so many bytes."""
        receiver = self.conn.receiver
        while most > 0 and receiver.inbox.size:
            data = receiver.take_some(most)
            if self.checking and data != pattern(1 + len(self.received), len(data)):
                raise ScriptError(f"what was read at {len(self.received)} is not what was sent")
            self.received += data
            most -= len(data)

    def write(self, size: int) -> None:
        """The application writes so many bytes."""
        self.conn.send(pattern(1 + self._written, size))
        self._written += size

    def _state(self) -> str:
        return self.conn_or_none.state.name if self.conn_or_none else "-"


def _number(given: dict[str, str], name: str, default: int | None = None) -> int | None:
    return int(given[name]) if name in given else default


def _token(given: dict[str, str], name: str) -> bytes | None:
    return bytes.fromhex(given[name]) if name in given else None


def _connect(script: Script, rendezvous: str = "") -> None:
    word = rendezvous.encode() or None
    script.conn_or_none = script.endpoint.connect("peer", script.now_s, rendezvous=word)


def _check(name: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise ScriptError(f"{name} is {found}, not {wanted}")


def _notice(script: Script, *names: str) -> None:
    found = [notice.name for notice in script.notices]
    script.notices.clear()
    _check("notices", " ".join(found) or "none", " ".join(names))


def _reading(script: Script, reading: bool) -> None:
    script.reading = reading


_VERBS: dict[str, Callable[..., object]] = {
    # user calls
    "listen": lambda script, backlog: script.endpoint.listen(int(backlog)),
    "stop_listening": lambda script: script.endpoint.stop_listening(),
    "connect": _connect,
    "send": lambda script, size: script.write(int(size)),
    "read": lambda script, size: script.take(int(size)),
    "pause": lambda script: _reading(script, False),
    "resume": lambda script: _reading(script, True),
    "shutdown": lambda script: script.conn.shutdown(),
    "close": lambda script: script.conn.close(script.now_s),
    "abort": lambda script: script.conn.abort(script.now_s),
    "unreachable": lambda script: script.endpoint.unreachable("peer"),
    # checks
    "quiet": lambda script: None,
    "state": lambda script, name: _check("state", script.conn.state.name, name),
    "reason": lambda script, name: _check(
        "reason", script.conn.reason.name if script.conn.reason else "none", name
    ),
    "notice": _notice,
    "received": lambda script, size: _check("received", len(script.received), int(size)),
    "accepted": lambda script, n: _check("accepted", len(script.endpoint.accepted), int(n)),
    "held": lambda script, n: _check("held", script.conn.receiver.held_bytes, int(n)),
    "stat": lambda script, name, value: _check(name, getattr(script.conn.stats, name), int(value)),
    "counted": lambda script, name, value: _check(
        name, getattr(script.endpoint.stats, name), int(value)
    ),
}
