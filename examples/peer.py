"""Chat with a peer and send it files directly, though both of you are behind NATs.

    python examples/rendezvous.py --listen 0.0.0.0:7090                 # where both can reach it
    python examples/peer.py our-secret-room --via example.org:7090      # you
    python examples/peer.py our-secret-room --via example.org:7090 --send photo.jpg    # a friend

One socket does it all: from it the rendezvous server is asked, so that the server sees the port
that the NAT gave to *this* socket, and from it the peer is dialled there, while the peer dials back
(`rudp.Endpoint`, `open_connection(..., rendezvous=...)`). Whoever is behind the same NAT is dialled
at the inside address first. Type lines to say them; Ctrl-D or Ctrl-C leaves. Files go into --into.

Between the peers: lines of JSON, {"say": TEXT}, and {"name": NAME, "size": BYTES} with that many
bytes behind it and then {"sha256": HEX}, which is answered by {"received": NAME} or {"error": WHY}.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from _common import (
    Address,
    Failure,
    Message,
    address,
    close,
    format_address,
    printable,
    progress_bar,
    reason,
    receive_message,
    run,
    send_message,
    stdin_lines,
)
from file_copy import MAX_FILE_BYTES, Incoming, say, whole_number
from rendezvous import place

import rudp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PIECE_BYTES = 64 << 10
PATIENCE_S = 10.0
INSIDE_TIMEOUT_S = 3.0
CONFIG = rudp.Config(keepalive=15.0, keepalive_interval=5.0, connect_timeout=30.0)
NO_WAY = """\
No packet of your peer's got through. One of the two NATs seems to give every destination another
port ("symmetric" NAT, as in many mobile and company networks), or a firewall drops UDP. What helps:
forward a UDP port to one of you, who binds it with --bind 0.0.0.0:PORT; use another network for one
of you; or let both connect to a server that passes on what they say (examples/chat_server.py)."""

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


async def find(endpoint: rudp.Endpoint, via: Address, room: str) -> Message:
    """Ask the rendezvous server who else is in the room; waits until somebody is."""
    reader, writer = await endpoint.open_connection(*via, config=CONFIG)
    try:
        inside = writer.get_extra_info("sockname")[:2]
        await send_message(writer, {"room": room, "inside": inside})
        say(f"* {format_address(inside)} waits in the room for somebody to come")
        answer = await receive_message(reader)
        await close(writer)
    finally:
        writer.close()
    if "error" in answer:
        raise Failure(printable(str(answer["error"])))
    return answer


def ways(answer: Message, patience_s: float) -> list[tuple[Address, float]]:
    """Where to dial the peer, in the order and for the time in which the peer tries them, too."""
    you, peer, inside = (place(answer.get(name)) for name in ("you", "peer", "inside"))
    if you[0] == peer[0]:  # behind one NAT: it may not hairpin
        return [(inside, INSIDE_TIMEOUT_S), (peer, patience_s)]
    return [(peer, patience_s)]


async def meet(
    endpoint: rudp.Endpoint, via: Address, room: str, patience_s: float = PATIENCE_S
) -> tuple[Reader, Writer]:
    """A connection to whoever else enters the room. Raises `Failure` if there is no way."""
    answer = await find(endpoint, via, room)
    try:
        token = bytes.fromhex(str(answer.get("token")))
    except ValueError:
        raise Failure("the rendezvous server gave no token") from None
    say(f"* you appear at {format_address(place(answer.get('you')))}")
    for number, (where, timeout_s) in enumerate(ways(answer, patience_s)):
        say(f"* dialling {format_address(where)}, and being dialled from there")
        word = token[:15] + bytes((number,))  # what is late from one attempt is not the next one's
        config = CONFIG.replace(connect_timeout=timeout_s)
        try:
            reader, writer = await endpoint.open_connection(*where, rendezvous=word, config=config)
        except OSError as error:
            say(f"* {reason(error)}")
        else:
            say(f"* connected to {format_address(writer.get_extra_info('peername'))}")
            return reader, writer
    raise Failure(NO_WAY)


class Talk:
    """A conversation: what is typed, and files, in both directions."""

    def __init__(self, reader: Reader, writer: Writer, into: Path) -> None:
        self._reader, self._writer, self._into = reader, writer, into
        self._answered: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._file_settled = asyncio.Event()
        self._whole = asyncio.Lock()  # nothing gets in between a file's bytes

    async def run(self, lines: AsyncIterator[str], file: Path | None = None) -> None:
        """Talk until either side leaves; a file that is under way is finished first.

        Raises `Failure` if the peer did not get the file.
        """
        sending = asyncio.create_task(self._send(lines, file))
        try:
            while (message := await self._next()) is not None:
                await self._hear(message)
            if not self._answered.done():
                self._answered.set_result({"error": "the peer left"})
            waiting = asyncio.create_task(self._file_settled.wait())
            await asyncio.wait((sending, waiting), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if sending.done():
                await sending
            await close(self._writer)
        finally:
            sending.cancel()
            self._writer.close()

    async def _next(self) -> Message | None:
        try:
            return await receive_message(self._reader)
        except EOFError:
            return None

    async def _hear(self, message: Message) -> None:
        if "size" in message:
            await self._receive_file(message)
        elif "say" in message:
            say(f"peer: {printable(str(message['say']))}")
        elif not self._answered.done():
            self._answered.set_result(message)

    async def _send(self, lines: AsyncIterator[str], file: Path | None) -> None:
        if file is not None:
            await self._send_file(file)
        self._file_settled.set()
        async for line in lines:
            await self._tell({"say": line})
        self._writer.write_eof()

    async def _tell(self, message: Message) -> None:
        async with self._whole:
            await send_message(self._writer, message)

    async def _send_file(self, path: Path) -> None:
        async with self._whole:
            size, digest = await self._write_file(path)
        answer = await self._answered
        if "error" in answer:
            raise Failure(f"{path.name}: {printable(str(answer['error']))}")
        say(f"* {path.name}: {size} bytes sent, SHA-256 {digest}")

    async def _write_file(self, path: Path) -> tuple[int, str]:
        """Send what announces a file, its bytes, and its SHA-256; size and SHA-256."""
        digest, sent = hashlib.sha256(), 0
        with path.open("rb") as source:
            size = source.seek(0, os.SEEK_END)
            source.seek(0)
            await send_message(self._writer, {"name": path.name, "size": size})
            with progress_bar(path.name, size) as advance:
                while data := source.read(min(PIECE_BYTES, size - sent)):
                    digest.update(data)
                    self._writer.write(data)
                    await self._writer.drain()
                    sent += len(data)
                    advance(sent)
        if sent < size:
            raise Failure(f"{path.name} became shorter while it was sent")
        await send_message(self._writer, {"sha256": digest.hexdigest()})
        return size, digest.hexdigest()

    async def _receive_file(self, message: Message) -> None:
        """Take a file, and tell the peer what became of it."""
        size = whole_number(message["size"], MAX_FILE_BYTES)
        try:
            incoming = Incoming(self._into, message, overwrite=False)
        except Failure as error:
            say(f"* {error}")
            await self._read_file(size, None)  # to get to what follows it
            await self._tell({"error": str(error)})
            return
        say(f"* receiving {incoming.name}, {size} bytes")
        try:
            digest = await self._read_file(size, incoming)
            if digest is not None:
                incoming.finish()
        finally:
            incoming.discard()
        if digest is None:
            say(f"* {incoming.name} arrived damaged")
            await self._tell({"error": "it arrived damaged"})
        else:
            say(f"* {incoming.name}: {size} bytes received, SHA-256 {digest}")
            await self._tell({"received": incoming.name})

    async def _read_file(self, size: int, incoming: Incoming | None) -> str | None:
        """Read a file's bytes, and store them; its SHA-256 if that is the one that was sent."""
        digest, read = hashlib.sha256(), 0
        while read < size:
            data = await self._reader.read(min(PIECE_BYTES, size - read))
            if not data:
                raise Failure("the peer left in the middle of a file")
            digest.update(data)
            if incoming is not None:
                incoming.write(read, data)
            read += len(data)
        expected = (await receive_message(self._reader)).get("sha256")
        return digest.hexdigest() if digest.hexdigest() == expected else None


def seconds(text: str) -> float:
    """A time to wait; an argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 3600.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 3600")
    return value


async def main(args: argparse.Namespace) -> int:
    """Meet the other one and talk until either leaves."""
    if args.send is not None and not args.send.is_file():
        raise Failure(f"{args.send} is not a file")
    host, port = args.bind
    async with rudp.Endpoint.bind(host, port, config=CONFIG) as endpoint:
        reader, writer = await meet(endpoint, args.via, args.room, args.patience)
        await Talk(reader, writer, args.into).run(stdin_lines(), args.send)
        say("* the conversation is over")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("room", help="what the two of you have agreed on")
    parser.add_argument("--via", type=address, default="127.0.0.1:7090", metavar="HOST:PORT")
    parser.add_argument("--bind", type=address, default="0.0.0.0:0", metavar="HOST:PORT")
    parser.add_argument(
        "--patience", type=seconds, default=PATIENCE_S, metavar="S", help="how long to try a way"
    )
    parser.add_argument("--send", type=Path, metavar="FILE")
    parser.add_argument("--into", type=Path, default=Path(), metavar="DIR")
    run(main, parser.parse_args())
