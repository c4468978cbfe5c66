"""ENet by pyenet: reliable packets, driven by ENet's own loop, which asyncio has no part in."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

from benchmarks.transports.base import Connection, Handler, Transport

HOST = "127.0.0.1"
MESSAGE = b"m" * 64
PACKET = bytes(32 << 10)
CREDIT_PACKETS = 16
"""The receiver says that it has got so many; ENet itself would queue without end."""
WINDOW_PACKETS = 8 * CREDIT_PACKETS
_WAIT_MS = 1000
_SILENCE_S = 10.0
_WARM_UP_ECHOES = 100


class Enet(Transport):
    """A host a side, one peer, one channel, reliable packets in order."""

    tests = frozenset({"bulk", "echo"})

    def why_not(self) -> str | None:
        """It may not be installed."""
        if importlib.util.find_spec("enet") is None:
            return "pyenet is not installed (extra [peers])"
        return None

    async def serve(self, handler: Handler, host: str) -> int:
        """Not possible: see `serve_forever()`."""
        raise NotImplementedError("ENet has no streams")

    async def connect(self, host: str, port: int) -> Connection:
        """Not possible: see `measure()`."""
        raise NotImplementedError("ENet has no streams")

    def serve_forever(self, listening: Callable[[int], None]) -> None:
        """Answer both kinds of client, which the first packet tells apart, until killed."""
        import enet

        host = enet.Host(enet.Address(HOST.encode(), 0), 8, 1, 0, 0)
        listening(host.address.port)
        echoes, packets = False, 0
        while True:
            event = host.service(_WAIT_MS)
            if event.type == enet.EVENT_TYPE_CONNECT:
                echoes, packets = False, 0
            elif event.type == enet.EVENT_TYPE_RECEIVE:
                data = event.packet.data
                if len(data) == 1:
                    echoes = data == b"E"
                elif echoes:
                    event.peer.send(0, _packet(data))
                    host.flush()
                else:
                    packets += 1
                    if packets % CREDIT_PACKETS == 0:
                        event.peer.send(0, _packet(b"credit"))

    def measure(self, test: str, port: int, seconds: float) -> list[float] | tuple[int, float]:
        """Echo: the latencies in seconds; bulk: bytes carried and the seconds that took.

        Raises `TimeoutError` if the server falls silent.
        """
        import enet

        host = enet.Host(None, 1, 1, 0, 0)
        peer = host.connect(enet.Address(HOST.encode(), port), 1)
        _await(host, enet.EVENT_TYPE_CONNECT)
        peer.send(0, _packet(b"E" if test == "echo" else b"B"))
        if test == "echo":
            return _echo(host, peer, seconds)
        return _bulk(host, peer, seconds)


def _packet(data: bytes) -> Any:
    import enet

    return enet.Packet(data, enet.PACKET_FLAG_RELIABLE)


def _await(host: Any, kind: int) -> None:
    end_s = time.perf_counter() + _SILENCE_S
    while host.service(_WAIT_MS).type != kind:
        if time.perf_counter() > end_s:
            raise TimeoutError(f"nothing heard for {_SILENCE_S:g} s")


def _echo(host: Any, peer: Any, seconds: float) -> list[float]:
    import enet

    def there_and_back() -> None:
        peer.send(0, _packet(MESSAGE))
        host.flush()
        _await(host, enet.EVENT_TYPE_RECEIVE)

    for _ in range(_WARM_UP_ECHOES):
        there_and_back()
    clock, latencies_s = time.perf_counter, []
    before_s = clock()
    end_s = before_s + seconds
    while before_s < end_s:
        there_and_back()
        now_s = clock()
        latencies_s.append(now_s - before_s)
        before_s = now_s
    return latencies_s


def _bulk(host: Any, peer: Any, seconds: float) -> tuple[int, float]:
    """What was credited within the time, so that what is queued does not count."""
    import enet

    start_s = time.perf_counter()
    sent = credited = 0
    while time.perf_counter() - start_s < seconds:
        while sent - credited < WINDOW_PACKETS:
            peer.send(0, _packet(PACKET))
            sent += 1
        if host.service(_WAIT_MS).type == enet.EVENT_TYPE_RECEIVE:
            credited += CREDIT_PACKETS
    return credited * len(PACKET), time.perf_counter() - start_s
