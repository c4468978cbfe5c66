"""A capture's streams, comments and bounds; `test_tshark.py` judges the packets."""

from __future__ import annotations

from itertools import pairwise

import pytest

from rudp.sim import LinkConfig
from rudp.telemetry import capture, tcp
from rudp.telemetry.capture import Capture, Ends, comment_of
from rudp.telemetry.conversation import conversations_of
from rudp.telemetry.pcapng import Captured, Reading
from rudp.wire.options import NONE, Options
from rudp.wire.segment import ACK, FIN, RST, SYN, Segment, encode
from rudp.wire.train import Train

from .observed import LEFT, RIGHT, Memory, ends, transfer

EPOCH_NS = 1_700_000_000 * 10**9
SYN_SEGMENT = Segment(0, 100, 0, SYN, 65_535, 1, 0, Options(mss=1000, connection_id=7, version=1))


def recorded(size: int, payload_bytes: int | None = None) -> tuple[Memory, list[Captured]]:
    memory = Memory()
    made = Capture(memory, epoch_ns=EPOCH_NS, payload_bytes=payload_bytes)
    transfer(made.observer(ends(0xABC)), size, link=LinkConfig(delay_s=0.01, loss=0.02))
    return memory, list(Reading(memory.data))


def packet_of(captured: Captured) -> tcp.Packet:
    packet = tcp.decode(captured.packet, captured.missing)
    assert packet is not None
    return packet


def test_it_is_written_at_the_connections_end() -> None:
    memory, packets = recorded(10_000)
    assert memory.flushes == 1
    assert len(packets) > 10


def test_times_are_since_1970() -> None:
    _, packets = recorded(10_000)
    assert packets[0].time_ns == EPOCH_NS
    assert packets[1].time_ns == EPOCH_NS + 20_000_000
    assert all(before.time_ns <= after.time_ns for before, after in pairwise(packets))


def test_ends_and_directions() -> None:
    _, packets = recorded(1000)
    for captured in packets:
        packet = packet_of(captured)
        expected = (LEFT, RIGHT) if captured.outbound else (RIGHT, LEFT)
        assert (packet.source, packet.target) == expected


def test_the_payload_that_is_kept() -> None:
    """The lengths stay those of the whole packet."""
    _, whole = recorded(10_000)
    _, lean = recorded(10_000, payload_bytes=10)
    assert [len(one.packet) + one.missing for one in lean] == [len(one.packet) for one in whole]
    assert all(len(packet_of(one).payload) <= 10 for one in lean)
    assert any(one.missing for one in lean)


def test_a_made_up_port_is_the_diallers() -> None:
    made = Capture(Memory(), epoch_ns=0)
    assert made.pair(LEFT, RIGHT, dialled=True) == (LEFT, RIGHT)
    local, peer = made.pair(LEFT, RIGHT, dialled=True)
    assert (local[0], peer) == (LEFT[0], RIGHT)
    assert local[1] >= 49_152
    other_local, other_peer = made.pair(RIGHT, LEFT, dialled=False)
    assert (other_local, other_peer[0]) == (RIGHT, LEFT[0])
    assert len({LEFT[1], local[1], other_peer[1]}) == 3


def test_used_pairs_are_forgotten_at_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "_MOST_PAIRS", 10)
    made = Capture(Memory(), epoch_ns=0)
    ports = [made.pair(LEFT, RIGHT, dialled=True)[0][1] for _ in range(50)]
    assert len(made._pairs) == 10
    assert len(set(ports)) > 40


def test_the_accepting_side_keeps_its_port() -> None:
    memory = Memory()
    made = Capture(memory, epoch_ns=0)
    for connection_id in (1, 2):
        observer = made.observer(Ends(connection_id, RIGHT, LEFT))
        observer.segment_received(SYN_SEGMENT._replace(seq=connection_id), 0, 0, 1.0)
    first, second = map(packet_of, Reading(memory.data))
    assert (first.source, first.target) == (LEFT, RIGHT)
    assert (second.source[0], second.target) == (LEFT[0], RIGHT)
    assert second.source != LEFT
    assert len(conversations_of(Reading(memory.data))) == 2


def test_the_ecn_field_is_in_the_ip_header() -> None:
    memory = Memory()
    observer = Capture(memory, epoch_ns=0).observer(ends())
    observer.train_sent(Train([encode(SYN_SEGMENT)], 0, 1), 0, 1.0)
    data = Segment(7, 101, 1, ACK, 5, 2, 1, payload=b"marked")
    observer.train_sent(Train([encode(data)], 0, 1), 2, 1.0)
    observer.segment_received(data, 0, 3, 1.0)
    assert [packet_of(one).ecn for one in Reading(memory.data)] == [0, 2, 3]


def test_comments_tell_what_tcp_has_no_words_for() -> None:
    assert comment_of(SYN_SEGMENT) == "sender's connection id 00000007, version 1"
    for options, comment in (
        (NONE, ""),
        (Options(mss=1, sack=((1, 2),)), ""),
        (Options(unknown_id=0xAB), "unknown connection id 000000ab"),
        (Options(path_challenge=b"\1" * 8), "path challenge 0101010101010101"),
        (Options(path_response=b"\1" * 8), "path response 0101010101010101"),
        (Options(ecn_counts=(1, 2, 3)), "bytes received as ECT(0) 1, ECT(1) 2, CE 3"),
    ):
        assert comment_of(Segment(0, 1, 0, RST, 0, 0, 0, options)) == comment


def test_the_first_packet_names_the_connection() -> None:
    _, packets = recorded(1000)
    assert packets[0].comment.startswith("connection 00000abc; sender's connection id")
    assert "connection 00000abc" not in packets[1].comment


# -- what belongs to no connection -----------------------------------------------------------------

ROUTE = (RIGHT, LEFT)


def strays(*calls: tuple[str, Segment]) -> list[list[tuple[bool, int]]]:
    """The streams of an accepting side that receives and answers these: who sent, which bits."""
    memory = Memory()
    made = Capture(memory, epoch_ns=0)
    observer = made.observer(Ends(0xAA, RIGHT, LEFT))
    syn = SYN_SEGMENT._replace(options=Options(mss=1, connection_id=0xBB, version=1))
    observer.segment_received(syn, 0, 0, 1.0)
    observer.closed(None)
    for call, segment in calls:
        if call == "received":
            made.stray_received(segment, 0, 0, lambda: ROUTE, 2.0)
        else:
            made.answer_sent(Train([encode(segment)], 0, 1), lambda: ROUTE, 2.0)
    found = conversations_of(Reading(memory.data))
    return [[(step.outbound, step.flags) for step in one.steps] for one in found]


def test_what_comes_in_time_wait_belongs_to_the_connection_that_was() -> None:
    """By our id in the one, by the peer's in the other."""
    fin = Segment(0xAA, 200, 1, FIN | ACK, 0, 1, 1)
    ack = Segment(0xBB, 1, 201, ACK, 0, 1, 1)
    assert strays(("received", fin), ("sent", ack)) == [
        [(False, SYN), (False, FIN | ACK), (True, ACK)]
    ]


def test_a_syn_that_is_refused_is_a_stream_with_its_reset() -> None:
    """The next one, too, from the same ports."""
    calls = []
    for connection_id in (0xC, 0xD):
        options = Options(connection_id=connection_id, version=1)
        calls += [
            ("received", Segment(0, 300, 0, SYN, 0, 1, 0, options)),
            ("sent", Segment(connection_id, 0, 301, RST | ACK, 0, 0, 1)),
        ]
    refused = [(False, SYN), (True, RST | ACK)]
    assert strays(*calls) == [[(False, SYN)], refused, refused]


def test_a_stranger_is_a_stream_with_the_reset_that_names_its_id() -> None:
    stranger = Segment(0xE, 400, 7, ACK, 0, 1, 1)
    reset = Segment(0, 7, 0, RST, 0, 0, 1, Options(unknown_id=0xE))
    assert strays(("received", stranger), ("sent", reset)) == [
        [(False, SYN)],
        [(False, ACK), (True, RST)],
    ]


def test_a_strangers_reset_belongs_to_the_connection_whose_id_it_names() -> None:
    """The id that the peer does not know is its own."""
    reset = Segment(0, 7, 0, RST, 0, 0, 1, Options(unknown_id=0xBB))
    assert strays(("received", reset)) == [[(False, SYN), (False, RST)]]


def test_ids_are_forgotten_at_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of forged segments must not fill the memory."""
    monkeypatch.setattr(capture, "_MOST_PAIRS", 10)
    made = Capture(Memory(), epoch_ns=0)
    for cid in range(1, 50):
        made.stray_received(Segment(cid, 1, 1, ACK, 0, 1, 1), 0, 0, lambda: ROUTE, 1.0)
    assert len(made._routes) == len(made._pairs) == 10
