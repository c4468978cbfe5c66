"""From a seed to a scenario: how bad the network is, who says what, who hangs up first."""

from __future__ import annotations

import dataclasses
import enum
import random
from dataclasses import dataclass, fields
from typing import Any

from rudp import Config
from rudp.config import MIN_DATAGRAM_BYTES
from rudp.congestion import CONTROLLERS
from rudp.sim import LinkConfig

SEEDS = 2000
LARGEST_BYTES = 300_000
_MOST_WRITES = 2000
# Longer than any partition, pause or streak of losses here lasts: the network is bad, not dead.
# TIME-WAIT must outlast them too: a peer whose last acknowledgement was lost comes back for it.
_PATIENCE_S = 900.0
# With the timers as they are by default, a minute of TIME-WAIT: a retransmission timer that
# has doubled through a partition this long fires again well within that.
_LONGEST_PARTITION_S = 20.0
_SHORT_PARTITION_S = 8.0


class Runs(enum.Enum):
    """What a scenario runs on."""

    CORES = "two bare cores on two links"
    ASYNCIO = "asyncio programs on a simulated network"


class Ending(enum.Enum):
    """When a side ends its direction."""

    AT_ONCE = "as soon as all is written"
    AFTER_EOF = "when all is written and the peer's direction has ended"
    AFTER_EOF_CLOSED = "as AFTER_EOF, by close() without a half-close before"
    REPLY = "begins to write only when the peer's direction has ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one side of one connection does.

    Attributes:
        data: What it sends.
        write_bytes: In pieces of this size.
        read_bytes: How much it reads at a time (asyncio only).
        ending: When it ends its direction.
    """

    data: bytes
    write_bytes: int
    read_bytes: int
    ending: Ending

    def __repr__(self) -> str:
        return (
            f"Side({len(self.data)} bytes, write_bytes={self.write_bytes}, "
            f"read_bytes={self.read_bytes}, {self.ending.name})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One connection: opened after `start_s` seconds."""

    start_s: float
    client: Side
    server: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Everything that a seed decides.

    Attributes:
        seed: Where it came from; also seeds the links and what the endpoints draw.
        runs: What it runs on.
        forward: The link from client to server.
        back: The link from server to client.
        partition: Start and length in seconds of a time during which nothing gets through.
        client: Settings of the client's endpoint.
        server: Settings of the server's.
        exchanges: The connections, all between the same two hosts.
        client_pauses: Start and length in seconds of times during which no client reads.
        server_pauses: The same for the server's side.
        stream_limit: Of the `StreamReader`s (asyncio only).
        patient: Whether R2 and TIME-WAIT outlast everything, instead of being the defaults.
        ipv6: Whether the hosts have IPv6 addresses (asyncio only).
        near_wrap: Whether sequence numbers and timestamps begin shortly before 2^32.
    """

    seed: int
    runs: Runs
    forward: LinkConfig
    back: LinkConfig
    partition: tuple[float, float] | None
    client: Config
    server: Config
    exchanges: tuple[Exchange, ...]
    client_pauses: tuple[tuple[float, float], ...]
    server_pauses: tuple[tuple[float, float], ...]
    stream_limit: int
    patient: bool
    ipv6: bool
    near_wrap: bool


def scenario(seed: int) -> Scenario:
    """The scenario of a seed; even seeds run on bare cores, odd ones on asyncio."""
    rng = random.Random(f"conditions/{seed}")
    # Drawn apart, so that it moves none of the other draws of a seed.
    choice = random.Random(f"choices/{seed}")
    patient = choice.random() < 0.6
    client, server = (_chosen(choice, config, patient=patient) for config in _configs(rng))
    mtu = min(client.max_datagram_size, server.max_datagram_size)
    forward = _link(rng, mtu)
    back = forward if rng.random() < 0.5 else _link(rng, mtu)
    if not patient:
        forward, back = _lively(forward), _lively(back)
    return Scenario(
        seed=seed,
        runs=Runs.ASYNCIO if seed % 2 else Runs.CORES,
        forward=forward,
        back=back,
        partition=_partition(rng, patient=patient),
        client=client,
        server=server,
        exchanges=_exchanges(rng),
        client_pauses=_pauses(rng),
        server_pauses=_pauses(rng),
        stream_limit=int(_log(rng, 16, 1 << 17)),
        patient=patient,
        ipv6=rng.random() < 0.3,
        near_wrap=rng.random() < 0.25,
    )


def number_source(case: Scenario, rng: random.Random, bits: int) -> int:
    """A random number as an endpoint draws it: for an id, a first sequence number, a clock."""
    if case.near_wrap and bits == 32 and rng.random() < 0.8:
        return (1 << 32) - rng.randrange(1, LARGEST_BYTES)
    return rng.getrandbits(bits)


def describe(case: Scenario) -> str:
    """The scenario for a failure's report: one line a field, defaults left out."""
    return "\n".join(f"  {one.name}: {_brief(getattr(case, one.name))}" for one in fields(case))


def _brief(value: Any) -> str:
    if not isinstance(value, (Config, LinkConfig)):
        return repr(value)
    changed = [one.name for one in fields(value) if getattr(value, one.name) != one.default]
    return ", ".join(f"{name}={getattr(value, name)!r}" for name in changed) or "defaults"


def _log(rng: random.Random, low: float, high: float) -> float:
    """A number whose logarithm is uniform."""
    return float(low * (high / low) ** rng.random())


def _maybe(rng: random.Random, share: float, low: float, high: float) -> float:
    """A number between two bounds in this share of the cases, else 0."""
    return rng.uniform(low, high) if rng.random() < share else 0.0


def _link(rng: random.Random, mtu: int) -> LinkConfig:
    rate = _log(rng, 30_000, 20_000_000) if rng.random() < 0.7 else None
    queue_bytes = 1 << 20
    if rate is not None:
        queue_bytes = int(max(10 * mtu, rate * rng.uniform(0.02, 0.5)))
    return LinkConfig(
        rate_bytes_per_s=rate,
        queue_bytes=queue_bytes,
        delay_s=_log(rng, 0.0005, 0.3),
        jitter_s=_maybe(rng, 0.4, 0.0, 0.05),
        loss=_maybe(rng, 0.7, 0.0, 0.1),
        burst_enter=_maybe(rng, 0.2, 0.001, 0.01),
        burst_exit=rng.uniform(0.3, 0.8),
        reorder=_maybe(rng, 0.4, 0.0, 0.1),
        duplicate=_maybe(rng, 0.3, 0.0, 0.05),
        corrupt=_maybe(rng, 0.2, 0.0, 0.02),
        mtu=mtu,
    )


def _configs(rng: random.Random) -> tuple[Config, Config]:
    """Settings of both sides; in half of the cases they differ in everything."""
    client = _config(rng)
    return client, client if rng.random() < 0.5 else _config(rng)


def _config(rng: random.Random) -> Config:
    return Config(
        max_datagram_size=rng.choice(
            (MIN_DATAGRAM_BYTES, 200, 576, 1200, 1200, 1200, 1472, rng.randint(129, 9000))
        ),
        send_buffer=rng.choice((4096, 4 << 20, int(_log(rng, 4096, 1 << 20)))),
        receive_buffer=rng.choice((4096, 4 << 20, 4 << 20, int(_log(rng, 4096, 1 << 20)))),
        max_holes=rng.choice((1, 8, 1024, 1024)),
        delayed_ack=rng.choice((0.0, 0.025, 0.025, 0.1)),
        sack=rng.random() < 0.7,
    )


def _chosen(rng: random.Random, config: Config, *, patient: bool) -> Config:
    """`config` with a controller, each side its own, and with patience."""
    config = config.replace(congestion=rng.choice(list(CONTROLLERS)))
    if not patient:
        return config
    return config.replace(
        retransmit_timeout=_PATIENCE_S, connect_timeout=_PATIENCE_S, time_wait=_PATIENCE_S
    )


def _lively(link: LinkConfig) -> LinkConfig:
    """A burst is counted in datagrams, and one that is repeated alone may meet nine in a row: by
    the defaults that is a network which has been dead for two minutes."""
    return dataclasses.replace(link, burst_exit=max(link.burst_exit, 0.6))


def _partition(rng: random.Random, *, patient: bool) -> tuple[float, float] | None:
    if rng.random() >= 0.2:
        return None
    start_s, length_s = _log(rng, 0.01, 3.0), _log(rng, 0.2, _LONGEST_PARTITION_S)
    return start_s, length_s if patient else min(length_s, _SHORT_PARTITION_S)


def _exchanges(rng: random.Random) -> tuple[Exchange, ...]:
    count = 1 if rng.random() < 0.6 else rng.randint(2, 8)
    largest = int(LARGEST_BYTES / count**0.5)
    # The same for all of them: which of the sides meet is decided by which SYN arrives first.
    endings = [Ending.AT_ONCE, rng.choice(list(Ending))]
    if rng.random() < 0.5:
        endings.reverse()
    exchanges = []
    for _ in range(count):
        client, server = (_side(rng, ending, largest) for ending in endings)
        start_s = 0.0 if rng.random() < 0.5 else rng.uniform(0.0, 2.0)
        exchanges.append(Exchange(start_s=start_s, client=client, server=server))
    return tuple(exchanges)


def _side(rng: random.Random, ending: Ending, largest: int) -> Side:
    size = rng.choice((0, 1, largest, *(int(_log(rng, 1, largest)) for _ in range(7))))
    return Side(
        data=rng.randbytes(size),
        write_bytes=int(max(_log(rng, 1, 70_000), size / _MOST_WRITES, 1)),
        read_bytes=int(_log(rng, 256, 1 << 17)),
        ending=ending,
    )


def _pauses(rng: random.Random) -> tuple[tuple[float, float], ...]:
    """Up to four times of not reading, the first one early enough to be noticed."""
    if rng.random() < 0.6:
        return ()
    pauses = []
    at_s = _log(rng, 0.001, 1.0)
    for _ in range(rng.randint(1, 4)):
        length_s = _log(rng, 0.01, 60.0)
        pauses.append((at_s, length_s))
        at_s += length_s + _log(rng, 0.01, 2.0)
    return tuple(pauses)
