"""The first scene: three users talk over the link, one is killed, one leaves."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from rudp.cli.address import format_address, parse_host_port
from rudp.cli.demo.children import Child, Children, example
from rudp.cli.demo.show import BadLink, Show, watching

if TYPE_CHECKING:
    from collections.abc import Mapping

_COLOURS = {"ada": "cyan", "bob": "green", "cleo": "magenta"}
_BURST_LINES = 100
_SCRIPT = (
    ("ada", "hello! is anybody there?", "<ada> hello! is anybody there?", "bob cleo"),
    ("bob", "here. How is the line?", "<bob> here. How is the line?", "ada cleo"),
    ("cleo", "bad: see how late I am", "<cleo> bad: see how late I am", "ada bob"),
    ("ada", "but nothing is missing ✓", "<ada> but nothing is missing ✓", "bob cleo"),
    ("bob", "/msg cleo lunch at one?", "[bob -> you] lunch at one?", "cleo"),
    ("cleo", "/msg bob yes!", "[cleo -> you] yes!", "bob"),
    ("ada", "/who", "* here: ada, bob, cleo", "ada"),
)
"""Who says what, what is seen of it, and by whom."""


async def chat(show: Show) -> None:
    """Play it. Raises `DemoFailed` if a process does not do its part."""
    show.title("a chat between three processes")
    link = BadLink(show.options, "chat")
    async with Children(show.monitors) as children:
        server = await children.start(
            "the chat server",
            example("chat_server.py"),
            "--listen", "127.0.0.1:0", "--keepalive=1",
        )  # fmt: skip
        where = (await server.expect("listening on ")).removeprefix("listening on ")
        async with (
            link.relay(parse_host_port(where).to_dial) as address,
            watching(show, server, link),
        ):
            users: dict[str, Child] = {}
            for name in _COLOURS:
                words = (example("chat_client.py"), name, "--server", format_address(address))
                users[name] = await children.start(name, *words, typed=True)
                await users[name].expect("welcome")
            await _talk(show, users)
            await _burst(show, users)
            await _leave(show, users)
            server.process.terminate()
            show.check("the server was stopped and ended with status 0", await server.end() == 0)
    show.note(f"the link lost {link.lost} datagrams of this conversation")


async def _talk(show: Show, users: Mapping[str, Child]) -> None:
    """Say the lines of the script, each when the one before it has been seen."""
    for speaker, line, seen, audience in _SCRIPT:
        start_s = time.perf_counter()

        async def hear(name: str, seen: str = seen, start_s: float = start_s) -> str:
            await users[name].expect(seen)
            took_ms = (time.perf_counter() - start_s) * 1000
            return f"[{_COLOURS[name]}]{name}[/] {took_ms:.0f} ms"

        await users[speaker].say(line)
        heard = await asyncio.gather(*(hear(name) for name in audience.split()))
        name = f"[{_COLOURS[speaker]}]{speaker:>6}[/]"
        show.console.print(f"{name}: {line:30} [dim]→[/] {', '.join(heard)}", highlight=False)
    secret = [line for line in users["ada"].transcript if "lunch" in line or "yes!" in line]
    show.check("private messages were seen by nobody else", not secret)


async def _burst(show: Show, users: Mapping[str, Child]) -> None:
    """One user pastes many lines at once; the others must see each once and in order."""
    lines = [f"line {number} of {_BURST_LINES}" for number in range(1, _BURST_LINES + 1)]
    for line in lines:
        await users["bob"].say(line)
    for name in ("ada", "cleo"):
        await users[name].expect(f"<bob> {lines[-1]}")
        seen = [line for line in users[name].transcript if line.startswith("<bob> line ")]
        show.check(
            f"{name} saw bob's {_BURST_LINES} lines, each once and in order",
            seen == [f"<bob> {line}" for line in lines],
        )


async def _leave(show: Show, users: Mapping[str, Child]) -> None:
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
