"""`rudp doctor`: paths in virtual time, judgements on known measurements, then for real."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
from typing import Any

import pytest
from click.testing import CliRunner

import rudp
from rudp.cli.address import HostPort
from rudp.cli.app import main
from rudp.cli.doctor import local
from rudp.cli.doctor.check import Check, Verdict, all_well
from rudp.cli.doctor.path import Direction, Measured, measure
from rudp.cli.doctor.service import MAX_BYTES, serve
from rudp.cli.doctor.verdicts import check_path, judge
from rudp.cli.output import Output
from rudp.sim import LinkConfig, Network

from .command import Commands

PORT = 7000
THERE = HostPort("right", PORT)
CONFIG = rudp.Config(connect_timeout=5.0)


@pytest.fixture
def network(rudp_network: Network) -> Network:
    """Two hosts, 20 ms there and back."""
    rudp_network.default = LinkConfig(delay_s=0.01, mtu=1472)
    rudp_network.add_host("10.0.0.1", name="left")
    rudp_network.add_host("10.0.0.2", name="right")
    return rudp_network


async def with_service(network: Network, work: Any, listen: bool = True) -> Any:
    """What `work` gives on the host "left", while the service runs on "right"."""
    with network.host("right"):
        service = asyncio.create_task(serve(THERE, CONFIG, Output(quiet=True)))
        await asyncio.sleep(0)
    if not listen:
        service.cancel()
    try:
        with network.host("left"):
            return await asyncio.create_task(work)
    finally:
        service.cancel()
        await asyncio.gather(service, return_exceptions=True)


def found(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_a_good_path(network: Network, rudp_sim: Any) -> None:
    measured = rudp_sim(lambda: with_service(network, measure(THERE, CONFIG)))
    assert measured.connect_s == pytest.approx(0.02, abs=0.002)
    assert all(rtt_s == pytest.approx(0.02, abs=0.002) for rtt_s in measured.rtts_s)
    for direction in (measured.there, measured.back):
        assert (direction.lost_bytes, direction.datagram_size) == (0, 1472)
        assert direction.mtu_state == "SEARCH_COMPLETE"
        assert direction.sent_bytes >= 400 * 64
    checks = judge(THERE, measured)
    assert all_well(checks), checks
    assert found(checks)["address"].verdict is Verdict.OK


def test_a_path_that_loses(network: Network, rudp_sim: Any) -> None:
    network.default = LinkConfig(delay_s=0.01, mtu=1472, loss=0.05)
    measured = rudp_sim(lambda: with_service(network, measure(THERE, CONFIG)))
    for direction in (measured.there, measured.back):
        assert 0.01 < direction.loss < 0.15  # of 5 %, from some 400 datagrams
    checks = found(judge(THERE, measured))
    assert checks["loss there"].verdict is checks["loss back"].verdict is Verdict.WARN


def test_a_path_with_a_small_mtu(network: Network, rudp_sim: Any) -> None:
    network.default = LinkConfig(delay_s=0.01, mtu=1000)
    checks = found(rudp_sim(lambda: with_service(network, check_path(THERE, CONFIG))))
    assert checks["path MTU there"].verdict is Verdict.WARN
    assert checks["path MTU there"].values["datagram_bytes"] <= 1000


def test_nobody_listens_there(network: Network, rudp_sim: Any) -> None:
    (check,) = rudp_sim(lambda: with_service(network, check_path(THERE, CONFIG), listen=False))
    assert check.verdict is Verdict.FAIL
    assert "rudp doctor --listen 7000" in check.advice


def test_nothing_comes_back(network: Network, rudp_sim: Any) -> None:
    network.default = LinkConfig(delay_s=0.01, loss=1.0)
    (check,) = rudp_sim(lambda: with_service(network, check_path(THERE, CONFIG)))
    assert check.verdict is Verdict.FAIL
    assert "firewall" in check.advice


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"[]\n",
        b"",
        b"x" * 100_000,
        b"[" * 50_000 + b"\n",
        b'{"doctor": 2}\n',
        b'{"doctor": 1}\n' + bytes(20 * 64) + b'{"info": {"bytes_sent": 1}}\n',
    ],
)
def test_something_else_listens_there(network: Network, rudp_sim: Any, answer: bytes) -> None:
    async def main() -> list[Check]:
        async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(answer)
            writer.write_eof()
            await reader.read()
            writer.close()

        with network.host("right"):
            server = await rudp.start_server(say, "right", PORT)
        with network.host("left"):
            checks = await asyncio.create_task(check_path(THERE, CONFIG))
        server.close()
        return checks

    (check,) = rudp_sim(main)
    assert check.verdict is Verdict.FAIL
    assert "something else listens" in check.advice


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b'{"doctor": 7}\n',
        b'{"doctor": 1}\n{"do": "source", "bytes": %d}\n' % (MAX_BYTES + 1),
        b'{"doctor": 1}\n{"do": "source", "bytes": -1}\n',
        b'{"doctor": 1}\n{"do": "source", "bytes": "1"}\n',
        b'{"doctor": 1}\n{"do": "dance"}\n',
        b'{"doctor": 1}\n' + b"x" * 10_000,
    ],
)
def test_a_client_that_asks_for_what_is_not_allowed_is_reset(
    network: Network, rudp_sim: Any, request_line: bytes
) -> None:
    async def ask() -> None:
        reader, writer = await rudp.open_connection("right", PORT, config=CONFIG)
        writer.write(request_line)
        with pytest.raises(ConnectionResetError):
            while await reader.read(1 << 16):
                pass
        writer.close()

    rudp_sim(lambda: with_service(network, ask()))


PERFECT = Direction(25_600, 0, 1472, "SEARCH_COMPLETE", "CAPABLE", 1e6)
MEASURED = Measured(
    0.02, [0.02] * 20, "10.0.0.1:5", "10.0.0.1:5", rudp.__version__, PERFECT, PERFECT
)


@pytest.mark.parametrize(
    ("changes", "name", "verdict"),
    [
        ({}, "UDP", Verdict.OK),
        ({"seen": "192.0.2.1:9"}, "address", Verdict.NOTE),
        ({"rtts_s": [0.01] + [0.2] * 19}, "round trip", Verdict.WARN),
        ({"rtts_s": [0.01] * 19 + [0.2]}, "round trip", Verdict.OK),
        ({"version": "9"}, "version", Verdict.NOTE),
        ({"there": {"lost_bytes": 64}}, "loss there", Verdict.OK),
        ({"there": {"lost_bytes": 640}}, "loss there", Verdict.WARN),
        ({"back": {"lost_bytes": 6400}}, "loss back", Verdict.FAIL),
        ({"back": {"datagram_size": 1300}}, "path MTU back", Verdict.NOTE),
        ({"back": {"datagram_size": 548}}, "path MTU back", Verdict.WARN),
        ({"back": {"mtu_state": "SEARCHING"}}, "path MTU back", Verdict.NOTE),
        ({"there": {"mtu_state": "DISABLED"}}, "path MTU there", Verdict.NOTE),
        ({"there": {"ecn": "OFF"}}, "ECN there", Verdict.NOTE),
        ({"there": {"ecn": "UNKNOWN"}}, "ECN there", Verdict.NOTE),
    ],
)
def test_judgements(changes: dict[str, Any], name: str, verdict: Verdict) -> None:
    changed = {
        key: dataclasses.replace(PERFECT, **value) if isinstance(value, dict) else value
        for key, value in changes.items()
    }
    checks = judge(THERE, dataclasses.replace(MEASURED, **changed))
    assert found(checks)[name].verdict is verdict
    assert all_well(checks) is (verdict in (Verdict.OK, Verdict.NOTE))


def test_what_the_other_end_tells_cannot_reach_the_terminal(
    network: Network, rudp_sim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rudp, "__version__", "1\x1b[2J\x07" + "0" * 1000)
    measured = rudp_sim(lambda: with_service(network, measure(THERE, CONFIG)))
    assert measured.version == "1[2J" + "0" * 94


def test_socket_buffers() -> None:
    asked = local.udp.SOCKET_BUFFER_BYTES
    double = 2 if local._LINUX else 1
    assert local._check_buffer("x", asked * double, "r").verdict is Verdict.OK
    usual = local._check_buffer("x", 212_992 * double, "w")
    assert usual.verdict is Verdict.WARN
    assert "mem_max" in usual.advice or "maxsockbuf" in usual.advice
    assert local._check_buffer("x", (asked // 2) * double, "r").verdict is Verdict.NOTE


def test_features_that_are_missing() -> None:
    io = {"gso": True, "gro": False, "ecn": True, "dont_fragment": False}
    verdicts = {check.name: check.verdict for check in local._check_features(io)}
    assert verdicts == {
        "send offload": Verdict.OK,
        "receive offload": Verdict.WARN,
        "ECN": Verdict.OK,
        "don't fragment": Verdict.WARN,
    }
    assert len(local._check_features(None)) == 1


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.18.44-x", (6, 18)), ("4.9", (4, 9)), ("5.10rc1", (5, 10)), ("odd", (0, 0))],
)
def test_kernel_versions(release: str, version: tuple[int, int]) -> None:
    assert local._version(release) == version


@pytest.mark.parametrize("io", ["auto", "stock"])
def test_this_machine(io: str) -> None:
    result = CliRunner().invoke(main, ["doctor", "--json", "--io", io])
    (line,) = result.stdout.splitlines()
    report = json.loads(line)
    assert report["event"] == "report"
    verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
    assert verdicts["loopback"] == "ok"
    assert {"system", "event loop", "receive buffer", "send buffer"} <= verdicts.keys()
    assert report["ok"] is not ({"warn", "fail"} & set(verdicts.values()) != set())
    assert result.exit_code == (0 if report["ok"] else 1)


def test_the_table_for_people() -> None:
    result = CliRunner().invoke(main, ["doctor"])
    assert "loopback" in result.stdout
    assert "granted of" in result.stdout


@pytest.mark.processes
async def test_two_machines_on_one(commands: Commands) -> None:
    there = await commands.start("doctor", "--listen", "127.0.0.1", 0)
    host, port = await there.address()
    here = await commands.start("doctor", host, port)
    report = await here.event("report")
    verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
    assert verdicts["UDP"] == verdicts["address"] == "ok"
    assert {"round trip", "loss there", "loss back", "path MTU there"} <= verdicts.keys()
    assert await here.end() == (0 if report["ok"] else 1)
    assert await there.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--listen",), "write [HOST] PORT"),
        (("7000",), "has no host"),
        (("host", "0"), "1 to 65535"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], complaint: str) -> None:
    result = CliRunner().invoke(main, ["doctor", *words])
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.split())
