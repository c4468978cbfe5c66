"""The examples as a user runs them: real processes, real sockets, a bad link."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import re
import signal
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import rudp
from tests.integration.programs import WAIT_S, Program, programs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Start = Callable[..., Awaitable[Program]]

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups"),
]

ROOT = Path(__file__).parents[2]
LINK = ("--loss", "5", "--delay", "5", "--reorder", "2", "--duplicate", "1", "--seed", "7")
PIECE_BYTES = 64 << 10


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts scripts, each the leader of a process group; none outlives the test."""
    async with programs() as start_program:

        async def start_one(script: str, *words: object) -> Program:
            return await start_program(ROOT / script, *words)

        yield start_one


async def start_server(start: Start, script: str, *words: object) -> tuple[Program, str]:
    """A server on a free port, and its address."""
    server = await start(script, *words, "--listen", "127.0.0.1:0")
    return server, (await server.expect(r"^listening on (\S+)$"))[1]


# -- echo ----------------------------------------------------------------------------------------


async def test_echo_of_a_message_and_of_piped_lines_over_a_bad_link(start: Start) -> None:
    server, where = await start_server(start, "examples/echo_server.py")
    client = await start("examples/echo_client.py", "hello ✓", "--server", where, *LINK)
    assert (await client.end(), client.lines) == (0, ["hello ✓"])

    client = await start("examples/echo_client.py", "--server", where, *LINK)
    lines = [f"line {n} {'x' * (n % 100)}" for n in range(2000)]
    await client.type(*lines)
    client.close_input()
    assert (await client.end(), client.lines) == (0, lines)

    assert (await server.end(sent=signal.SIGINT), server.errors) == (0, b"")


async def test_the_same_echo_over_tcp(start: Start) -> None:
    server, where = await start_server(start, "examples/echo_server.py", "--transport", "tcp")
    client = await start("examples/echo_client.py", "hi", "--server", where, "--transport", "tcp")
    assert (await client.end(), client.lines, client.errors) == (0, ["hi"], b"")
    assert await server.end(sent=signal.SIGTERM) == 0


async def test_an_interrupted_client_ends_quietly_and_so_does_its_server(start: Start) -> None:
    server, where = await start_server(start, "examples/echo_server.py")
    client = await start("examples/echo_client.py", "--server", where)
    await client.type("still here")
    await client.expect("^still here$")
    other = await start("examples/echo_client.py", "--server", where)
    await other.type("me too")
    await other.expect("^me too$")
    assert (await client.end(sent=signal.SIGINT), client.errors) == (130, b"")
    assert (await server.end(sent=signal.SIGINT), server.errors) == (0, b"")
    assert await other.end() == 1  # although its input is still open
    assert re.fullmatch(rb"echo_client\.py: [^\n]+\n", other.errors)


async def test_a_server_that_is_not_there_is_one_readable_line(start: Start) -> None:
    server, where = await start_server(start, "examples/echo_server.py")
    await server.end(sent=signal.SIGTERM)
    for script, word in (("echo", "hi"), ("chat", "ada")):
        client = await start(f"examples/{script}_client.py", word, "--server", where)
        assert await client.end() == 1
        assert re.fullmatch(rf"{script}_client\.py: [^\n]+\n".encode(), client.errors)


@pytest.mark.parametrize("words", [("--loss", "101"), ("--server", "nowhere"), ("--delay", "x")])
async def test_nonsense_on_the_command_line_is_refused(start: Start, words: Any) -> None:
    client = await start("examples/echo_client.py", "hi", *words)
    assert await client.end() == 2
    assert words[0].encode() in client.errors


# -- metrics -------------------------------------------------------------------------------------


async def http_get(url: str) -> str:
    """What an HTTP server says, head included."""
    host, _, path = url.removeprefix("http://").partition("/")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    writer.write(f"GET /{path} HTTP/1.0\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), WAIT_S)
    writer.close()
    await writer.wait_closed()
    return answer.decode()


async def test_metrics_are_scraped_and_logged(start: Start) -> None:
    pytest.importorskip("prometheus_client", reason="the extra [prometheus] is not installed")
    options = ("--metrics", "127.0.0.1:0", "--log-every", "0.2")
    server, where = await start_server(start, "examples/metrics_server.py", *options)
    client = await start("examples/echo_client.py", "hello", "--server", where)
    assert (await client.end(), client.lines) == (0, ["hello"])
    exposed = await http_get(server.lines[0].removeprefix("metrics on "))
    assert exposed.startswith("HTTP/1.0 200 OK")
    assert "rudp_connections_accepted_total 1.0" in exposed
    assert "# HELP rudp_retransmitted_bytes_total Payload sent again." in exposed
    await server.expect(r"metrics .*connections_accepted.*=.*1")
    assert await server.end(sent=signal.SIGINT) == 0
    assert server.errors == b""


# -- chat ----------------------------------------------------------------------------------------


async def join(start: Start, name: str, where: str, *words: object) -> Program:
    client = await start("examples/chat_client.py", name, "--server", where, *words)
    await client.expect(f"welcome, {name}")
    return client


async def test_a_chat_over_a_bad_link(start: Start) -> None:
    server, where = await start_server(start, "examples/chat_server.py")
    ada = await join(start, "ada", where, *LINK)
    bob = await join(start, "bob", where, *LINK)
    cleo = await join(start, "cleo", where, *LINK)
    await ada.expect(r"^\* bob has joined$")
    await ada.expect(r"^\* cleo has joined$")

    await ada.type(
        "hello \x1b[31mred\x1b[0m\x07 ✓", "/who", "/msg BOB psst", "//not a command", "/x"
    )
    for other in (bob, cleo):
        await other.expect(r"^<ada> hello \[31mred\[0m ✓$")
    await bob.expect(r"^\[ada -> you\] psst$")
    await bob.expect(r"^<ada> /not a command$")
    await cleo.expect(r"^<ada> /not a command$")
    await ada.expect(r"^\* here: ada, bob, cleo$")
    await ada.expect(r"^\[you -> bob\] psst$")
    await ada.expect(r"^\* there is no /x; ")
    assert not any("psst" in line for line in cleo.lines)

    lines = [f"pasted {n}" for n in range(150)]
    await cleo.type(*lines)
    for other in (ada, bob):
        await other.expect("^<cleo> pasted 149$")
        pasted = [line for line in other.lines if line.startswith("<cleo> pasted")]
        assert pasted == [f"<cleo> {line}" for line in lines]

    await bob.type("/quit")
    await bob.expect(r"^\* bye$")
    assert await bob.end() == 0
    await ada.expect(r"^\* bob has left$")
    cleo.close_input()
    assert await cleo.end() == 0
    await ada.expect(r"^\* cleo has left$")

    status = await server.end(sent=signal.SIGTERM)
    assert (status, server.errors) == (0, b"")
    await ada.expect(r"^\* the room closes$")
    assert await ada.end() == 0


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("ADA", "there is a ADA here already"),
        ("two words", "a name is"),
        ("a\x1b[2J", "a name is"),
        ("x" * 21, "a name is"),
        ("", "a name is"),
    ],
)
async def test_a_chat_name_is_checked(start: Start, name: str, complaint: str) -> None:
    _, where = await start_server(start, "examples/chat_server.py")
    ada = await join(start, "ada", where)
    client = await start("examples/chat_client.py", name, "--server", where)
    assert await client.end() == 1
    assert client.errors.startswith(complaint.encode())
    await ada.type("/who")
    await ada.expect(r"^\* here: ada$")


async def test_a_chat_client_that_is_killed_is_noticed_and_announced(start: Start) -> None:
    server, where = await start_server(start, "examples/chat_server.py", "--keepalive", "0.4")
    ada = await join(start, "ada", where)
    bob = await join(start, "bob", where)
    await ada.expect("bob has joined")
    bob.process.kill()
    await ada.expect(r"^\* bob has vanished: .")
    assert await server.end(sent=signal.SIGTERM) == 0


async def test_a_chat_client_that_does_not_read_is_disconnected_and_stalls_nobody(
    start: Start,
) -> None:
    _, where = await start_server(start, "examples/chat_server.py")
    ada = await join(start, "ada", where)
    bob = await join(start, "bob", where)
    host, port = where.split(":")
    reader, writer = await rudp.open_connection(
        host, int(port), limit=2048, config=rudp.Config(receive_buffer=4096)
    )
    try:
        writer.write(b"sloth\n")
        assert (await reader.readline()).startswith(b"+OK ")
        await ada.expect("sloth has joined")
        for n in range(1500):
            await ada.type(f"{n} {'x' * 900}")
            if n % 50 == 49:  # no faster than bob reads, however slow the machine is
                await bob.expect(f"^<ada> {n} ")
        assert "* sloth was disconnected: does not keep up" in bob.lines
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_line_that_is_too_long_is_cut_off(start: Start) -> None:
    _, where = await start_server(start, "examples/chat_server.py")
    ada = await join(start, "ada", where)
    bob = await join(start, "bob", where)
    await ada.expect("bob has joined")
    await bob.type("y" * 50_000, "the next one")
    assert len((await ada.expect("^<bob> (y+)$"))[1]) <= 4096
    await ada.expect("^<bob> the next one$")


# -- file copy -----------------------------------------------------------------------------------


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def start_receiver(start: Start, into: Path, *words: object) -> tuple[Program, str]:
    return await start_server(start, "examples/file_copy.py", "recv", "--into", into, *words)


@pytest.mark.parametrize(("size", "streams"), [(700_001, 5), (0, 2), (1, 3), (PIECE_BYTES, 1)])
async def test_a_copy_over_a_bad_link(
    start: Start, tmp_path: Path, size: int, streams: int
) -> None:
    source = tmp_path / "with a space ✓.bin"
    source.write_bytes(random.Random(size).randbytes(size))
    receiver, where = await start_receiver(start, tmp_path / "in", "--once")
    sender = await start(
        "examples/file_copy.py", "send", source, where, "--streams", streams, "--json", *LINK
    )
    assert await sender.end() == 0, sender.errors
    assert await receiver.end() == 0, receiver.errors
    assert receiver.errors == b""
    report = json.loads(sender.lines[-1])
    assert (report["bytes"], report["streams"]) == (size, streams)
    assert report["sha256"] == sha256(source) == sha256(tmp_path / "in" / source.name)
    assert f"sha256 {report['sha256']}" in receiver.lines
    assert report["connections"] == streams
    assert report["bytes_sent"] >= size
    assert [path.name for path in (tmp_path / "in").iterdir()] == [source.name]


async def test_a_file_that_is_there_already_is_kept(start: Start, tmp_path: Path) -> None:
    source, there = tmp_path / "a", tmp_path / "in" / "a"
    source.write_bytes(b"new")
    there.parent.mkdir()
    there.write_bytes(b"old")
    receiver, where = await start_receiver(start, there.parent)
    sender = await start("examples/file_copy.py", "send", source, where)
    assert await sender.end() == 1
    assert sender.errors == b"file_copy.py: the receiver says: a exists already\n"
    assert there.read_bytes() == b"old"
    assert await receiver.end(sent=signal.SIGTERM) == 1

    receiver, where = await start_receiver(start, there.parent, "--overwrite")
    sender = await start("examples/file_copy.py", "send", source, where)
    assert await sender.end() == 0
    assert there.read_bytes() == b"new"
    assert await receiver.end(sent=signal.SIGINT) == 0


class RawSender:
    """A sender that says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, message: object, wanted: str) -> Any:
        """Send a message; what the answer that has `wanted` in it says."""
        self.writer.write(json.dumps(message).encode() + b"\n")
        async with asyncio.timeout(WAIT_S):
            while wanted not in (answer := json.loads(await self.reader.readline())):
                assert "received" in answer, answer
        return answer[wanted]


@contextlib.asynccontextmanager
async def raw_sender(where: str) -> AsyncIterator[RawSender]:
    host, port = where.split(":")
    reader, writer = await rudp.open_connection(host, int(port))
    try:
        yield RawSender(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_the_receiver_writes_nothing_outside_its_directory(
    start: Start, tmp_path: Path
) -> None:
    into = tmp_path / "box" / "in"
    receiver, where = await start_receiver(start, into)
    outside = tmp_path / "outside"
    names = ("../x", "..", ".", "", "a/b", str(outside), "a\\b", "C:x", "x\n", "x" * 300, None, 7)
    for name in names:
        async with raw_sender(where) as raw:
            begin = {"op": "begin", "transfer": "t", "name": name, "size": 0}
            assert "is not a plain file name" in await raw.ask(begin, "error")
    assert list(into.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["box"]

    (into / "link").symlink_to(outside)  # of a file that is not there: opening it would create it
    async with raw_sender(where) as raw:
        begin = {"op": "begin", "transfer": "t", "name": "link", "size": 0}
        assert "exists already" in await raw.ask(begin, "error")
    assert not outside.exists()
    assert await receiver.end(sent=signal.SIGTERM) == 1
    assert b"Traceback" not in receiver.errors


async def test_a_wrong_digest_is_a_failure_on_both_sides_and_leaves_no_file(
    start: Start, tmp_path: Path
) -> None:
    receiver, where = await start_receiver(start, tmp_path / "in", "--once")
    async with raw_sender(where) as control, raw_sender(where) as data:
        begin = {"op": "begin", "transfer": "t", "name": "x", "size": 3}
        assert await control.ask(begin, "ok") is True
        data.writer.write(b'{"op": "data", "transfer": "t"}\n' + struct.pack("!QI", 0, 3) + b"abc")
        data.writer.write_eof()
        assert json.loads(await data.reader.readline()) == {"received": 3}
        digest = hashlib.sha256(b"abd").hexdigest()
        complaint = await control.ask({"op": "end", "sha256": digest}, "error")
        assert complaint.startswith("sha256 mismatch")
        assert await receiver.end() == 1
    assert b"sha256 mismatch" in receiver.errors
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize(
    ("offset", "length"), [(4, 65_536), (65_536, 1), (1, 1), (0, 99), (1 << 63, 100), (0, 0)]
)
async def test_a_piece_that_does_not_belong_to_the_file_ends_the_transfer(
    start: Start, tmp_path: Path, offset: int, length: int
) -> None:
    receiver, where = await start_receiver(start, tmp_path / "in", "--once")
    async with raw_sender(where) as control, raw_sender(where) as data:
        begin = {"op": "begin", "transfer": "t", "name": "x", "size": 100}
        assert await control.ask(begin, "ok") is True
        header = struct.pack("!QI", offset, length)
        data.writer.write(b'{"op": "data", "transfer": "t"}\n' + header + b"x" * 10)
        assert "does not belong" in json.loads(await data.reader.readline())["error"]
        assert "does not belong" in await control.ask({"op": "end", "sha256": ""}, "error")
        assert await receiver.end() == 1
    assert list((tmp_path / "in").iterdir()) == []
