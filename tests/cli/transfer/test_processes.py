"""`rudp send` and `rudp recv` as a user runs them: real processes over loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import rudp
from rudp.aio.relay import LossyRelay
from rudp.cli.app import main
from rudp.cli.transfer.format import Data, Decoder, End, Failed, Hello, Kind, Offer, encode
from rudp.cli.transfer.names import PART_PREFIX
from rudp.sim import Link, LinkConfig
from tests.cli.transfer.support import digest, tree
from tests.integration.programs import WAIT_S, Program

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups"),
]
Start = Callable[..., Awaitable[Program]]
SIZE = 6_000_000


async def start_receiver(rudp_command: Start, into: Path, *words: object) -> tuple[Program, str]:
    """A receiver that speaks JSON, and its port."""
    listen = ("--listen", "127.0.0.1:0", "--into", into, "--json")
    receiver = await rudp_command("recv", *listen, *words)
    return receiver, (await receiver.expect(r'"event": "listening".*:(\d+)"'))[1]


def events(program: Program, event: str) -> list[dict[str, Any]]:
    found = (json.loads(line) for line in program.lines)
    return [message for message in found if message["event"] == event]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with a large file and many small ones."""
    root = tmp_path / "source"
    (root / "small").mkdir(parents=True)
    (root / "large").write_bytes(random.Random(1).randbytes(SIZE))
    for number in range(300):
        (root / "small" / f"{number} ✓").write_bytes(b"%d" % number)
    return root


async def test_a_directory_and_a_file_arrive_and_both_sides_tell(
    rudp_command: Start, source: Path, tmp_path: Path
) -> None:
    into = tmp_path / "into"
    receiver, port = await start_receiver(rudp_command, into, "--once")
    paths = (source, source / "large")
    sender = await rudp_command("send", "--json", *paths, "127.0.0.1", port)
    assert await sender.end() == 0, sender.errors
    assert await receiver.end() == 0, receiver.errors
    assert sender.errors == receiver.errors == b""
    assert tree(into / "source") == tree(source)
    assert digest(into / "large") == digest(source / "large")
    (sent,), (received,) = events(sender, "transfer"), events(receiver, "transfer")
    for side in (sent, received):
        assert (side["files"], side["failed"], side["bytes_moved"]) == (302, 0, side["bytes"])
    assert sent["bytes_per_s"] > 0
    assert sent["srtt_s"] > 0
    assert len(events(receiver, "file")) == 302


@contextlib.asynccontextmanager
async def slow_link(port: str) -> Any:
    """The port of a way to `port` that takes 3 MB/s."""
    config = LinkConfig(rate_bytes_per_s=3e6, delay_s=0.005, queue_bytes=100_000)
    links = [Link(config, random.Random(seed)) for seed in (1, 2)]
    relay = await LossyRelay.start(("127.0.0.1", int(port)), to_server=links[0], to_client=links[1])
    async with relay:
        yield str(relay.address[1])


async def until_partial(into: Path, least: int) -> None:
    """Wait until a partial file has so many bytes."""
    deadline_s = time.monotonic() + WAIT_S
    while True:
        sizes = []
        for path in into.rglob(PART_PREFIX + "*"):
            with contextlib.suppress(FileNotFoundError):  # a small one that has its name by now
                sizes.append(path.stat().st_size)
        if sizes and max(sizes) >= least:
            return
        assert time.monotonic() < deadline_s, sizes
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("killed", ["sender", "receiver"])
async def test_a_transfer_goes_on_after_either_side_was_killed(
    rudp_command: Start, source: Path, tmp_path: Path, killed: str
) -> None:
    into = tmp_path / "into"
    quick = ("--keepalive", "300ms", "--set", "keepalive_interval=100ms", "--user-timeout", "1s")
    # A receiver that would not notice by itself: who comes again is not to wait for that.
    patient = ("--keepalive", "off", "--user-timeout", "off")
    receiver, port = await start_receiver(rudp_command, into, *patient)
    async with slow_link(port) as slow_port:
        sender = await rudp_command("send", *quick, source, "127.0.0.1", slow_port)
        await until_partial(into, 1_000_000)
        (sender if killed == "sender" else receiver).process.send_signal(signal.SIGKILL)
        if killed == "receiver":
            assert await receiver.end() == -signal.SIGKILL
            assert await sender.end() == 1
            assert b"Traceback" not in sender.errors
            receiver, port = await start_receiver(rudp_command, into, *patient)
    again = await rudp_command("send", "--json", source, "127.0.0.1", port)
    assert await again.end() == 0, (again.lines, again.errors)
    assert tree(into / "source") == tree(source)
    (sent,) = events(again, "transfer")
    assert 1_000_000 <= sent["bytes_resumed"] < SIZE
    assert sent["bytes_moved"] + sent["bytes_resumed"] == sent["bytes"]
    assert await receiver.end(sent=signal.SIGTERM) == 0
    assert receiver.errors == b""


async def say(port: str, data: bytes) -> list[Any]:
    """What a receiver answers to these bytes, up to the end of the connection."""
    reader, writer = await rudp.open_connection("127.0.0.1", int(port))
    answers = b""
    try:
        async with asyncio.timeout(WAIT_S):
            writer.write(data)
            while piece := await reader.read(65_536):
                answers += piece
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return Decoder().feed(answers)


async def test_a_receiver_outlives_whatever_comes_and_writes_nothing_outside(
    rudp_command: Start, tmp_path: Path
) -> None:
    into = tmp_path / "box/into"
    receiver, port = await start_receiver(rudp_command, into)
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", bytes(100_000), b"\x01" + b"\xff" * 100):
        assert "Abort" in repr(await say(port, nonsense))
    evil = [Offer(0, Kind.EAGER_FILE, 1, 0o777, 0, b"../../evil"), Data(b"x"), End(0, bytes(32))]
    answers = await say(port, b"".join(map(encode, [Hello(), *evil, evil[1]])))
    assert [type(answer).__name__ for answer in answers] == ["Hello", "Failed", "Abort"]
    assert isinstance(answers[1], Failed)
    assert [path.name for path in tmp_path.rglob("*")] == ["box", "into"]
    assert await receiver.end(sent=signal.SIGINT) == 0
    assert receiver.errors == b""
    assert len(events(receiver, "transfer")) == 4


async def test_a_stranger_is_not_the_one_sender(
    rudp_command: Start, source: Path, tmp_path: Path
) -> None:
    receiver, port = await start_receiver(rudp_command, tmp_path / "into", "--once")
    await say(port, b"GET / HTTP/1.1\r\n\r\n")
    await receiver.expect('"event": "transfer"')
    sender = await rudp_command("send", source, "127.0.0.1", port)
    assert (await sender.end(), await receiver.end()) == (0, 0)


async def test_one_sender_too_many_is_told(
    rudp_command: Start, source: Path, tmp_path: Path
) -> None:
    receiver, port = await start_receiver(rudp_command, tmp_path / "into", "--max-senders", "1")
    reader, writer = await rudp.open_connection("127.0.0.1", int(port))
    await reader.readexactly(5)
    sender = await rudp_command("send", source, "127.0.0.1", port)
    assert await sender.end() == 1
    assert b"busy" in sender.errors
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    assert await receiver.end(sent=signal.SIGTERM) == 0


async def test_an_interrupted_sender_is_quiet_and_a_file_that_differs_is_an_error(
    rudp_command: Start, source: Path, tmp_path: Path
) -> None:
    into = tmp_path / "into"
    receiver, port = await start_receiver(rudp_command, into)
    async with slow_link(port) as slow_port:
        sender = await rudp_command("send", source, "127.0.0.1", slow_port)
        await until_partial(into, 100_000)
        assert await sender.end(sent=signal.SIGINT) == 130
        assert sender.errors == b""
    (into / "large").write_bytes(b"other")
    sender = await rudp_command("send", source / "large", "127.0.0.1", port)
    assert await sender.end() == 1
    assert re.search(rb"^rudp: large: it is there with another content$", sender.errors, re.M)
    assert (into / "large").read_bytes() == b"other"
    assert await receiver.end(sent=signal.SIGTERM) == 0


async def test_nobody_there_is_one_line(rudp_command: Start, source: Path) -> None:
    sender = await rudp_command("send", source, "127.0.0.1", "9")
    assert await sender.end() == 1
    assert re.fullmatch(rb"rudp: [^\n]+\n", sender.errors)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["send"], "Missing argument"),
        (["send", "/nonexistent", "host", "7"], "does not exist"),
        (["send", os.devnull, "host", "0"], "is not a port"),
        (["recv", "--into", "x"], "--listen"),
        (["recv", "--listen", "7"], "--into"),
        (["recv", "--listen", "7", "--into", "x", "--max-senders", "0"], "max-senders"),
    ],
)
def test_nonsense_on_the_command_line(words: list[str], complaint: str) -> None:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert complaint in result.output


@pytest.mark.parametrize("name", ["send", "recv"])
def test_help_has_examples_and_exit_codes(name: str) -> None:
    text = CliRunner().invoke(main, [name, "--help"]).output
    assert f"rudp {name} " in text
    assert "Exit codes:" in text
