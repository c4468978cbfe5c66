"""Header prediction changes what the careful way does, and leaves to it what fails a check."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rudp.config import Config
from rudp.core import predicted
from rudp.core.connection import Connection
from rudp.core.timers import Timer
from rudp.wire.options import NONE
from rudp.wire.segment import ACK, FIN, PSH, RST, SYN, URG, Segment
from rudp.wire.seq import MASK

from .script import Script
from .twins import OUR_ID, START_S, TICK_S, Twins, differing, established, peer_clock, snapshot

CONFIG = Config(max_datagram_size=1024, mtu_discovery=False, receive_buffer=1 << 20)
NOW_S = START_S + 8 * TICK_S
WINDOW = 60_000
Change = Callable[[Connection, Segment], Segment]


def expected(conn: Connection, *, size: int = 0, acked: int = 0) -> Segment:
    """The segment that has to come next: the next data, or an acknowledgement, or both."""
    ack = conn.sender.ledger.snd_una + acked
    seq = conn.receiver.rcv_nxt
    window = conn.sender.snd_wnd >> conn.sender.scale
    numbers = seq & MASK, ack & MASK, ACK, window, peer_clock(NOW_S), conn.timestamp(START_S)
    return Segment(OUR_ID, *numbers, NONE, bytes(size))


def outstanding(*, size: int = 5000) -> Connection:
    """A connection that has sent `size` bytes, which nobody has acknowledged."""
    conn = established(CONFIG, iss=MASK - 2000, peer_iss=MASK - 1)
    conn.send(bytes(size))
    while conn.poll(START_S + 2 * TICK_S) is not None:
        pass
    return conn


@pytest.mark.parametrize("congestion", ["newreno", "cubic", "bbr", "resilient"])
@pytest.mark.parametrize("seed", range(5))
def test_the_quick_way_changes_what_the_careful_way_changes(congestion: str, seed: int) -> None:
    """Every field of a connection, after every segment of an exchange at random."""
    twins = Twins(seed, CONFIG.replace(congestion=congestion))
    for _ in range(70):
        twins.step()


def test_the_exchanges_at_random_are_mostly_predicted() -> None:
    """Else the test above would compare the careful way with itself."""
    twins = Twins(5, CONFIG)
    arrived = 0
    for _ in range(40):
        twins.step()
    arrived = sum(" ack " in line for line in twins.history)
    assert twins.predictions > arrived / 4


@pytest.mark.parametrize(("size", "acked"), [(1000, 0), (1000, 2000), (0, 2000), (0, 5000)])
def test_what_is_predicted(size: int, acked: int) -> None:
    """The next data, an acknowledgement of the oldest outstanding, or both."""
    conn = outstanding()
    assert predicted.arrive(conn, expected(conn, size=size, acked=acked), NOW_S)
    assert conn.stats.bytes_acked == acked
    assert conn.stats.bytes_received == size


def _flags(flags: int) -> Change:
    return lambda conn, seg: seg._replace(flags=flags)


def _replaced(**fields: object) -> Change:
    return lambda conn, seg: seg._replace(**fields)  # type: ignore[arg-type]


def _moved(field: str, by: int) -> Change:
    return lambda conn, seg: seg._replace(**{field: (getattr(seg, field) + by) & MASK})


def _hole(conn: Connection, seg: Segment) -> Segment:
    behind = seg._replace(seq=(seg.seq + 3000) & MASK, payload=bytes(500))
    conn.arrive(behind, NOW_S)
    return seg


def _fin_behind_a_hole(conn: Connection, seg: Segment) -> Segment:
    conn.arrive(seg._replace(seq=(seg.seq + 2000) & MASK, payload=b"", flags=ACK | FIN), NOW_S)
    return seg


def _overtaken(conn: Connection, seg: Segment) -> Segment:
    conn.arrive(seg._replace(seq=(seg.seq + 5000) & MASK, payload=b""), NOW_S)
    return seg


def _sacked(conn: Connection, seg: Segment) -> Segment:
    una = conn.sender.ledger.snd_una
    block = ((una + 2000) & MASK, (una + 3000) & MASK)
    conn.arrive(
        seg._replace(payload=b"", ack=una & MASK, options=NONE._replace(sack=(block,))), NOW_S
    )
    return seg


def _timed_out(conn: Connection, seg: Segment) -> Segment:
    conn.on_timer(conn.timers[Timer.PROBE])
    conn.on_timer(conn.timers[Timer.RETRANSMIT])
    return seg


def _probed(conn: Connection, seg: Segment) -> Segment:
    conn.on_timer(conn.timers[Timer.PROBE])
    conn.poll(conn.timers[Timer.RETRANSMIT])
    return seg


def _closed(conn: Connection, seg: Segment) -> Segment:
    conn.close(NOW_S)
    return seg


def _shut_down(conn: Connection, seg: Segment) -> Segment:
    conn.shutdown()
    return seg


def _ended(conn: Connection, seg: Segment) -> Segment:
    conn.arrive(seg._replace(flags=ACK | FIN, payload=b""), NOW_S)
    return seg._replace(seq=conn.receiver.rcv_nxt & MASK)


ALWAYS: list[tuple[str, Change]] = [
    ("RFC 9293 §3.10.7.4, fourth: a SYN is challenged (RFC 5961 §4)", _flags(SYN | ACK)),
    ("RFC 9293 §3.10.7.4, second: a reset is looked at (RFC 5961 §3)", _flags(RST | ACK)),
    ("RFC 9293 §3.10.7.4, eighth: a FIN moves the state", _flags(ACK | FIN)),
    ("RFC 9293 §3.10.7.4, fifth: without ACK it is dropped", _flags(PSH)),
    ("RFC 9293 §3.4: old data", _moved("seq", -1)),
    ("RFC 9293 §3.4: data behind a hole", _moved("seq", 1)),
    ("RFC 9293 §3.4: half the sequence space away", _moved("seq", 1 << 31)),
    ("RFC 7323 §5.3: older than TS.Recent", _moved("tsval", -(1 << 20))),
    ("RFC 7323 §5.5: half a turn of the clock away", _moved("tsval", 1 << 31)),
    ("RFC 5961 §5.2: an ACK of what was never sent", _moved("ack", 1 << 20)),
    ("RFC 5961 §5.2: an ACK from long ago", _moved("ack", -(1 << 20))),
    ("options say more", _replaced(options=NONE._replace(ecn_counts=(1, 0, 0)))),
    ("options that are none, but were some", _replaced(options=NONE._replace(sack=()))),
    ("control bits that no segment of ours has", _flags(ACK | URG)),
    ("RFC 9293 §3.10.7.4, fifth: its window was overtaken", _overtaken),
    ("RFC 1122 §4.2.2.13: nobody reads any more", _closed),
    ("RFC 9293 §3.10.7.4, fifth: the ACK may be our FIN's", _shut_down),
    ("RFC 9293 §3.10.7.4, seventh: no data after a FIN", _ended),
]
WITH_DATA: list[tuple[str, Change]] = [
    ("RFC 9293 §3.10.7.4, seventh: what lies behind it is next", _hole),
    ("RFC 9293 §3.10.7.4, eighth: a FIN waits for it", _fin_behind_a_hole),
    ("RFC 9293 §3.4: beyond the window", _replaced(payload=bytes(1 << 19))),
]
WITH_NEWS: list[tuple[str, Change]] = [
    ("RFC 6675 §5: something is selectively acknowledged", _sacked),
    ("RFC 5682 §2.1: a timeout is being judged", _timed_out),
    ("RFC 8985 §7.4.2: a tail loss probe is out", _probed),
]
WITHOUT_NEWS: list[tuple[str, Change]] = [
    ("RFC 9293 §3.8.6.1: a window that moves", _moved("window", 1)),
    ("RFC 5681 §2: a duplicate acknowledgement", _replaced(payload=b"")),
]
CASES = [
    *((name, change, 1000, acked) for name, change in ALWAYS for acked in (0, 2000)),
    *((name, change, 1000, acked) for name, change in WITH_DATA for acked in (0, 2000)),
    *((name, change, size, 2000) for name, change in WITH_NEWS for size in (0, 1000)),
    *((name, change, 1000, 0) for name, change in WITHOUT_NEWS),
]


@pytest.mark.parametrize(("name", "change", "size", "acked"), CASES)
def test_what_goes_the_careful_way(name: str, change: Change, size: int, acked: int) -> None:
    """Each check of SEGMENT ARRIVES that a segment may fail: then nothing was touched."""
    conn = outstanding()
    segment = change(conn, expected(conn, size=size, acked=acked))
    before = snapshot(conn)
    assert not predicted.arrive(conn, segment, NOW_S), name
    assert differing(snapshot(conn), before) == []


def test_nothing_is_predicted_while_a_window_is_probed() -> None:
    """RFC 9293 §3.8.6.1: what comes then answers a probe, and shows that the peer lives."""
    conn = established(CONFIG, iss=7, peer_iss=7)
    conn.arrive(expected(conn)._replace(window=0), NOW_S)
    conn.send(b"blocked")
    assert conn.poll(NOW_S) is None
    assert conn.timers.is_set(Timer.PERSIST)
    assert not predicted.arrive(conn, expected(conn, size=10), NOW_S)


def test_nothing_is_predicted_that_acknowledges_a_retransmission() -> None:
    """RFC 3522 §3.2: whether it is the original's is to be told by its timestamp."""
    conn = outstanding()
    conn.on_timer(conn.timers[Timer.PROBE])
    now_s = conn.timers[Timer.RETRANSMIT]
    while conn.poll(now_s) is not None:
        pass
    conn.sender.tail_probe = None
    segment = expected(conn, acked=5000)._replace(tsval=peer_clock(now_s))
    assert conn.sender.is_calm
    assert not predicted.arrive(conn, segment, now_s)


def test_a_window_that_was_overtaken_is_not_used() -> None:
    """RFC 9293 §3.10.7.4, fifth: SND.WL1 never goes back, so that no old window is used."""
    script = Script().established()
    script.play("""
        0   < A seq=201 ack=1 win=40000
        1   < PA seq=1 ack=1 len=100 win=40000
        2   < PA seq=101 ack=1 len=100 win=20000
        26  > A seq=1 ack=201
    """)
    assert script.conn.sender.snd_wnd == 40_000


def test_the_first_acknowledgement_on_a_new_path_gives_a_delivery_rate() -> None:
    """draft-ietf-ccwg-bbr, "Delivery Rate Samples": before a round trip was measured no interval
    is too short to be true."""
    conn = established(CONFIG, iss=7, peer_iss=7)
    conn.sender.forget_path(CONFIG, NOW_S - TICK_S)
    conn.send(bytes(8000))
    while conn.poll(NOW_S - TICK_S) is not None:
        pass
    assert predicted.arrive(conn, expected(conn, acked=8000), NOW_S)
    assert conn.sender.delivery_rate == pytest.approx(8000 / TICK_S)
