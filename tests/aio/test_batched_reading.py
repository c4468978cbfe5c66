"""Reading trains: what the socket gives, joined; against a model, without a socket."""

from __future__ import annotations

import errno
import itertools
import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.aio import trains
from rudp.aio.cmsg import IP_TOS, IPPROTO_IP, IPPROTO_IPV6, IPV6_TCLASS, SOL_UDP, UDP_GRO
from rudp.aio.trains import TrainReader
from rudp.wire.options import Options
from rudp.wire.segment import ACK, FIN, PSH, RST, SYN, Segment, encode
from rudp.wire.train import decode_train, encode_train

from .batched_support import LINUX_ONLY

pytestmark = LINUX_ONLY

A, B = ("10.0.0.1", 1), ("10.0.0.2", 2)
Message = tuple[bytes, int, Any, int]
"""Bytes, segment size (0: one datagram), address, ECN."""


def _control(segment: int, ecn: int) -> list[tuple[int, int, bytes]]:
    control = [(IPPROTO_IP, IP_TOS, bytes([0xB8 | ecn]))]
    if segment:
        control.append((SOL_UDP, UDP_GRO, struct.pack("=i", segment)))
    return control


class Source:
    """A socket that has `messages`; an `OSError` among them is raised, flags override."""

    def __init__(self, *messages: Message | OSError, flags: dict[int, int] | None = None) -> None:
        self._messages = iter(messages)
        self._flags = flags or {}
        self.reads = 0

    def recvmsg_into(self, buffers: Any, size: int) -> tuple[int, Any, int, Any]:
        (room,) = buffers
        assert len(room) >= 65_536
        assert size >= socket.CMSG_SPACE(4) * 2
        message = next(self._messages, None)
        if message is None:
            raise BlockingIOError
        index, self.reads = self.reads, self.reads + 1
        if isinstance(message, OSError):
            raise message
        data, segment, addr, ecn = message
        room[: len(data)] = data
        return len(data), _control(segment, ecn), self._flags.get(index, 0), addr


class Sink:
    """Copies of what was delivered; wants `limit` trains."""

    def __init__(self, limit: float = float("inf")) -> None:
        self.trains: list[tuple[bytes, int, Any, int]] = []
        self.errors: list[OSError] = []
        self._limit = limit

    def deliver(self, data: memoryview, stride: int, addr: Any, ecn: int) -> bool:
        self.trains.append((bytes(data), stride, addr, ecn))
        return len(self.trains) < self._limit

    @property
    def shapes(self) -> list[tuple[int, int, Any, int]]:
        return [(len(data), *rest) for data, *rest in self.trains]


def _read(*messages: Message | OSError, **options: Any) -> Sink:
    source, sink = Source(*messages, **options), Sink()
    reader = TrainReader(source)  # type: ignore[arg-type]
    reader.read(sink.deliver, sink.errors.append)
    return sink


def _cut(data: bytes, stride: int) -> list[bytes]:
    step = stride or len(data) or 1
    return [data[at : at + step] for at in range(0, len(data) or 1, step)]


Shape = tuple[int, int, Any, int]
"""A message without its bytes: how many."""

singles = st.tuples(
    st.sampled_from([0, 1, 24, 30, 30, 30, 31, 1200]),
    st.just(0),
    st.sampled_from([A, B]),
    st.integers(0, 1),
)
runs = st.builds(
    lambda stride, count, last, addr, ecn: (stride * count + last, stride, addr, ecn),
    st.sampled_from([30, 31, 1200]),
    st.integers(2, 50),
    st.integers(0, 29),
    st.sampled_from([A, B]),
    st.integers(0, 1),
)


def _messages(shapes: list[Shape]) -> list[Message]:
    """Messages of these shapes whose bytes tell where they belong."""
    pattern = bytes(range(251)) * 300
    return [
        (pattern[7 * number % 251 :][:size], *rest) for number, (size, *rest) in enumerate(shapes)
    ]


@given(st.lists(singles | runs, max_size=150))
def test_trains_are_the_datagrams_that_came(shapes: list[Shape]) -> None:
    """Whatever comes: every datagram once, in order, with its own size, address and mark."""
    messages = _messages(shapes)
    source, sink = Source(*messages), Sink()
    reader = TrainReader(source)  # type: ignore[arg-type]
    for _ in range(len(messages) + 1):
        reader.read(sink.deliver, sink.errors.append)
    came = [(one, addr, ecn) for data, stride, addr, ecn in messages for one in _cut(data, stride)]
    told = [
        (one, addr, ecn) for data, stride, addr, ecn in sink.trains for one in _cut(data, stride)
    ]
    assert told == came


@given(st.lists(singles | runs, max_size=60))
def test_what_can_be_joined_is(shapes: list[Shape]) -> None:
    """Two neighbours stay apart only where one rule says so, or where the buffer was full."""
    sink = _read(*_messages(shapes))
    filled = 0
    for (first, *same), (second, *other) in itertools.pairwise(sink.shapes):
        filled += first
        stride = same[0]
        joinable = same[1:] == other[1:] and first % stride == 0 and first and second
        if filled >= trains._TRAIN_BYTES:
            filled = 0
        elif joinable:
            assert other[0] > stride or (other[0] < stride and second > other[0])


@pytest.mark.parametrize(
    ("messages", "shapes"),
    [
        ([(b"x" * 30, 0, A, 0)] * 3, [(90, 30, A, 0)]),
        ([(b"x" * 30, 0, A, 0), (b"x" * 9, 0, A, 0)], [(39, 30, A, 0)]),
        ([(b"x" * 9, 0, A, 0), (b"x" * 30, 0, A, 0)], [(9, 9, A, 0), (30, 30, A, 0)]),
        (
            [(b"x" * 30, 0, A, 0), (b"x" * 9, 0, A, 0), (b"x" * 9, 0, A, 0)],
            [(39, 30, A, 0), (9, 9, A, 0)],
        ),
        ([(b"x" * 30, 0, A, 0), (b"x" * 30, 0, B, 0)], [(30, 30, A, 0), (30, 30, B, 0)]),
        ([(b"x" * 30, 0, A, 0), (b"x" * 30, 0, A, 3)], [(30, 30, A, 0), (30, 30, A, 3)]),
        ([(b"x" * 90, 30, A, 2), (b"x" * 65, 30, A, 2)], [(155, 30, A, 2)]),
        ([(b"x" * 90, 30, A, 2), (b"x" * 30, 0, A, 2)], [(120, 30, A, 2)]),
        ([(b"x" * 90, 30, A, 2), (b"x" * 90, 45, A, 2)], [(90, 30, A, 2), (90, 45, A, 2)]),
        ([(b"x" * 90, 45, A, 2), (b"x" * 40, 20, A, 2)], [(90, 45, A, 2), (40, 20, A, 2)]),
        ([(b"x" * 95, 30, A, 2), (b"x" * 95, 30, A, 2)], [(95, 30, A, 2), (95, 30, A, 2)]),
        ([(b"", 0, A, 0), (b"", 0, A, 0)], [(0, 1, A, 0), (0, 1, A, 0)]),
    ],
)
def test_what_joins_and_what_does_not(
    messages: list[Message], shapes: list[tuple[int, int, Any, int]]
) -> None:
    assert _read(*messages).shapes == shapes


def test_the_buffer_is_used_again_before_it_is_full() -> None:
    sink = _read(*[(b"x" * 60_000, 0, A, 0)] * 6)
    assert sink.shapes == [(120_000, 60_000, A, 0)] * 3
    sink = _read((b"y" * 100, 0, B, 0), *[(b"x" * 65_507, 0, A, 0)] * 3)
    assert [shape[0] for shape in sink.shapes] == [100, 65_507, 131_014]


@pytest.mark.parametrize("flag", [socket.MSG_TRUNC, socket.MSG_CTRUNC])
@pytest.mark.parametrize("at", range(3))
def test_what_was_cut_is_dropped_and_counted(flag: int, at: int) -> None:
    """A datagram without its end is none; one without its segment size may be any number."""
    messages = [(bytes([65 + number]) * 30, 0, A, 0) for number in range(3)]
    source, sink = Source(*messages, flags={at: flag}), Sink()
    reader = TrainReader(source)  # type: ignore[arg-type]
    reader.read(sink.deliver, sink.errors.append)
    del messages[at]
    assert b"".join(train[0] for train in sink.trains) == b"".join(one[0] for one in messages)
    assert reader.cut == 1


def test_errors_are_told_and_what_follows_is_read() -> None:
    refused, other = OSError(errno.ECONNREFUSED, "refused"), OSError(errno.EHOSTUNREACH, "no route")
    sink = _read(refused, (b"x" * 30, 0, A, 0), other, (b"x" * 30, 0, A, 0))
    assert sink.errors == [refused, other]
    assert refused.__traceback__ is None
    assert sink.shapes == [(60, 30, A, 0)]


def test_no_more_than_the_budget_is_read() -> None:
    source, sink = Source(*[(b"x" * 30, 0, A, 0)] * 1000), Sink()
    reader = TrainReader(source)  # type: ignore[arg-type]
    reader.read(sink.deliver, sink.errors.append)
    assert source.reads == trains.MAX_READS
    assert sink.shapes == [(30 * trains.MAX_READS, 30, A, 0)]
    errors = Source(*[OSError(errno.ECONNREFUSED, "refused") for _ in range(1000)])
    TrainReader(errors).read(sink.deliver, sink.errors.append)  # type: ignore[arg-type]
    assert errors.reads == trains.MAX_READS


class Wakes:
    """A socket whose datagrams come in groups, one a wake-up; counts the calls."""

    def __init__(self) -> None:
        self.ready: list[Message | OSError] = []
        self.calls = 0
        self.flags = 0

    def recvmsg_into(self, buffers: Any, size: int) -> tuple[int, Any, int, Any]:
        self.calls += 1
        if not self.ready:
            raise BlockingIOError
        return Source(self.ready.pop(0), flags={0: self.flags}).recvmsg_into(buffers, size)


def _calls_of_wake(source: Wakes, reader: TrainReader, sink: Sink, count: int = 1) -> int:
    """How many reads a wake-up takes that finds `count` datagrams."""
    source.ready += [(b"x" * 30, 0, A, 1)] * count
    source.calls, anything = 0, bool(source.ready)
    assert reader.read(sink.deliver, sink.errors.append) is anything
    return source.calls


def test_after_some_lone_datagrams_the_empty_socket_is_seldom_looked_for() -> None:
    source, sink = Wakes(), Sink()
    reader = TrainReader(source)  # type: ignore[arg-type]
    calls = [_calls_of_wake(source, reader, sink) for _ in range(24)]
    assert calls == [2] * 4 + [1] * 4 + [2] + [1] * 7 + [2] + [1] * 7
    assert sink.trains == [(b"x" * 30, 30, A, 1)] * 24


def test_several_datagrams_end_the_expectation_of_one() -> None:
    """At the latest after as many wake-ups as lie between two looks; nothing is lost or late."""
    source, sink = Wakes(), Sink()
    reader = TrainReader(source)  # type: ignore[arg-type]
    for _ in range(6):
        _calls_of_wake(source, reader, sink)
    calls = [_calls_of_wake(source, reader, sink, 3) for _ in range(4)]
    assert calls == [1, 1, 8, 4]
    assert not source.ready
    assert b"".join(train[0] for train in sink.trains) == b"x" * 30 * (6 + 12)


def test_whatever_else_comes_ends_it_at_once() -> None:
    run: Message = (b"x" * 90, 30, A, 2)
    for other, flags in ((run, 0), (OSError(errno.ECONNREFUSED, "no"), 0), (run, socket.MSG_TRUNC)):
        source, sink = Wakes(), Sink()
        reader = TrainReader(source)  # type: ignore[arg-type]
        for _ in range(5):
            _calls_of_wake(source, reader, sink)
        source.ready, source.flags = [other], flags
        assert _calls_of_wake(source, reader, sink, 0) == 1
        assert len(sink.trains) + len(sink.errors) + reader.cut == 6
        source.flags = 0
        assert _calls_of_wake(source, reader, sink) == 2


def test_a_wake_up_for_nothing_is_told() -> None:
    for before in (0, 5):
        source, sink = Wakes(), Sink()
        reader = TrainReader(source)  # type: ignore[arg-type]
        for _ in range(before):
            _calls_of_wake(source, reader, sink)
        assert _calls_of_wake(source, reader, sink, 0) == 1
        assert len(sink.trains) == before
        assert _calls_of_wake(source, reader, sink) == 2


class Clock:
    """Stands for the `time` module: every look at it takes a second."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def monotonic(self) -> float:
        self._now_s += 1.0
        return self._now_s


@pytest.mark.parametrize(
    ("messages", "reads", "shapes"),
    [
        (
            [(b"x" * 30, 0, A, 0), (b"x" * 30, 0, B, 0), (b"x" * 30, 0, A, 0)],
            2,
            [(30, 30, A, 0), (30, 30, B, 0)],
        ),
        ([(b"x" * 60_000, 1200, A, 0)] * 5, 2, [(120_000, 1200, A, 0)]),
    ],
)
def test_no_train_is_begun_once_the_time_is_used_up(
    monkeypatch: pytest.MonkeyPatch, messages: list[Message], reads: int, shapes: list[Any]
) -> None:
    """What was read is delivered all the same."""
    monkeypatch.setattr(trains, "time", Clock())
    source, sink = Source(*messages), Sink()
    TrainReader(source).read(sink.deliver, sink.errors.append)  # type: ignore[arg-type]
    assert source.reads == reads
    assert sink.shapes == shapes


@pytest.mark.parametrize("size", [30, 60_000])
def test_nothing_is_delivered_to_who_wants_no_more(size: int) -> None:
    messages = [(b"x" * size, 0, addr, 0) for addr in (A, A, B, B, A)]
    source, sink = Source(*messages), Sink(limit=1)
    TrainReader(source).read(sink.deliver, sink.errors.append)  # type: ignore[arg-type]
    assert sink.shapes == [(2 * size, size, A, 0)]


def test_a_reader_inside_a_readers_delivery_has_its_own_memory() -> None:
    """Nested loops: the trains of the outer one are not overwritten."""
    inner = TrainReader(Source((b"i" * 30, 0, A, 0)))  # type: ignore[arg-type]
    seen: list[bytes] = []

    def deliver(data: memoryview, *rest: Any) -> bool:
        inner.read(lambda *args: True, seen.append)  # type: ignore[arg-type, return-value]
        seen.append(bytes(data))
        return True

    outer = TrainReader(Source((b"o" * 30, 0, A, 0)))  # type: ignore[arg-type]
    outer.read(deliver, seen.append)  # type: ignore[arg-type]
    assert seen == [b"o" * 30]


_SEGMENT = Segment(7, 100, 200, ACK, 1000, 5, 6)
_RUN = encode_train(_SEGMENT, [b"p" * 100] * 3 + [b"q" * 40], 100, ACK | PSH | FIN)
_MIXED = [
    encode(_SEGMENT._replace(payload=b"a" * 100)),
    encode(_SEGMENT._replace(cid=8, payload=b"b" * 100)),
    encode(_SEGMENT._replace(flags=RST)),
]
_SYN = encode(
    _SEGMENT._replace(flags=SYN, options=Options(mss=1400, cookie=b"cookie!!"), payload=b"x" * 9)
)


@pytest.mark.parametrize(
    ("data", "stride"),
    [
        (b"".join(_RUN.datagrams()), 124),
        (b"".join(_MIXED), 124),
        (_MIXED[0], 124),
        (_SYN, len(_SYN)),
        (_SYN * 3, len(_SYN)),
        (b"z" * 10, 10),
        (b"z" * 100, 40),
    ],
    ids=["run", "mixed", "one", "options", "options-run", "short", "garbage"],
)
def test_decoding_keeps_nothing_of_the_buffer(data: bytes, stride: int) -> None:
    """The reader's memory is overwritten after a delivery."""
    memory = bytearray(data)
    decoded = decode_train(memoryview(memory), stride)
    memory[:] = bytes(len(memory))
    assert decoded == decode_train(data, stride)


def test_marks_of_both_families_are_read() -> None:
    from rudp.aio.cmsg import read_control, send_control

    assert read_control([]) == (0, 0)
    assert read_control([(IPPROTO_IPV6, IPV6_TCLASS, struct.pack("=i", 0xBB))]) == (0, 3)
    assert read_control([(IPPROTO_IP, IP_TOS, b"\x02"), (99, 1, b"\xff")]) == (0, 2)
    assert read_control([(SOL_UDP, 1, b"\x01"), (IPPROTO_IP, 99, b"\x01")]) == (0, 0)
    for ecn in range(4):
        sent = send_control(0, ecn, ipv4=True, ipv6=True)
        assert read_control(sent) == (0, ecn)
        assert len(sent) == (2 if ecn else 0)
    assert send_control(1200, 0, ipv4=True, ipv6=False) == [(17, 103, struct.pack("=H", 1200))]
