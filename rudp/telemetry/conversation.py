"""What a connection's two ends said to each other, read back from a trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from rudp.telemetry import pcapng, tcp
from rudp.telemetry.diagram import Arrow, describe
from rudp.telemetry.tcp import Packet
from rudp.wire import options as opt
from rudp.wire.segment import ACK, FIN, PSH, RST, SYN
from rudp.wire.seq import from_wire

__all__ = ["Conversation", "Read", "Step", "conversations_of"]


class Read(NamedTuple):
    """A segment as a trace has it: 32-bit numbers; the window in bytes, or, where `scale` was
    announced in a SYN, before scaling."""

    time_s: float
    outbound: bool
    flags: int
    seq: int
    ack: int
    length: int
    """Bytes of payload."""
    window: int
    scale: int | None = None
    mss: int | None = None
    sack: tuple[tuple[int, int], ...] = ()


class Step(NamedTuple):
    """A segment of a conversation; numbers count from each side's SYN and do not wrap around."""

    time_s: float
    """Seconds since the conversation's beginning."""
    outbound: bool
    flags: int
    seq: int
    ack: int
    length: int
    window: int
    """Bytes."""
    mss: int | None
    sack: tuple[tuple[int, int], ...]
    again: bool
    """It carries what had been sent before."""
    segments: int = 1

    def describe(self) -> str:
        """In words, for a diagram."""
        said = [
            describe(
                self.flags, self.seq, self.ack, self.length, segments=self.segments, mss=self.mss
            )
        ]
        if self.sack:
            said.append("sack " + " ".join(f"{left}-{right - 1}" for left, right in self.sack))
        if self.flags & ACK and not self.window and not self.flags & (SYN | RST):
            said.append("zero window")
        if self.again:
            said.append("again")
        return "  ".join(said)


class _Side:
    """How far one side's sequence numbers have come."""

    __slots__ = ("first", "high", "scale")

    def __init__(self) -> None:
        self.first: int | None = None
        self.high = 0
        self.scale: int | None = None


@dataclass(slots=True)
class Conversation:
    """A connection's segments in their order; `left` is the side that was traced.

    `begin_s` is when it began, seconds since 1970, or since whatever the trace counts from.
    """

    left: str
    right: str
    begin_s: float | None = None
    steps: list[Step] = field(default_factory=list)
    _sides: dict[bool, _Side] = field(default_factory=lambda: {True: _Side(), False: _Side()})

    def add(self, read: Read) -> None:
        """Append a segment."""
        own, other = self._sides[read.outbound], self._sides[not read.outbound]
        if self.begin_s is None:
            self.begin_s = read.time_s
        if own.first is None:
            own.first = own.high = read.seq
        seq = from_wire(read.seq, own.high)
        if read.flags & ACK and other.first is None:
            other.first = other.high = read.ack - 1  # the trace began too late for its SYN
        if read.flags & SYN:
            own.scale = read.scale
        scaled = not read.flags & SYN and own.scale is not None and other.scale is not None
        length = read.length + (read.flags & FIN) + bool(read.flags & SYN)
        ack = from_wire(read.ack, other.high) - (other.first or 0) if read.flags & ACK else 0
        self.steps.append(
            Step(
                read.time_s - self.begin_s,
                read.outbound,
                read.flags,
                seq - own.first,
                ack,
                read.length,
                read.window << min(own.scale or 0, 14) if scaled else read.window,
                read.mss,
                tuple(self._block(other, block) for block in read.sack),
                length > 0 and seq < own.high,
            )
        )
        if length:
            own.high = max(own.high, seq + length)

    @staticmethod
    def _block(side: _Side, block: tuple[int, int]) -> tuple[int, int]:
        first = side.first or 0
        return from_wire(block[0], side.high) - first, from_wire(block[1], side.high) - first

    def is_other_than(self, read: Read) -> bool:
        """Whether `read` is the SYN of a later connection with the same addresses."""
        own = self._sides[read.outbound]
        return read.flags & (SYN | ACK) == SYN and own.first not in (None, read.seq)

    def trains(self) -> Iterator[Step]:
        """The steps, those joined that left or arrived together as one run."""
        run: Step | None = None
        for step in self.steps:
            if run is not None and _continues(run, step):
                run = run._replace(
                    length=run.length + step.length,
                    flags=run.flags | step.flags,
                    segments=run.segments + 1,
                )
                continue
            if run is not None:
                yield run
            run = step
        if run is not None:
            yield run

    def arrows(self) -> Iterator[Arrow]:
        """The lines of its sequence diagram."""
        return (Arrow(one.time_s, one.outbound, one.describe()) for one in self.trains())

    def summary(self) -> str:
        """In one line: the addresses, how long, how much each way, how much of it again."""
        ways = []
        for arrow, outbound in (("->", True), ("<-", False)):
            mine = [step for step in self.steps if step.outbound is outbound]
            total = sum(step.length for step in mine)
            again = sum(step.length for step in mine if step.again)
            ways.append(f"{arrow} {len(mine)} segments, {total} bytes, {again} again")
        seconds = self.steps[-1].time_s if self.steps else 0.0
        return f"{self.left} {self.right}  {seconds:.3f} s  {'  '.join(ways)}"


def _continues(run: Step, step: Step) -> bool:
    return (
        step.length > 0
        and run.length > 0
        and step.outbound is run.outbound
        and step.seq == run.seq + run.length
        and abs(step.time_s - run.time_s) < 1e-6
        and step.ack == run.ack
        and step.again is run.again
        and not run.flags & ~(ACK | PSH)
        and not step.flags & ~(ACK | PSH | FIN)
    )


def conversations_of(packets: Iterable[pcapng.Captured]) -> list[Conversation]:
    """The TCP streams of a capture, in the order that they begin in; other packets are skipped.

    Raises `ValueError` where the capture does.
    """
    found: list[Conversation] = []
    current: dict[frozenset[tcp.Address], tuple[Conversation, tcp.Address]] = {}
    for captured in packets:
        try:
            packet = tcp.decode(captured.packet, captured.missing)
        except tcp.Damaged:
            continue
        if packet is None:
            continue
        pair = frozenset((packet.source, packet.target))
        known = current.get(pair)
        read = _read(packet, captured, known[1] if known is not None else None)
        if known is None or known[0].is_other_than(read):
            left, right = packet.source, packet.target
            if captured.outbound is False:
                left, right = right, left
            known = current[pair] = Conversation(_name(left), _name(right)), left
            found.append(known[0])
        known[0].add(read._replace(outbound=packet.source == known[1]))
    return found


def _name(address: tcp.Address) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def _read(packet: Packet, captured: pcapng.Captured, left: tcp.Address | None) -> Read:
    options = opt.parse(packet.options) or opt.NONE
    return Read(
        captured.time_ns / 1e9,
        packet.source == left if left is not None else captured.outbound is not False,
        packet.flags,
        packet.seq,
        packet.ack,
        len(packet.payload) + packet.missing,
        packet.window,
        options.window_scale,
        options.mss,
        options.sack,
    )
