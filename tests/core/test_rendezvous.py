"""Dials that meet through NATs: RFC 9293 §3.5 (MUST-10, simultaneous open) and RFC 5128 §3.3."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rudp.config import Config
from rudp.core.connection import Connection, Notice
from rudp.core.endpoint import Endpoint
from rudp.core.states import State
from rudp.sim.link import LinkConfig
from rudp.wire.options import Options
from rudp.wire.segment import ACK, FIN, RST, SYN, Segment, encode
from rudp.wire.seq import to_wire

from .pairs import exchange, watched_pair
from .script import PEER_ID, Script

SYN_OPTIONS = "win=65535 mss=1000 ws=0 sackok=1"
WORD = b"word"


def dialling(config: Config | None = None) -> Script:
    """A script whose connection has sent the SYN of a dial with a rendezvous."""
    return Script(config).play("0 connect word\n0 > S seq=0 rdv=word")


def test_the_first_syns_are_repeated_at_a_steady_pace() -> None:
    """RFC 6298 §5.5 not followed for them: what a NAT drops is no sign of congestion."""
    script = dialling()
    for number in range(1, 27):
        script.play(f"{number * 200} > S seq=0 rdv=word")
    for at_ms in (5600, 6400, 8000, 9600, 11_200):
        script.play(f"{at_ms} > S seq=0 rdv=word")
    script.conn.abort(script.now_s)


def test_the_syn_ack_is_repeated_with_the_same_bound() -> None:
    """RFC 6298 §5.5 up to 1.6 s: the peer, who may have met us already, has nothing to repeat."""
    script = dialling()
    script.play(f"50 < S seq=0 {SYN_OPTIONS} rdv=word\n50 > SA seq=0 ack=1")
    for at_ms in (200, 600, 1400, 3000, 4600, 6200):
        script.play(f"{at_ms} > SA seq=0 ack=1")
    script.play("6210 < A seq=1 ack=1\n6210 state ESTABLISHED")


def test_the_pace_is_configurable() -> None:
    """`Config.punch_interval`; `initial_rto` stays for the dials that have no NAT to open."""
    script = dialling(Config(punch_interval=0.05, mtu_discovery=False, max_datagram_size=1200))
    script.play("50 > S rdv=word\n100 > S rdv=word")
    plain = Script(Config(punch_interval=0.05, max_datagram_size=1200)).play("0 connect\n> S rdv=")
    plain.play("999 quiet\n1000 > S")


def test_it_ends_with_a_timeout() -> None:
    """RFC 9293 §3.8.3 (R2): `connect_timeout`, as for every dial; then the word is free again."""
    script = dialling(Config(connect_timeout=0.5, max_datagram_size=1200))
    script.play("200 > S\n400 > S\n499 state SYN_SENT\n500 reason CONNECT_TIMEOUT")
    assert not script.endpoint.connections
    script.endpoint.connect("peer", script.now_s, rendezvous=WORD)


def test_the_counterpart_comes_from_the_address_that_was_dialled() -> None:
    """RFC 9293 §3.5, figure 8; the window is the usual one though SYNs were repeated."""
    script = dialling()
    script.play(f"""
        200 > S seq=0 rdv=word
        250 < S seq=0 {SYN_OPTIONS} rdv=word
        250 > SA seq=0 ack=1 cid={PEER_ID} rdv=
        260 < SA seq=0 ack=1 {SYN_OPTIONS}
        260 state ESTABLISHED
        260 notice CONNECTED
        260 send 3000
        260 > A seq=1 len=1000 x2
        260 > PA seq=2001 len=1000
    """)


def test_the_counterpart_comes_from_another_address() -> None:
    """RFC 5128 §3.3: a NAT may give our peer another port towards us than towards the server."""
    script = dialling()
    script.play(f"""
        50  < S seq=0 {SYN_OPTIONS} rdv=word from=other
        50  > SA seq=0 ack=1 to=other
        60  < A seq=1 ack=1 from=other
        60  state ESTABLISHED
        60  send 10
        60  > PA seq=1 len=10 to=other
    """)
    assert script.endpoint.stats.wrong_address == 0
    again = script.endpoint.connect("other", script.now_s, rendezvous=WORD)
    assert again.state is State.SYN_SENT, "the two have met: the word is free"


def test_a_counterpart_whose_address_changes_meanwhile_is_followed() -> None:
    """RFC 9293 §3.5: the repeated SYN is answered by a repeated SYN-ACK, where it came from."""
    script = dialling()
    script.play(f"""
        50  < S seq=0 {SYN_OPTIONS} rdv=word from=first
        50  > SA seq=0 ack=1 to=first
        90  < S seq=0 {SYN_OPTIONS} rdv=word from=second
        90  > SA seq=0 ack=1 to=second
        99  < SA seq=0 ack=1 {SYN_OPTIONS} from=third
        99  state ESTABLISHED
        99  send 10
        99  > PA seq=1 len=10 to=third
    """)


def test_a_counterpart_that_dials_anew_takes_the_place_of_the_one_before() -> None:
    """RFC 9293 §3.5.1 (half-open connections): the first dial was given up, its reset is lost."""
    script = dialling()
    script.play(f"""
        50  < S seq=0 {SYN_OPTIONS} rdv=word
        50  > SA seq=0 ack=1 cid={PEER_ID}
        90  < S seq=7000 {SYN_OPTIONS} rdv=word id=99
        90  > SA seq=0 ack=7001 cid=99
        99  < A seq=7001 ack=1
        99  state ESTABLISHED
    """)


@pytest.mark.parametrize("listening", [False, True])
def test_a_counterpart_that_comes_early_is_neither_refused_nor_accepted(listening: bool) -> None:
    """It comes again, when our side may have dialled; a listener must not take it away."""
    script = Script()
    if listening:
        script.play("0 listen 10")
    script.play(f"""
        0   < S seq=0 {SYN_OPTIONS} rdv=word
        0   quiet
        0   counted early_rendezvous 1
        100 connect word
        100 > S seq=0 rdv=word
        200 < S seq=0 {SYN_OPTIONS} rdv=word
        200 > SA seq=0 ack=1
        210 < A seq=1 ack=1
        210 state ESTABLISHED
        210 accepted 0
    """)


def test_another_word_is_another_dial() -> None:
    """Even from the address that is being dialled: it belongs to a dial that we may make yet."""
    script = dialling()
    script.play(f"50 < S seq=0 {SYN_OPTIONS} rdv=other\nstate SYN_SENT\ncounted early_rendezvous 1")
    script.conn.abort(script.now_s)


def test_a_plain_syn_from_the_dialled_address_is_a_counterpart_too() -> None:
    """RFC 9293 MUST-10 holds for a peer that names no rendezvous."""
    script = dialling()
    script.play(f"50 < S seq=0 {SYN_OPTIONS}\n50 > SA seq=0 ack=1\n60 < A seq=1 ack=1")
    script.play("state ESTABLISHED")


def test_a_word_without_a_dial_of_ours_that_names_it_is_not_a_dials_counterpart() -> None:
    """RFC 9293 MUST-10: a dial without a rendezvous is met by address, whatever the SYN names."""
    script = Script()
    script.play(f"""
        0   connect
        0   > S seq=0 rdv=
        50  < S seq=0 {SYN_OPTIONS} rdv=word
        50  > SA seq=0 ack=1
        60  < A seq=1 ack=1
        60  state ESTABLISHED
    """)


def test_refusals_are_not_fatal_before_the_two_have_met() -> None:
    """RFC 9293 §3.10.7.3 and MUST-56 for NATs and peers that do not expect us yet."""
    script = dialling()
    script.play("""
        20  < RA seq=0 ack=1 cid=168430090
        20  state SYN_SENT
        30  unreachable
        30  state SYN_SENT
        200 > S seq=0 rdv=word
    """)
    assert script.conn.reason is None
    script.conn.abort(script.now_s)


def test_a_reset_counts_once_they_have_met() -> None:
    """RFC 9293 §3.10.7.4: in SYN-RECEIVED the peer resets because it gives up."""
    script = dialling()
    script.play(f"50 < S seq=0 {SYN_OPTIONS} rdv=word\n50 > SA seq=0 ack=1\n60 < R seq=1")
    script.play("state CLOSED\nreason REFUSED")
    assert not script.endpoint.connections


@pytest.mark.parametrize("word", ["word", 7, None, bytearray(b"word")])
def test_a_rendezvous_of_another_type(word: object) -> None:
    endpoint = Endpoint(Config(), random.Random(1).getrandbits)
    if word is None:
        assert endpoint.connect("peer", 0.0, rendezvous=None).rendezvous is None
        return
    with pytest.raises(TypeError, match="rendezvous must be bytes"):
        endpoint.connect("peer", 0.0, rendezvous=word)  # type: ignore[arg-type]
    assert not endpoint.connections


@pytest.mark.parametrize("size", [0, 17, 100])
def test_a_rendezvous_of_impossible_length(size: int) -> None:
    endpoint = Endpoint(Config(), random.Random(1).getrandbits)
    with pytest.raises(ValueError, match="rendezvous must have 1 to 16 bytes"):
        endpoint.connect("peer", 0.0, rendezvous=bytes(size))
    assert not endpoint.connections


def test_one_dial_a_word() -> None:
    endpoint = Endpoint(Config(), random.Random(1).getrandbits)
    first = endpoint.connect("peer", 0.0, rendezvous=WORD)
    with pytest.raises(OSError, match="rendezvous already"):
        endpoint.connect("elsewhere", 0.0, rendezvous=WORD)
    endpoint.connect("peer", 0.0, rendezvous=b"other")
    first.abort(0.0)
    endpoint.settle(first, 0.0)
    endpoint.connect("elsewhere", 0.0, rendezvous=WORD)


@pytest.mark.parametrize("seed", range(6))
def test_many_crossing_dials_of_one_pair_find_their_counterparts(seed: int) -> None:
    """RFC 9293 §3.5 (MUST-10): what addresses alone cannot pair, words do, whatever is lost."""
    link = LinkConfig(delay_s=0.02, jitter_s=0.02, loss=0.2 if seed else 0.0)
    pair = watched_pair(seed, link)
    words = [b"dial %d" % number for number in range(12)]
    left = [pair.a.endpoint.connect("b", 0.0, rendezvous=word) for word in words]
    right = [pair.b.endpoint.connect("a", 0.0, rendezvous=word) for word in reversed(words)]
    right.reverse()
    pair.flush(pair.a)
    pair.flush(pair.b)

    def met(conn: Connection) -> bool:
        return conn.state is State.ESTABLISHED

    assert pair.run_until(lambda: all(map(met, left + right)), 100.0)
    exchange(pair, [(pair.a, a, pair.b, b) for a, b in zip(left, right, strict=True)], 100, 100.0)
    assert len(pair.a.endpoint.connections) == len(pair.b.endpoint.connections) == len(words)
    assert not pair.a.accepted
    assert not pair.b.accepted
    assert all(pair.a.notices[conn] == [Notice.CONNECTED] for conn in left)


def test_two_dials_to_which_a_peer_gives_one_id() -> None:
    """A peer that knows two words can make us list two connections under one id of its own, and
    then change both: each takes only what is its own off the list."""
    endpoint = Endpoint(Config(), random.Random(1).getrandbits)
    one, two = (endpoint.connect("peer", 0.0, rendezvous=word) for word in (b"one", b"two"))

    def take(source: str, segment: Segment) -> None:
        datagram = encode(segment)
        endpoint.receive(datagram, len(datagram), source, 1.0)

    def syn(word: bytes, cid: int, seq: int) -> Segment:
        options = Options(mss=1000, version=1, connection_id=cid, rendezvous=word)
        return Segment(0, seq, 0, SYN, 1000, 9_000_000, 0, options)

    take("first", syn(b"one", 7, 100))
    take("second", syn(b"two", 7, 100))
    old = syn(b"two", 7, 100)._replace(cid=two.local_cid, flags=SYN | ACK, tsval=1)
    take("first", old._replace(ack=to_wire(two.sender.iss + 1)))
    assert (two.state, two.peer) == (State.SYN_RECEIVED, "first")
    take("first", syn(b"one", 8, 200))
    take("first", syn(b"two", 9, 200))
    assert endpoint._by_peer == {("first", 8): one, ("first", 9): two}


# -- whatever else arrives -----------------------------------------------------------------------

ADDRESSES = ("peer", "other", "third")
WORDS = (b"one", b"two", None)
ARRIVALS = st.lists(
    st.tuples(
        st.sampled_from(ADDRESSES),
        st.sampled_from((SYN, SYN | ACK, ACK, RST, RST | ACK, FIN | ACK)),
        st.integers(0, 3),  # whom it is for: nobody yet, either dial, or somebody
        st.integers(1, 3),  # the peer's id
        st.integers(0, 2),  # its SEQ
        st.booleans(),  # whether its ACK is the right one
        st.sampled_from(WORDS),
    ),
    max_size=30,
)


@given(ARRIVALS, st.booleans())
@settings(max_examples=300)
def test_no_exchange_of_hostile_counterparts_does_any_harm(
    arrivals: list[tuple[str, int, int, int, int, bool, bytes | None]], listening: bool
) -> None:
    """Peers that know both words mix up ids, addresses and roles: nothing raises, every table
    names only connections that live, and the words of those that are over are free."""
    endpoint = Endpoint(Config(), random.Random(1).getrandbits)
    if listening:
        endpoint.listen(10)
    dials = [endpoint.connect("peer", 0.0, rendezvous=word) for word in WORDS if word is not None]
    now_s = 0.0
    for source, flags, whom, cid, seq, right, word in arrivals:
        now_s += 0.01
        dial = dials[whom % 2]
        ack = to_wire(dial.sender.iss + 1) if right else 12345
        options = Options(mss=1000, version=1, connection_id=cid, rendezvous=word)
        local = (0, dials[0].local_cid, dials[1].local_cid, 99)[whom]
        segment = Segment(local, seq, ack, flags, 1000, int(now_s * 1e6), 0, options)
        datagram = encode(segment)
        for conn in endpoint.receive(datagram, len(datagram), source, now_s):
            while conn.poll(now_s) is not None:
                pass
            endpoint.settle(conn, now_s)
    for conn in list(endpoint.connections.values()):
        conn.abort(now_s)
        endpoint.settle(conn, now_s)
    assert not endpoint.connections
    assert not endpoint._by_peer
    assert not endpoint._opening
    assert endpoint.half_open == 0
    for word in (b"one", b"two"):
        endpoint.connect("peer", now_s, rendezvous=word)
