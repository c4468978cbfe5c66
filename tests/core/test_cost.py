"""What an acknowledgement costs does not grow with the window (design, section 5), counted, not
timed: lines of Python executed for one acknowledgement with 1 MB and with 16 MB in flight."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from rudp.config import Config
from rudp.recovery.ledger import Ledger
from rudp.recovery.rack import Rack

from .script import Script

SMALL, LARGE = 1 << 20, 1 << 24
MSS = 1176


def lines_of(call: Callable[[], object]) -> int:
    """How many lines of Python run in `call`; no finalizer of what others left may run in it."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., object]:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    collecting = gc.isenabled()
    gc.disable()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        if collecting:
            gc.enable()
    return count


def test_the_counter_sees_loops() -> None:
    def walk(turns: int) -> None:
        for _ in range(turns):
            pass

    assert lines_of(lambda: walk(1000)) > 900 + lines_of(lambda: walk(10))


def in_flight(size: int) -> Script:
    """A connection with so many bytes in flight, in trains that left 10 µs apart."""
    script = Script(Config(congestion="newreno", send_buffer=1 << 26))
    script.established(options=f"win=65535 mss={MSS} ws=14 sackok=1")
    script.inject_line(["A", "seq=1", "ack=1"])
    conn = script.conn
    conn.sender.cc.cwnd = size // MSS * MSS
    conn.send(bytes(2 * size))
    while conn.poll(script.now_s) is not None:
        script.now_s += 1e-5
    assert conn.sender.ledger.in_flight > size - MSS
    script.now_s += 0.010
    return script


def acknowledge(script: Script, **fields: str) -> int:
    """The lines that an acknowledgement takes, with all that it makes the connection send."""
    segment = script.segment("A", seq="1", **fields)
    conn = script.conn

    def whole() -> None:
        conn.arrive(segment, script.now_s)
        while conn.poll(script.now_s) is not None:
            pass

    script.now_s += 1e-4
    return lines_of(whole)


def some_holes(script: Script, step: int) -> int:
    """Every twentieth segment is missing; the cost of the last of the acknowledgements."""
    cost = 0
    segments = (script.conn.sender.ledger.snd_nxt - script.conn.sender.iss) // MSS
    for index in range(1, segments - 20, step):
        left, right = 1 + index * MSS, 1 + (index + step - 1) * MSS
        cost = acknowledge(script, ack="1", sack=f"{left}-{right}")
    return cost


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda s: acknowledge(s, ack=str(1 + 2 * MSS)), id="two segments"),
        pytest.param(lambda s: acknowledge(s, ack=str(1 + 55 * MSS)), id="a train"),
        pytest.param(
            lambda s: acknowledge(s, ack="1", sack=f"{1 + MSS}-{1 + 3 * MSS}"), id="a block"
        ),
        pytest.param(
            lambda s: acknowledge(
                s,
                ack="1",
                sack=",".join(
                    f"{1 + n * 9 * MSS}-{1 + (n * 9 + 5) * MSS}" for n in range(20, 0, -1)
                ),
            ),
            id="twenty blocks",
        ),
        pytest.param(
            lambda s: acknowledge(s, ack="1", sack=f"{1 + 600 * MSS}-{1 + 602 * MSS}"),
            id="a block far up",
        ),
        pytest.param(lambda s: some_holes(s, 20), id="a block behind many holes"),
    ],
)
def test_an_acknowledgement_costs_the_same_whatever_is_in_flight(
    act: Callable[[Script], int],
) -> None:
    """Sixteen times the window, the same work: no walk over transmissions or ranges."""
    small, large = act(in_flight(SMALL)), act(in_flight(LARGE))
    assert small > 50
    assert large < 1.5 * small


def test_detection_looks_at_what_it_decides_only() -> None:
    """RFC 8985 §6.2, step 5 without the walk: 14,000 single segments in flight, one hole a
    hundred; each acknowledgement judges what it can and no more."""
    costs = []
    for segments in (1_000, 16_000):
        ledger, rack = Ledger(0), Rack()
        for index in range(segments):
            ledger.sent((index + 1) * MSS, index * 1e-5)
        now_s = 1.0

        def hear(index: int, now_s: float, ledger: Ledger = ledger, rack: Rack = rack) -> None:
            blocks = [(index * MSS, (index + 1) * MSS)]
            delivery = ledger.acknowledge(ledger.snd_una, blocks, now_s, 0.0)
            rack.on_delivered(delivery, now_s)
            rack.detect(ledger, 0.0, now_s)

        worst = 0
        for index in range(1, 900):
            now_s += 1e-5
            if index % 100:
                worst = max(worst, lines_of(lambda index=index, now_s=now_s: hear(index, now_s)))
        costs.append(worst)
        assert ledger.lost.size >= 9 * MSS
    assert costs[1] <= 1.1 * costs[0]
