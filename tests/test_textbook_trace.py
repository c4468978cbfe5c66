"""The textbook's exchange, segment by segment (RFC 9293 §3.5, figure 6, and §3.6, figure 12)."""

from __future__ import annotations

import importlib.util
import pathlib
import subprocess
import sys

import pytest

from rudp.sim import Trace
from rudp.wire.segment import ACK, FIN, PSH, SYN

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples" / "handshake_trace.py"


@pytest.fixture(scope="module")
def trace() -> Trace:
    spec = importlib.util.spec_from_file_location("handshake_trace", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.exchange()


EXPECTED = [
    # sender, flags, SEQ, ACK, payload
    ("a", SYN, 1000, 0, b""),
    ("b", SYN | ACK, 8000, 1001, b""),
    ("a", ACK, 1001, 8001, b""),
    ("a", PSH | ACK, 1001, 8001, b"twenty bytes of text"),
    ("b", PSH | ACK, 8001, 1021, b"ten bytes."),
    ("a", ACK, 1021, 8011, b""),
    ("a", FIN | ACK, 1021, 8011, b""),
    ("b", ACK, 8011, 1022, b""),
    ("b", PSH | ACK, 8011, 1022, b"more from the half-open side"),
    ("a", ACK, 1022, 8039, b""),
    ("b", FIN | ACK, 8039, 1022, b""),
    ("a", ACK, 1022, 8040, b""),
]


def test_every_segment_is_the_textbooks(trace: Trace) -> None:
    seen = [(line.sender, *line.segment[1:4], line.segment.payload) for line in trace.lines]
    assert [(s, flags, seq, ack, data) for s, seq, ack, flags, data in seen] == EXPECTED


def test_both_mss_values_are_announced_in_the_syns(trace: Trace) -> None:
    """RFC 9293 §3.7.1; and in no other segment."""
    assert [line.segment.options.mss for line in trace.lines] == [1460, 1024] + [None] * 10


def test_the_data_counts_the_bytes_that_the_sequence_numbers_say(trace: Trace) -> None:
    assert [len(line.segment.payload) for line in trace.lines if line.segment.payload] == [
        20,
        10,
        28,
    ]


def test_connection_ids_are_zero_only_in_the_first_syn(trace: Trace) -> None:
    syn, *others = trace.lines
    assert syn.segment.cid == 0
    assert {line.segment.cid for line in others if line.sender == "a"} == {0x5E47E4}
    assert {line.segment.cid for line in others if line.sender == "b"} == {0xC11E47}


def test_the_example_prints_it_as_a_sequence_diagram(trace: Trace) -> None:
    printed = subprocess.run(
        [sys.executable, str(EXAMPLE)], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert printed.rstrip("\n") == trace.diagram("client", "server")
    lines = printed.splitlines()
    assert len(lines) == 1 + len(EXPECTED)
    assert "SYN  seq 1000  mss 1460" in lines[1]
    assert "SYN,ACK  seq 8000  ack 1001  mss 1024" in lines[2]
    assert "seq 8001  ack 1021  data 8001-8010 (10 bytes)" in lines[5]
    assert all(">|" in line for line in lines[1:] if line.endswith(">|"))
