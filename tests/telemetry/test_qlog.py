"""qlog: JSON text sequences with the events that qvis draws."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from rudp.config import Config
from rudp.core.connection import Connection
from rudp.sim import LinkConfig
from rudp.telemetry.qlog import QlogFile
from rudp.telemetry.qlog_observer import QlogObserver
from rudp.telemetry.qlog_reader import read

from .observed import LEFT, RIGHT, Memory, ends, transfer

EPOCH_NS = 1_700_000_000 * 10**9
LOSSY = LinkConfig(delay_s=0.02, loss=0.05, rate_bytes_per_s=1e6, queue_bytes=30_000)
SIZE = 300_000
SEED = 3

Event = dict[str, Any]


def traced(link: LinkConfig, **options: Any) -> tuple[Connection, bytes, Memory]:
    memory = Memory()
    file = QlogFile(memory, epoch_ns=EPOCH_NS, single=ends(0xABC))
    conn = transfer(QlogObserver(file, ends(0xABC)), SIZE, link=link, seed=SEED, **options)
    return conn, memory.data, memory


def parse(data: bytes) -> tuple[Event, list[Event]]:
    """RFC 7464 §2.2: each record begins with RS and ends with LF."""
    text = data.decode("ascii")
    assert text[0] == "\x1e"
    records = text[1:].split("\x1e")
    assert all(record.endswith("\n") and record.count("\n") == 1 for record in records)
    head, *events = map(json.loads, records)
    return head, events


@pytest.fixture(scope="module")
def lossy() -> tuple[Connection, list[Event]]:
    conn, data, _ = traced(LOSSY)
    return conn, parse(data)[1]


def named(events: list[Event], name: str) -> list[Event]:
    return [event for event in events if event["name"] == name]


def test_the_head() -> None:
    """What qvis requires of version 0.3, and what the later drafts do (main schema §5)."""
    head, _ = parse(traced(LinkConfig(delay_s=0.01))[1])
    assert head["qlog_version"] == "0.3"
    assert head["qlog_format"] == "JSON-SEQ"
    assert head["file_schema"] == "urn:ietf:params:qlog:file:sequential"
    assert head["serialization_format"] == "application/qlog+json-seq"
    trace = head["trace"]
    assert trace["vantage_point"] == {"name": "rudp", "type": "client"}
    common = trace["common_fields"]
    assert common["time_format"] == "relative"
    assert common["reference_time"] == EPOCH_NS / 1e6
    assert common["group_id"] == "00000abc"


def test_events_are_whole_and_in_order(lossy: tuple[Connection, list[Event]]) -> None:
    _, events = lossy
    for before, after in pairwise(events):
        assert before["time"] <= after["time"]
    for event in events:
        assert set(event) == {"time", "name", "data"}
        assert event["name"].partition(":")[0] in ("connectivity", "transport", "recovery")
    assert events[0]["name"] == "connectivity:connection_started"
    assert events[0]["data"]["src_ip"] == LEFT[0]
    assert events[0]["data"]["dst_port"] == RIGHT[1]
    assert events[-1]["name"] == "connectivity:connection_closed"
    assert events[-1]["data"] == {"trigger": "application"}


def test_states_are_the_diagrams(lossy: tuple[Connection, list[Event]]) -> None:
    """RFC 9293 §3.3.2; the first two at the times of the SYN and of its answer."""
    changes = named(lossy[1], "connectivity:connection_state_updated")
    assert [one["data"]["new"] for one in changes[:3]] == ["syn_sent", "established", "fin_wait_1"]
    assert changes[-1]["data"]["new"] == "closed"
    for before, after in pairwise(changes):
        assert before["data"]["new"] == after["data"]["old"]
    assert changes[0]["time"] == 0
    assert changes[1]["time"] == named(lossy[1], "transport:packet_received")[0]["time"]


def test_packets(lossy: tuple[Connection, list[Event]]) -> None:
    conn, events = lossy
    for name in ("transport:packet_sent", "transport:packet_received"):
        packets = named(events, name)
        numbers = [one["data"]["header"]["packet_number"] for one in packets]
        assert numbers == list(range(len(packets)))
        for one in packets:
            raw = one["data"]["raw"]
            assert raw["length"] >= raw["payload_length"] + 24
    sent = named(events, "transport:packet_sent")
    first = [one for one in sent if "trigger" not in one["data"]]
    again = [one for one in sent if "trigger" in one["data"]]
    assert sum(one["data"]["raw"]["payload_length"] for one in first) == SIZE
    total = sum(one["data"]["raw"]["payload_length"] for one in again)
    # The counter of the core counts the FIN's sequence number.
    assert total <= conn.stats.bytes_retransmitted <= total + len(again)
    assert total > 0
    assert len(sent) == conn.stats.segments_sent


def test_the_stream_is_there_byte_for_byte(lossy: tuple[Connection, list[Event]]) -> None:
    covered = set[tuple[int, int]]()
    for one in named(lossy[1], "transport:packet_sent"):
        for frame in one["data"]["frames"]:
            if frame["frame_type"] == "stream":
                covered.add((frame["offset"], frame["offset"] + frame["length"]))
    end = 0
    for start, stop in sorted(covered):
        assert start <= end
        end = max(end, stop)
    assert end == SIZE


def test_each_packet_is_acknowledged_once_or_lost(lossy: tuple[Connection, list[Event]]) -> None:
    """What qvis' congestion graph is drawn from."""
    _, events = lossy
    taking = {
        one["data"]["header"]["packet_number"]
        for one in named(events, "transport:packet_sent")
        if one["data"]["raw"]["payload_length"] or one["data"]["segment"]["flags"] != "A"
    }
    acked: list[int] = []
    for one in named(events, "transport:packet_received"):
        for frame in one["data"]["frames"]:
            for low, high in frame.get("acked_ranges", ()):
                acked += range(low, high + 1)
    lost = {one["data"]["header"]["packet_number"] for one in named(events, "recovery:packet_lost")}
    assert len(acked) == len(set(acked))
    assert set(acked) <= taking
    assert lost <= taking
    assert set(acked) | lost == taking


def test_losses_are_the_cores(lossy: tuple[Connection, list[Event]]) -> None:
    conn, events = lossy
    sizes = {
        one["data"]["header"]["packet_number"]: one["data"]["raw"]["payload_length"]
        for one in named(events, "transport:packet_sent")
    }
    losses = named(events, "recovery:packet_lost")
    assert {one["data"]["trigger"] for one in losses} <= {"time_threshold", "pto_expired"}
    lost = sum(sizes[one["data"]["header"]["packet_number"]] for one in losses)
    assert lost > 0
    assert lost == pytest.approx(conn.stats.bytes_lost, abs=len(losses) * conn.sender.mss // 4)


def test_metrics_are_logged_when_they_change(lossy: tuple[Connection, list[Event]]) -> None:
    """draft-ietf-quic-qlog-quic-events, recovery_metrics_updated: milliseconds, bytes, bits."""
    conn, events = lossy
    updates = named(events, "recovery:metrics_updated")
    assert all(one["data"] for one in updates)
    last: dict[str, Any] = {}
    for one in updates:
        for name, value in one["data"].items():
            assert last.get(name) != value
        last.update(one["data"])
    assert last["bytes_in_flight"] == 0
    assert last["min_rtt"] == pytest.approx(conn.sender.rtt.min_s * 1e3)
    assert last["smoothed_rtt"] == pytest.approx((conn.sender.rtt.srtt_s or 0) * 1e3)
    assert last["congestion_window"] == conn.sender.cc.cwnd
    assert max(one["data"].get("bytes_in_flight", 0) for one in updates) > 10_000


def test_congestion_states() -> None:
    """NewReno: slow start, recovery, congestion avoidance."""
    _, data, _ = traced(LOSSY, config=Config(congestion="newreno"))
    states = named(parse(data)[1], "recovery:congestion_state_updated")
    seen = [one["data"]["new"] for one in states]
    assert seen[:2] == ["slow_start", "recovery"]
    assert "congestion_avoidance" in seen
    assert states[1]["data"]["old"] == "slow_start"


def test_windows_are_granted_as_they_were(lossy: tuple[Connection, list[Event]]) -> None:
    """No byte is sent beyond what the peer has granted."""
    granted = 0
    for one in lossy[1]:
        if one["name"] == "transport:packet_received":
            for frame in one["data"]["frames"]:
                if frame["frame_type"] == "max_data":
                    assert frame["maximum"] > granted
                    granted = frame["maximum"]
        elif one["name"] == "transport:packet_sent":
            for frame in one["data"]["frames"]:
                if frame["frame_type"] == "stream":
                    assert frame["offset"] + frame["length"] <= granted


def test_a_reset_is_told() -> None:
    """A connection that is refused: RST received, and the reason."""
    from rudp.sim import CorePair

    memory = Memory()
    file = QlogFile(memory, epoch_ns=0, single=ends())
    pair = CorePair(1)
    pair.a.endpoint._observe = lambda *_: QlogObserver(file, ends())
    conn = pair.a.endpoint.connect("b", pair.now_s)
    pair.flush(pair.a, conn)
    pair.run(1.0)
    _, events = parse(memory.data)
    (received,) = named(events, "transport:packet_received")
    assert received["data"]["frames"] == [
        {"frame_type": "ack", "acked_ranges": [[0, 0]]},
        {"frame_type": "connection_close", "reason": "reset"},
    ]
    assert events[-1]["data"]["trigger"] == "error"
    assert events[-1]["data"]["reason"] == conn.reason.value if conn.reason else ""
    assert memory.flushes == 1


def test_a_connection_that_never_did_anything_leaves_nothing() -> None:
    memory = Memory()
    observer = QlogObserver(QlogFile(memory, epoch_ns=0, single=ends()), ends())
    observer.closed(None)
    assert memory.data == b""


def test_many_connections_in_one_file() -> None:
    memory = Memory()
    file = QlogFile(memory, epoch_ns=0)
    for connection_id in (1, 2):
        transfer(QlogObserver(file, ends(connection_id)), 1000)
    head, events = parse(memory.data)
    assert head["trace"]["vantage_point"]["type"] == "unknown"
    assert [event["group_id"] for event in events] == sorted(event["group_id"] for event in events)
    assert {event["group_id"] for event in events} == {"00000001", "00000002"}
    assert [connection.group for connection in read(memory.data.decode())] == [
        "00000001",
        "00000002",
    ]


def test_one_object_of_json() -> None:
    """`.qlog`: whole once it was closed, and the same events."""
    memory, other = Memory(), Memory()
    file = QlogFile(memory, epoch_ns=0, framing="json", single=ends())
    transfer(QlogObserver(file, ends()), 1000)
    transfer(QlogObserver(QlogFile(other, epoch_ns=0, single=ends()), ends()), 1000)
    whole = json.loads(memory.data)
    assert whole["qlog_format"] == "JSON"
    (trace,) = whole["traces"]
    head, events = parse(other.data)
    assert trace["events"] == events
    assert {**trace, "events": 0} == {**head["trace"], "events": 0}


# -- reading -------------------------------------------------------------------------------------


def test_a_recording_has_the_connections_numbers(lossy: tuple[Connection, list[Event]]) -> None:
    conn, data, _ = traced(LOSSY)
    (connection,) = read(data.decode())
    recording = connection.recording()
    last = recording.samples[-1]
    assert last.cwnd == conn.sender.cc.cwnd
    assert last.bytes_acked == SIZE
    assert last.bytes_retransmitted > 0
    assert last.bytes_lost > 0
    assert last.srtt_s == pytest.approx(conn.sender.rtt.srtt_s)
    times_s = recording.column("t_s")
    assert times_s == sorted(times_s)


def test_a_file_whose_end_is_missing() -> None:
    _, data, _ = traced(LinkConfig(delay_s=0.01))
    (whole,) = read(data.decode())
    (cut,) = read(data[:-10].decode())
    assert (whole.truncated, cut.truncated) == (False, True)
    assert cut.events == whole.events[:-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a qlog file"),
        ("{}", "not a qlog file"),
        ('{"traces":[1,2]}', "not a qlog file"),
        ('{"traces":[{"events":[{"time":1}]}]}', "record 2: not an event"),
        ("\x1e{}\n", "record 1: not the head"),
        ('\x1e{"trace":{}}\n\x1enonsense\n\x1e{}\n', "record 2: not JSON"),
        ('\x1e{"trace":{}}\n\x1e[]\n', "record 2: not an event"),
    ],
)
def test_what_is_no_qlog(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(text)


def test_events_of_another_program() -> None:
    """A QUIC connection's have no segments."""
    event = {"time": 0, "name": "transport:packet_sent", "data": {"header": {}, "frames": []}}
    text = '\x1e{"trace":{}}\n\x1e' + json.dumps(event) + "\n"
    (connection,) = read(text)
    with pytest.raises(ValueError, match="that rudp did not write"):
        connection.conversation()
    with pytest.raises(ValueError, match="that rudp did not write"):
        connection.recording()
