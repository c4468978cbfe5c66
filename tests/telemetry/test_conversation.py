"""Conversations read back: numbers from each SYN, trains, what was sent again."""

from __future__ import annotations

from rudp.sim import LinkConfig
from rudp.telemetry.capture import Capture
from rudp.telemetry.conversation import Conversation, Read, conversations_of
from rudp.telemetry.diagram import draw
from rudp.telemetry.guard import Guarded
from rudp.telemetry.pcapng import Reading, enhanced_packet, interface, section_header
from rudp.telemetry.qlog import QlogFile
from rudp.telemetry.qlog_observer import QlogObserver
from rudp.telemetry.qlog_reader import read
from rudp.telemetry.tcp import Packet, encode
from rudp.wire.segment import ACK, FIN, PSH, RST, SYN

from .observed import LEFT, RIGHT, Memory, ends, transfer

LOSSY = LinkConfig(delay_s=0.02, loss=0.05, reorder=0.02)
SIZE = 60_000


def both() -> tuple[Conversation, Conversation]:
    """One connection, as the capture tells it and as the qlog does."""
    capture, qlog = Memory(), Memory()
    observers = (
        Capture(capture, epoch_ns=0).observer(ends()),
        QlogObserver(QlogFile(qlog, epoch_ns=0, single=ends()), ends()),
    )
    transfer(Guarded(observers), SIZE, seed=4, link=LOSSY)
    (captured,) = conversations_of(Reading(capture.data))
    (logged,) = read(qlog.data.decode())
    return captured, logged.conversation()


def test_a_capture_and_a_qlog_tell_the_same() -> None:
    """Times to the microsecond; of SACK blocks TCP's header has room for three; TCP's MSS is
    larger by the timestamps."""
    captured, logged = both()
    assert (captured.left, captured.right) == (logged.left, logged.right)
    assert captured.left == f"{LEFT[0]}:{LEFT[1]}"
    assert len(captured.steps) == len(logged.steps)
    for one, other in zip(captured.steps, logged.steps, strict=True):
        assert abs(one.time_s - other.time_s) < 1e-6
        assert one[1:7] == other[1:7]
        assert one.sack == other.sack[:3]
        assert one.again == other.again
    assert any(step.again for step in captured.steps)
    assert captured.summary().startswith("192.0.2.1:1111 192.0.2.2:2222  ")


def test_trains_are_one_arrow() -> None:
    captured, _ = both()
    trains = list(captured.trains())
    assert sum(step.segments for step in trains) == len(captured.steps)
    assert sum(step.length for step in trains) == sum(step.length for step in captured.steps)
    assert any(step.segments > 3 for step in trains)
    text = draw(captured.arrows(), captured.left, captured.right)
    lines = text.splitlines()
    assert len(lines) == 1 + len(trains)
    assert "SYN  seq 0  mss" in lines[1]
    assert "SYN,ACK  seq 0  ack 1" in lines[2]
    assert any("segments)" in line for line in lines)
    assert any("again" in line for line in lines)
    assert len({len(line) for line in lines}) == 1


def talk(*reads: Read) -> Conversation:
    made = Conversation("a", "b")
    for one in reads:
        made.add(one)
    return made


def test_numbers_count_from_each_syn_over_the_wrap() -> None:
    top = 2**32
    made = talk(
        Read(10.0, True, SYN, top - 2, 0, 0, 100, scale=3),
        Read(10.1, False, SYN | ACK, 5000, top - 1, 0, 100, scale=4),
        Read(10.2, True, ACK, top - 1, 5001, 10, 100),
        Read(10.3, False, ACK, 5001, 9, 0, 0, sack=((20, 30),)),
        Read(10.4, True, ACK | FIN, 9, 5001, 5, 100),
        Read(10.5, True, ACK | FIN, 9, 5001, 5, 100),
    )
    steps = made.steps
    assert [step.seq for step in steps] == [0, 0, 1, 1, 11, 11]
    assert [step.ack for step in steps] == [0, 1, 1, 11, 1, 1]
    assert [step.window for step in steps] == [100, 100, 800, 0, 800, 800]
    assert steps[3].sack == ((22, 32),)
    assert [step.again for step in steps] == [False] * 5 + [True]
    assert made.begin_s == 10.0
    assert "sack 22-31  zero window" in steps[3].describe()
    assert steps[5].describe().endswith("again")


def test_windows_are_scaled_only_if_both_sides_do() -> None:
    """RFC 7323 §2.2."""
    made = talk(
        Read(0.0, True, SYN, 1, 0, 0, 100, scale=3),
        Read(0.1, False, SYN | ACK, 1, 2, 0, 100),
        Read(0.2, True, ACK, 2, 2, 0, 100),
    )
    assert made.steps[-1].window == 100


def test_a_trace_that_begins_in_the_middle() -> None:
    made = talk(
        Read(0.0, True, ACK | PSH, 1000, 70_000, 10, 100),
        Read(0.1, False, ACK, 70_000, 1010, 0, 100),
    )
    assert [(step.seq, step.ack) for step in made.steps] == [(0, 1), (1, 10)]


def test_a_reset_does_not_close_the_window() -> None:
    made = talk(Read(0.0, True, RST | ACK, 1, 1, 0, 0))
    assert "zero window" not in made.steps[0].describe()


def packets(*some: Packet | bytes) -> bytes:
    blocks = [
        enhanced_packet(one if isinstance(one, bytes) else encode(one), at, outbound=True)
        for at, one in enumerate(some)
    ]
    return section_header("x") + interface("x", "x") + b"".join(blocks)


def test_a_pair_of_ports_that_is_used_again() -> None:
    """A SYN with another number begins another conversation; a repeated one does not."""
    syn = Packet(LEFT, RIGHT, 100, 0, SYN, 0, b"", b"")
    answer = Packet(RIGHT, LEFT, 500, 101, SYN | ACK, 0, b"", b"")
    found = conversations_of(
        Reading(packets(syn, syn, answer, syn._replace(seq=900), answer._replace(seq=7, ack=901)))
    )
    assert [len(one.steps) for one in found] == [3, 2]
    assert [one.left for one in found] == ["192.0.2.1:1111"] * 2


def test_other_and_damaged_packets_are_skipped() -> None:
    syn = encode(Packet(LEFT, RIGHT, 100, 0, SYN, 0, b"", b""))
    udp = syn[:9] + b"\x11" + syn[10:]
    damaged = syn[:-1] + b"\xff"
    (found,) = conversations_of(Reading(packets(udp, damaged, syn, b"\0")))
    assert len(found.steps) == 1


def test_an_ipv6_address_is_told_from_its_port() -> None:
    one = Packet(("2001:db8::1", 1), ("2001:db8::2", 2), 100, 0, SYN, 0, b"", b"")
    (found,) = conversations_of(Reading(packets(one)))
    assert (found.left, found.right) == ("[2001:db8::1]:1", "[2001:db8::2]:2")
