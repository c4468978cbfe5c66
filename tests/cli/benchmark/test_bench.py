"""`rudp bench` as a user runs it: two processes on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from click.testing import CliRunner

import rudp
from rudp.cli.address import HostPort
from rudp.cli.app import main
from rudp.cli.benchmark import server as served
from rudp.cli.benchmark.plan import Op, Request
from rudp.cli.output import Output
from tests.integration.programs import WAIT_S, Program

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups"),
]
Start = Callable[..., Awaitable[Program]]
RUN = "0" * 32


@pytest.fixture
async def bench(rudp_command: Start) -> AsyncIterator[tuple[Program, str]]:
    """A server and its port; it must end well and without a complaint."""
    server = await rudp_command("bench", "--listen", "127.0.0.1:0", "--json")
    port = (await server.expect(r'"event": "listening".*127\.0\.0\.1:(\d+)"'))[1]
    yield server, port
    assert (await server.end(sent=signal.SIGTERM), server.errors) == (0, b"")


async def result(rudp_command: Start, port: str, *words: object) -> dict[str, Any]:
    client = await rudp_command("bench", "127.0.0.1", port, "--json", *words)
    assert await client.end() == 0, client.errors
    assert client.errors == b""
    report: dict[str, Any] = json.loads(client.lines[-1])
    assert report["event"] == "bench"
    return report


@pytest.mark.parametrize("tcp", [(), ("--tcp",)], ids=["rudp", "tcp"])
async def test_every_mode_moves_what_it_should(
    rudp_command: Start, bench: tuple[Program, str], tcp: tuple[str, ...]
) -> None:
    server, port = bench
    words = ("--seconds", "200ms", *tcp)
    over = "tcp" if tcp else "rudp"

    sent = await result(rudp_command, port, "--bytes", "1000001", "--parallel", "3", *tcp)
    assert sent["transport"] == over
    received = [one["received"] for one in sent["server_connections"]]
    assert sum(received) == sent["to_server"]["bytes"] == 1_000_001
    assert len(received) == len(sent["connections"]) == 3
    assert sent["to_client"]["bytes"] == 0

    reverse = await result(rudp_command, port, "--reverse", *words)
    (ours,), (theirs,) = reverse["connections"], reverse["server_connections"]
    assert reverse["to_client"]["bytes"] == ours["received"] == theirs["sent"] > 0
    assert reverse["to_client"]["bytes_per_s"] > 0
    if sys.platform == "linux" or not tcp:
        assert theirs["srtt_s"] > 0
        assert theirs["cwnd"] > 0
        assert reverse["to_client"]["bytes_retransmitted"] >= 0

    both = await result(rudp_command, port, "--mode", "duplex", "--parallel", "2", *words)
    for way in ("to_server", "to_client"):
        assert both[way]["bytes"] > 0
    for number in range(2):
        there = both["server_connections"][number]
        assert there["sent"] in [one["received"] for one in both["connections"]]

    echo = await result(rudp_command, port, "--mode", "echo", "--size", "100", *words)
    assert echo["latency"]["count"] > 0
    assert echo["to_server"]["bytes"] == echo["latency"]["count"] * 100
    assert 0 < echo["latency"]["p50_us"] <= echo["latency"]["p99_us"] <= echo["latency"]["max_us"]

    runs = [json.loads(line) for line in server.lines if '"run"' in line]
    assert [len(run["connections"]) for run in runs] == [3, 1, 2, 1]


async def test_figures_come_while_it_runs_and_an_interruption_is_quiet(
    rudp_command: Start, bench: tuple[Program, str]
) -> None:
    _, port = bench
    client = await rudp_command("bench", "127.0.0.1", port, "--interval", "50ms", "--json")
    await client.expect('"event": "interval"')
    assert (await client.end(sent=signal.SIGINT), client.errors) == (130, b"")
    words = ("--seconds", "400ms", "--interval", "50ms")
    client = await rudp_command("bench", "127.0.0.1", port, *words)
    assert await client.end() == 0
    lines = re.findall(rb"^at \S+ s  sent \S+ MB/s  RTT \S+ ms  cwnd \S+", client.errors, re.M)
    assert len(lines) >= 2
    assert re.search(r"to the server +\S+ MB, \S+ MB/s", "\n".join(client.lines))


async def test_a_server_outlives_whatever_comes(bench: tuple[Program, str]) -> None:
    _, port = bench
    for said in (
        b"GET / HTTP/1.1\r\n\r\n", b"x" * 5000, b"[" * 900 + b"\n", b"{}\n",
        Request(Op.SINK, "short").encode(), b'{"rudp-bench": 1, "op": "fly"}\n',
    ):  # fmt: skip
        reader, writer = await rudp.open_connection("127.0.0.1", int(port))
        writer.write(said)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(WAIT_S):
                assert await reader.read() == b""
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_port_that_is_taken_in_tcp_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    chosen = []
    create_server = rudp.create_server

    async def create_at(factory: Any, host: str, port_asked: int, **options: Any) -> Any:
        chosen.append(port if port_asked == 0 and not chosen else port_asked)
        return await create_server(factory, host, chosen[-1] or free, **options)

    monkeypatch.setattr(rudp, "create_server", create_at)
    server, tcp = await served.Server(Output())._bind(HostPort("127.0.0.1", 0), rudp.Config())
    assert chosen == [port, 0]
    assert tcp.sockets[0].getsockname() == server.sockaddrs[0]  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="in use"):
        await served.Server(Output())._bind(HostPort("127.0.0.1", port), rudp.Config())
    for one in (server, tcp, taken):
        one.close()


async def test_a_run_has_so_many_connections_and_no_more(bench: tuple[Program, str]) -> None:
    _, port = bench
    streams = []
    for _ in range(served.MAX_PARALLEL + 1):
        reader, writer = await rudp.open_connection("127.0.0.1", int(port))
        writer.write(Request(Op.ECHO, RUN).encode() + b"x")
        streams.append((reader, writer))
    refused, _ = streams[-1]
    async with asyncio.timeout(WAIT_S):
        for reader, _ in streams[:-1]:
            assert await reader.readexactly(1) == b"x"
        with contextlib.suppress(ConnectionError):
            assert await refused.read() == b""
    for _, writer in streams:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_server_that_is_killed_is_one_line(rudp_command: Start) -> None:
    server = await rudp_command("bench", "--listen", "127.0.0.1:0", "--json")
    port = (await server.expect(r':(\d+)"'))[1]
    words = ("--user-timeout", "500ms", "--keepalive", "500ms", "--set", "keepalive_interval=100ms")
    words += ("--json", "--interval", "50ms")
    client = await rudp_command("bench", "127.0.0.1", port, *words)
    await client.expect('"event": "interval"')
    await server.end(sent=signal.SIGKILL)
    assert (await client.end(), client.errors) == (1, b"")
    assert json.loads(client.lines[-1])["event"] == "error"


@pytest.mark.parametrize(
    "words",
    [
        [], ["host"], ["host", "0"], ["--listen", "7", "h", "7"], ["host", "7", "--seconds", "0"],
        ["host", "7", "--seconds", "2h"], ["host", "7", "--mode", "echo", "--reverse"],
        ["host", "7", "--bytes", "0"], ["host", "7", "--size", "0"], ["host", "7", "--mode", "x"],
        ["host", "7", "--parallel", "129"], ["host", "7", "--interval", "0"],
    ],
)  # fmt: skip
def test_nonsense_on_the_command_line(words: list[str]) -> None:
    result = CliRunner().invoke(main, ["bench", *words])
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize("name", ["bench", "top"])
def test_help_has_examples_and_exit_codes(name: str) -> None:
    text = CliRunner().invoke(main, [name, "--help"]).output
    assert f"rudp {name} " in text
    assert "Exit codes:" in text
