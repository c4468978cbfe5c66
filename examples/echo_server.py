"""An echo server: every byte goes back to the one who sent it.

    python examples/echo_server.py --listen 127.0.0.1:7007

Talk to it with examples/echo_client.py. It is the echo server of asyncio's documentation; only the
module that `start_server` is taken from has changed. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import asyncio

from _common import (
    Handler,
    add_transport_option,
    address,
    format_address,
    network,
    reason,
    run,
    until_stopped,
)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection until the client has sent everything."""
    client = format_address(writer.get_extra_info("peername"))
    total = 0
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()  # waits while the client does not read
            total += len(data)
        print(f"{client}: {total} bytes, done", flush=True)
        writer.close()
        await writer.wait_closed()
    except OSError as error:
        print(f"{client}: {total} bytes, {reason(error)}", flush=True)
    finally:
        writer.close()


async def main(args: argparse.Namespace) -> int:
    """Serve until stopped."""
    streams, options = network(args.transport)
    host, port = args.listen
    handler = Handler(echo)
    server = await streams.start_server(handler, host, port, **options)
    print(f"listening on {format_address(server.sockets[0].getsockname())}", flush=True)
    try:
        await until_stopped(server)
    finally:
        await handler.stop()
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--listen", type=address, default="127.0.0.1:7007", metavar="HOST:PORT")
    add_transport_option(parser)
    run(main, parser.parse_args(), until_stopped=True)
