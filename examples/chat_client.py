"""A chat client for examples/chat_server.py.

    python examples/chat_client.py ada
    python examples/chat_client.py bob --server 127.0.0.1:7070 --loss 5 --delay 20 --reorder 2
    printf 'hello\\n/who\\n' | python examples/chat_client.py script

Type a line to say it; /help lists the rest, /quit, Ctrl-D or Ctrl-C leave. --loss, --delay,
--jitter, --reorder and --duplicate (percent and milliseconds, in each direction) put a bad link
between this client and the server.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from _common import (
    add_link_options,
    add_transport_option,
    address,
    close,
    network,
    printable,
    run,
    stdin_lines,
    through_link,
)

KEEPALIVE_S = 4.0


async def main(args: argparse.Namespace) -> int:
    """Join the room and stay until either side leaves."""
    streams, options = network(
        args.transport,
        keepalive=KEEPALIVE_S,
        keepalive_interval=KEEPALIVE_S / 4,
        keepalive_probes=8,
    )
    host, port = await through_link(args.server, args)
    reader, writer = await streams.open_connection(host, port, **options)
    try:
        writer.write(args.name.encode() + b"\n")
        answer = await read_line(reader)
        if answer is None or not answer.startswith("+OK "):
            print((answer or "-ERR the server hung up").removeprefix("-ERR "), file=sys.stderr)
            return 1
        print("* " + answer.removeprefix("+OK "), flush=True)
        await converse(reader, writer)
        await close(writer)
    finally:
        writer.close()
    return 0


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send what is typed and print what arrives, until the server has nothing more to say."""
    typing = asyncio.create_task(send_input(writer))
    try:
        while (line := await read_line(reader)) is not None:
            print(line, flush=True)
    finally:
        typing.cancel()


async def send_input(writer: asyncio.StreamWriter) -> None:
    """Send the lines of standard input; at its end, the direction is closed and the server's left.

    A connection that breaks is reported by the side that reads.
    """
    try:
        async for line in stdin_lines():
            writer.write(line.encode(errors="replace") + b"\n")
            await writer.drain()
        writer.write_eof()
    except OSError:
        return


async def read_line(reader: asyncio.StreamReader) -> str | None:
    """The next line, fit for a terminal; None at the end."""
    data = await reader.readline()
    return printable(data.decode(errors="replace")) if data else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="your name in the room")
    parser.add_argument("--server", type=address, default="127.0.0.1:7070", metavar="HOST:PORT")
    add_transport_option(parser)
    add_link_options(parser)
    run(main, parser.parse_args())
