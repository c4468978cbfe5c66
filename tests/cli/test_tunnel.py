"""`rudp tunnel`: kernel TCP at both ends, two tunnels, rudp between them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from click.testing import CliRunner

import rudp
from rudp.cli.app import main

from .command import WAIT_S, Command, Commands

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform == "win32", reason="signals"),
]

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Address = tuple[str, int]
CLIENTS = 50


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send everything back, then end."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


@contextlib.asynccontextmanager
async def tcp_server(serve: Serve) -> AsyncIterator[Address]:
    """A server on kernel TCP; what its handlers fail with fails the test."""
    tasks: list[asyncio.Task[None]] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def handle() -> None:
            try:
                await serve(reader, writer)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

        tasks.append(asyncio.create_task(handle()))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*tasks)
    finally:
        server.close()
        for task in tasks:
            task.cancel()


class Pair:
    """Two tunnels: TCP here, rudp between, TCP there."""

    def __init__(self, here: Command, there: Command, address: Address) -> None:
        self.here = here
        self.there = there
        self.address = address

    async def statistics(self, command: Command) -> dict[str, int]:
        """What a tunnel tells when it is asked."""
        command.process.send_signal(signal.SIGUSR1)
        return await command.event("statistics")

    async def end(self) -> None:
        """Stop both, which is how they end in order."""
        assert await self.here.end(signal.SIGTERM) == 0
        assert await self.there.end(signal.SIGINT) == 0


async def start_pair(commands: Commands, upstream: Address, *words: object) -> Pair:
    to = "tcp:{}:{}".format(*upstream)
    there = await commands.start("tunnel", "--listen", "rudp:127.0.0.1:0", "--to", to, *words)
    to = "rudp:{}:{}".format(*await there.address())
    here = await commands.start("tunnel", "--listen", "tcp:127.0.0.1:0", "--to", to, *words)
    return Pair(here, there, await here.address())


async def end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def reset_at_once(address: Address) -> None:
    """A client that gets nothing but a reset, which may come before its dial is over."""
    with pytest.raises(ConnectionResetError):
        reader, writer = await asyncio.open_connection(*address)
        try:
            await reader.read()
        finally:
            await end(writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Have the kernel send a reset."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def exchange(address: Address, data: bytes, opener: object = asyncio) -> str:
    """Send `data` and read until the end; the digest of what came back."""
    reader, writer = await opener.open_connection(*address)  # type: ignore[attr-defined]

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    received = await reader.read()
    await sending
    await end(writer)
    return hashlib.sha256(received).hexdigest()


async def test_fifty_clients_come_and_go_and_leave_nothing(commands: Commands) -> None:
    draw = random.Random(50)  # the seed of the sizes and the bytes
    async with tcp_server(echo) as upstream:
        pair = await start_pair(commands, upstream)
        await exchange(pair.address, b"the first one opens the shared socket")
        for command in (pair.here, pair.there):
            await command.event("ended")
        before = (pair.here.descriptors(), pair.there.descriptors())
        payloads = [draw.randbytes(draw.randrange(200_000)) for _ in range(CLIENTS)]
        digests = await asyncio.gather(*(exchange(pair.address, data) for data in payloads))
        assert digests == [hashlib.sha256(data).hexdigest() for data in payloads]
        for command in (pair.here, pair.there):
            for _ in payloads:
                assert (await command.event("ended"))["how"] == "ended"
            stats = await pair.statistics(command)
            assert (stats["active"], stats["dialling"], stats["reset"]) == (0, 0, 0)
            assert (stats["accepted"], stats["finished"]) == (CLIENTS + 1, CLIENTS + 1)
            assert stats["bytes_to"] == stats["bytes_back"] > sum(map(len, payloads))
        assert (pair.here.descriptors(), pair.there.descriptors()) == before
        await pair.end()


async def test_a_half_close_of_either_side_leaves_the_other_direction(commands: Commands) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(1) == b"c":
            assert await reader.read() == b"lient ends first"
            writer.write(b"the server goes on")
        else:
            writer.write(b"the server ends first")
            writer.write_eof()
            assert await reader.read() == b"erver has ended, the client goes on"

    async with tcp_server(serve) as upstream:
        pair = await start_pair(commands, upstream)
        reader, writer = await asyncio.open_connection(*pair.address)
        writer.write(b"client ends first")
        writer.write_eof()
        assert await reader.read() == b"the server goes on"
        await end(writer)

        reader, writer = await asyncio.open_connection(*pair.address)
        writer.write(b"s")
        assert await reader.read() == b"the server ends first"
        writer.write(b"erver has ended, the client goes on")
        await end(writer)
        for command in (pair.here, pair.there):
            for _ in range(2):
                assert (await command.event("ended"))["how"] == "ended"
        await pair.end()


async def test_a_reset_of_either_side_reaches_the_other(commands: Commands) -> None:
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        if await reader.readexactly(1) == b"s":
            reset(writer)
        else:
            with pytest.raises(ConnectionResetError):
                await reader.read()
            seen.append("the server")

    async with tcp_server(serve) as upstream:
        pair = await start_pair(commands, upstream)
        reader, writer = await asyncio.open_connection(*pair.address)
        writer.write(b"c")
        assert await reader.readexactly(5) == b"hello"
        reset(writer)

        reader, writer = await asyncio.open_connection(*pair.address)
        writer.write(b"s")
        with pytest.raises(ConnectionResetError):
            while await reader.read(1 << 16):
                pass
        await end(writer)
        for command in (pair.here, pair.there):
            for _ in range(2):
                assert (await command.event("ended"))["how"] != "ended"
            assert (await pair.statistics(command))["reset"] == 2
        await pair.end()
    assert seen == ["the server"]


async def test_a_client_whose_upstream_is_dead_is_reset(commands: Commands) -> None:
    async with tcp_server(echo) as upstream:
        pass
    pair = await start_pair(commands, upstream)
    await reset_at_once(pair.address)
    assert "{}:{}".format(*upstream) in (await pair.there.event("failed"))["message"]
    await pair.here.event("ended")
    assert (await pair.statistics(pair.there))["failed"] == 1

    assert await pair.there.end(signal.SIGTERM) == 0
    await reset_at_once(pair.address)
    await pair.here.event("failed")
    assert await pair.here.end(signal.SIGTERM) == 0


async def test_no_more_clients_than_allowed(commands: Commands) -> None:
    async with tcp_server(echo) as upstream:
        pair = await start_pair(commands, upstream, "--max-connections", 1)
        reader, writer = await asyncio.open_connection(*pair.address)
        writer.write(b"in")
        assert await reader.readexactly(2) == b"in"
        await reset_at_once(pair.address)
        writer.write_eof()
        assert await reader.read() == b""
        await end(writer)
        await pair.here.event("ended")
        await pair.there.event("ended")
        assert await exchange(pair.address, b"again") == hashlib.sha256(b"again").hexdigest()
        assert (await pair.statistics(pair.here))["turned_away"] == 1
        await pair.end()


@pytest.mark.parametrize("victim", ["here", "there"])
async def test_a_killed_tunnel_is_noticed(commands: Commands, victim: str) -> None:
    quick = ("--keepalive", "300ms", "--set", "keepalive_interval=300ms", "--user-timeout", "1s")
    cut_off: list[bool] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(2))
        try:
            assert await reader.read() == b""  # the kernel's FIN for the killed one
        except ConnectionResetError:
            cut_off.append(True)

    async with tcp_server(serve) as upstream:
        pair = await start_pair(commands, upstream, *quick)
        reader, writer = await asyncio.open_connection(*pair.address)
        writer.write(b"hi")
        assert await reader.readexactly(2) == b"hi"
        dead, left = (pair.here, pair.there) if victim == "here" else (pair.there, pair.here)
        dead.process.kill()
        assert (await left.event("ended"))["how"] in (
            "the peer did not answer keepalive probes",
            "sent data was not acknowledged within the user timeout",  # killed before it could
        )
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            cut_off.append(True)
        await end(writer)
        assert await left.end(signal.SIGTERM) == 0
    assert cut_off == [True]  # the end that hangs on the tunnel that is left


async def test_who_does_not_read_holds_back_who_sends(commands: Commands, payload: bytes) -> None:
    may_read = asyncio.Event()
    digest = hashlib.sha256()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await may_read.wait()
        while data := await reader.read(1 << 20):
            digest.update(data)

    small = ("--set", "receive_buffer=64K", "--set", "send_buffer=64K")
    async with tcp_server(serve) as upstream:
        pair = await start_pair(commands, upstream, *small)
        reader, writer = await asyncio.open_connection(*pair.address)
        wanted = hashlib.sha256()
        # A reader that is paused lets the kernel's buffers fill, and nothing else.
        for _ in range(20):
            writer.write(payload)
            wanted.update(payload)
        writer.write_eof()
        counts = [-1, -2]
        async with asyncio.timeout(WAIT_S):
            while counts[-1] != counts[-2] or counts[-1] == 0:
                counts.append((await pair.statistics(pair.here))["bytes_to"])
        assert counts[-1] < 20 * len(payload)
        may_read.set()
        assert await reader.read() == b""
        await end(writer)
        assert digest.hexdigest() == wanted.hexdigest()
        await pair.end()


@pytest.mark.parametrize("scheme", ["tcp", "rudp"])
async def test_one_transport_on_both_sides(commands: Commands, payload: bytes, scheme: str) -> None:
    module = rudp if scheme == "rudp" else asyncio
    server = await module.start_server(echo, "127.0.0.1", 0)
    upstream = server.sockets[0].getsockname()
    to = "{}:{}:{}".format(scheme, *upstream)
    tunnel = await commands.start("tunnel", "-l", f"{scheme}:127.0.0.1:0", "-t", to)
    address = await tunnel.address()
    assert await exchange(address, payload, module) == hashlib.sha256(payload).hexdigest()
    await tunnel.event("ended")
    assert await tunnel.end(signal.SIGTERM) == 0
    statistics = tunnel.said[-1]
    assert statistics["event"] == "statistics"
    assert statistics["bytes_to"] == statistics["bytes_back"] == len(payload)
    server.close()


async def test_the_end_of_the_tunnel_is_no_end_of_a_stream(commands: Commands) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(12))
        with pytest.raises(ConnectionResetError):
            await reader.read()

    async with tcp_server(serve) as upstream:
        tunnel = await commands.start(
            "tunnel", "-l", "tcp:127.0.0.1:0", "-t", "tcp:{}:{}".format(*upstream)
        )
        reader, writer = await asyncio.open_connection(*await tunnel.address())
        writer.write(b"half of a fi")
        assert await reader.readexactly(12) == b"half of a fi"
        assert await tunnel.end(signal.SIGTERM) == 0
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await end(writer)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "Missing option '-l' / '--listen'"),
        (("-l", "tcp:1"), "Missing option '-t' / '--to'"),
        (("-l", "80", "-t", "tcp:host:80"), "does not begin with tcp: or rudp:"),
        (("-l", "tcp:1", "-t", "tcp:host:0"), "1 to 65535"),
        (("-l", "tcp:1", "-t", "udp:host:1"), "does not begin with tcp: or rudp:"),
        (("-l", "tcp:1", "-t", "tcp:host:1", "--max-connections", "0"), "x>=1"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], complaint: str) -> None:
    result = CliRunner().invoke(main, ["tunnel", *words])
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.split())
