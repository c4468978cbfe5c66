"""Many connections behind one socket: RFC 9293 §3.10.7.1 and 2, design section 5."""

from __future__ import annotations

import enum
import random

import pytest

from rudp.config import Config
from rudp.core.connection import Notice
from rudp.core.endpoint import Endpoint
from rudp.core.states import Event, State
from rudp.errors import Reason
from rudp.sim.link import LinkConfig
from rudp.telemetry.observer import Observer
from rudp.wire.options import Options
from rudp.wire.segment import ACK, FIN, SYN, Segment, encode
from rudp.wire.train import Train

from .held import items_held
from .pairs import exchange, watched_pair
from .reach import reach
from .script import LOCAL_ID, Script


def test_no_listener_answers_with_a_reset() -> None:
    """RFC 9293 §3.10.7.1: the opener learns at once that nobody is there."""
    script = Script()
    script.play("""
        0  < S seq=5 id=77 len=10
        0  > RA cid=77 ack=16
        0  counted refused 1
        0  < A seq=5 ack=9 cid=0
        0  < SA seq=5 ack=9 cid=0 id=7
        0  quiet
        0  counted unknown_connection 2
    """)


def test_refused_from_end_to_end() -> None:
    """RFC 9293 §3.10.7.3: `ConnectionRefusedError` one round trip after the SYN."""
    pair = watched_pair(1, LinkConfig(delay_s=0.01))
    conn = pair.a.endpoint.connect("b", 0.0)
    pair.flush(pair.a, conn)
    assert pair.run_until(lambda: conn.state is State.CLOSED, 0.021)
    assert conn.reason is Reason.REFUSED
    assert pair.a.notices[conn] == [Notice.CLOSED]
    assert not pair.a.endpoint.connections


def test_listener_that_is_gone() -> None:
    """Design, section 5: closing stops SYNs first and keeps serving what lives."""
    pair = watched_pair(1, LinkConfig(delay_s=0.01))
    left, right = pair.connect()
    late = pair.a.endpoint.connect("b", pair.now_s)
    pair.flush(pair.a, late)
    pair.run(0.015)  # half open by now
    pair.b.endpoint.stop_listening()
    refused = pair.a.endpoint.connect("b", pair.now_s)
    pair.flush(pair.a, refused)
    pair.run(1.0)
    assert refused.reason is Reason.REFUSED
    assert late.state is State.ESTABLISHED
    exchange(pair, [(pair.a, left, pair.b, right), (pair.b, right, pair.a, left)], 50_000, 60)
    pair.b.endpoint.listen(5)
    pair.connect()


def test_listening_twice() -> None:
    """RFC 9293 §3.10.1: "connection already exists"."""
    script = Script()
    script.endpoint.listen(1)
    with pytest.raises(OSError, match="listening already"):
        script.endpoint.listen(1)


def test_repeated_syn_of_a_connection_that_is_gone_on_both_sides() -> None:
    """RFC 9293 §3.5: an old duplicate SYN makes a half-open connection, and a reset ends it."""
    pair = watched_pair(1, LinkConfig(delay_s=0.01))
    syns: list[Segment] = []
    tap = pair.tap
    assert tap is not None

    def keep(now_s: float, name: str, segment: object) -> None:
        if isinstance(segment, Segment) and name == "a" and segment.flags == 2:
            syns.append(segment)
        tap(now_s, name, segment)  # type: ignore[arg-type]

    pair.tap = keep
    left, right = pair.connect()
    left.shutdown()
    right.shutdown()
    pair.flush(pair.a)
    pair.flush(pair.b)
    pair.run(70.0)
    pair.inject(pair.b, encode(syns[0]))
    assert pair.b.endpoint.half_open == 1
    pair.run(1.0)
    assert pair.b.endpoint.half_open == 0
    assert not pair.b.endpoint.connections
    assert len(pair.b.accepted) == 1


def test_peer_that_restarted() -> None:
    """RFC 9293 §3.5.1: half-open connections are found out by the first segment."""
    pair = watched_pair(1, LinkConfig(delay_s=0.01))
    left, right = pair.connect()
    pair.b.endpoint = Endpoint(Config(), random.Random(9).getrandbits)
    left.send(b"are you there?")
    pair.flush(pair.a, left)
    pair.run(0.05)
    assert left.state is State.CLOSED
    assert left.reason is Reason.UNKNOWN_TO_PEER
    assert right.state is State.ESTABLISHED


def test_same_id_from_two_peers() -> None:
    """Design, section 2: ids are chosen by the receiver, so peers' own may collide."""
    script = Script()
    script.play("0 listen 9\n< S seq=0 id=5 from=one\n> SA cid=5 to=one")
    script.play("0 < S seq=0 id=5 from=two\n> SA cid=5 to=two")
    assert len(script.endpoint.connections) == 2
    assert {conn.peer for conn in script.endpoint.connections.values()} == {"one", "two"}


def test_ids_are_unique_and_never_zero() -> None:
    """Design, section 5: from the injected randomness, but not 0 and not one in use."""
    numbers = iter((0, 5, 1, 1, 0, 5, 7, 2, 2, 5, 7, 8, 3, 3))
    endpoint = Endpoint(Config(), lambda bits: next(numbers))
    assert [endpoint.connect("b", 0.0).local_cid for _ in range(3)] == [5, 7, 8]


def test_several_dials_to_one_peer() -> None:
    """Issue, item 4: any number of connections to one address, told apart by their ids."""
    pair = watched_pair(4, LinkConfig(delay_s=0.01, jitter_s=0.02, loss=0.1))
    pair.b.endpoint.listen(100)
    conns = [pair.a.endpoint.connect("b", 0.0) for _ in range(20)]
    pair.flush(pair.a)
    pair.run(60.0)
    assert {conn.state for conn in conns} == {State.ESTABLISHED}
    assert len(pair.b.accepted) == 20
    for conn in conns:
        conn.send(b"%d" % conn.local_cid)
    pair.flush(pair.a)
    pair.run(60.0)
    got = {pair.b.received[conn].decode() for conn in pair.b.accepted}
    assert got == {str(conn.local_cid) for conn in conns}


def test_icmp_ends_every_dial_to_that_peer_only() -> None:
    """RFC 9293 §3.9.2.2: what is opening there fails; other peers and other states do not."""
    endpoint = Endpoint(Config(), random.Random(1).getrandbits)
    there = [endpoint.connect("there", 0.0) for _ in range(3)]
    elsewhere = endpoint.connect("elsewhere", 0.0)
    assert endpoint.unreachable("there") == there
    assert {conn.reason for conn in there} == {Reason.UNREACHABLE}
    assert elsewhere.state is State.SYN_SENT
    assert endpoint.unreachable("there") == []
    assert endpoint.unreachable("nowhere") == []
    for conn in there:
        endpoint.settle(conn, 0.0)
        endpoint.settle(conn, 0.0)
    assert list(endpoint.connections.values()) == [elsewhere]
    assert endpoint.stats.closed == 3


def test_giving_up_half_open_connections_frees_their_place() -> None:
    """Issue, item 5: an endpoint that closes aborts what is half open; the count follows."""
    script = reach(State.SYN_RECEIVED)
    script.play("10 abort\n> RA seq=1")
    assert not script.endpoint.connections
    assert script.endpoint.half_open == 0


def test_endpoint_close_resets_every_connection() -> None:
    """RFC 9293 §3.10.5: aborting them all tells every peer, once."""
    pair = watched_pair(1, LinkConfig(delay_s=0.01))
    pairs = [pair.connect() for _ in range(5)]
    pair.b.endpoint.stop_listening()
    for _, right in pairs:
        right.abort(pair.now_s, Reason.ENDPOINT_CLOSED)
    pair.flush(pair.b)
    pair.run(1.0)
    assert not pair.a.endpoint.connections
    assert not pair.b.endpoint.connections
    assert {left.reason for left, _ in pairs} == {Reason.RESET_BY_PEER}
    assert {right.reason for _, right in pairs} == {Reason.ENDPOINT_CLOSED}


# -- timers of many connections ------------------------------------------------------------


def test_each_wakes_at_its_own_time() -> None:
    """Design, section 3: one heap for all; nobody is woken without need."""
    script = Script()
    endpoint = script.endpoint
    conns = []
    for index in range(5):
        script.advance(100 * index)
        conns.append(endpoint.connect(f"peer {index}", script.now_s))
        script.flush(conns[-1])
    for index in range(5):
        script.sent.clear()
        script.advance(1000 + 100 * index)
        assert [sent.to for sent in script.sent] == [f"peer {index}"]


def test_timers_of_a_busy_connection_do_not_pile_up() -> None:
    """Issue, item 5: a connection that lives for long holds no more than at its beginning."""
    script = Script(Config(keepalive=7200.0)).established()
    held = []
    for index in range(300):
        script.play(f"{1000 * index} send 1\n> PA seq={1 + index} len=1")
        script.play(f"+10 < PA seq={1 + index} ack={2 + index} len=1\n+25 > A ack={2 + index}")
        held.append(items_held(script.endpoint))
    assert max(held[150:]) <= max(held[:150])


def test_closed_connections_are_not_kept_for_their_timers() -> None:
    """Issue, item 5: with a keepalive of hours, closed connections must not wait as long."""
    script = Script(Config(keepalive=7200.0, time_wait=0.0))
    script.play("0 listen 10")
    held = []
    for index in range(400):
        script.inject_line(f"S seq=0 id={index + 1} mss=1000".split())
        newest = next(reversed(script.endpoint.connections.values()))
        ack = newest.sender.iss + 1 - script.iss
        script.inject_line(f"A seq=1 ack={ack} cid={newest.local_cid}".split())
        script.advance(2000 * (index + 1))
        script.inject_line(f"R seq=1 cid={newest.local_cid}".split())
        script.sent.clear()
        script.endpoint.accepted.clear()
        held.append(items_held(script.endpoint))
    assert not script.endpoint.connections
    assert max(held[200:]) <= max(held[:200])


# -- watching ------------------------------------------------------------------------------


class Watcher(Observer):
    """Notes what an observer is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def state_changed(self, before: enum.IntEnum, after: enum.IntEnum, event: enum.Enum) -> None:
        assert isinstance(event, Event)
        self.told.append(f"{before.name} {after.name}")

    def segment_received(self, segment: Segment, size: int, ecn: int, now_s: float) -> None:
        self.told.append(f"received {len(segment.payload)}")

    def train_sent(self, train: Train, ecn: int, now_s: float) -> None:
        self.told.append(f"sent {train.segments} of {sum(map(len, train.buffers))}")

    def closed(self, reason: enum.Enum | None) -> None:
        self.told.append(f"closed {reason.name if reason else None}")


def test_observer_is_told_everything() -> None:
    """Design, section 3, telemetry's interface: states, segments, trains, the end."""
    script = Script()
    watcher = Watcher()
    numbers = iter((LOCAL_ID, 1000, 0))
    script.endpoint = Endpoint(Config(), lambda bits: next(numbers), lambda *_: watcher)
    script.established()
    script.play("0 send 2000\n> A seq=1 len=1000\n> PA seq=1001 len=1000")
    script.play("10 < PA seq=1 ack=2001 len=7\n20 abort\n> RA seq=2001 ack=8")
    assert watcher.told == [
        "CLOSED SYN_SENT",
        "sent 1 of 44",
        "received 0",
        "SYN_SENT ESTABLISHED",
        "sent 1 of 24",
        "sent 2 of 2048",
        "received 7",
        "ESTABLISHED CLOSED",
        "sent 1 of 24",
        "closed ABORTED",
    ]


class StrayWatcher:
    """Notes what belongs to no connection."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def stray_received(
        self, segment: Segment, size: int, ecn: int, peer: object, now_s: float
    ) -> None:
        self.told.append((segment.cid, segment.flags))

    def answer_sent(self, train: Train, peer: object, now_s: float) -> None:
        raise AssertionError("the outbox is the caller's to send, and to tell of")


def test_strays_are_told_and_nothing_else() -> None:
    """A refused SYN, a segment for an id that nobody has, a FIN repeated in TIME-WAIT."""
    script = Script()
    watcher = StrayWatcher()
    script.endpoint.strays = watcher
    script.established()
    script.play("0 shutdown\n> FA seq=1\n10 < A seq=1 ack=2\n20 < FA seq=1 ack=2\n> A seq=2 ack=2")
    assert watcher.told == []
    script.play("30 < FA seq=1 ack=2\n> A seq=2 ack=2")
    assert watcher.told == [(LOCAL_ID, FIN | ACK)]
    script.endpoint.stop_listening()
    script.endpoint.receive(
        encode(Segment(0, 9, 0, SYN, 0, 1, 0, Options(version=1, connection_id=77))),
        100,
        "x",
        200.0,
    )
    script.endpoint.receive(encode(Segment(99, 9, 0, ACK, 0, 1, 0)), 100, "x", 200.0)
    script.endpoint.receive(b"malformed", 100, "x", 200.0)
    assert watcher.told[1:] == [(0, SYN), (99, ACK)]
