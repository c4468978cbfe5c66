"""A bad link between one test's client and its server: says its port; its counters at the end."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING

from child_common import parser, run, say, until_stdin_ends

from rudp.aio.relay import LossyRelay
from rudp.sim import Link, LinkConfig

if TYPE_CHECKING:
    import argparse


async def main(args: argparse.Namespace) -> None:
    """Relay until stdin ends."""
    link = LinkConfig(**args.link)
    relay = await LossyRelay.start(
        ("127.0.0.1", args.target),
        to_server=Link(link, random.Random(args.seed)),
        to_client=Link(link, random.Random(args.seed + 1)),
    )
    async with relay:
        say(port=relay.address[1])
        await until_stdin_ends()
        say(**dataclasses.asdict(relay.stats))


if __name__ == "__main__":
    import json

    options = parser()
    options.add_argument("--target", type=int, required=True)
    options.add_argument("--link", type=json.loads, required=True, help="fields of LinkConfig")
    options.add_argument("--seed", type=int, default=7)
    run(main, options.parse_args())
