"""Recording a connection while it runs, in virtual time and on real loops."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import rudp
from rudp.aio.recorder import Recorder, record
from rudp.sim import LinkConfig, Network
from rudp.telemetry.recording import Header, Recording, Sample

from .support import DELAY_S, PORT, RunReal, Simulate, echo, end, round_trip, serving


@contextlib.asynccontextmanager
async def connected(
    network: Network,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a peer that echoes."""
    async with serving(network, echo):
        with network.host("left"):
            reader, writer = await rudp.open_connection("10.0.0.2", PORT)
        try:
            yield reader, writer
        finally:
            await end(writer)


def test_a_transfer_is_recorded(network: Network, rudp_sim: Simulate, tmp_path: Path) -> None:
    network.default = LinkConfig(delay_s=DELAY_S, loss=0.02)
    path = tmp_path / "run.jsonl"

    async def main() -> Any:
        async with connected(network) as (reader, writer):
            before = writer.get_extra_info("rudp_info")
            async with record(writer, path):
                await round_trip(reader, writer, bytes(300_000))
            return before, writer.get_extra_info("rudp_info")

    before, info = rudp_sim(main)
    recording = Recording.load(path)
    assert not recording.truncated
    assert recording.header.congestion == info.congestion
    times_s = recording.column("t_s")
    assert times_s[0] == 0.0
    assert times_s == sorted(times_s)
    first, last = recording.samples[0], recording.samples[-1]
    assert (first.bytes_acked, first.in_flight) == (0, 0)
    assert first.cwnd == pytest.approx(32 * 1176, abs=1)
    assert (last.bytes_acked, last.bytes_lost) == (info.bytes_acked, info.bytes_lost)
    assert last.bytes_lost > 0
    assert last.ssthresh == info.ssthresh
    for name in ("bytes_acked", "bytes_lost", "bytes_retransmitted", "timeouts"):
        assert recording.column(name) == sorted(recording.column(name))
    assert max(recording.column("in_flight")) > before.cwnd
    assert last.limited_by is not None
    assert sum(last.limited_by.values()) == pytest.approx(last.t_s, abs=0.05)


def test_samples_are_taken_at_the_interval(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> Recording:
        recording = Recording()
        async with connected(network) as (_, writer):
            writer.write(bytes(2_000_000))
            async with record(writer, recording, 0.004, epoch_s=0.0):
                begun_s = asyncio.get_running_loop().time()
                await asyncio.sleep(0.05)
            assert recording.samples[0].t_s == pytest.approx(begun_s, abs=1e-6)
            assert recording.samples[-1].t_s == pytest.approx(begun_s + 0.05, abs=1e-6)
        return recording

    times_s = rudp_sim(main).column("t_s")
    offsets_ms = [round((t_s - times_s[0]) * 1e3, 3) for t_s in times_s]
    assert len(offsets_ms) > 5
    assert set(offsets_ms) <= {*range(0, 49, 4), 50}  # stopping takes the last one


def test_an_idle_connection_costs_little(
    network: Network, rudp_sim: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    glances = 0
    original = Recorder._sample

    def counting(self: Recorder, source: Any) -> str:
        nonlocal glances
        glances += 1
        return original(self, source)

    monkeypatch.setattr(Recorder, "_sample", counting)

    async def main() -> list[Sample]:
        nonlocal glances
        recording = Recording()
        async with connected(network) as (reader, writer):
            await round_trip(reader, writer)
            await asyncio.sleep(1.0)
            async with record(writer, recording, epoch_s=0.0):
                await asyncio.sleep(100.0)
                assert glances < 1200
                assert len(recording.samples) == 1
                idle_until_s = asyncio.get_running_loop().time()
                await round_trip(reader, writer)
                await asyncio.sleep(0.5)
            first, before, after = recording.samples[:3]
            assert first.is_like(before)
            assert first.bytes_acked == before.bytes_acked < after.bytes_acked
            # The rest between the two is drawn as a rest, up to the last glance before its end.
            assert idle_until_s - 0.1 <= before.t_s <= after.t_s <= idle_until_s + 0.2
        return recording.samples

    samples = rudp_sim(main)
    assert samples[-1].is_like(samples[-2])


def test_it_ends_with_the_connection(network: Network, rudp_sim: Simulate, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"

    async def main() -> None:
        async with connected(network) as (reader, writer):
            recorder = record(writer, path)
            await round_trip(reader, writer, bytes(10_000))
            assert recorder.running
        await asyncio.sleep(0.1)
        assert not recorder.running
        assert repr(recorder) == "<Recorder stopped>"
        recorder.stop()

    rudp_sim(main)
    # The FIN's sequence number is no byte of the stream.
    assert Recording.load(path).samples[-1].bytes_acked == 10_000


def test_it_ends_when_the_connection_is_aborted(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with connected(network) as (_, writer):
            recorder = record(writer, Recording())
            writer.transport.abort()
            await asyncio.sleep(0.05)
            assert not recorder.running
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    rudp_sim(main)


def test_stopping_twice_writes_the_end_once(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        recording = Recording()
        async with connected(network) as (_, writer):
            recorder = record(writer.transport, recording)
            await asyncio.sleep(0.5)
            recorder.stop()
            count = len(recording.samples)
            assert recording.duration_s == pytest.approx(0.5)
            recorder.stop()
            await asyncio.sleep(0.5)
            assert len(recording.samples) == count

    rudp_sim(main)


def test_the_header_is_written(network: Network, rudp_sim: Simulate, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    header = Header(title="upload", link_rate=1e6, link_rtt_s=0.02)

    async def main() -> None:
        async with connected(network) as (_, writer):
            record(writer, path, header=header).stop()

    rudp_sim(main)
    written = Recording.load(path).header
    assert (written.title, written.link_rate, written.link_rtt_s) == ("upload", 1e6, 0.02)
    assert written.congestion == rudp.Config().congestion


def test_what_cannot_be_recorded_is_refused(
    network: Network, rudp_sim: Simulate, tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"

    async def main() -> None:
        async with connected(network) as (_, writer):
            for interval in (0.0, -1.0, float("nan"), float("inf")):
                with pytest.raises(ValueError, match="interval"):
                    record(writer, path, interval)
            with pytest.raises(ValueError, match="header"):
                record(writer, Recording(), header=Header())
            with pytest.raises(TypeError, match="source"):
                record(asyncio.Transport(), path)
            with pytest.raises(FileNotFoundError):
                record(writer, tmp_path / "missing" / "run.jsonl")

    rudp_sim(main)
    assert not path.exists()
    with pytest.raises(RuntimeError, match="no running event loop"):
        record(asyncio.Transport(), path)


def test_a_full_disk_ends_the_recording_and_not_the_connection(
    network: Network, rudp_sim: Simulate
) -> None:
    class FullDisk(Recording):
        def append(self, sample: Sample) -> None:
            if self.samples:
                raise OSError(errno.ENOSPC, "no space left on device")
            super().append(sample)

    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        async with connected(network) as (reader, writer):
            recorder = record(writer, FullDisk())
            assert await round_trip(reader, writer) == b"alive"
            assert not recorder.running
            recorder.stop()
        assert [context["exception"].errno for context in told] == [errno.ENOSPC]

    rudp_sim(main)


def test_a_full_disk_at_the_end_is_told_to_who_stops(network: Network, rudp_sim: Simulate) -> None:
    class FullDisk(Recording):
        def close(self) -> None:
            raise OSError(errno.ENOSPC, "no space left on device")

    async def main() -> None:
        async with connected(network) as (_, writer):
            recorder = record(writer, FullDisk())
            with pytest.raises(OSError, match="no space left"):
                recorder.stop()
            assert not recorder.running

    rudp_sim(main)


def test_on_a_real_loop(run_real: RunReal, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"

    async def main() -> None:
        server = await rudp.start_server(echo, "127.0.0.1", 0)
        host, port = server.sockaddrs[0][:2]
        reader, writer = await rudp.open_connection(host, port)
        async with record(writer, path, 0.001):
            await round_trip(reader, writer, bytes(200_000))
        await end(writer)
        server.close()
        await server.wait_closed()

    run_real(main())
    recording = Recording.load(path)
    assert recording.samples[-1].bytes_acked > 0
    assert recording.duration_s > 0
