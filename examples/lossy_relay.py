"""A bad link in a box: a UDP relay that loses, delays, reorders and duplicates.

    python examples/lossy_relay.py --target 127.0.0.1:7070 --listen 127.0.0.1:7071 \\
        --loss 5 --delay 20 --reorder 2 --duplicate 1

Clients that connect to the --listen address reach the --target over the bad link; every option of
the link holds for each direction. When it is stopped it prints what it did as one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json

from _common import add_link_options, address, format_address, links, run

from rudp.aio.relay import LossyRelay


async def main(args: argparse.Namespace) -> int:
    """Relay until stopped."""
    to_server, to_client = links(args)
    relay = await LossyRelay.start(
        args.target, listen=args.listen, to_server=to_server, to_client=to_client
    )
    async with relay:
        target = format_address(args.target)
        print(f"relaying {format_address(relay.address)} to {target}, seed {args.seed}", flush=True)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            report = {
                "relay": dataclasses.asdict(relay.stats),
                "to_server": dataclasses.asdict(to_server.stats),
                "to_client": dataclasses.asdict(to_client.stats),
            }
            print(json.dumps(report), flush=True)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", type=address, required=True, metavar="HOST:PORT")
    parser.add_argument("--listen", type=address, default="127.0.0.1:0", metavar="HOST:PORT")
    add_link_options(parser)
    run(main, parser.parse_args(), until_stopped=True)
