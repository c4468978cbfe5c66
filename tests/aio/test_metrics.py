"""Metrics: for Prometheus at each scrape, for the log every so often."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

import rudp
from rudp.aio import metrics
from rudp.aio.metrics import MetricsLog, Snapshot, log_metrics, snapshot
from rudp.sim import LinkConfig, Network

from .support import PORT, RunReal, Simulate, echo, end, round_trip, serving, serving_in_thread

prometheus_client = pytest.importorskip(
    "prometheus_client", reason="the extra [prometheus] is not installed"
)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(loop: asyncio.AbstractEventLoop | None = None) -> Samples:
    """What Prometheus gets, read back from the text."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(metrics.Collector(loop))
    return parse(prometheus_client.generate_latest(registry).decode())


def parse(text: str) -> Samples:
    from prometheus_client.parser import text_string_to_metric_families

    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


def test_nothing_yet(rudp_sim: Simulate, network: Network) -> None:
    async def main() -> Samples:
        return scrape()

    samples = rudp_sim(main)
    assert value(samples, "rudp_endpoints") == 0
    assert value(samples, "rudp_datagrams_received_total") == 0
    assert not [name for name, _ in samples if name == "rudp_connections"]


def test_an_open_connection(rudp_sim: Simulate, network: Network) -> None:
    """Both ends of it are this loop's."""

    async def main() -> Samples:
        async with serving(network):
            with network.host("left"):
                reader, writer = await rudp.open_connection("right", PORT)
                assert await round_trip(reader, writer, bytes(5000)) == bytes(5000)
                samples = scrape()
                await end(writer)
        return samples

    samples = rudp_sim(main)
    assert value(samples, "rudp_endpoints") == 3, "the server is bound to IPv4 and to IPv6"
    assert value(samples, "rudp_connections", state="established") == 2
    assert value(samples, "rudp_connections_dialled_total") == 1
    assert value(samples, "rudp_connections_accepted_total") == 1
    assert value(samples, "rudp_connections_closed_total") == 0
    assert value(samples, "rudp_sent_bytes_total") == 10_000
    assert value(samples, "rudp_received_bytes_total") == 10_000
    assert value(samples, "rudp_retransmitted_bytes_total") == 0


def test_round_trips_are_a_histogram(rudp_sim: Simulate, network: Network) -> None:
    """20 ms, measured by both ends: above the bucket of 10 ms, in that of 30 ms."""

    async def main() -> Samples:
        async with serving(network):
            with network.host("left"):
                reader, writer = await rudp.open_connection("right", PORT)
                assert await round_trip(reader, writer) == b"alive"
                samples = scrape()
                await end(writer)
        return samples

    samples = rudp_sim(main)
    assert value(samples, "rudp_smoothed_rtt_seconds_bucket", le="0.01") == 0
    assert value(samples, "rudp_smoothed_rtt_seconds_bucket", le="0.03") == 2
    assert value(samples, "rudp_smoothed_rtt_seconds_bucket", le="+Inf") == 2
    assert value(samples, "rudp_smoothed_rtt_seconds_gsum") == pytest.approx(0.04, rel=0.3)


def test_counters_outlive_connections_and_sockets(rudp_sim: Simulate, network: Network) -> None:
    """Prometheus takes a counter that falls for a restart, and makes a rate of it."""
    seen: list[Samples] = []

    async def main() -> None:
        for _ in range(3):
            with network.host("right"):
                server = await rudp.start_server(echo, "right", PORT)
            with network.host("left"):
                async with rudp.Endpoint.bind() as endpoint:
                    reader, writer = await endpoint.open_connection("10.0.0.2", PORT)
                    seen.append(scrape())
                    assert await round_trip(reader, writer) == b"alive"
                    seen.append(scrape())
                    await end(writer)
                    seen.append(scrape())
            server.close()
            await server.wait_closed()
            await asyncio.sleep(100)
            seen.append(scrape())

    rudp_sim(main)
    counters = [key for key in seen[-1] if key[0].endswith("_total")]
    assert len(counters) > 20
    for before, after in pairwise(seen):
        for key in counters:
            assert before[key] <= after[key], key
    last = seen[-1]
    assert value(last, "rudp_endpoints") == 0
    assert value(last, "rudp_connections_dialled_total") == 3
    assert value(last, "rudp_connections_closed_total") == 6
    assert value(last, "rudp_sent_bytes_total") == 3 * 2 * len(b"alive")
    assert value(last, "rudp_datagrams_sent_total") == value(last, "rudp_datagrams_received_total")


def test_losses_are_counted(rudp_sim: Simulate, network: Network) -> None:
    network.default = LinkConfig(delay_s=0.01, loss=0.1)

    async def main() -> tuple[Samples, rudp.ConnectionInfo]:
        async with serving(network):
            with network.host("left"):
                reader, writer = await rudp.open_connection("right", PORT)
                data = bytes(200_000)
                assert await round_trip(reader, writer, data) == data
                samples = scrape()
                info = writer.get_extra_info("rudp_info")
                await end(writer)
        return samples, info

    samples, info = rudp_sim(main)
    assert info.bytes_retransmitted > 0
    assert value(samples, "rudp_retransmitted_bytes_total") > info.bytes_retransmitted
    assert value(samples, "rudp_lost_bytes_total") >= info.bytes_lost > 0
    assert value(samples, "rudp_recoveries_total") >= info.fast_recoveries > 0


def test_what_is_dropped_tells_why(rudp_sim: Simulate, network: Network) -> None:
    async def main() -> Samples:
        with network.host("right"):
            async with rudp.Endpoint.bind("10.0.0.2", PORT):
                with network.host("left"):
                    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                        asyncio.DatagramProtocol, remote_addr=("10.0.0.2", PORT)
                    )
                transport.sendto(b"short")
                transport.sendto(bytes(24))
                transport.sendto(bytes(23) + b"\x00")
                transport.sendto((7).to_bytes(4, "big") + bytes(8) + b"\x06\x10" + bytes(10))
                await asyncio.sleep(1.0)
                samples = scrape()
                transport.close()
        return samples

    samples = rudp_sim(main)
    assert value(samples, "rudp_malformed_total", why="too_short") == 1
    assert value(samples, "rudp_malformed_total", why="flags") == 2
    assert value(samples, "rudp_dropped_total", why="unknown_connection") == 1
    assert value(samples, "rudp_resets_sent_total") == 1
    assert value(samples, "rudp_datagrams_received_total") == 4


def test_names_units_and_labels() -> None:
    """Prometheus' conventions: a prefix, base units as suffix, a help text, few labels."""
    loop = asyncio.new_event_loop()
    try:
        collector = metrics.Collector(loop)
        families = list(collector.collect())
        assert [one.name for one in collector.describe()] == [one.name for one in families]
    finally:
        loop.close()
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.name.startswith("rudp_")
        assert family.documentation.endswith(".")
        for sample in family.samples:
            assert set(sample.labels) <= {"state", "why", "kind", "le"}


def test_thousand_clients_are_no_more_series_than_one(rudp_sim: Simulate, network: Network) -> None:
    async def main() -> tuple[int, int]:
        async with serving(network, backlog=1000):
            with network.host("left"):
                first = await rudp.open_connection("right", PORT)
                one = len(scrape())
                others = await asyncio.gather(
                    *(rudp.open_connection("right", PORT) for _ in range(100))
                )
                many = len(scrape())
                for _, writer in [first, *others]:
                    await end(writer)
        return one, many

    one, many = rudp_sim(main)
    assert many == one


def test_a_scrape_from_another_thread(run_real: RunReal) -> None:
    """As prometheus_client's own HTTP server does it: the loop takes the snapshot."""
    threads: list[int] = []

    async def main() -> Samples:
        loop = asyncio.get_running_loop()
        original = metrics._take

        def take(of: asyncio.AbstractEventLoop) -> Snapshot:
            threads.append(threading.get_ident())
            return original(of)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(metrics, "_take", take)
            async with await rudp.start_server(echo, "127.0.0.1", 0) as server:
                reader, writer = await rudp.open_connection(*server.sockets[0].getsockname())
                assert await round_trip(reader, writer) == b"alive"
                samples = await asyncio.to_thread(scrape, loop)
                await end(writer)
        return samples

    samples = run_real(main())
    assert value(samples, "rudp_connections", state="established") == 2
    assert set(threads) == {threading.get_ident()}


def test_a_loop_that_is_blocked_is_read_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape must not wait for a program that hangs: then it is wanted most."""
    monkeypatch.setattr(metrics, "_LOOP_TIMEOUT_S", 0.05)
    blocked, go_on = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        assert go_on.wait(20)

    with serving_in_thread(echo) as server:
        assert server._loop is not None
        server._loop.call_soon_threadsafe(block)
        assert blocked.wait(20)
        try:
            assert snapshot(server._loop).endpoints == 1
        finally:
            go_on.set()


def test_a_loop_that_has_ended() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    assert snapshot(loop) == Snapshot()


# -- the log -------------------------------------------------------------------------------------


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, Any]]]:
    """The fields of what is logged as metrics."""
    caplog.set_level(logging.INFO, logger="rudp")
    found: list[dict[str, Any]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "metrics":
                found.append(record.__dict__)

    handler = Handler()
    logger = logging.getLogger("rudp")
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def test_metrics_are_logged(
    rudp_sim: Simulate, network: Network, lines: list[dict[str, Any]]
) -> None:
    """Every so many seconds, and at the end; what is zero is left out."""

    async def main() -> None:
        with log_metrics(10.0):
            async with serving(network):
                with network.host("left"):
                    reader, writer = await rudp.open_connection("right", PORT)
                    assert await round_trip(reader, writer) == b"alive"
                    await asyncio.sleep(25)
                    await end(writer)

    rudp_sim(main)
    assert len(lines) == 3
    for line in lines[:2]:
        assert line["connections"] == 2
        assert line["sent_bytes"] == 2 * len(b"alive")
        assert line["median_rtt_seconds"] == pytest.approx(0.02, rel=0.3)
        assert "lost_bytes" not in line
    assert lines[2]["connections_closed"] >= 1


def test_logging_stops(rudp_sim: Simulate, network: Network, lines: list[dict[str, Any]]) -> None:
    """And does not keep the virtual clock going."""

    async def main() -> MetricsLog:
        log = log_metrics(10.0)
        await asyncio.sleep(35)
        log.stop()
        log.stop()
        await asyncio.sleep(100)
        return log

    rudp_sim(main)
    assert len(lines) == 4
    assert lines[-1]["connections"] == 0


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf")])
def test_an_interval_that_is_none(rudp_sim: Simulate, network: Network, interval: float) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="interval must be a finite number"):
            log_metrics(interval)

    rudp_sim(main)


def test_without_a_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        log_metrics()
    with pytest.raises(RuntimeError, match="no running event loop"):
        metrics.Collector()
