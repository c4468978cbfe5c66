"""A chat and a file copy over a bad link, in separate processes: what `make demo` shows.

    python examples/demo.py
    python examples/demo.py --size 5 --streams 8 --loss 10 --delay 40 --seed 7

A server process, client processes and, between them, a relay process that loses 5 % of the
datagrams in each direction, reorders 2 %, duplicates 1 % and takes 40 ms for a round trip. Three
users talk, one of them is killed, and a file of random data is copied. Everything is checked; the
exit status is 0 only if every check holds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _common import Failure, add_link_options, add_transport_option, run

try:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
except ImportError:
    sys.exit("the demo prints with rich: pip install rich")

if TYPE_CHECKING:
    from typing import Self

HERE = Path(__file__).parent
TOTAL_TIMEOUT_S = 150.0
LINE_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 2.0
BURST_LINES = 100
COLOURS = {"ada": "cyan", "bob": "green", "cleo": "magenta"}


class Child:
    """A child process whose lines are awaited one by one."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self.transcript: list[str] = []
        self._read = 0  # how much of the transcript has been awaited
        self._news = asyncio.Event()
        self._ended = False
        self._reading = asyncio.create_task(self._collect())

    async def _collect(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.transcript.append(line.decode(errors="replace").rstrip("\n"))
            self._news.set()
        self._ended = True
        self._news.set()

    async def expect(self, text: str) -> str:
        """The next line that contains `text`; lines before it are passed over."""
        try:
            async with asyncio.timeout(LINE_TIMEOUT_S):
                while True:
                    while self._read < len(self.transcript):
                        line = self.transcript[self._read]
                        self._read += 1
                        if text in line:
                            return line
                    if self._ended:
                        raise Failure(f"{self.name} ended without {text!r}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise Failure(f"{self.name} did not print {text!r}") from None

    async def say(self, line: str) -> None:
        """Type a line into the child."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()

    async def end(self) -> int:
        """Close its input, and wait for its end and its last line; return its exit status."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(LINE_TIMEOUT_S):
                await self._reading
                return await self.process.wait()
        except TimeoutError:
            raise Failure(f"{self.name} did not end") from None

    async def stop(self) -> None:
        """End it whatever it is doing, politely first."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await self.process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self.process.kill()
                await self.process.wait()
        await asyncio.gather(self._reading, return_exceptions=True)


class Children:
    """The processes of a scene; leaving the block ends those that still live."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    async def start(self, name: str, *command: str, typed: bool = False) -> Child:
        """Start an example as a process of its own; `typed` gives it an input to type into."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(HERE / command[0]),
            *command[1:],
            stdin=pipe if typed else asyncio.subprocess.DEVNULL,
            stdout=pipe,
        )
        child = Child(name, process)
        self._children.append(child)
        return child

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.gather(*(child.stop() for child in reversed(self._children)))


@dataclass
class Show:
    """What is printed, what has been checked, what has been measured."""

    args: argparse.Namespace
    console: Console
    failed: bool = False
    figures: list[tuple[str, str]] = field(default_factory=list)

    def check(self, what: str, holds: bool) -> None:
        """Print one check and remember a failure."""
        self.failed = self.failed or not holds
        mark = "[bold green]✓[/]" if holds else "[bold red]✗[/]"
        self.console.print(f"  {mark} {escape(what)}")

    def title(self, text: str) -> None:
        """Begin a scene."""
        self.console.rule(f"[bold]{text}")


async def relayed(show: Show, children: Children, server: Child) -> tuple[str, Child | None]:
    """The address at which clients reach `server` over the bad link, and the relay."""
    target = (await server.expect("listening on ")).removeprefix("listening on ")
    args = show.args
    if args.transport == "tcp":
        return target, None
    options = {
        "--loss": args.loss * 100,
        "--reorder": args.reorder * 100,
        "--duplicate": args.duplicate * 100,
        "--delay": args.delay * 1000,
        "--jitter": args.jitter * 1000,
    }
    words = [word for name, value in options.items() for word in (name, f"{value:g}")]
    if args.seed is not None:
        words += ["--seed", str(args.seed)]
    relay = await children.start("the relay", "lossy_relay.py", "--target", target, *words)
    line = await relay.expect("relaying ")
    show.console.print(f"  [dim]the relay: {line}[/]")
    return line.split()[1], relay


async def relay_report(relay: Child | None) -> dict[str, Any] | None:
    """Stop the relay and return what it counted."""
    if relay is None:
        return None
    relay.process.terminate()
    await relay.end()
    report: dict[str, Any] = json.loads(relay.transcript[-1])
    return report


async def chat(show: Show) -> None:
    """Three users talk; one is killed, one leaves, one stays to the end."""
    show.title("a chat between three processes")
    async with Children() as children:
        words = ("--transport", show.args.transport)
        server = await children.start(
            "the chat server", "chat_server.py", "--listen", "127.0.0.1:0", "--keepalive=1", *words
        )
        where, relay = await relayed(show, children, server)
        users: dict[str, Child] = {}
        for name in COLOURS:
            user = await children.start(
                name, "chat_client.py", name, "--server", where, *words, typed=True
            )
            await user.expect("welcome")
            users[name] = user
        await talk(show, users)
        await burst(show, users)
        await leave(show, users)
        server.process.terminate()
        show.check("the server was stopped and ended with status 0", await server.end() == 0)
        report = await relay_report(relay)
        if report is not None:
            link = report["to_server"]["lost"] + report["to_client"]["lost"]
            show.console.print(
                f"  the link lost {link} datagrams of this conversation", style="dim"
            )


async def talk(show: Show, users: dict[str, Child]) -> None:
    """Say the lines of the script, each when the one before it has been seen."""
    everybody = set(users)
    script = (
        ("ada", "hello! is anybody there?", "<ada> hello! is anybody there?", everybody),
        ("bob", "here. How is the line?", "<bob> here. How is the line?", everybody),
        ("cleo", "bad: see how late I am", "<cleo> bad: see how late I am", everybody),
        ("ada", "but nothing is missing ✓", "<ada> but nothing is missing ✓", everybody),
        ("bob", "/msg cleo lunch at one?", "[bob -> you] lunch at one?", {"cleo"}),
        ("cleo", "/msg bob yes!", "[cleo -> you] yes!", {"bob"}),
        ("ada", "/who", "* here: ada, bob, cleo", {"ada"}),
    )
    for speaker, line, seen, audience in script:
        start_s = time.perf_counter()

        async def hear(name: str, seen: str = seen, start_s: float = start_s) -> str:
            await users[name].expect(seen)
            took_ms = (time.perf_counter() - start_s) * 1000
            return f"[{COLOURS[name]}]{name}[/] {took_ms:.0f} ms"

        listeners = sorted(audience - {speaker}) or [speaker]
        await users[speaker].say(line)
        heard = await asyncio.gather(*(hear(name) for name in listeners))
        name = f"[{COLOURS[speaker]}]{speaker:>6}[/]"
        show.console.print(f"{name}: {line:30} [dim]→[/] {', '.join(heard)}", highlight=False)
    secret = [line for line in users["ada"].transcript if "lunch" in line or "yes!" in line]
    show.check("private messages were seen by nobody else", not secret)


async def burst(show: Show, users: dict[str, Child]) -> None:
    """One user pastes many lines at once; the others must see each once and in order."""
    lines = [f"line {number} of {BURST_LINES}" for number in range(1, BURST_LINES + 1)]
    for line in lines:
        await users["bob"].say(line)
    for name in ("ada", "cleo"):
        await users[name].expect(f"<bob> {lines[-1]}")
        seen = [line for line in users[name].transcript if line.startswith("<bob> line ")]
        show.check(
            f"{name} saw bob's {BURST_LINES} lines, each once and in order",
            seen == [f"<bob> {line}" for line in lines],
        )


async def leave(show: Show, users: dict[str, Child]) -> None:
    """Kill one user and let the others go properly."""
    start_s = time.perf_counter()
    users["cleo"].process.kill()
    for name in ("ada", "bob"):
        notice = await users[name].expect("* cleo ")
    took_s = time.perf_counter() - start_s
    show.check(f"cleo was killed, noticed after {took_s:.1f} s: {notice!r}", True)
    await users["bob"].say("/quit")
    bob = await users["bob"].end()
    await users["ada"].expect("* bob has left")
    ada = await users["ada"].end()
    show.check(
        "bob left with /quit, ada with the end of her input, both with status 0", bob == ada == 0
    )


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_random(path: Path, size: int) -> None:
    """Write a file of random bytes."""
    with path.open("wb") as file:
        for offset in range(0, size, 1 << 20):
            file.write(os.urandom(min(1 << 20, size - offset)))


async def copy(show: Show, directory: Path) -> None:
    """Copy a file of random data, and compare both sides on the disk."""
    args = show.args
    size = round(args.size * 1_000_000)
    show.title(f"a file of {args.size:g} MB, striped over {args.streams} connections")
    source, target = directory / "random.bin", directory / "in" / "random.bin"
    write_random(source, size)
    words = ("--transport", args.transport)
    async with Children() as children:
        receiver = await children.start(
            "the receiver", "file_copy.py", "recv", "--listen", "127.0.0.1:0",
            "--into", str(target.parent), "--once", *words,
        )  # fmt: skip
        where, relay = await relayed(show, children, receiver)
        sender = await children.start(
            "the sender", "file_copy.py", "send", str(source), where,
            "--streams", str(args.streams), "--json", *words,
        )  # fmt: skip
        await sender.expect('"sha256"')
        statuses = await sender.end(), await receiver.end()
        report = await relay_report(relay)
    show.check("sender and receiver both ended with status 0", statuses == (0, 0))
    sent, received = digest_of(source), digest_of(target) if target.is_file() else "nothing"
    show.console.print(f"  sent     {sent}", highlight=False)
    show.console.print(f"  received {received}", highlight=False)
    show.check("SHA-256 equal", sent == received)
    measure(show, json.loads(sender.transcript[-1]), report)


def measure(show: Show, copied: dict[str, Any], report: dict[str, Any] | None) -> None:
    """Turn the counters of the sender and of the relay into the figures of the table."""
    seconds = copied["seconds"]
    show.figures += [
        ("copied", f"{copied['bytes'] / 1e6:.1f} MB in {seconds:.1f} s"),
        ("goodput", f"{copied['bytes'] / seconds / 1e6:.2f} MB/s"),
    ]
    if copied.get("bytes_sent"):
        again = copied["bytes_retransmitted"]
        share = again / (copied["bytes_sent"] + again)
        srtt_s = copied["srtt_sum_s"] / copied["connections"]
        show.figures += [
            ("retransmitted", f"{share:.1%} of the bytes sent"),
            ("round trip (smoothed, mean)", f"{srtt_s * 1000:.1f} ms"),
        ]
    if report is None:
        return
    for name, title in (("to_server", "to the receiver"), ("to_client", "to the sender")):
        link = report[name]
        show.figures.append((
            f"the link, {title}",
            f"{link['sent']} datagrams: {link['lost']} lost ({link['lost'] / link['sent']:.1%}), "
            f"{link['reordered']} reordered, {link['duplicated']} duplicated",
        ))  # fmt: skip
        show.check(f"the link {title} lost, reordered and duplicated", all_faults(show.args, link))


def all_faults(args: argparse.Namespace, link: dict[str, int]) -> bool:
    """Whether every fault that was asked for has happened."""
    asked = {"lost": args.loss, "reordered": args.reorder, "duplicated": args.duplicate}
    return all(link[name] > 0 for name, probability in asked.items() if probability)


async def main(args: argparse.Namespace) -> int:
    """Run both scenes and print the table."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    show = Show(args, console)
    console.print(
        f"each way: {args.loss:.1%} lost, {args.reorder:.1%} reordered, "
        f"{args.duplicate:.1%} duplicated, {args.delay * 1000:g} ms"
    )
    start_s = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="rudp-demo-") as directory:
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT_S):
                if args.only != "copy":
                    await chat(show)
                if args.only != "chat":
                    await copy(show, Path(directory))
        except TimeoutError:
            raise Failure(f"not finished after {TOTAL_TIMEOUT_S:g} s") from None
    show.title("what was measured")
    table = Table(show_header=False)
    for name, value in (*show.figures, ("in all", f"{time.perf_counter() - start_s:.1f} s")):
        table.add_row(name, value)
    console.print(table)
    console.print("[bold red]FAILED[/]" if show.failed else "[bold green]every check holds[/]")
    return 1 if show.failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=float, default=20.0, metavar="MB", help="default: 20")
    parser.add_argument("--streams", type=int, default=24, metavar="N", help="default: 24")
    parser.add_argument("--only", choices=("chat", "copy"), help="one of the two scenes")
    add_transport_option(parser)
    add_link_options(parser)
    parser.set_defaults(loss=0.05, reorder=0.02, duplicate=0.01, delay=0.02)
    run(main, parser.parse_args())
