"""The path to another machine, measured against `rudp doctor --listen` there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rudp
from rudp.aio import udp
from rudp.cli.address import HostPort, format_address
from rudp.cli.doctor.service import (
    REPORTED,
    VERSION,
    ProtocolError,
    read_message,
    report,
    send_message,
)

_PINGS = 20
_PING_BYTES = 64
_MESSAGES = 400
_MESSAGE_INTERVAL_S = 0.004
_ROUND_BYTES = 1 << 18
_MAX_ROUNDS = 64
_SEARCH_TIMEOUT_S = 12.0
_TIMEOUT_S = 90.0
_MOST_TOLD = 100
_SEARCHING = ("BASE", "SEARCHING")


@dataclass(frozen=True, slots=True)
class Direction:
    """What the sender of one direction knows of it.

    Attributes:
        sent_bytes: Payload of the small messages that losses were counted with, repetitions
            included, since those are lost as well.
        lost_bytes: What was lost of them.
        datagram_size: Path MTU found, in bytes of UDP payload.
        mtu_state: The state of the search (RFC 8899 §5.2).
        ecn: The state of ECN's validation (RFC 9000 §13.4.2).
        bytes_per_s: The rate at which the path took data at the end; no measurement of its most.
    """

    sent_bytes: int
    lost_bytes: int
    datagram_size: int
    mtu_state: str
    ecn: str
    bytes_per_s: float

    @property
    def loss(self) -> float:
        """The share of the bytes that were lost."""
        return self.lost_bytes / self.sent_bytes if self.sent_bytes else 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found out about a path; round trips in seconds."""

    connect_s: float
    rtts_s: list[float]
    local: str
    seen: str
    version: str
    there: Direction
    back: Direction


async def measure(to: HostPort, config: rudp.Config) -> Measured:
    """Measure the path to `to`: a few seconds, a few megabytes.

    Raises:
        ConnectionRefusedError: The machine is there, and nobody listens.
        ConnectionError: Something else than `rudp doctor` answered, or the connection broke.
        TimeoutError: Nothing came back.
        OSError: Anything else that is in the way.

    Cancellation aborts it.
    """
    loop = asyncio.get_running_loop()
    clock = loop.time if udp.has_own_network(loop) else time.perf_counter
    began_s = clock()
    reader, writer = await rudp.open_connection(*to.to_dial, config=config)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            measured = await _Measurement(reader, writer, clock).run(clock() - began_s)
    except BaseException:
        writer.transport.abort()
        raise
    writer.close()
    return measured


class _Measurement:
    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        clock: Callable[[], float],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    async def run(self, connect_s: float) -> Measured:
        """All of it, one after the other."""
        greeting = await self._ask({"doctor": VERSION})
        if greeting.get("doctor") != VERSION:
            raise ProtocolError("the rudp doctor there speaks another version")
        rtts_s = await self._ping()
        before = report(self._writer), await self._report()
        await self._send_messages()
        after = report(self._writer), await self._report()
        await self._search(there=True)
        await self._search(there=False)
        return Measured(
            connect_s=connect_s,
            rtts_s=rtts_s,
            local=format_address(self._writer.get_extra_info("sockname")),
            seen=_plain(greeting.get("seen")),
            version=_plain(greeting.get("rudp")),
            there=_direction(before[0], after[0], report(self._writer)),
            back=_direction(before[1], after[1], await self._report()),
        )

    async def _ping(self) -> list[float]:
        """One small message at a time."""
        send_message(self._writer, {"do": "echo", "bytes": _PINGS * _PING_BYTES})
        rtts_s = []
        for _ in range(_PINGS):
            began_s = self._clock()
            self._writer.write(bytes(_PING_BYTES))
            await self._reader.readexactly(_PING_BYTES)
            rtts_s.append(self._clock() - began_s)
        return rtts_s

    async def _send_messages(self) -> None:
        """Many small messages, far enough apart that no queue on the way overflows: what is lost
        of them is lost by the path itself."""
        size = _MESSAGES * _PING_BYTES
        send_message(self._writer, {"do": "echo", "bytes": size})
        back = asyncio.ensure_future(self._reader.readexactly(size))
        try:
            for _ in range(_MESSAGES):
                self._writer.write(bytes(_PING_BYTES))
                await asyncio.sleep(_MESSAGE_INTERVAL_S)
            await back
        finally:
            back.cancel()

    async def _search(self, *, there: bool) -> None:
        """Send until the path MTU is found: data is what the search is made with."""
        until_s = self._clock() + _SEARCH_TIMEOUT_S
        for _ in range(_MAX_ROUNDS):
            if there:
                send_message(self._writer, {"do": "sink", "bytes": _ROUND_BYTES})
                self._writer.write(bytes(_ROUND_BYTES))
                await read_message(self._reader)
                info = report(self._writer)
            else:
                send_message(self._writer, {"do": "source", "bytes": _ROUND_BYTES})
                await self._reader.readexactly(_ROUND_BYTES)
                info = await self._report()
            if info["mtu_state"] not in _SEARCHING or self._clock() > until_s:
                return

    async def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        send_message(self._writer, message)
        return await read_message(self._reader)

    async def _report(self) -> dict[str, Any]:
        """What the other end knows of its direction."""
        info = (await self._ask({"do": "report"})).get("info")
        if not isinstance(info, dict) or not REPORTED.keys() <= info.keys():
            raise ProtocolError("the rudp doctor there tells too little")
        for name, kind in REPORTED.items():
            if not isinstance(info[name], kind):
                raise ProtocolError(f"the rudp doctor there tells a wrong {name}")
        return info


def _plain(told: object) -> str:
    """What the other end tells, fit for a terminal."""
    return "".join(filter(str.isprintable, str(told)[:_MOST_TOLD]))


def _direction(before: dict[str, Any], after: dict[str, Any], at_end: dict[str, Any]) -> Direction:
    """One direction: its losses between two looks at the sender's counters, the rest at the end."""
    grown = {name: after[name] - before[name] for name in REPORTED if name.startswith("bytes_")}
    return Direction(
        sent_bytes=grown["bytes_sent"] + grown["bytes_retransmitted"],
        # What was repeated for nothing had not been lost.
        lost_bytes=max(0, grown["bytes_lost"] - grown["bytes_duplicated"]),
        datagram_size=at_end["datagram_size"],
        mtu_state=at_end["mtu_state"],
        ecn=at_end["ecn"],
        bytes_per_s=float(at_end["delivery_rate"]),
    )
