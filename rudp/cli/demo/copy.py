"""The second scene: a file of random data by `rudp send` and `rudp recv` over the link."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from rudp.cli.address import parse_host_port
from rudp.cli.demo.children import Children
from rudp.cli.demo.show import BadLink, Options, Show, watching
from rudp.sim import Link

COPY_TIMEOUT_S = 110.0
_SURE = 15
"""So many faults are expected before none at all would be a wonder (e to the -15)."""


async def copy(show: Show, directory: Path) -> None:
    """Play it. Raises `DemoFailed` if a process does not do its part."""
    options = show.options
    show.title(f"a file of {options.size_bytes / 1e6:g} MB")
    source, into = directory / "random.bin", directory / "in"
    await asyncio.to_thread(_write_random, source, options.size_bytes)
    more = ["--json"]
    if options.congestion is not None:
        more += ["--congestion", options.congestion]
    link = BadLink(options, "copy")
    async with Children(show.monitors) as children:
        receiver = await children.start(
            "rudp recv",
            "-m", "rudp", "recv", "--listen", "127.0.0.1:0", "--into", str(into), "--once", *more,
        )  # fmt: skip
        where = json.loads(await receiver.expect('"listening"'))["addresses"][0]
        async with link.relay(parse_host_port(where).to_dial) as (host, port):
            sender = await children.start(
                "rudp send", "-m", "rudp", "send", str(source), host, str(port), *more
            )
            async with watching(show, sender, link, in_lines=True):
                statuses = await sender.end(COPY_TIMEOUT_S), await receiver.end()
    show.check("rudp send and rudp recv both ended with status 0", statuses == (0, 0))
    sent, received = await asyncio.to_thread(_digests, source, into / source.name)
    show.console.print(f"  sent     {sent}", highlight=False)
    show.console.print(f"  received {received}", highlight=False)
    show.check("SHA-256 equal", sent == received)
    if statuses[0] == 0:
        _measure(show, json.loads(sender.transcript[-1]))
    _judge(show, link)


def _write_random(path: Path, size_bytes: int) -> None:
    with path.open("wb") as file:
        for offset in range(0, size_bytes, 1 << 20):
            file.write(os.urandom(min(1 << 20, size_bytes - offset)))


def _digests(*paths: Path) -> list[str]:
    """The SHA-256 of files, as they are on the disk."""
    found = []
    for path in paths:
        if path.is_file():
            with path.open("rb") as file:
                found.append(hashlib.file_digest(file, "sha256").hexdigest())
        else:
            found.append("nothing")
    return found


def _measure(show: Show, copied: dict[str, Any]) -> None:
    """What the sender counted, for the table."""
    seconds, size = copied["seconds"], copied["bytes_moved"]
    again = copied["bytes_retransmitted"]
    show.figures += [
        ("copied", f"{size / 1e6:.1f} MB in {seconds:.1f} s by {copied['congestion']}"),
        ("goodput", f"{size / seconds / 1e6:.2f} MB/s"),
        ("retransmitted", f"{again / (size + again):.1%} of the bytes sent"),
        ("round trip (smoothed)", f"{(copied['srtt_s'] or 0) * 1e3:.1f} ms"),
    ]


def _judge(show: Show, link: BadLink) -> None:
    """The link must have been as bad as was asked for, or nothing was shown."""
    for way, title in ((link.to_server, "to the receiver"), (link.to_client, "to the sender")):
        show.figures.append((f"the link, {title}", link.describe(way)))
        show.check(f"the link {title} did what it was asked to", _did_all(show.options, way))


def _did_all(options: Options, link: Link) -> bool:
    """Whether every fault that was asked for has happened, as far as there was occasion to."""
    asked, stats = options.link, link.stats
    faults = (
        (asked.loss, stats.lost),
        (asked.reorder, stats.reordered),
        (asked.duplicate, stats.duplicated),
    )
    return all(count > 0 for probability, count in faults if probability * stats.sent >= _SURE)
