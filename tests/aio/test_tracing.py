"""Trace files: where they come from, when they are complete, and what must not fail."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rudp
from rudp.aio import tracing
from rudp.config import Config
from rudp.sim import Network
from rudp.telemetry.conversation import Conversation, conversations_of
from rudp.telemetry.observer import Observer
from rudp.telemetry.pcapng import Reading
from rudp.telemetry.qlog_reader import QlogConnection, read
from rudp.wire.segment import ACK, RST, SYN

from .support import PORT, Simulate, echo, end, round_trip, serving

DEV_FULL = Path("/dev/full")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tracing.ENVIRONMENT, raising=False)
    monkeypatch.delenv(tracing.PAYLOAD_ENVIRONMENT, raising=False)


def captured(path: Path) -> list[Conversation]:
    reading = Reading(path.read_bytes())
    found = conversations_of(reading)
    assert not reading.truncated
    return found


def logged(path: Path) -> list[QlogConnection]:
    return read(path.read_text())


def said(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What rudp has logged."""
    return [record for record in caplog.records if record.name == "rudp"]


async def talk(network: Network, dialled: Config | None = None, **options: Any) -> None:
    """A connection from left to right, served with `options`, and its end."""
    async with serving(network, **options):
        with network.host("left"):
            reader, writer = await rudp.open_connection("right", PORT, config=dialled)
            assert await round_trip(reader, writer) == b"alive"
            await end(writer)


# -- where ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pcapng", ".sqlog", ".qlog"])
def test_the_suffix_decides(
    network: Network, rudp_sim: Simulate, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"trace{suffix}"
    rudp_sim(lambda: talk(network, Config(trace=path)))
    if suffix == ".pcapng":
        (found,) = captured(path)
    else:
        (connection,) = logged(path)
        found = connection.conversation()
    assert found.left.startswith("10.0.0.1:")
    assert found.right == f"10.0.0.2:{PORT}"
    assert found.steps[0].flags == SYN
    assert sum(step.length for step in found.steps) == 2 * len(b"alive")


@pytest.mark.parametrize("exists", [False, True])
def test_a_directory_gets_both(
    network: Network, rudp_sim: Simulate, tmp_path: Path, exists: bool
) -> None:
    """One capture of all, and a qlog of each connection that names its side."""
    path = tmp_path / "traces"
    if exists:
        path.mkdir()
    config = Config(trace=str(path))
    rudp_sim(lambda: talk(network, config, config=config))
    (capture,) = path.glob("*.pcapng")
    assert capture.name.startswith(f"rudp-{os.getpid()}-")
    assert len(captured(capture)) == 2
    sides = []
    for file in path.glob("*.sqlog"):
        (connection,) = logged(file)
        assert connection.group == file.stem
        head = json.loads(file.read_text()[1:].split("\x1e")[0])
        sides.append(head["trace"]["vantage_point"]["type"])
        assert connection.events[-1]["name"] == "connectivity:connection_closed"
    assert sorted(sides) == ["client", "server"]


def test_one_path_is_one_file(network: Network, rudp_sim: Simulate, tmp_path: Path) -> None:
    """Named by any number of settings, one after the other or at once."""
    path = tmp_path / "trace.pcapng"

    async def main() -> None:
        for _ in range(3):
            await talk(network, Config(trace=path))
        await talk(network, Config(trace=f"{tmp_path}/./trace.pcapng"))

    rudp_sim(main)
    assert len(captured(path)) == 4


def test_a_server_and_an_endpoint(network: Network, rudp_sim: Simulate, tmp_path: Path) -> None:
    """`Endpoint.bind` and `start_server` take it with their settings."""
    left, right = tmp_path / "left.pcapng", tmp_path / "right.sqlog"

    async def main() -> None:
        async with serving(network, config=Config(trace=right)):
            with network.host("left"):
                async with rudp.Endpoint.bind(config=Config(trace=left)) as endpoint:
                    reader, writer = await endpoint.open_connection("10.0.0.2", PORT)
                    assert await round_trip(reader, writer) == b"alive"
                    await end(writer)

    rudp_sim(main)
    (dialled,), (listened,) = captured(left), logged(right)
    assert [step.flags for step in dialled.steps[:1]] == [SYN]
    assert listened.conversation().left == f"10.0.0.2:{PORT}"


def test_only_who_asks_is_traced(network: Network, rudp_sim: Simulate, tmp_path: Path) -> None:
    """Connections share their socket, not their settings."""
    path = tmp_path / "trace.pcapng"

    async def main() -> None:
        await talk(network)
        await talk(network, Config(trace=path))
        await talk(network)

    rudp_sim(main)
    assert len(captured(path)) == 1


@pytest.mark.parametrize("host", ["10.0.0.2", "0.0.0.0"])
def test_an_endpoints_trace_has_what_belongs_to_no_connection(
    network: Network, rudp_sim: Simulate, tmp_path: Path, host: str
) -> None:
    """SYNs that nobody listens for, and the resets that answer them; a stream each. The dialling
    side's trace has them as connections."""
    path, dialled = tmp_path / "right.pcapng", tmp_path / "left.pcapng"

    async def main() -> None:
        with network.host("right"):
            async with rudp.Endpoint.bind(host, PORT, config=Config(trace=path)):
                with network.host("left"):
                    for _ in range(2):
                        with pytest.raises(ConnectionRefusedError):
                            await rudp.open_connection(
                                "10.0.0.2", PORT, config=Config(trace=dialled)
                            )

    rudp_sim(main)
    for one in captured(path):
        assert one.left == f"10.0.0.2:{PORT}"
        assert [(step.outbound, step.flags) for step in one.steps] == [
            (False, SYN),
            (True, RST | ACK),
        ]
    for one in captured(dialled):
        assert [step.flags for step in one.steps] == [SYN, RST | ACK]
    assert len(captured(path)) == len(captured(dialled)) == 2


def test_an_endpoint_does_not_fail_for_its_trace(
    network: Network,
    rudp_sim: Simulate,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*arguments: object) -> None:
        raise LookupError("stray")

    monkeypatch.setattr("rudp.telemetry.capture.Capture.stray_received", fail)

    async def main() -> None:
        with network.host("right"):
            config = Config(trace=tmp_path / "right.pcapng")
            async with rudp.Endpoint.bind("10.0.0.2", PORT, config=config):
                with network.host("left"):
                    for _ in range(2):
                        with pytest.raises(ConnectionRefusedError):
                            await rudp.open_connection("10.0.0.2", PORT)

    rudp_sim(main)
    assert [record.getMessage() for record in said(caplog)] == ["observer failed"]


# -- when ----------------------------------------------------------------------------------------


def test_a_file_is_complete_when_a_connection_ends(
    network: Network, rudp_sim: Simulate, tmp_path: Path
) -> None:
    path = tmp_path / "trace.pcapng"

    async def main() -> None:
        await talk(network, Config(trace=path))
        (found,) = captured(path)
        assert found.steps

    rudp_sim(main)


def test_the_loop_closes_what_it_opened(
    network: Network, rudp_sim: Simulate, tmp_path: Path
) -> None:
    """Connections that are open at the end included; a `.qlog` is not whole before."""
    path = tmp_path / "trace.qlog"

    async def main() -> None:
        async with serving(network):
            with network.host("left"):
                reader, writer = await rudp.open_connection(
                    "right", PORT, config=Config(trace=path)
                )
                assert await round_trip(reader, writer) == b"alive"
                writer.close()

    rudp_sim(main)
    (connection,) = logged(path)
    assert connection.events[-1]["name"] == "connectivity:connection_closed"


def test_a_file_of_ones_own(network: Network, rudp_sim: Simulate, tmp_path: Path) -> None:
    """It is closed by who made it; connections that go on are not recorded any more."""
    path = tmp_path / "trace.pcapng"

    async def main() -> rudp.TraceFile:
        with rudp.TraceFile(path) as trace:
            async with serving(network):
                with network.host("left"):
                    config = Config(trace=trace)
                    reader, writer = await rudp.open_connection("right", PORT, config=config)
                    assert await round_trip(reader, writer) == b"alive"
                    trace.flush()
                    before = len(captured(path)[0].steps)
                    trace.close()
                    assert await round_trip(reader, writer) == b"alive"
                    await end(writer)
        assert len(captured(path)[0].steps) == before
        await talk(network, config)
        assert len(captured(path)) == 1
        trace.close()
        return trace

    assert "closed" in repr(rudp_sim(main))


def test_what_is_given_is_written_at_the_loops_end(
    network: Network, rudp_sim: Simulate, tmp_path: Path
) -> None:
    """A file that the program does not close, and a connection that outlives it."""
    path = tmp_path / "trace.pcapng"
    trace = rudp.TraceFile(path)
    rudp_sim(lambda: talk(network, Config(trace=trace)))
    assert len(captured(path)) == 1
    trace.close()


def test_what_exists_is_overwritten(network: Network, rudp_sim: Simulate, tmp_path: Path) -> None:
    path = tmp_path / "trace.pcapng"
    path.write_bytes(b"x" * 100_000)
    rudp_sim(lambda: talk(network, Config(trace=path)))
    assert len(captured(path)) == 1


# -- what must not fail --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["no/such/folder/trace.pcapng", "trace.pcap", "trace.txt"])
def test_a_path_that_is_not_possible(
    network: Network, rudp_sim: Simulate, tmp_path: Path, name: str
) -> None:
    """Told at once, to who opens a connection and to who serves."""
    config = Config(trace=tmp_path / name)
    expected: type[Exception] = FileNotFoundError if "/" in name else ValueError

    async def main() -> None:
        with network.host("left"), pytest.raises(expected):
            await rudp.open_connection("right", PORT, config=config)
        with network.host("right"), pytest.raises(expected):
            await rudp.start_server(echo, "right", PORT, config=config)
        await talk(network)

    rudp_sim(main)


@pytest.mark.skipif(not DEV_FULL.exists(), reason="no /dev/full on this system")
def test_a_full_disk_ends_the_trace_with_one_line(
    network: Network, rudp_sim: Simulate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "full.pcapng"
    path.symlink_to(DEV_FULL)

    async def main() -> None:
        async with serving(network):
            with network.host("left"):
                reader, writer = await rudp.open_connection(
                    "right", PORT, config=Config(trace=path)
                )
                for _ in range(20):
                    message = os.urandom(10_000)
                    assert await round_trip(reader, writer, message) == message
                await end(writer)

    rudp_sim(main)
    (record,) = said(caplog)
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "trace ended"
    assert "No space left" in record.__dict__["error"]
    assert record.__dict__["path"] == str(path)


class Strange:
    """A tracer of one's own; it fails where it is told to."""

    def __init__(self, fails: str = "") -> None:
        self.seen: list[tuple[int, Any, Any]] = []
        self.segments = 0
        self._fails = fails

    def observe(self, connection_id: int, local: Any, peer: Any) -> Observer | None:
        self.seen.append((connection_id, local, peer))
        if self._fails == "observe":
            raise LookupError("observe")
        if self._fails == "none":
            return None
        return StrangeObserver(self, fails=self._fails == "segment")


class StrangeObserver(Observer):
    def __init__(self, tracer: Strange, *, fails: bool) -> None:
        self._tracer = tracer
        self._fails = fails

    def segment_received(self, segment: Any, size: int, ecn: int, now_s: float) -> None:
        self._tracer.segments += 1
        if self._fails:
            raise LookupError("segment")


@pytest.mark.parametrize("fails", ["", "none", "observe", "segment"])
def test_a_tracer_of_ones_own(
    network: Network, rudp_sim: Simulate, fails: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it does, the connections do not notice."""
    tracer = Strange(fails)
    rudp_sim(lambda: talk(network, Config(trace=tracer), config=Config(trace=tracer)))
    (_, local, peer), (_, there, here) = tracer.seen
    assert (local, peer) == (here, there)
    assert (local[0], peer[:2]) == ("10.0.0.1", ("10.0.0.2", PORT))
    problems = [record.getMessage() for record in said(caplog)]
    wrong = {"": None, "none": None, "observe": "nothing is traced", "segment": "observer failed"}
    assert problems == ([wrong[fails]] * 2 if wrong[fails] else [])
    assert (tracer.segments > 2) is (fails == "")


def test_logging_goes_on_beside_it(
    network: Network, rudp_sim: Simulate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="rudp")
    path = tmp_path / "trace.pcapng"
    rudp_sim(lambda: talk(network, Config(trace=path)))
    assert {record.getMessage() for record in said(caplog)} == {
        "state",
        "received",
        "sent",
        "closed",
    }
    assert len(captured(path)) == 1


def test_arguments_are_checked(tmp_path: Path) -> None:
    for trace in (1, b"bytes", object()):
        with pytest.raises(TypeError, match="trace must be a path"):
            Config(trace=trace)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="trace must not be an empty path"):
        Config(trace="")
    with pytest.raises(ValueError, match="payload_bytes must not be negative"):
        rudp.TraceFile(tmp_path / "x.pcapng", payload_bytes=-1)
    assert not list(tmp_path.iterdir())


# -- RUDP_TRACE ----------------------------------------------------------------------------------


def test_the_environment_traces_everything(
    network: Network, rudp_sim: Simulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that knows nothing of it; both ends, since both are in this process. What the
    settings ask for is done as well."""
    monkeypatch.setattr(tracing, "_loops", iter((1, 2)))
    monkeypatch.setenv(tracing.ENVIRONMENT, str(tmp_path / "all-%p.pcapng"))
    monkeypatch.setenv(tracing.PAYLOAD_ENVIRONMENT, "0")
    rudp_sim(lambda: talk(network, Config(trace=tmp_path / "mine.pcapng")))
    path = tmp_path / f"all-{os.getpid()}.pcapng"
    assert len(captured(path)) == 2
    assert b"alive" not in path.read_bytes()
    assert b"alive" in (tmp_path / "mine.pcapng").read_bytes()


def test_a_second_loop_does_not_overwrite_the_first_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_real: Callable[..., Any]
) -> None:
    monkeypatch.setattr(tracing, "_loops", iter((1, 2)))
    monkeypatch.setenv(tracing.ENVIRONMENT, str(tmp_path / "all.sqlog"))

    async def main() -> None:
        async with await rudp.start_server(echo, "127.0.0.1", 0) as server:
            name = server.sockets[0].getsockname()
            reader, writer = await rudp.open_connection(*name)
            assert await round_trip(reader, writer) == b"alive"
            await end(writer)

    run_real(main())
    run_real(main())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all-2.sqlog", "all.sqlog"]
    for path in tmp_path.iterdir():
        ends = [connection.conversation() for connection in logged(path)]
        assert len(ends) == 2
        assert {one.left for one in ends} == {one.right for one in ends}
        assert all(one.left.startswith("127.0.0.1:") for one in ends)


@pytest.mark.parametrize(
    ("path", "payload"),
    [("/no/such/folder/trace.pcapng", ""), ("trace.txt", ""), ("trace.pcapng", "many")],
)
def test_an_environment_that_is_not_possible_is_a_warning(
    network: Network,
    rudp_sim: Simulate,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    payload: str,
    tmp_path: Path,
) -> None:
    """A program does not fail for a variable that it does not know."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(tracing.ENVIRONMENT, path)
    monkeypatch.setenv(tracing.PAYLOAD_ENVIRONMENT, payload)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        rudp_sim(lambda: talk(network))
    (warning,) = told
    assert warning.category is RuntimeWarning
    assert "nothing is traced: RUDP_TRACE=" in str(warning.message)


def test_a_fifo_can_be_followed(network: Network, rudp_sim: Simulate, tmp_path: Path) -> None:
    """`wireshark -k -i FIFO`: what is written can be read before the end; a reader that goes
    away ends the trace and not the connection."""
    path = tmp_path / "live.pcapng"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    async def main() -> None:
        await talk(network, Config(trace=path))
        data = os.read(reader, 1 << 16)
        assert len(conversations_of(Reading(data))) == 1
        os.close(reader)
        await talk(network, Config(trace=path))

    rudp_sim(main)


def test_a_directory_does_not_use_up_descriptors(tmp_path: Path) -> None:
    """A file a connection, and none of them held open."""

    async def main() -> int:
        config = Config(trace=tmp_path)
        async with await rudp.start_server(echo, "127.0.0.1", 0, config=config) as server:
            port = server.sockets[0].getsockname()[1]
            writers = []
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(50):
                reader, writer = await rudp.open_connection("127.0.0.1", port)
                assert await round_trip(reader, writer) == b"alive"
                writers.append(writer)
            during = len(os.listdir("/proc/self/fd"))
            for writer in writers:
                await end(writer)
        return during - before

    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc on this system")
    assert asyncio.run(main()) < 10
    assert len(list(tmp_path.glob("*.sqlog"))) == 50
