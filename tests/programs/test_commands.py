"""The examples as their docstrings start them: a server process, and a client over a bad link."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from .conftest import DEADLINE_S, EXAMPLES

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform == "win32", reason="signals"),
]

LINK = ("--loss", "3", "--delay", "2", "--seed", "7")


@asynccontextmanager
async def running(*words: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that ends with the block, its output in a pipe."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", *map(str, words)),
        cwd=EXAMPLES,
        stdout=pipe,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def find(process: asyncio.subprocess.Process, pattern: str) -> str:
    """The first group of the next line that matches."""
    assert process.stdout is not None
    seen = []
    while line := (await process.stdout.readline()).decode():
        seen.append(line)
        if match := re.search(pattern, line):
            return match[1]
    raise AssertionError(f"no {pattern!r} in {seen}")


async def outcome(*words: object) -> str:
    """What a client prints that ends well."""
    async with running(*words) as process:
        assert process.stdout is not None
        output = (await process.stdout.read()).decode()
        assert await process.wait() == 0, output
        return output


async def served_and_called(
    name: str, serving: tuple[object, ...] = (), calling: tuple[object, ...] = ()
) -> str:
    """Start an example's server, let its client call, stop the server; the client's output."""
    async with running(f"{name}.py", "serve", "--listen", "127.0.0.1:0", *serving) as server:
        where = await find(server, r"^listening on (\S+)$")
        output = await outcome(f"{name}.py", "call", *calling, "--server", where, *LINK)
        server.send_signal(signal.SIGTERM)
        assert server.stdout is not None
        rest = (await server.stdout.read()).decode()
        assert "Traceback" not in rest
        # uvicorn ends by the signal that it was sent, as a shell expects.
        assert await server.wait() in (0, -signal.SIGTERM), rest
        return output


async def test_aiohttp() -> None:
    pytest.importorskip("aiohttp")
    output = await served_and_called("with_aiohttp", calling=("--requests", 4))
    assert "4 bodies of 1048576 bytes over 4 connections, identical" in output
    assert "WebSocket closed with 4000" in output


async def test_websockets() -> None:
    pytest.importorskip("websockets")
    output = await served_and_called("with_websockets", calling=("--clients", 3))
    assert "3 clients heard 3 messages of 262144 bytes each" in output


async def test_asyncssh(tmp_path: Path) -> None:
    pytest.importorskip("asyncssh")
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 4096)
    keys = ("--keys", tmp_path / "keys")
    output = await served_and_called("with_asyncssh", keys, (file, *keys))
    assert "1048576 bytes by SFTP there and back, identical" in output
    assert (tmp_path / "keys" / "client").stat().st_mode & 0o077 == 0


async def test_asgi_by_the_example() -> None:
    pytest.importorskip("uvicorn")
    pytest.importorskip("httpx")
    output = await served_and_called("with_asgi", calling=("--requests", 3))
    assert "3 bodies of 1048576 bytes, identical" in output


async def test_asgi_by_uvicorns_own_command() -> None:
    """`uvicorn ... --loop rudp:new_event_loop`: no line of code is changed."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("httpx")
    command = ("-m", "uvicorn", "with_asgi:app", "--loop", "rudp:new_event_loop", "--port", 0)
    async with running(*command) as server:
        where = await find(server, r"running on http://(\S+)")
        output = await outcome("with_asgi.py", "call", "--requests", 2, "--server", where, *LINK)
        assert "2 bodies of 1048576 bytes, identical" in output
        server.send_signal(signal.SIGINT)
        await find(server, r"(Finished server process)")


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
async def test_redis(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    from .test_redis import redis_server

    async with redis_server(tmp_path) as path:
        output = await served_and_called("with_redis", ("--to", path), ("--values", 2))
    assert "2 values of 1048576 bytes, identical; counted to 100" in output
