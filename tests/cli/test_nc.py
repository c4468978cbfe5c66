"""`rudp nc` between a process and the test, which is the peer."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import rudp
from rudp.cli.app import main

from .command import WAIT_S, Command, Commands

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups"),
]

PIPE = subprocess.PIPE
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def peer(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    config: rudp.Config | None = None,
) -> AsyncIterator[tuple[str, int]]:
    """A server for one connection; the block ends when that was served, whose failure it has."""
    served: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def callback(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except BaseException as exc:  # noqa: BLE001 - the test's task raises it
            served.set_exception(exc)
        else:
            served.set_result(None)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await rudp.start_server(callback, "127.0.0.1", 0, config=config)
    try:
        yield server.sockaddrs[0]
        async with asyncio.timeout(WAIT_S):
            await served
    finally:
        server.close()


async def dial(command: Command) -> Streams:
    return await rudp.open_connection(*await command.address())


async def end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def output(command: Command) -> bytes:
    assert command.process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        return await command.process.stdout.read()


@pytest.mark.parametrize("kind", ["file", "pipe"])
async def test_both_directions_carry_any_bytes(
    commands: Commands, payload: bytes, tmp_path: Path, kind: str
) -> None:
    back = payload[::-1]
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(back)
        received.append(await reader.read())

    source, sink = tmp_path / "in", tmp_path / "out"
    source.write_bytes(payload)
    async with peer(serve) as (host, port):
        if kind == "file":
            with source.open("rb") as stdin, sink.open("wb") as stdout:
                nc = await commands.start("nc", host, port, stdin=stdin, stdout=stdout)
        else:
            nc = await commands.start("nc", f"{host}:{port}", stdin=PIPE)
            assert nc.process.stdin is not None
            nc.process.stdin.write(payload)
            nc.process.stdin.close()
            sink.write_bytes(await output(nc))
        assert await nc.end() == 0
    assert sha256(received[0]) == sha256(payload)
    assert sha256(sink.read_bytes()) == sha256(back)
    closed = nc.said[-1]
    assert closed["event"] == "closed"
    assert (closed["sent_bytes"], closed["received_bytes"]) == (len(payload), len(back))
    assert closed["srtt_s"] > 0


async def test_the_end_of_stdin_leaves_the_other_direction_open(commands: Commands) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        writer.write(b"still here")

    async with peer(serve) as (host, port):
        nc = await commands.start("nc", host, port)  # stdin is /dev/null
        assert await output(nc) == b"still here"
        assert await nc.end() == 0


async def test_the_end_of_the_peer_closes_stdout_and_leaves_stdin_open(commands: Commands) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"that is all")
        writer.write_eof()
        assert await reader.read() == b"not from me"

    async with peer(serve) as (host, port):
        nc = await commands.start("nc", host, port, stdin=PIPE)
        assert await output(nc) == b"that is all"  # though stdin is open: who reads goes on
        assert nc.process.returncode is None
        assert nc.process.stdin is not None
        nc.process.stdin.write(b"not from me")
        nc.process.stdin.close()
        assert await nc.end() == 0


async def test_a_terminal_ends_with_ctrl_d(commands: Commands) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"you said " + await reader.read())

    ours, theirs = os.openpty()
    try:
        async with peer(serve) as (host, port):
            nc = await commands.start("nc", host, port, stdin=theirs)
            os.close(theirs)
            os.write(ours, b"hello\n\x04")
            assert await output(nc) == b"you said hello\n"
            assert await nc.end() == 0
    finally:
        os.close(ours)


async def test_a_peer_that_resets_is_a_failure_of_one_line(commands: Commands) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"so far")
        assert await reader.readexactly(2) == b"go"
        writer.transport.abort()

    async with peer(serve) as (host, port):
        nc = await commands.start("nc", host, port, stdin=PIPE)
        assert nc.process.stdin is not None
        assert nc.process.stdout is not None
        assert await nc.process.stdout.readexactly(6) == b"so far"
        nc.process.stdin.write(b"go")
        assert await nc.end() == 1
    assert nc.errors == ["the peer reset the connection"]
    assert nc.complaints == b""


async def test_a_closed_stdout_resets_the_peer(commands: Commands, payload: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with pytest.raises(ConnectionResetError):
            while True:
                writer.write(payload)
                await writer.drain()

    reading, writing = os.pipe()
    async with peer(serve) as (host, port):
        nc = await commands.start("nc", host, port, stdin=PIPE, stdout=writing)
        os.close(writing)
        os.close(reading)
        assert await nc.end() == 1
    assert nc.errors == ["standard output was closed"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_resets_the_peer(commands: Commands, number: int, code: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with pytest.raises(ConnectionResetError):
            await reader.read()

    async with peer(serve) as (host, port):
        nc = await commands.start("nc", host, port, stdin=PIPE)
        await nc.event("connected")
        assert await nc.end(number) == code
    assert nc.complaints == b""


async def test_a_stdout_that_nobody_reads_holds_the_peer_back(
    commands: Commands, payload: bytes
) -> None:
    reading, writing = os.pipe()
    held_back = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(payload)
        async with asyncio.timeout(WAIT_S):
            while writer.get_extra_info("rudp_info").snd_wnd:
                await asyncio.sleep(0.005)
        assert writer.get_extra_info("rudp_info").unsent > 0
        held_back.set()

    async with peer(serve) as (host, port):
        await commands.start(
            *("nc", host, port, "--set", "receive_buffer=64K"), stdin=PIPE, stdout=writing
        )
        os.close(writing)
        async with asyncio.timeout(WAIT_S):
            await held_back.wait()
        loop = asyncio.get_running_loop()
        with open(reading, "rb") as stdout:
            got = await asyncio.wait_for(loop.run_in_executor(None, stdout.read), WAIT_S)
    assert sha256(got) == sha256(payload)


@pytest.mark.parametrize(("closed", "code"), [("<&-", 0), (">&-", 1)])
async def test_descriptors_that_the_shell_has_closed(closed: str, code: int) -> None:
    """Nothing that is opened later is taken for them."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"to stdout")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""

    async with peer(serve) as (host, port):
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "rudp.cli"),
            *("nc", host, str(port)),
            stdin=subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )
        stdout, stderr = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == code
    if code == 0:
        assert (stdout, stderr) == (b"to stdout", b"")
    else:
        assert stderr == b"rudp: standard output was closed\n"


async def test_idleness_ends_it_after_the_timeout(commands: Commands) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with pytest.raises(ConnectionResetError):
            await reader.read()

    async with peer(serve) as (host, port):
        nc = await commands.start("nc", host, port, "--timeout", "500ms", stdin=PIPE)
        assert await nc.end() == 1
    assert nc.errors == ["nothing went either way for 0.5 s"]


async def test_nobody_there(commands: Commands) -> None:
    server = await rudp.start_server(lambda *_: None, "127.0.0.1", 0)
    host, port = server.sockaddrs[0]
    server.close()
    nc = await commands.start("nc", host, port)
    assert await nc.end() == 1
    assert len(nc.errors) == 1
    assert f"{host}:{port}: " in nc.errors[0]
    assert nc.complaints == b""


async def test_listening_serves_one_and_refuses_the_next(
    commands: Commands, payload: bytes, tmp_path: Path
) -> None:
    sink = tmp_path / "out"
    with sink.open("wb") as stdout:
        nc = await commands.start("nc", "-l", "127.0.0.1", 0, stdin=PIPE, stdout=stdout)
    host, port = await nc.address()
    _, writer = await rudp.open_connection(host, port)
    await nc.event("accepted")
    with pytest.raises(ConnectionRefusedError):
        await rudp.open_connection(host, port)
    writer.write(payload)
    writer.write_eof()
    assert nc.process.stdin is not None
    nc.process.stdin.close()
    assert await nc.end() == 0
    assert sha256(sink.read_bytes()) == sha256(payload)
    await end(writer)


async def test_keep_open_serves_one_after_the_other(commands: Commands) -> None:
    nc = await commands.start("nc", "-l", "-k", "127.0.0.1:0")
    host, port = await nc.address()
    assert nc.process.stdout is not None
    for message in (b"first", b"second", b"third"):
        reader, writer = await rudp.open_connection(host, port)
        writer.write(message)
        writer.write_eof()
        assert await reader.read() == b""  # /dev/null
        assert await nc.process.stdout.readexactly(len(message)) == message
        await end(writer)
    assert await nc.end(signal.SIGTERM) == 0


async def test_a_command_gets_the_connection_and_its_code_is_ours(
    commands: Commands, payload: bytes
) -> None:
    script = "echo $RUDP_PEER; sha256sum; exit 3"
    nc = await commands.start("nc", "-l", "127.0.0.1", 0, "--exec", script)
    reader, writer = await dial(nc)
    writer.write(payload)
    writer.write_eof()
    peer_line, digest_line = (await reader.read()).decode().splitlines()
    assert digest_line.split()[0] == sha256(payload)
    assert peer_line == "127.0.0.1:{}".format(writer.get_extra_info("sockname")[1])
    assert await nc.end() == 3
    await end(writer)


async def test_a_command_that_ends_first_closes_in_order(commands: Commands) -> None:
    nc = await commands.start("nc", "-l", "127.0.0.1", 0, "--exec", "head -c 5")
    reader, writer = await dial(nc)
    writer.write(b"12345")
    assert await reader.read() == b"12345"
    assert await nc.end() == 0
    await end(writer)


async def test_a_process_for_each_of_many(commands: Commands) -> None:
    nc = await commands.start("nc", "-lk", "127.0.0.1", 0, "--exec", "tr a-z A-Z")
    host, port = await nc.address()

    async def use(number: int) -> None:
        reader, writer = await rudp.open_connection(host, port)
        writer.write(b"number %d" % number)
        writer.write_eof()
        assert await reader.read() == b"NUMBER %d" % number
        await end(writer)

    await use(0)  # the first process makes asyncio open what it needs to watch processes
    assert (await nc.event("exited"))["code"] == 0
    before = nc.descriptors()
    await asyncio.gather(*(use(number) for number in range(8)))
    for _ in range(8):
        assert (await nc.event("exited"))["code"] == 0
    assert nc.descriptors() == before
    assert await nc.end(signal.SIGTERM) == 0
    assert nc.errors == []


async def test_a_reset_ends_the_command_and_its_children(commands: Commands) -> None:
    nc = await commands.start("nc", "-l", "127.0.0.1", 0, "--exec", "echo on; sleep 1000; true")
    reader, writer = await dial(nc)
    assert await reader.readline() == b"on\n"
    writer.transport.abort()
    assert await nc.end() == 1  # which waits for the sleep, since that holds the output
    assert nc.errors == ["the peer reset the connection"]


async def test_a_killed_peer_is_noticed_by_keepalive(commands: Commands) -> None:
    quick = ("--keepalive", "300ms", "--set", "keepalive_interval=300ms")
    server = await commands.start("nc", "-l", "127.0.0.1", 0, *quick, stdin=PIPE)
    host, port = await server.address()
    client = await commands.start("nc", host, port, stdin=PIPE)
    await server.event("accepted")
    client.process.kill()
    assert await server.end() == 1
    assert server.errors == ["the peer did not answer keepalive probes"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "Missing argument"),
        (("7000",), "has no host"),
        (("a", "b", "c"), "write HOST PORT"),
        (("host", "0"), "1 to 65535"),
        (("host", "http"), "is not a port"),
        (("-l", "a", "b", "c"), r"write [HOST] PORT"),
        (("-k", "host", "7000"), "--keep-open goes with --listen"),
        (("-l", "--local", ":1", "7000"), "--local goes with dialling"),
        (("host", "7000", "--timeout", "soon"), "is not a duration"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], complaint: str) -> None:
    result = CliRunner().invoke(main, ["nc", *words])
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.split())
