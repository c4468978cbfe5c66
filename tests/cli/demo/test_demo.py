"""`rudp demo`, as a user runs it, and what it would say if something were wrong."""

from __future__ import annotations

import random
import re
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from rudp.cli.app import main
from rudp.cli.commands import demo
from rudp.cli.demo.children import Children, DemoFailed, example
from rudp.cli.demo.copy import _did_all, copy
from rudp.cli.demo.show import Options, Show, sparkline
from rudp.sim import Link, LinkConfig
from tests.integration.programs import Program, group_lives

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups")
Start = Callable[..., Awaitable[Program]]
BAD = LinkConfig(loss=0.05, delay_s=0.005, reorder=0.02, duplicate=0.01)


@pytest.mark.processes
async def test_the_demo_in_small(rudp_command: Start) -> None:
    words = ("--size", "4M", "--delay", "5ms", "--rate", "40")
    shown = await rudp_command("demo", *words)
    status = await shown.end()
    assert (status, shown.lines[-1]) == (0, "every check holds"), (shown.lines, shown.errors)
    assert shown.errors == b""
    text = "\n".join(shown.lines)
    digests = re.findall(r"^  (?:sent|received) +([0-9a-f]{64})$", text, re.MULTILINE)
    assert len(digests) == 2
    assert digests[0] == digests[1]
    for figure in ("goodput", "retransmitted", "round trip", "the link, to the receiver"):
        assert figure in text
    assert re.search(r"MB/s, RTT [\d.]+ ms, cwnd \S+, in flight", text)
    assert not group_lives(shown)


@pytest.mark.processes
async def test_a_demo_that_is_stopped_leaves_no_process(rudp_command: Start) -> None:
    shown = await rudp_command("demo", "--only", "chat")
    await shown.expect("→")  # the conversation has begun
    assert await shown.end(sent=signal.SIGTERM) == 143
    assert not group_lives(shown)
    assert b"Traceback" not in shown.errors


def show_for(tmp_path: Path, size_bytes: int = 1000) -> Show:
    options = Options(link=BAD, seed=1, size_bytes=size_bytes)
    return Show(options, Console(quiet=True), tmp_path)


async def test_a_check_that_does_not_hold_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    async def pretend(show: Show, *_: object) -> None:
        show.check("the sky is green", holds=False)
        show.check("the sky is blue", holds=True)

    monkeypatch.setattr(demo, "copy", pretend)
    assert await demo._play(Options(link=BAD, seed=1, size_bytes=1, only="copy")) == 1


@pytest.mark.processes
async def test_a_file_that_is_spoiled_on_its_way_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rudp.cli.demo.copy._digests", lambda *paths: ["one", "other"])
    show = show_for(tmp_path)
    await copy(show, tmp_path)
    assert show.failed


async def test_a_program_that_ends_or_was_not_installed_fails(tmp_path: Path) -> None:
    async with Children(tmp_path) as children:
        child = await children.start("nobody", "-c", "print('something')")
        with pytest.raises(DemoFailed, match="nobody ended without 'else'"):
            await child.expect("else")
    with pytest.raises(DemoFailed, match="not installed"):
        example("no_such_program.py")


def test_a_link_that_did_nothing_is_not_taken_for_a_bad_one() -> None:
    options = Options(link=BAD, seed=1, size_bytes=1)
    idle, busy = (Link(config, random.Random(1)) for config in (LinkConfig(), BAD))
    assert _did_all(options, idle)  # nothing was sent: nothing was to be expected
    for _ in range(2000):
        idle.transmit(b"x", 0.0)
        busy.transmit(b"x", 0.0)
    assert not _did_all(options, idle)
    assert _did_all(options, busy)


def test_the_panels_bars() -> None:
    assert sparkline(deque([0.0, 4.0, 8.0])) == " ▄█"
    assert sparkline(deque([0.0])) == " "
    assert sparkline(deque()) == ""


@pytest.mark.parametrize(
    "words", [["--loss", "101"], ["--delay", "10s"], ["--delay", "0"], ["--congestion", "none"]]
)
def test_nonsense_on_the_command_line(words: list[str]) -> None:
    result = CliRunner().invoke(main, ["demo", *words])
    assert result.exit_code == 2
    assert "Error" in result.output


def test_help_has_examples_and_exit_codes() -> None:
    text = CliRunner().invoke(main, ["demo", "--help"]).output
    assert "rudp demo --loss" in text
    assert "Exit codes:" in text
