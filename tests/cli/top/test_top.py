"""`rudp top` on a process that tells."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from rudp.cli.app import main
from rudp.cli.top.snapshots import NoProcess, fetch, find
from rudp.cli.top.table import SORTS, amount, draw, rows
from tests.integration.programs import Program

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")
Start = Callable[..., Awaitable[Program]]


def connection(**changes: Any) -> dict[str, Any]:
    fields = {
        "id": "0000000a", "peer": ["192.0.2.1", 7], "passive": False, "state": "FIN_WAIT_1",
        "congestion": "cubic", "srtt_s": 0.0421, "cwnd": 123_456, "in_flight": 999,
        "bytes_acked": 1000, "bytes_received": 50, "bytes_sent": 900, "bytes_retransmitted": 100,
        "limited_by": {"cwnd": 2.0, "application": 9.0}, "age_s": 3723.0,
    }  # fmt: skip
    return {**fields, **changes}


def snapshot(*connections: dict[str, Any], time_s: float = 10.0) -> dict[str, Any]:
    endpoint = {
        "sockname": ["::1", 7, 0, 0],
        "stats": {"datagrams_received": 5, "malformed": {"short": 2}},
        "connection_count": len(connections),
        "connections": list(connections),
    }
    base = {"version": 1, "pid": 4711, "program": "[red]server", "time_s": time_s}
    return {**base, "endpoints": [endpoint]}


def test_rates_are_between_two_snapshots() -> None:
    before = snapshot(connection(), time_s=10.0)
    spent_s = {"cwnd": 3.5, "application": 9.1}
    changed = connection(bytes_acked=5000, bytes_received=50, limited_by=spent_s)
    new = connection(id="0000000b", srtt_s=None, passive=True)
    first, second = rows(snapshot(changed, new, time_s=12.0), before)
    assert (first.sent_rate, first.received_rate, first.limited_by) == (2000.0, 0.0, "cwnd")
    assert (first.retransmitted_share, first.local) == (0.1, "[::1]:7")
    assert (second.sent_rate, second.rtt_s, second.passive) == (None, None, True)
    assert rows(before, None)[0].limited_by == "application"


def test_the_table_shows_what_matters_and_obeys_nothing() -> None:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    many = [connection(id=str(n), peer=["192.0.2.1", n]) for n in range(5)]
    console.print(draw(snapshot(*many), None, sort="peer", most=2))
    console.file.close()
    text = console.export_text()
    assert "[red]server [4711]: 5 connections" in text
    assert re.search(r"fin-wait-1 +→ 192.0.2.1:0 +\[::1\]:7 +cubic +42.1 +123k +999 ", text)
    assert "10.0%" in text
    assert "1:02:03" in text
    assert "… and 3 more" in text
    assert "192.0.2.1:2" not in text


def test_sorting_and_amounts() -> None:
    slow, fast = connection(id="a", srtt_s=0.5, age_s=1.0), connection(id="b", srtt_s=None)
    found = rows(snapshot(slow, fast), None)
    assert [row.rtt_s for row in sorted(found, key=SORTS["rtt"])] == [0.5, None]
    assert [row.age_s for row in sorted(found, key=SORTS["age"])] == [3723.0, 1.0]
    sizes = (None, 0, 999, 1000, 12_345, 999_600, 5e9, 7e15)
    assert list(map(amount, sizes)) == ["–", "0", "999", "1k", "12.3k", "1M", "5G", "7e+03T"]


@pytest.mark.processes
async def test_a_process_is_found_by_pid_by_path_and_alone(
    rudp_command: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUDP_TOP", raising=False)
    where = {"RUDP_TOP": "1", "XDG_RUNTIME_DIR": tmp_path}
    words = ("--listen", "127.0.0.1:0", "--into", tmp_path / "into")
    receiver = await rudp_command("recv", *words, **where)
    path = tmp_path / "rudp" / f"{receiver.process.pid}.sock"
    async with asyncio.timeout(20):
        while not path.exists():
            await asyncio.sleep(0.02)
    for target in (str(receiver.process.pid), str(path), None):
        assert find(target) == path
    top = await rudp_command("top", receiver.process.pid, "--once", "--json")
    assert await top.end() == 0, top.errors
    (line,) = top.lines
    assert json.loads(line)["pid"] == receiver.process.pid
    shown = await rudp_command("top", "--interval", "50ms")
    for _ in range(3):
        await shown.expect(rf"\[{receiver.process.pid}\]: 0 connections at 1 sockets")
    assert await receiver.end(sent=signal.SIGTERM) == 0
    assert await shown.end() == 1  # it has ended, and that is said
    assert re.fullmatch(rb"rudp: [^\n]+\n", shown.errors)
    assert not path.exists()


@pytest.mark.processes
async def test_ctrl_c_is_quiet(rudp_command: Start, tmp_path: Path) -> None:
    words = ("--listen", "127.0.0.1:0", "--into", tmp_path / "into")
    receiver = await rudp_command("recv", *words, RUDP_TOP=tmp_path / "s")
    async with asyncio.timeout(20):
        while not (tmp_path / "s").exists():
            await asyncio.sleep(0.02)
    top = await rudp_command("top", tmp_path / "s")
    await top.expect("connections")
    assert (await top.end(sent=signal.SIGINT), top.errors) == (130, b"")
    assert await receiver.end(sent=signal.SIGTERM) == 0


def test_nobody_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUDP_TOP", raising=False)
    for words in ([], ["99999999"], [str(tmp_path / "s")]):
        result = CliRunner().invoke(main, ["top", "--once", *words])
        assert result.exit_code == 1
        assert result.output.startswith("rudp: ")
        assert result.output.count("\n") == 1


@pytest.mark.parametrize("said", [b'{"version": 7}\n', b"hello\n", b"", b"[1]", b'{"version": 1}'])
async def test_somebody_else_who_answers_is_told_apart(tmp_path: Path, said: bytes) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    async with await asyncio.start_unix_server(serve, str(tmp_path / "s")):
        with pytest.raises(NoProcess, match="not what rudp says"):
            await fetch(tmp_path / "s")
