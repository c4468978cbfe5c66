"""Copy a file over rudp, striped over any number of connections, with SHA-256 verified end to end.

    python examples/file_copy.py recv --listen 127.0.0.1:7777 --into /tmp/incoming
    python examples/file_copy.py send big.iso 127.0.0.1:7777 --streams 8
    python examples/file_copy.py send big.iso :7777 --streams 8 --loss 5 --delay 20 --reorder 2

The exit status of both sides is 1 if the digests differ or anything else went wrong. The receiver
writes nothing outside its directory, and a file appears there under its name only when it is whole.

The protocol: one control connection carries lines of JSON ("begin" with name and size, answered;
progress from the receiver; "end" with the digest, answered with the receiver's own). Each data
connection begins with a line of JSON that names the transfer; pieces follow, each with a header of
offset and length; its end is acknowledged with a line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import secrets
import shutil
import struct
import sys
import time
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from _common import (
    Address,
    Failure,
    Handler,
    Message,
    add_counters,
    add_link_options,
    add_transport_option,
    address,
    close,
    format_address,
    network,
    printable,
    progress_bar,
    reason,
    receive_message,
    run,
    send_message,
    through_link,
    until_stopped,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

PIECE_BYTES = 64 << 10
MAX_FILE_BYTES = 1 << 40
MAX_TRANSFERS = 16
HEADER = struct.Struct("!QI")  # offset and length of a piece
PROGRESS_S = 0.2
KEEPALIVE_S = 10.0
LIMIT_BYTES = 256 << 10

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


class Incoming:
    """A file that is being received: written in pieces of any order, under a temporary name."""

    def __init__(self, directory: Path, request: Message, *, overwrite: bool) -> None:
        self.name = safe_name(request.get("name"))
        self.size = whole_number(request.get("size"), MAX_FILE_BYTES)
        self.received = 0
        self.failure: str | None = None
        self._final = directory / self.name
        self._overwrite = overwrite
        self._check_final()
        if self.size > shutil.disk_usage(directory).free:
            raise Failure(f"no room for {self.size} bytes")
        self._part = directory / f".{secrets.token_hex(8)}.part"
        self._claimed = bytearray(-(-self.size // PIECE_BYTES))
        self._file = self._part.open("xb+", buffering=0)

    def _check_final(self) -> None:
        if not self._overwrite and (self._final.exists() or self._final.is_symlink()):
            raise Failure(f"{self.name} exists already")

    def claim(self, offset: int, length: int) -> None:
        """Check the header of a piece: inside the file, on the grid, and not sent before."""
        index, inside = divmod(offset, PIECE_BYTES)
        if inside or offset >= self.size or length != min(PIECE_BYTES, self.size - offset):
            raise Failure(f"a piece at {offset} of {length} bytes does not belong to the file")
        if self._claimed[index]:
            raise Failure(f"the piece at {offset} came twice")
        self._claimed[index] = 1

    def write(self, offset: int, data: bytes) -> None:
        """Store a part of a claimed piece."""
        if self._file.closed:
            raise Failure("the transfer has ended")
        self._file.seek(offset)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self.received += len(data)

    def digest(self) -> str:
        """The SHA-256 of what is on the disk."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    def finish(self) -> Path:
        """Give the file its name."""
        self._file.close()
        self._check_final()
        self._part.replace(self._final)
        return self._final

    def discard(self) -> None:
        """Remove what is not finished."""
        self._file.close()
        self._part.unlink(missing_ok=True)


class Receiver:
    """Takes files into one directory."""

    def __init__(self, directory: Path, *, overwrite: bool, once: bool) -> None:
        self.failed = False
        self.finished = asyncio.Event()
        self._directory = directory
        self._overwrite = overwrite
        self._once = once
        self._transfers: dict[str, Incoming] = {}

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """Serve one connection, control or data."""
        try:
            request = await receive_message(reader)
            if request.get("op") == "begin":
                await self._control(request, reader, writer)
            elif request.get("op") == "data":
                await self._data(request, reader, writer)
            else:
                raise Failure("neither a beginning nor data")
        except Failure as error:
            with contextlib.suppress(OSError):
                await send_message(writer, {"error": reason(error)})
                await close(writer)
        except (OSError, EOFError) as error:
            say(f"{format_address(writer.get_extra_info('peername'))}: {reason(error)}")
        finally:
            writer.close()

    async def _control(self, request: Message, reader: Reader, writer: Writer) -> None:
        """See one transfer through from its beginning to the comparison of the digests."""
        key = str(request.get("transfer"))[:64]
        incoming = None
        try:
            if key in self._transfers or len(self._transfers) >= MAX_TRANSFERS:
                raise Failure("busy, or a transfer of that name is under way")
            incoming = Incoming(self._directory, request, overwrite=self._overwrite)
            self._transfers[key] = incoming
            say(f"receiving {incoming.name}, {incoming.size} bytes")
            start_s = time.perf_counter()
            await send_message(writer, {"ok": True})
            async with reporting(incoming, writer):
                request = await receive_message(reader)
            path = await self._verify(incoming, request.get("sha256"))
            took_s = time.perf_counter() - start_s
            say(f"{path.name}: {incoming.size} bytes in {took_s:.1f} s")
            say(f"sha256 {request['sha256']}")
            await send_message(writer, {"sha256": request["sha256"]})
            with contextlib.suppress(OSError):  # the answer was all that mattered
                await reader.read()
                await close(writer)
        except (OSError, EOFError) as error:
            self.failed = True
            say(f"failed: {reason(error)}", error=True)
            raise
        finally:
            if incoming is not None:
                del self._transfers[key]
                incoming.discard()
            if self._once:
                self.finished.set()

    async def _verify(self, incoming: Incoming, expected: object) -> Path:
        """Compare the digests and put the file in its place."""
        if incoming.failure is not None:
            raise Failure(incoming.failure)
        if incoming.received != incoming.size:
            raise Failure(f"only {incoming.received} of {incoming.size} bytes came")
        digest = await asyncio.to_thread(incoming.digest)
        if digest != expected:
            raise Failure(f"sha256 mismatch: sent {expected}, received {digest}")
        return incoming.finish()

    async def _data(self, request: Message, reader: Reader, writer: Writer) -> None:
        """Store the pieces of one data connection."""
        incoming = self._transfers.get(str(request.get("transfer")))
        if incoming is None:
            raise Failure("no such transfer")
        total = 0
        try:
            while header := await reader.read(1):
                header += await reader.readexactly(HEADER.size - 1)
                offset, length = HEADER.unpack(header)
                incoming.claim(offset, length)
                total += length
                while length:
                    data = await reader.read(length)
                    if not data:
                        raise Failure("a piece ended early")
                    incoming.write(offset, data)
                    offset += len(data)
                    length -= len(data)
        except (OSError, EOFError) as error:
            incoming.failure = incoming.failure or reason(error)
            raise
        await send_message(writer, {"received": total})
        with contextlib.suppress(OSError):  # the transfer is judged on its control connection
            await close(writer)


@contextlib.asynccontextmanager
async def reporting(incoming: Incoming, writer: Writer) -> AsyncIterator[None]:
    """Tell the sender, as long as the block lasts, how much has arrived, or what went wrong."""

    async def report() -> None:
        while incoming.failure is None:
            await asyncio.sleep(PROGRESS_S)
            await send_message(writer, {"received": incoming.received})
        await send_message(writer, {"error": incoming.failure})

    task = asyncio.create_task(report())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await task


class Sender:
    """Sends one file."""

    def __init__(self, path: Path, args: argparse.Namespace) -> None:
        self.totals: dict[str, float] = {}
        self._path = path
        self._size = path.stat().st_size
        self._streams = args.streams
        self._transfer = secrets.token_hex(16)
        self._network, self._options = network(args.transport, keepalive=KEEPALIVE_S)
        self._offsets: Iterator[int] = iter(range(0, self._size, PIECE_BYTES))

    async def send(self, where: Address, advance: Callable[[int], None]) -> str:
        """Copy the file to a receiver; return the digest that both sides have computed.

        `advance` is called with the number of bytes that the receiver has.
        """
        reader, writer = await self._open(where)
        hashing = asyncio.create_task(asyncio.to_thread(digest_of, self._path))
        watching = None
        try:
            begin = {"name": self._path.name, "size": self._size, "transfer": self._transfer}
            await send_message(writer, {"op": "begin", **begin})
            await self._answer(reader, "ok")
            watching = asyncio.create_task(self._answer(reader, "sha256", advance))
            await self._send_data(where, watching)
            digest = await hashing
            await send_message(writer, {"op": "end", "sha256": digest})
            theirs = (await watching)["sha256"]
            if theirs != digest:
                raise Failure(f"sha256 mismatch: sent {digest}, received {theirs}")
            writer.write_eof()
            await close(writer)
            return digest
        finally:
            hashing.cancel()
            if watching is not None:
                watching.cancel()
            writer.close()

    async def _open(self, where: Address) -> tuple[Reader, Writer]:
        reader, writer = await self._network.open_connection(
            *where, limit=LIMIT_BYTES, **self._options
        )
        return reader, writer

    async def _send_data(self, where: Address, watching: asyncio.Task[Message]) -> None:
        """Send all pieces over all connections, or stop at the receiver's first objection."""

        async def all_pieces() -> None:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._streams):
                    tasks.create_task(self._send_pieces(where))

        sending = asyncio.create_task(all_pieces())
        try:
            await asyncio.wait((sending, watching), return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                raise watching.exception() or Failure("the receiver ended the transfer early")
            await sending
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send_pieces(self, where: Address) -> None:
        """Send pieces over one connection as long as there are any that no other has taken."""
        reader, writer = await self._open(where)
        try:
            await send_message(writer, {"op": "data", "transfer": self._transfer})
            total = 0
            with self._path.open("rb", buffering=0) as file:
                for offset in self._offsets:
                    file.seek(offset)
                    piece = file.read(min(PIECE_BYTES, self._size - offset))
                    writer.writelines((HEADER.pack(offset, len(piece)), piece))
                    await writer.drain()
                    total += len(piece)
            writer.write_eof()
            received = (await self._answer(reader, "received"))["received"]
            if received != total:
                raise Failure(f"{total} bytes sent, {received} received on one connection")
            add_counters(writer, self.totals)
            await close(writer)
        finally:
            writer.close()

    async def _answer(
        self, reader: Reader, key: str, advance: Callable[[int], None] | None = None
    ) -> Message:
        """The receiver's next message with `key`; raise Failure for what it objects to."""
        while key not in (message := await receive_message(reader)):
            if "error" in message:
                raise Failure(printable(f"the receiver says: {message['error']}"))
            if advance is not None and isinstance(message.get("received"), int):
                advance(message["received"])
        return message


def safe_name(name: object) -> str:
    """A sender's file name, if it is a plain name on every system."""
    if (
        not isinstance(name, str)
        or name in ("", ".", "..")
        or len(name.encode(errors="replace")) > 255
        or printable(name) != name
        or PurePosixPath(name).name != name
        or PureWindowsPath(name).name != name
    ):
        raise Failure(f"{printable(str(name))[:80]!r} is not a plain file name")
    return name


def whole_number(value: object, most: int) -> int:
    """A number from 0 to `most` out of a message."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise Failure(f"{value!r} is not a size up to {most}")
    return value


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def say(line: str, *, error: bool = False) -> None:
    """Tell the user."""
    print(line, file=sys.stderr if error else sys.stdout, flush=True)


async def send(args: argparse.Namespace) -> int:
    """Send one file."""
    if not args.file.is_file():
        raise Failure(f"{args.file} is not a file")
    sender = Sender(args.file, args)
    size = args.file.stat().st_size
    start_s = time.perf_counter()
    where = await through_link(args.to, args)
    with progress_bar(args.file.name, size) as advance:
        digest = await sender.send(where, advance)
    took_s = time.perf_counter() - start_s
    if args.json:
        report = {"bytes": size, "seconds": took_s, "sha256": digest, "streams": args.streams}
        say(json.dumps({**report, **sender.totals}))
    else:
        say(f"{args.file.name}: {size} bytes in {took_s:.1f} s, {size / took_s / 1e6:.2f} MB/s")
        say(f"sha256 {digest}")
    return 0


async def recv(args: argparse.Namespace) -> int:
    """Receive files until stopped, or one with --once."""
    args.into.mkdir(parents=True, exist_ok=True)
    receiver = Receiver(args.into, overwrite=args.overwrite, once=args.once)
    # A file is stored before its sender is answered, so that no end of a connection is waited for.
    streams, options = network(args.transport, keepalive=KEEPALIVE_S, linger=0.2)
    host, port = args.listen
    handler = Handler(receiver.serve)
    server = await streams.start_server(handler, host, port, limit=LIMIT_BYTES, **options)
    say(f"listening on {format_address(server.sockets[0].getsockname())}")
    try:
        await until_stopped(server, receiver.finished)
    except asyncio.CancelledError:
        if not receiver.failed:
            raise
    finally:
        await handler.stop()
    return 1 if receiver.failed else 0


def count(text: str) -> int:
    """A number of streams; an argparse type."""
    if not text.isdigit() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 256")
    return int(text)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, dest="command")
    receiving = commands.add_parser("recv", help="receive files into a directory")
    receiving.add_argument("--listen", type=address, default="127.0.0.1:7777", metavar="HOST:PORT")
    receiving.add_argument("--into", type=Path, required=True, metavar="DIR")
    receiving.add_argument("--overwrite", action="store_true", help="replace files of that name")
    receiving.add_argument("--once", action="store_true", help="end after one transfer")
    sending = commands.add_parser("send", help="send one file")
    sending.add_argument("file", type=Path)
    sending.add_argument("to", type=address, metavar="HOST:PORT")
    sending.add_argument("--streams", type=count, default=4, metavar="N", help="default: 4")
    sending.add_argument("--json", action="store_true", help="report in one line of JSON")
    for command in (receiving, sending):
        add_transport_option(command)
    add_link_options(sending)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    if arguments.command == "send":
        run(send, arguments)
    else:
        run(recv, arguments, until_stopped=not arguments.once)
