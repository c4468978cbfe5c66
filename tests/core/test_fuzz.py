"""Random and mutated segments into live connections, in every state: issue item 5.

Every failure names its seed; the same seed gives the same run.
"""

from __future__ import annotations

import random

import pytest

from rudp.config import Config
from rudp.core.connection import Connection, Notice
from rudp.core.states import State
from rudp.sim.link import LinkConfig
from rudp.sim.pair import CorePair, Node
from rudp.wire.segment import SYN, Malformed, Segment, encode
from rudp.wire.seq import MASK

from .pairs import watched_pair
from .reach import reach
from .script import LOCAL_ID, PEER_ID, Script, ScriptError

TIGHT = Config(receive_buffer=8192, send_buffer=8192, max_holes=16)
STATES = list(State)


def near(rng: random.Random, number: int) -> int:
    """A number that is right, nearly right, or anything."""
    roll = rng.random()
    if roll < 0.5:
        return number + rng.randrange(-3, 2000)
    if roll < 0.8:
        return number
    return rng.choice((number + 65_535, number - 65_536, number + (1 << 31), rng.getrandbits(32)))


def plausible(rng: random.Random, script: Script) -> str:
    """A segment as only somebody who knows the connection could make it, right or wrong."""
    conn = script.conn
    seq = near(rng, conn.receiver.rcv_nxt - script.peer_iss)
    ack = near(rng, conn.sender.ledger.snd_nxt - script.iss)
    flags = rng.choice(("A", "A", "A", "PA", "FA", "FPA", "R", "RA", "S", "SA"))
    words = [flags, f"seq={seq}", f"ack={ack}", f"win={rng.choice((0, 1, 999, 65_535))}"]
    if rng.random() < 0.6:
        words.append(f"len={rng.choice((0, 1, 7, 1000, 1176))}")
    if rng.random() < 0.3:
        left = near(rng, ack)
        words.append(f"sack={left & MASK}-{(left + rng.randrange(-5, 3000)) & MASK}")
    if rng.random() < 0.2:
        words.append(f"ts+={rng.choice((-(1 << 31), -600_000, -1, 1, 900_000, 1 << 31))}")
    if rng.random() < 0.1:
        words.append(rng.choice(("from=elsewhere", "cid=0", f"cid=0 unknown={PEER_ID}", "cid=7")))
    if rng.random() < 0.1:
        words.append(rng.choice(("challenge=0102030405060708", "response=0102030405060708")))
    if rng.random() < 0.3:
        words.append(f"ecr={rng.getrandbits(32)}")
    return " ".join(words)


def do_something(rng: random.Random, script: Script) -> None:
    """The application and the clock go on meanwhile."""
    conn = script.conn
    roll = rng.random()
    if roll < 0.15 and conn.can_send and len(conn.sender.buffer) < 8192:
        script.write(rng.randrange(1, 3000))
    elif roll < 0.25:
        script.reading = not script.reading
    elif roll < 0.26:
        conn.shutdown()
    elif roll < 0.265:
        conn.close(script.now_s)
    elif roll < 0.40:
        script.advance(script.now_ms + rng.choice((1, 30, 250, 1000, 70_000)))
    script.flush(conn)


def check(script: Script) -> None:
    """What has to hold whatever has arrived."""
    conn = script.conn
    ledger, receiver = conn.sender.ledger, conn.receiver
    assert receiver.held_bytes <= TIGHT.receive_buffer
    assert receiver.held_chunks <= TIGHT.max_holes + 2 * TIGHT.receive_buffer // 2048 + 2
    assert ledger.snd_una <= ledger.snd_nxt <= conn.sender.buffer.end + 1
    assert 0 <= ledger.in_flight <= ledger.snd_nxt - ledger.snd_una
    assert conn.sender.cc.cwnd >= conn.sender.mss
    assert len(script.endpoint.connections) <= 4
    if conn.state is State.CLOSED:
        assert conn.next_s == float("inf")
    elif conn.sender.outstanding:
        assert conn.next_s < float("inf"), "data is out and no timer runs"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("state", STATES)
def test_plausible_segments_in_every_state(state: State, seed: int) -> None:
    """Nothing is raised, memory is bounded, no timer is forgotten; the forger knows everything."""
    rng = random.Random(f"{state.name} {seed}")
    for _ in range(8):
        script = reach(state, TIGHT)
        script.checking = False
        for _ in range(60):
            script.inject_line(plausible(rng, script).split())
            do_something(rng, script)
            script.sent.clear()
            check(script)
            if script.conn.state is State.CLOSED and rng.random() < 0.2:
                break


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("state", STATES)
def test_mutated_datagrams_in_every_state(state: State, seed: int) -> None:
    """Bits flipped, bytes replaced, cut and grown: decoder and state machine hold together."""
    rng = random.Random(f"mutated {state.name} {seed}")
    for _ in range(4):
        script = reach(state, TIGHT)
        script.checking = False
        for _ in range(100):
            line = plausible(rng, script)
            words = dict(word.split("=") for word in line.split()[1:])
            words.pop("from", None)
            datagram = bytearray(encode(script.segment(line.split()[0], **words)))
            for _ in range(rng.randrange(1, 4)):
                at = rng.randrange(len(datagram) or 1)
                how = rng.random()
                if how < 0.5:
                    datagram[at : at + 1] = bytes([rng.getrandbits(8)])
                elif how < 0.7:
                    del datagram[at:]
                elif how < 0.9:
                    datagram[at:at] = rng.randbytes(rng.randrange(1, 9))
            if len(datagram) >= 4 and rng.random() < 0.7:
                datagram[:4] = LOCAL_ID.to_bytes(4, "big")
            script.inject(bytes(datagram))
            script.sent.clear()
            check(script)


# -- who does not know the id --------------------------------------------------------------


class Blind:
    """A forger who sees every datagram but cannot write its connection id."""

    def __init__(self, seed: int, pair: CorePair) -> None:
        self.rng = random.Random(seed)
        self.pair = pair
        self.seen: list[tuple[str, Segment]] = []
        self.forged = 0
        self._ids: set[int] = set()

    def forge(self, node: Node) -> bytes:
        rng = self.rng
        ids = {conn.local_cid for conn in node.endpoint.connections.values()}
        ids |= {conn.peer_cid for conn in node.endpoint.connections.values()} | {0}
        _, segment = rng.choice(self.seen)
        cid = rng.getrandbits(32)
        if cid in ids:
            cid = 1 + max(ids) & MASK
        seq = segment.seq if rng.random() < 0.7 else near(rng, segment.seq) & MASK
        changed = segment._replace(cid=cid, seq=seq)
        if rng.random() < 0.6:
            changed = changed._replace(
                flags=rng.choice((0x10, 0x14, 0x04, 0x11, 0x02, 0x12, 0x18)),
                ack=near(rng, segment.ack) & MASK,
                payload=rng.randbytes(rng.choice((0, 1, 500))),
            )
        if changed.flags & 4 and rng.random() < 0.5:
            # The right place for a stranger's reset, but for the id that it has to name.
            changed = changed._replace(cid=0, options=changed.options._replace(unknown_id=cid))
        if changed.flags & SYN and rng.random() < 0.5:
            changed = changed._replace(
                cid=0, options=changed.options._replace(connection_id=cid, version=1)
            )
        return encode(changed)

    def strike(self) -> None:
        if not self.seen:
            return
        for node in (self.pair.a, self.pair.b):
            self.forged += 1
            other = "b" if node is self.pair.a else "a"
            sender = self.rng.choice((other, other, "elsewhere"))
            node.endpoint.receive(self.forge(node), 9999, sender, self.pair.now_s)
            node.endpoint.outbox.clear()


def honest_trace(seed: int, *, forge_from: State | None) -> tuple[list[str], int]:
    """A conversation from SYN to CLOSED; what each side sent, with times."""
    pair = watched_pair(seed, LinkConfig(delay_s=0.01))
    trace: list[str] = []
    blind = Blind(seed, pair)

    def tap(now_s: float, name: str, segment: Segment | Malformed) -> None:
        assert isinstance(segment, Segment)
        blind.seen.append((name, segment))
        trace.append(f"{now_s:.6f} {name} {segment.cid} {segment}")

    pair.tap = tap
    pair.b.endpoint.listen(1000)
    left = pair.a.endpoint.connect("b", 0.0)
    pair.flush(pair.a, left)
    data = {left: pair.rng.randbytes(120_000), "b": pair.rng.randbytes(80_000)}

    def application(conn: Connection, notice: Notice) -> None:
        if conn.local_cid not in trace_ids(trace):
            return
        node = pair.a if conn is left else pair.b
        if notice is Notice.CONNECTED:
            conn.send(data[left] if conn is left else data["b"])
            conn.shutdown()
            pair.flush(node, conn)

    pair.a.on_notice = pair.b.on_notice = application
    while pair.now_s < 20.0 and pair.step(20.0):
        if forge_from is not None and left.state >= forge_from:
            for _ in range(3):
                blind.strike()
    ends = [(node, conn) for node in (pair.a, pair.b) for conn in node.received]
    assert [bytes(node.received[conn]) for node, conn in ends] == [data["b"], data[left]]
    assert {conn.reason for _, conn in ends} == {None}
    assert {conn.state for _, conn in ends} == {State.CLOSED}
    return trace, blind.forged


def trace_ids(trace: list[str]) -> set[int]:
    """The ids that the honest connection's segments go to."""
    return {int(line.split()[2]) for line in trace}


@pytest.mark.parametrize("forge_from", [State.SYN_SENT, State.ESTABLISHED])
@pytest.mark.parametrize("seed", range(3))
def test_forger_without_the_id_changes_nothing_at_all(seed: int, forge_from: State) -> None:
    """Design, section 1: the honest connection sends the very same segments at the same times."""
    calm, _ = honest_trace(seed, forge_from=None)
    under_attack, forged = honest_trace(seed, forge_from=forge_from)
    assert forged > 500
    ids = trace_ids(calm)
    assert [line for line in under_attack if int(line.split()[2]) in ids] == calm


@pytest.mark.parametrize("seed", range(4))
def test_one_connection_under_attack_leaves_the_others_alone(seed: int) -> None:
    """Issue, item 4: one connection's error never touches another on the same socket."""
    pair = watched_pair(seed, LinkConfig(delay_s=0.01, loss=0.01))
    rng = random.Random(seed)
    left, right = pair.connect()
    victims: list[tuple[Connection, Connection]] = [pair.connect()]
    data = pair.rng.randbytes(150_000)
    left.send(data)
    pair.flush(pair.a, left)
    while len(pair.b.received.get(right, b"")) < len(data):
        assert pair.step(pair.now_s + 60.0), "the transfer stands still"
        victim, other = victims[-1]
        for conn, node in ((victim, pair.a), (other, pair.b)):
            seq = near(rng, conn.receiver.rcv_nxt) & MASK
            ack = near(rng, conn.sender.ledger.snd_nxt) & MASK
            flags = rng.choice((0x10, 0x11, 0x14, 0x04, 0x18, 0x12, 0x02))
            segment = Segment(conn.local_cid, seq, ack, flags, 9, rng.getrandbits(32), 0)
            pair.inject(node, encode(segment._replace(payload=rng.randbytes(rng.choice((0, 9))))))
        if State.CLOSED in (victim.state, other.state) and len(victims) < 4:
            victims.append(pair.connect())
    assert pair.b.received[right] == data
    assert left.state is right.state is State.ESTABLISHED


def test_the_guard_against_endless_sending_works() -> None:
    """The fuzzers rely on it."""

    class Endless:
        peer = "peer"
        segments = 1000

        def poll(self, now_s: float) -> Endless:
            return self

        def datagrams(self) -> list[bytes]:
            return []

    with pytest.raises(ScriptError, match="without end"):
        Script().flush(Endless())  # type: ignore[arg-type]
