"""An event loop's connections in numbers: for Prometheus at each scrape, for the log every so
often.

    prometheus_client.REGISTRY.register(rudp.aio.metrics.Collector())

Counters count for as long as the event loop lives, over connections and sockets that are gone.
Labels have few values, none of them an address: a thousand clients are no more time series
than one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from rudp.aio import registry
from rudp.core.connection import Connection
from rudp.core.stats import ConnectionStats, EndpointStats
from rudp.telemetry.events import get_logger

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["Collector", "MetricsLog", "Snapshot", "log_metrics", "snapshot"]

RTT_BUCKETS_S = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Upper bounds of the round-trip times' histogram, in seconds."""

_T = TypeVar("_T")
_LIST_TRIES = 10
_LOOP_TIMEOUT_S = 1.0


@dataclass(slots=True)
class Snapshot:
    """All connections of an event loop at one moment.

    Attributes:
        endpoints: Open UDP sockets.
        states: Connections by state.
        time_wait: Records of TIME-WAIT.
        in_flight: Bytes on their way.
        unsent: Bytes written and not sent yet.
        unread: Bytes received in order that no application has read.
        rtts_s: Smoothed round-trip times of the connections that have measured one.
        endpoint_stats: Counters of all sockets, closed ones included.
        connection_stats: Counters of all connections, closed ones included.
    """

    endpoints: int = 0
    states: Counter[str] = field(default_factory=Counter)
    time_wait: int = 0
    in_flight: int = 0
    unsent: int = 0
    unread: int = 0
    rtts_s: list[float] = field(default_factory=list)
    endpoint_stats: EndpointStats = field(default_factory=EndpointStats)
    connection_stats: ConnectionStats = field(default_factory=ConnectionStats)

    def rtt_buckets(self) -> list[int]:
        """How many round-trip times are at most each of `RTT_BUCKETS_S`, and how many there are."""
        ordered = sorted(self.rtts_s)
        below = [_count_to(ordered, bound) for bound in RTT_BUCKETS_S]
        return [*below, len(ordered)]


def _count_to(ordered: list[float], bound: float) -> int:
    return bisect_left(ordered, math.nextafter(bound, math.inf))


def snapshot(loop: asyncio.AbstractEventLoop) -> Snapshot:
    """The connections of `loop` now.

    May be called from any thread. From another one than the loop's it is taken by the loop, so
    that nothing is counted twice or not at all; of a loop that does not get to it within a
    second, because it is blocked or has stopped, as it is.
    """
    if loop.is_running() and asyncio._get_running_loop() is not loop:
        taken: concurrent.futures.Future[Snapshot] = concurrent.futures.Future()
        with contextlib.suppress(RuntimeError, TimeoutError):
            loop.call_soon_threadsafe(lambda: taken.set_result(_take(loop)))
            return taken.result(_LOOP_TIMEOUT_S)
    return _take(loop)


def _take(loop: asyncio.AbstractEventLoop) -> Snapshot:
    found = Snapshot()
    known = registry.of_loop(loop)
    if known is None:
        return found
    found.endpoint_stats.add(known.past)
    for endpoint in _listed(lambda: known.endpoints):
        core = endpoint.core
        found.endpoints += 1
        found.time_wait += len(core.time_wait)
        found.endpoint_stats.add(core.stats)
        for conn in _listed(core.connections.values):
            _count(found, conn)
    found.connection_stats.add(found.endpoint_stats.ended)
    return found


def _count(found: Snapshot, conn: Connection) -> None:
    sender = conn.sender
    found.states[conn.state.name] += 1
    found.in_flight += sender.ledger.in_flight
    found.unsent += max(0, sender.unsent)
    found.unread += conn.receiver.inbox.size
    found.connection_stats.add(conn.stats)
    if sender.rtt.srtt_s is not None:
        found.rtts_s.append(sender.rtt.srtt_s)


def _listed(container: Callable[[], Iterable[_T]]) -> list[_T]:
    """A container's items, though the loop's thread may be changing it."""
    for _ in range(_LIST_TRIES):
        try:
            return list(container())
        except RuntimeError:  # changed size during iteration
            continue
    return []


# -- Prometheus ------------------------------------------------------------------------------

_Value = Callable[[Snapshot], float]
_Labelled = Callable[[Snapshot], dict[str, float]]

_GAUGES: tuple[tuple[str, str, _Value], ...] = (
    ("rudp_endpoints", "Open UDP sockets.", lambda now: now.endpoints),
    ("rudp_time_wait", "Records of connections in TIME-WAIT.", lambda now: now.time_wait),
    ("rudp_in_flight_bytes", "Bytes on their way, FINs included.", lambda now: now.in_flight),
    ("rudp_unsent_bytes", "Payload written and not sent yet.", lambda now: now.unsent),
    ("rudp_unread_bytes", "Payload received that no application has read.", lambda now: now.unread),
)


def _of_endpoints(name: str) -> _Value:
    return lambda now: getattr(now.endpoint_stats, name)


def _of_connections(name: str) -> _Value:
    return lambda now: getattr(now.connection_stats, name)


_COUNTERS: tuple[tuple[str, str, _Value], ...] = (
    ("rudp_connections_dialled", "Connections that this side began.", _of_endpoints("opened")),
    (
        "rudp_connections_accepted",
        "Connections that peers began and that were established.",
        _of_endpoints("accepted"),
    ),
    ("rudp_connections_closed", "Connections that are gone.", _of_endpoints("closed")),
    (
        "rudp_datagrams_received",
        "Datagrams received, malformed ones included.",
        _of_endpoints("datagrams_received"),
    ),
    ("rudp_datagrams_sent", "Datagrams sent.", _of_endpoints("segments_sent")),
    ("rudp_resets_sent", "Resets of what no connection has.", _of_endpoints("resets_sent")),
    ("rudp_sent_bytes", "Payload sent for the first time.", _of_connections("bytes_sent")),
    ("rudp_received_bytes", "Payload received in order.", _of_connections("bytes_received")),
    ("rudp_acknowledged_bytes", "Payload that peers have got.", _of_connections("bytes_acked")),
    ("rudp_retransmitted_bytes", "Payload sent again.", _of_connections("bytes_retransmitted")),
    ("rudp_lost_bytes", "Payload deemed lost.", _of_connections("bytes_lost")),
    ("rudp_duplicate_bytes", "Payload received again.", _of_connections("bytes_duplicate")),
    ("rudp_retransmission_timeouts", "Retransmission timeouts.", _of_connections("timeouts")),
    ("rudp_recoveries", "Episodes of loss recovery.", _of_connections("fast_recoveries")),
    (
        "rudp_spurious_recoveries",
        "Episodes that were for nothing and were undone.",
        _of_connections("spurious_recoveries"),
    ),
    ("rudp_path_changes", "Peers that moved to another address.", _of_connections("path_changes")),
)

_DROPPED = {
    "bad_syn": ("endpoint_stats", "bad_syn"),
    "unknown_connection": ("endpoint_stats", "unknown_connection"),
    "wrong_address": ("endpoint_stats", "wrong_address"),
    "refused": ("endpoint_stats", "refused"),
    "backlog": ("endpoint_stats", "backlog_drops"),
    "max_connections": ("endpoint_stats", "limit_drops"),
    "reset_of_stranger": ("endpoint_stats", "resets_ignored"),
    "paws": ("connection_stats", "paws_drops"),
    "outside_window": ("connection_stats", "window_drops"),
    "max_holes": ("connection_stats", "hole_drops"),
    "bad_ack": ("connection_stats", "ack_drops"),
}
_PROBES = ("tail", "zero_window", "keepalive", "mtu")

_BY_LABEL: tuple[tuple[str, str, str, _Labelled], ...] = (
    (
        "rudp_malformed",
        "Datagrams that were no segments.",
        "why",
        lambda now: {why.name.lower(): n for why, n in now.endpoint_stats.malformed.items()},
    ),
    (
        "rudp_dropped",
        "Segments dropped, or whose payload was.",
        "why",
        lambda now: {why: getattr(getattr(now, of), name) for why, (of, name) in _DROPPED.items()},
    ),
    (
        "rudp_probes_sent",
        "Probes sent.",
        "kind",
        lambda now: {kind: getattr(now.connection_stats, f"{kind}_probes") for kind in _PROBES},
    ),
)


class Collector:
    """Reads the connections of an event loop each time that Prometheus asks.

    Nothing is counted twice and nothing is done between scrapes. Needs the extra
    `asyncio-rudp[prometheus]`.

    Args:
        loop: The event loop; None is the running one.

    Raises:
        ImportError: prometheus-client is not installed.
        RuntimeError: `loop` is None and no event loop is running.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        try:
            from prometheus_client import core
        except ImportError as exc:
            raise ImportError("metrics need the extra: asyncio-rudp[prometheus]") from exc
        self._core = core
        self._loop = loop if loop is not None else asyncio.get_running_loop()

    def describe(self) -> Iterable[Metric]:
        """What `collect` gives, without looking."""
        return self._families(Snapshot())

    def collect(self) -> Iterable[Metric]:
        """The metrics as of now. May be called from any thread."""
        return self._families(snapshot(self._loop))

    def _families(self, now: Snapshot) -> Iterator[Metric]:
        core = self._core
        states = core.GaugeMetricFamily("rudp_connections", "Connections.", labels=["state"])
        for state, count in sorted(now.states.items()):
            states.add_metric([state.lower()], count)
        yield states
        for name, text, value in _GAUGES:
            yield core.GaugeMetricFamily(name, text, value=value(now))
        for name, text, value in _COUNTERS:
            yield core.CounterMetricFamily(name, text, value=value(now))
        for name, text, label, values in _BY_LABEL:
            family = core.CounterMetricFamily(name, text, labels=[label])
            for kind, total in values(now).items():
                family.add_metric([kind], total)
            yield family
        bounds = [*map(str, RTT_BUCKETS_S), "+Inf"]
        yield core.GaugeHistogramMetricFamily(
            "rudp_smoothed_rtt_seconds",
            "Smoothed round-trip times of the connections that are open.",
            buckets=list(zip(bounds, now.rtt_buckets(), strict=True)),
            gsum_value=sum(now.rtts_s),
        )


# -- logging ---------------------------------------------------------------------------------


def log_metrics(interval: float = 60.0) -> MetricsLog:
    """Begin to log the running event loop's numbers every `interval` seconds.

    They go to the logger "rudp" as an event "metrics" at level info, as `rudp.telemetry` logs.
    Stop it, or use it as a context manager; it does not keep a program from ending.

    Raises:
        RuntimeError: No event loop is running.
        ValueError: `interval` is not a finite number above 0.
    """
    if not (interval > 0 and math.isfinite(interval)):
        raise ValueError(f"interval must be a finite number of seconds above 0, not {interval!r}")
    return MetricsLog(asyncio.get_running_loop(), interval)


class MetricsLog:
    """Metrics that are being logged; see `log_metrics`."""

    __slots__ = ("_handle", "_interval_s", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, interval_s: float) -> None:
        self._loop = loop
        self._interval_s = interval_s
        self._handle: asyncio.TimerHandle | None = loop.call_later(interval_s, self._tick)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Log once more, and no more. May be called twice."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self._log()

    def _tick(self) -> None:
        self._handle = self._loop.call_later(self._interval_s, self._tick)
        self._log()

    def _log(self) -> None:
        get_logger().info("metrics", **_fields(snapshot(self._loop)))


def _fields(now: Snapshot) -> dict[str, Any]:
    """Names without the prefix, counters in total; what is zero is left out, but connections."""
    fields: dict[str, Any] = {"connections": sum(now.states.values())}
    for name, _, value in (*_GAUGES, *_COUNTERS):
        fields[name.removeprefix("rudp_")] = value(now)
    for name, _, _, values in _BY_LABEL:
        for label, count in values(now).items():
            fields[f"{name.removeprefix('rudp_')}_{label}"] = count
    if now.rtts_s:
        ordered = sorted(now.rtts_s)
        fields["median_rtt_seconds"] = ordered[len(ordered) // 2]
        fields["max_rtt_seconds"] = ordered[-1]
    kept = ("connections", "endpoints")
    return {name: value for name, value in fields.items() if value or name in kept}
