"""asyncssh, by the tunnel of `examples/with_asyncssh.py`, through a lossy relay.

In real time: asyncssh reads its settings in a thread, which a simulated loop has not.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from .conftest import Relayed, RunReal

asyncssh = pytest.importorskip("asyncssh")

FILE = random.Random(4).randbytes(1 << 20)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the keys of both sides."""
    from with_asyncssh import make_keys

    directory = tmp_path_factory.mktemp("keys")
    make_keys(directory)
    return directory


@asynccontextmanager
async def serving(keys: Path, files: Path, **options: Any) -> AsyncIterator[Any]:
    """The example's server on a free port."""
    from with_asyncssh import listen

    server = await listen(("127.0.0.1", 0), keys, files, **options)
    try:
        yield server
    finally:
        server.close()
        await server.wait_closed()


def test_a_remote_command_and_an_sftp_copy(
    keys: Path, tmp_path: Path, relayed: Relayed, run_real: RunReal
) -> None:
    from with_asyncssh import connect

    files, local = tmp_path / "files", tmp_path / "local"
    files.mkdir()
    local.write_bytes(FILE)

    async def main() -> None:
        async with serving(keys, files) as server:
            address = await relayed(("127.0.0.1", server.get_port()))
            async with await connect(address, keys) as connection:
                assert connection.get_extra_info("peername") == address

                async def command() -> None:
                    result = await connection.run("sha256", input=FILE, encoding=None)
                    assert result.exit_status == 0
                    assert result.stdout == hashlib.sha256(FILE).hexdigest().encode()

                async def copy() -> None:
                    async with connection.start_sftp_client() as sftp:
                        await sftp.put(local, "copy")
                        await sftp.get("copy", tmp_path / "back")

                await asyncio.gather(command(), command(), copy())
                refused = await connection.run("reboot", encoding=None)
                assert refused.exit_status == 127
        assert (files / "copy").read_bytes() == FILE
        assert (tmp_path / "back").read_bytes() == FILE

    run_real(main())


def test_closing_cancelling_and_losing_a_connection(
    keys: Path, tmp_path: Path, run_real: RunReal
) -> None:
    from with_asyncssh import connect

    async def main() -> None:
        ended: asyncio.Queue[Exception | None] = asyncio.Queue()

        class Watching(asyncssh.SSHServer):
            def connection_lost(self, exc: Exception | None) -> None:
                ended.put_nowait(exc)

        async with serving(keys, tmp_path, server_factory=Watching) as server:
            address = ("127.0.0.1", server.get_port())
            async with await connect(address, keys) as connection:
                waiting = asyncio.create_task(connection.run("sha256", stdin=asyncssh.PIPE))
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert (await connection.run("sha256", input=FILE, encoding=None)).exit_status == 0
            await connection.wait_closed()
            assert await ended.get() is None

            connection = await connect(address, keys)
            process = await connection.create_process("sha256", encoding=None)
            connection.abort()
            await connection.wait_closed()
            assert (await process.wait()).exit_status is None
            await ended.get()
        with pytest.raises(ConnectionRefusedError):
            await connect(address, keys)

    run_real(main())


async def test_only_the_right_keys_get_in(keys: Path, tmp_path: Path) -> None:
    from with_asyncssh import connect, make_keys

    other = tmp_path / "other"
    make_keys(other)
    async with serving(keys, tmp_path) as server:
        address = ("127.0.0.1", server.get_port())
        with pytest.raises(asyncssh.HostKeyNotVerifiable):
            await connect(address, other)
        (other / "server.pub").write_bytes((keys / "server.pub").read_bytes())
        with pytest.raises(asyncssh.PermissionDenied):
            await connect(address, other)
