"""The socket at which a process tells what its connections are doing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import rudp
from rudp.aio import monitor, registry

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")


async def look(path: Path) -> Any:
    reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 24)
    try:
        async with asyncio.timeout(10):
            return json.loads(await reader.read())
    finally:
        writer.close()
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def conversation() -> AsyncIterator[rudp.Server]:
    """A server and a client that have exchanged 100,000 bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(100_000))
        await reader.read()
        writer.close()

    async with await rudp.start_server(serve, "127.0.0.1", 0) as server:
        reader, writer = await rudp.open_connection(*server.sockets[0].getsockname())
        writer.write(bytes(100_000))
        await reader.readexactly(100_000)
        yield server
        writer.close()
        await writer.wait_closed()


async def test_it_tells_every_endpoint_and_connection(tmp_path: Path) -> None:
    path = tmp_path / "s"
    watched = await monitor.serve(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    empty = await look(path)
    assert (empty["version"], empty["pid"], empty["endpoints"]) == (1, os.getpid(), [])
    async with conversation() as server:
        seen = await look(path)
        port = server.sockets[0].getsockname()[1]
        assert len(seen["endpoints"]) == 2
        for endpoint in seen["endpoints"]:
            (conn,) = endpoint["connections"]
            serves = endpoint["sockname"][1] == port
            assert conn["passive"] is serves
            assert conn["state"] == "ESTABLISHED"
            assert conn["bytes_received"] == 100_000
            assert conn["srtt_s"] > 0
            assert (conn["peer"][1] == port) is not serves
            assert endpoint["stats"]["datagrams_received"] > 0
            assert set(rudp.ConnectionInfo.__dataclass_fields__) <= set(conn)
        later = await look(path)
        assert later["time_s"] > seen["time_s"]
    watched.close()
    watched.close()
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        await look(path)


async def test_more_connections_than_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "MAX_CONNECTIONS", 0)
    watched = await monitor.serve(tmp_path / "s")
    async with conversation():
        seen = await look(tmp_path / "s")
        assert [one["connection_count"] for one in seen["endpoints"]] == [1, 1]
        assert [one["connections"] for one in seen["endpoints"]] == [[], []]
    watched.close()


async def test_a_socket_that_answers_or_is_none_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "s"
    watched = await monitor.serve(path)
    with pytest.raises(OSError, match="in use"):
        await monitor.serve(path)
    assert (await look(path))["pid"] == os.getpid()
    watched.close()
    path.write_bytes(b"precious")
    with pytest.raises(OSError, match="in use"):
        await monitor.serve(path)
    assert path.read_bytes() == b"precious"
    with pytest.raises(FileNotFoundError):
        await monitor.serve(tmp_path / "not there/s")


async def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    watched = await monitor.serve(path)
    assert (await look(path))["pid"] == os.getpid()
    watched.close()


@contextlib.asynccontextmanager
async def idle_readers(path: Path, count: int) -> AsyncIterator[None]:
    """So many that connect and read nothing of an answer too long for any buffer."""
    streams = [await asyncio.open_unix_connection(str(path), limit=1) for _ in range(count)]
    try:
        yield
    finally:
        for _, writer in streams:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.fixture
async def talkative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> monitor.Monitor:
    """A monitor that has very much to say."""
    watched = await monitor.serve(tmp_path / "s")
    monkeypatch.setattr(watched, "snapshot", lambda: {"long": "x" * (8 << 20)})
    return watched


async def test_readers_that_do_not_read_are_bounded(talkative: monitor.Monitor) -> None:
    async with idle_readers(talkative.path, 8):
        refused, writer = await asyncio.open_unix_connection(str(talkative.path))
        assert await refused.read() == b""
        writer.close()
        await writer.wait_closed()
        assert len(talkative._readers) == 8
        talkative.close()
        async with asyncio.timeout(10):
            while talkative._readers:
                await asyncio.sleep(0)


async def test_a_reader_that_does_not_read_is_cut_off(
    talkative: monitor.Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "_READER_TIMEOUT_S", 0.0)
    async with idle_readers(talkative.path, 1), asyncio.timeout(10):
        while talkative._readers:
            await asyncio.sleep(0)
    talkative.close()


@pytest.mark.parametrize("kind", ["path", "directory", "1"])
def test_the_environment_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    places = {
        "path": (tmp_path / "s", tmp_path / "s"),
        "directory": (tmp_path, tmp_path / f"{os.getpid()}.sock"),
        "1": ("1", tmp_path / "rudp" / f"{os.getpid()}.sock"),
    }
    where, path = places[kind]
    monkeypatch.setenv("RUDP_TOP", str(where))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    async def main() -> None:
        async with conversation():
            assert len((await look(path))["endpoints"]) == 2

    asyncio.run(main())
    assert not path.exists()  # closed with the loop
    asyncio.run(main())


def test_two_loops_of_a_process_have_a_socket_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUDP_TOP", str(tmp_path))

    async def inner() -> int:
        async with conversation():
            return len(list(tmp_path.iterdir()))

    async def outer() -> int:
        async with conversation():
            return await asyncio.to_thread(asyncio.run, inner())

    assert asyncio.run(outer()) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["taken", "not there/s", "x" * 200, "1"])
def test_what_cannot_be_is_logged_and_does_not_hinder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    (tmp_path / "taken").write_bytes(b"precious")
    (tmp_path / "rudp").symlink_to(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("RUDP_TOP", where if where == "1" else str(tmp_path / where))

    async def main() -> None:
        async with conversation():
            pass

    with caplog.at_level(logging.WARNING, "rudp"):
        asyncio.run(main())
    assert "RUDP_TOP" in caplog.text
    assert (tmp_path / "taken").read_bytes() == b"precious"


async def test_nothing_is_there_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUDP_TOP", raising=False)
    async with conversation():
        assert (await registry.of_running_loop()).monitors == []


def test_a_system_without_unix_sockets_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unsupported() -> None:
        raise NotImplementedError("this system has no Unix sockets")

    monkeypatch.setattr(monitor, "check_supported", unsupported)
    monkeypatch.setenv("RUDP_TOP", "1")

    async def main() -> None:
        with pytest.raises(NotImplementedError):
            await monitor.serve("s")
        async with conversation():
            pass

    with caplog.at_level(logging.WARNING, "rudp"):
        asyncio.run(main())
    assert "no Unix sockets" in caplog.text
