"""A bulk transfer over a simulated link, recorded in virtual time."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import Any, cast

import rudp
from rudp import sim
from rudp.aio.recorder import Recorder, record
from rudp.congestion import resolve
from rudp.telemetry.recording import Header, Recording

__all__ = ["Scenario", "simulate"]

_PORT = 7000
_SENDER, _RECEIVER = "10.0.0.1", "10.0.0.2"
_CHUNK = bytes(1 << 16)
_STEPS_PER_BYTE = 1.0
"""Far more callbacks of the loop than a transfer needs, and yet a bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is simulated: both directions of the path are alike, as in `rudp.sim.Network`.

    Raises `TypeError` or `ValueError`, naming the field.

    Attributes:
        link: One direction of the path; it has a rate, in bytes of UDP payload a second.
        seconds: How long the transfer takes, in virtual time.
        congestion: The controller, a name or a class.
        seed: Where the link's randomness begins.
        flows: Connections that send at the same time over the same link.
        stagger_s: Seconds after one connection's beginning that the next one begins.
        interval_s: Seconds between samples.
        config: Further settings of the connections.
    """

    link: sim.LinkConfig
    seconds: float = 10.0
    congestion: str | type[Any] = rudp.Config().congestion
    seed: int = 1
    flows: int = 1
    stagger_s: float = 0.0
    interval_s: float = 0.01
    config: rudp.Config = field(default_factory=rudp.Config)

    def __post_init__(self) -> None:
        resolve(self.congestion)
        if self.link.rate_bytes_per_s is None:
            raise ValueError("link must have a rate: an infinite one would be filled for ever")
        for name in ("seconds", "interval_s"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be a finite number above 0, not {value!r}")
        if self.flows < 1:
            raise ValueError(f"flows must be at least 1, not {self.flows!r}")
        if not 0 <= self.stagger_s * (self.flows - 1) < self.seconds:
            raise ValueError(
                f"stagger_s must be 0 or more, and {self.flows} flows begin within "
                f"{self.seconds} s, not {self.stagger_s!r}"
            )

    @property
    def controller(self) -> str:
        """The controller's name."""
        return resolve(self.congestion).name

    def describe(self) -> str:
        """The path and the controller in a line, for a figure's title."""
        link = self.link
        rate = cast("float", link.rate_bytes_per_s) * 8e-6
        parts = [
            f"{rate:g} Mbit/s",
            f"{link.delay_s * 2e3:g} ms round trip",
            f"queue {link.queue_bytes / 1e3:g} kB",
        ]
        if link.loss:
            parts.append(f"{link.loss * 100:g} % loss")
        if link.burst_enter:
            parts.append(f"bursts of {1 / link.burst_exit:.2g} datagrams")
        if link.reorder:
            parts.append(f"{link.reorder * 100:g} % early")
        if link.jitter_s:
            parts.append(f"jitter {link.jitter_s * 1e3:g} ms")
        flows = f" × {self.flows}" if self.flows > 1 else ""
        return f"{self.controller}{flows}: {', '.join(parts)}"


def simulate(scenario: Scenario) -> list[Recording]:
    """Run the transfer; a recording of the sending side for each connection.

    The same scenario gives the same recordings. It takes about a second of CPU time for 15,000
    datagrams.

    Raises:
        TimeoutError: A connection could not be opened within the scenario's time.
    """
    network = sim.Network(scenario.seed, scenario.link)
    network.add_host(_SENDER, name="sender")
    network.add_host(_RECEIVER, name="receiver")
    volume = cast("float", scenario.link.rate_bytes_per_s) * scenario.seconds
    return sim.run(
        _main(network, scenario),
        network=network,
        # The transfer is cut off in the middle: the peers of those who leave are not waited for.
        check_leaks=False,
        max_steps=1_000_000 + int(volume * _STEPS_PER_BYTE),
    )


async def _main(network: sim.Network, scenario: Scenario) -> list[Recording]:
    config = scenario.config.replace(congestion=scenario.congestion)
    loop = asyncio.get_running_loop()
    until_s = loop.time() + scenario.seconds
    with network.host("receiver"):
        server = await rudp.create_server(asyncio.Protocol, _RECEIVER, _PORT, config=config)
    with network.host("sender"):
        flows = [asyncio.create_task(_flow(i, scenario, config)) for i in range(scenario.flows)]
    await asyncio.sleep(until_s - loop.time())
    unopened = [flow for flow in flows if not flow.done()]
    recordings = [_finish(flow) for flow in flows if flow.done()]
    server.close()
    server.abort_clients()
    for flow in unopened:
        flow.cancel()
    await asyncio.gather(*unopened, return_exceptions=True)
    if unopened:
        raise TimeoutError(f"no connection within {scenario.seconds} s")
    return recordings


class _Bulk(asyncio.Protocol):
    """Writes as long as the connection takes it."""

    def __init__(self) -> None:
        self._paused = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.fill()

    def connection_lost(self, exc: Exception | None) -> None:
        self._paused = True

    def fill(self) -> None:
        """Write until told to pause."""
        while not self._paused and self._transport is not None:
            self._transport.write(_CHUNK)


@dataclass(slots=True)
class _Flow:
    transport: asyncio.Transport
    recorder: Recorder
    recording: Recording


async def _flow(index: int, scenario: Scenario, config: rudp.Config) -> _Flow:
    if scenario.stagger_s:
        await asyncio.sleep(index * scenario.stagger_s)
    bulk = _Bulk()
    transport, _ = await rudp.create_connection(lambda: bulk, _RECEIVER, _PORT, config=config)
    link = scenario.link
    header = Header(
        title=f"flow {index + 1}" if scenario.flows > 1 else scenario.describe(),
        congestion=scenario.controller,
        link_rate=link.rate_bytes_per_s,
        link_rtt_s=2 * link.delay_s or None,
    )
    recording = Recording(header)
    recorder = record(transport, recording, scenario.interval_s, epoch_s=0.0)
    bulk.fill()
    return _Flow(transport, recorder, recording)


def _finish(task: asyncio.Task[_Flow]) -> Recording:
    flow = task.result()
    flow.recorder.stop()
    flow.transport.abort()
    return flow.recording
