"""An echo client: sends a message, or the lines of standard input, and prints what comes back.

    python examples/echo_client.py "hello there"
    python examples/echo_client.py < some.txt
    python examples/echo_client.py "over a bad link" --loss 10 --delay 30 --reorder 2

The server is examples/echo_server.py. The exit status is 1 if what came back is not what was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import codecs
import hashlib
import sys

from _common import (
    Failure,
    add_link_options,
    add_transport_option,
    address,
    network,
    printable,
    run,
    stdin_lines,
    through_link,
)


async def main(args: argparse.Namespace) -> int:
    """Send and print at the same time, then compare."""
    streams, options = network(args.transport)
    host, port = await through_link(args.server, args)
    reader, writer = await streams.open_connection(host, port, **options)
    sending = asyncio.create_task(send(args.message, writer))
    try:
        received = await show(reader)
        if not sending.done():
            raise Failure("the server ended the connection")
        writer.close()
        await writer.wait_closed()
    finally:
        sending.cancel()
        writer.close()
    if await sending != received:
        print("what came back is not what was sent", file=sys.stderr)
        return 1
    return 0


async def send(message: str | None, writer: asyncio.StreamWriter) -> str:
    """Send the message or standard input, then close this direction; return its digest."""
    digest = hashlib.sha256()

    async def send_line(line: str) -> None:
        data = line.encode() + b"\n"
        digest.update(data)
        writer.write(data)
        await writer.drain()

    if message is not None:
        await send_line(message)
    else:
        async for line in stdin_lines():
            await send_line(line)
    writer.write_eof()
    return digest.hexdigest()


async def show(reader: asyncio.StreamReader) -> str:
    """Print everything until the end of the stream; return its digest."""
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    while data := await reader.read(65536):
        digest.update(data)
        print(printable(decoder.decode(data), keep="\n\t"), end="", flush=True)
    return digest.hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("message", nargs="?", help="standard input if it is missing")
    parser.add_argument("--server", type=address, default="127.0.0.1:7007", metavar="HOST:PORT")
    add_transport_option(parser)
    add_link_options(parser)
    run(main, parser.parse_args())
