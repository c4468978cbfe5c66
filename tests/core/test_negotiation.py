"""What the SYNs agree on: MSS, window scale, SACK; and simultaneous open."""

from __future__ import annotations

import pytest

from rudp.config import Config
from rudp.core.connection import Notice
from rudp.core.states import State
from rudp.errors import Reason
from rudp.sim.link import LinkConfig

from .pairs import watched_pair
from .reach import reach
from .script import LOCAL_ID, PEER_ID, Script

# -- maximum segment size ------------------------------------------------------------------


@pytest.mark.parametrize("passive", [False, True])
@pytest.mark.parametrize(
    ("datagram", "options", "mss"),
    [
        (1200, "mss=500", 500),
        (1200, "mss=1", 64),  # less would make every byte a datagram
        (524, "mss=1400", 500),
        (1200, "", 536),
        (524, "", 500),
        (65_507, "mss=65483", 65_483),
    ],
)
def test_mss_is_obeyed(passive: bool, datagram: int, options: str, mss: int) -> None:
    """RFC 9293 §3.7.1 (MUST-14 to 16): the peer's, at most ours, 536 where it says none."""
    script = Script(Config(max_datagram_size=datagram, base_datagram_size=datagram))
    script.established(passive=passive, options=f"win=65535 ws=3 sackok=1 {options}")
    script.play(f"""
        0  < A seq=1 ack=1 win=65535
        0  send {mss + 1}
        0  > A seq=1 len={mss}
        0  > PA seq={1 + mss} len=1
    """)


@pytest.mark.parametrize("datagram", [128, 576, 1200, 65_507])
def test_mss_is_announced(datagram: int) -> None:
    """RFC 9293 §3.7.1 (MUST-14): what fits `max_datagram_size`, in both SYNs."""
    config = Config(max_datagram_size=datagram)
    Script(config).play(f"0 connect\n> S mss={datagram - 24}")
    Script(config).play(f"0 listen 1\n< S seq=0 mss=9 ws=0 sackok=1\n> SA mss={datagram - 24}")


def test_mss_of_zero_is_no_mss() -> None:
    """RFC 9293 §3.7.1: an MSS of nothing would send nothing."""
    script = Script().established(options="win=65535 mss=0 ws=0")
    script.play("0 send 600\n> A seq=1 len=536\n> PA seq=537 len=64")


# -- window scale --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("buffer", "scale"), [(4096, 0), (65_535, 0), (65_536, 1), (1 << 20, 5), (1 << 30, 14)]
)
def test_scale_that_is_announced(buffer: int, scale: int) -> None:
    """RFC 7323 §2.2: the smallest that can announce the whole buffer, at most 14."""
    Script(Config(receive_buffer=buffer)).play(f"0 connect\n> S ws={scale}")


def test_window_in_a_syn_is_not_scaled() -> None:
    """RFC 7323 §2.2: the window field of a segment with SYN is taken as it is."""
    script = Script(Config(receive_buffer=1 << 20, congestion="newreno"))
    script.play("""
        0   connect
        0   > S win=65535 ws=5
        10  < SA seq=0 ack=1 win=2000 mss=1000 ws=3
        10  > A seq=1 ack=1 win=8192        # 256 KiB in units of 32
        10  send 20000
        10  > A seq=1 len=1000 x2
        20  < A seq=1 ack=2001 win=500     # 4000 bytes now
        20  > A seq=2001 len=1000 x4
    """)


def test_syn_ack_window_is_not_scaled() -> None:
    """RFC 7323 §2.2: neither is ours in a SYN-ACK, nor more than the buffer holds."""
    script = Script(Config(receive_buffer=5000))
    script.play("0 listen 1\n< S seq=0 win=65535 mss=1000 ws=3\n> SA win=5000 ws=0")
    Script(Config(receive_buffer=5000)).play("0 connect\n> S win=5000 ws=0")


def test_scale_beyond_14_is_14() -> None:
    """RFC 7323 §2.3: a larger shift is used as 14."""
    script = Script().established(options="win=1000 mss=1000 ws=15")
    script.play("""
        0   send 3000
        0   > A seq=1 len=1000
        10  < A seq=1 ack=1001 win=1
        10  > A seq=1001 len=1000
        10  > PA seq=2001 len=1000
    """)
    assert script.conn.sender.snd_wnd == 1 << 14


def test_peer_without_window_scale() -> None:
    """RFC 7323 §2.2: both or none; a peer without the option is never sent scaled windows."""
    script = Script().established(options="win=65535 mss=1000")
    script.play("""
        0   < A seq=1 ack=1 len=1000
        25  > A ack=1001 win=65535
        30  send 3000
        30  > A seq=1 len=1000 x2
        30  > PA seq=2001 len=1000
        40  < A seq=1001 ack=3001 win=1500
        40  send 3000
        40  > A seq=3001 len=1000
    """)


def test_syn_ack_offers_a_scale_only_to_who_did() -> None:
    """RFC 7323 §2.2: the SYN-ACK may carry the option only if the SYN did."""
    script = Script()
    script.play("0 listen 1\n< S seq=0 win=65535 mss=1000 sackok=1\n> SA ws= mss=1176")


# -- selective acknowledgements ------------------------------------------------------------


def test_sack_is_not_offered_where_it_is_off() -> None:
    """RFC 2018 §2: no SACK-permitted is sent, and the peer's is not used."""
    script = Script(Config(sack=False))
    script.play("0 connect\n> S sackok=\n10 < SA seq=0 ack=1 mss=1000 ws=0 sackok=1\n> A")
    script.play("20 < A seq=101 ack=1 len=100\n> A ack=1")
    script = Script(Config(sack=False))
    script.play("0 listen 1\n< S seq=0 win=65535 mss=1000 ws=0 sackok=1\n> SA sackok=")


@pytest.mark.parametrize("passive", [False, True])
def test_no_sack_to_a_peer_that_did_not_permit_it(passive: bool) -> None:
    """RFC 2018 §2: blocks travel only to who sent SACK-permitted; a SYN-ACK repeats nothing."""
    script = Script()
    if passive:
        script.play("0 listen 1\n< S seq=0 win=65535 mss=1000 ws=0\n> SA sackok=\n< A seq=1 ack=1")
    else:
        script.established(options="win=65535 mss=1000 ws=0")
    script.play("10 < A seq=101 ack=1 len=100\n> A ack=1\n20 < A seq=1 ack=1 len=100\n> A ack=201")


# -- simultaneous open ---------------------------------------------------------------------


def test_simultaneous_open() -> None:
    """RFC 9293 §3.5, figure 8 (MUST-10): crossing SYNs make one connection."""
    script = Script()
    script.play(f"""
        0   connect
        0   > S seq=0
        5   < S seq=0 win=65535 mss=900 ws=2 sackok=1
        5   > SA seq=0 ack=1 cid={PEER_ID} id={LOCAL_ID} mss=1176 ws=7 sackok=1
        5   state SYN_RECEIVED
        10  < SA seq=0 ack=1 win=65535 mss=900 ws=2 sackok=1
        10  state ESTABLISHED
        10  notice CONNECTED
        10  send 901
        10  > A seq=1 ack=1 len=900
        10  > PA seq=901 len=1
    """)
    assert not script.endpoint.accepted


def test_simultaneous_open_does_not_scale_the_syn_acks_window() -> None:
    """RFC 7323 §2.2: the window of the crossing SYN-ACK is not scaled either."""
    script = Script()
    script.play("""
        0   connect
        0   > S seq=0
        5   < S seq=0 win=3000 mss=1000 ws=7
        5   > SA seq=0 ack=1
        10  < SA seq=0 ack=1 win=3000 mss=1000 ws=7
        10  send 9000
        10  > A seq=1 len=1000 x3
    """)


def test_simultaneous_open_where_the_crossing_syn_ack_is_lost() -> None:
    """RFC 9293 §3.5: an ACK of the SYN establishes; the lost SYN-ACK is repeated meanwhile."""
    script = Script()
    script.play("""
        0     connect
        0     > S seq=0
        5     < S seq=0 win=3000 mss=1000 ws=7
        5     > SA seq=0 ack=1
        1000  > SA seq=0 ack=1
        1010  < A seq=1 ack=1 win=3000
        1010  state ESTABLISHED
    """)


def test_close_of_a_simultaneous_open_in_syn_received() -> None:
    """RFC 9293 §3.10.5: abort resets the peer, which is in SYN-RECEIVED too."""
    script = Script()
    script.play("0 connect\n> S\n5 < S seq=0 mss=1000\n> SA\n6 abort\n> RA seq=1 ack=1")
    assert not script.endpoint.connections
    reach(State.SYN_RECEIVED)


def test_forged_syn_does_not_spoil_a_dial() -> None:
    """RFC 9293 §3.5: a SYN proves nothing; a SYN-ACK that acknowledges our SYN does."""
    script = Script()
    script.play(f"""
        0   connect
        0   > S seq=0
        5   < S seq=5000 win=65535 mss=900 id=99
        5   > SA seq=0 ack=5001 cid=99
        10  < SA seq=0 ack=1 win=65535 mss=1000 ws=0 sackok=1
        10  > A seq=1 ack=1 cid={PEER_ID}
        10  state ESTABLISHED
        10  send 1001
        10  > A seq=1 len=1000 cid={PEER_ID}
        10  > PA seq=1001 len=1 cid={PEER_ID}
    """)


@pytest.mark.parametrize("seed", range(6))
def test_two_dialling_endpoints(seed: int) -> None:
    """RFC 9293 §3.5, figure 8: one connection, both ends established, whatever is lost."""
    pair = watched_pair(seed, LinkConfig(delay_s=0.01, jitter_s=0.01, loss=0.2 if seed else 0))
    left = pair.a.endpoint.connect("b", 0.0)
    right = pair.b.endpoint.connect("a", 0.0)
    pair.flush(pair.a, left)
    pair.flush(pair.b, right)
    assert pair.run_until(lambda: left.state is right.state is State.ESTABLISHED, 100.0)
    left.send(b"from a")
    right.send(b"from b")
    pair.flush(pair.a)
    pair.flush(pair.b)
    pair.run(100.0)
    assert pair.a.received[left] == b"from b"
    assert pair.b.received[right] == b"from a"
    for node in (pair.a, pair.b):
        assert len(node.endpoint.connections) == 1
        assert node.notices[next(iter(node.notices))] == [Notice.CONNECTED]


@pytest.mark.parametrize("seed", range(4))
def test_several_crossing_dials(seed: int) -> None:
    """RFC 9293 §3.5 (MUST-10): two dials each way, SYNs overtaking each other: nothing hangs.

    Each dial is either established, with a partner that takes it for its own, or refused.
    """
    pair = watched_pair(seed, LinkConfig(delay_s=0.02, jitter_s=0.02))
    dials = [(pair.a, pair.a.endpoint.connect("b", 0.0)) for _ in range(2)]
    dials += [(pair.b, pair.b.endpoint.connect("a", 0.0)) for _ in range(2)]
    pair.flush(pair.a)
    pair.flush(pair.b)
    pair.run(30.0)
    conns = {conn.local_cid: conn for _, conn in dials}
    for conn in conns.values():
        if conn.state is State.ESTABLISHED:
            assert conns[conn.peer_cid].peer_cid == conn.local_cid
        else:
            assert conn.reason in (Reason.REFUSED, Reason.RESET_BY_PEER)
