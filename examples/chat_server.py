"""A chat room for many users, over rudp.

    python examples/chat_server.py --listen 127.0.0.1:7070

Users come in with examples/chat_client.py. A line of text goes to everybody else, `/msg NAME TEXT`
to one user; `/who` lists those present, `/quit` leaves, `/help` explains. A client that dies
without a word is noticed (keepalive) and announced; one that does not read is disconnected and
stalls nobody. Ctrl-C ends the room.

The protocol is lines of UTF-8: the client's first line is its name, the server's first answer
begins with "+OK " or "-ERR ", and what follows is text both ways.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import unicodedata

from _common import (
    Handler,
    add_transport_option,
    address,
    close,
    format_address,
    network,
    printable,
    reason,
    run,
    until_stopped,
)

MAX_LINE_BYTES = 4096
OUTBOX_LINES = 256  # what may wait for a user who does not read
NAME_TIMEOUT_S = 20.0
FAREWELL_TIMEOUT_S = 3.0
NAME = re.compile(r"[^\W_][\w-]{0,19}")
HELP = (
    "* a line of text goes to everybody",
    "* /msg NAME TEXT   to one user only",
    "* /who             who is here",
    "* /quit            leave",
    "* //TEXT           a text that begins with a slash",
)


class User:
    """One user of the room: a name, a connection, and the lines that wait to be sent."""

    def __init__(self, name: str, writer: asyncio.StreamWriter) -> None:
        self.name = name
        self.fault: str | None = None
        self._writer = writer
        self._outbox: asyncio.Queue[str | None] = asyncio.Queue(OUTBOX_LINES)
        self._sending = asyncio.create_task(self._send())

    def tell(self, line: str) -> None:
        """Queue a line; a user whose queue is full is disconnected instead of waited for."""
        try:
            self._outbox.put_nowait(line)
        except asyncio.QueueFull:
            if self.fault is None:
                self.fault = "does not keep up"
                self._writer.transport.abort()

    async def farewell(self) -> None:
        """Send what waits and close, within a bound of time."""
        try:
            async with asyncio.timeout(FAREWELL_TIMEOUT_S):
                await self._outbox.put(None)
                await self._sending
                self._writer.close()
                await self._writer.wait_closed()
        except OSError:  # TimeoutError is one
            self._writer.transport.abort()

    def hang_up(self) -> None:
        """Stop at once, whatever is left."""
        self._sending.cancel()
        self._writer.close()

    async def _send(self) -> None:
        with contextlib.suppress(OSError):  # the reading side reports why the connection ended
            while (line := await self._outbox.get()) is not None:
                self._writer.write(line.encode(errors="replace") + b"\n")
                await self._writer.drain()


class Room:
    """The users who are present, and what they may say."""

    def __init__(self, max_users: int) -> None:
        self._users: dict[str, User] = {}
        self._max_users = max_users

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection from its first line to its end."""
        user = None
        try:
            user = await self._welcome(reader, writer)
            if user is not None:
                await self._accompany(user, reader)
        except OSError as error:
            log(f"{format_address(writer.get_extra_info('peername'))}: {reason(error)}")
        finally:
            if user is not None:
                user.hang_up()
            writer.close()

    async def _welcome(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> User | None:
        """Agree on a name; None if that did not come about."""
        try:
            async with asyncio.timeout(NAME_TIMEOUT_S):
                name = unicodedata.normalize("NFKC", await read_line(reader) or "")
            objection = self._objection(name)
        except TimeoutError:
            name, objection = "", f"no name within {NAME_TIMEOUT_S:g} s"
        if objection is None:
            user = User(name, writer)
            others = ", ".join(self._names()) or "nobody else"
            user.tell(f"+OK welcome, {name}; here: {others}; /help explains")
            self._announce(f"* {name} has joined")
            self._users[name.casefold()] = user
            return user
        writer.write(f"-ERR {objection}\n".encode())
        await close(writer)
        return None

    def _objection(self, name: str) -> str | None:
        """Why a name is not accepted, or None."""
        if NAME.fullmatch(name) is None:
            return "a name is 1 to 20 letters, digits, - and _, and begins with a letter or digit"
        if name.casefold() in self._users:
            return f"there is a {name} here already"
        if len(self._users) >= self._max_users:
            return "the room is full"
        return None

    async def _accompany(self, user: User, reader: asyncio.StreamReader) -> None:
        """Serve a user who has a name, and announce how that ended."""
        farewell = f"* {user.name} has left"
        try:
            await self._converse(user, reader)
        except OSError as error:
            farewell = f"* {user.name} has vanished: {reason(error)}"
        finally:
            del self._users[user.name.casefold()]
            if user.fault is not None:
                farewell = f"* {user.name} was disconnected: {user.fault}"
            self._announce(farewell)
        await user.farewell()

    async def _converse(self, user: User, reader: asyncio.StreamReader) -> None:
        """Carry out a user's lines until /quit or the end of the stream."""
        while (line := await read_line(reader)) is not None:
            command, _, rest = line.partition(" ")
            if not line:
                continue
            if command == "/quit":
                user.tell("* bye")
                return
            if line.startswith("//") or not line.startswith("/"):
                self._broadcast(f"<{user.name}> {line.removeprefix('/')}", besides=user)
            else:
                self._command(user, command, rest.strip())

    def _command(self, user: User, command: str, rest: str) -> None:
        if command == "/msg":
            self._private(user, rest)
        elif command == "/who":
            user.tell(f"* here: {', '.join(self._names())}")
        elif command == "/help":
            for line in HELP:
                user.tell(line)
        else:
            user.tell(f"* there is no {command}; /help explains")

    def _private(self, user: User, rest: str) -> None:
        name, _, text = rest.partition(" ")
        other = self._users.get(unicodedata.normalize("NFKC", name).casefold())
        if not text.strip():
            user.tell("* /msg NAME TEXT")
        elif other is None:
            user.tell(f"* there is no {name} here")
        else:
            other.tell(f"[{user.name} -> you] {text.strip()}")
            user.tell(f"[you -> {other.name}] {text.strip()}")

    def _names(self) -> list[str]:
        return sorted((user.name for user in self._users.values()), key=str.casefold)

    def _announce(self, line: str) -> None:
        log(line)
        self._broadcast(line)

    def _broadcast(self, line: str, besides: User | None = None) -> None:
        for user in self._users.values():
            if user is not besides:
                user.tell(line)

    async def close(self) -> None:
        """Say good-bye to everybody."""
        self._broadcast("* the room closes")
        await asyncio.gather(*(user.farewell() for user in self._users.values()))


async def read_line(reader: asyncio.StreamReader) -> str | None:
    """The next line, stripped of everything that a terminal would obey; None at the end.

    What a line has beyond MAX_LINE_BYTES is cut off.
    """
    data = b""
    while True:
        try:
            part = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            part = error.partial
        except asyncio.LimitOverrunError as error:
            part = await reader.readexactly(error.consumed)
            data = data or part[:MAX_LINE_BYTES]
            continue
        data = data or part
        return printable(data.decode(errors="replace").replace("\t", " ")).strip() if data else None


def log(line: str) -> None:
    """Tell the operator."""
    print(line, flush=True)


async def main(args: argparse.Namespace) -> int:
    """Keep the room open until stopped."""
    room = Room(args.max_users)
    streams, options = network(
        args.transport,
        keepalive=args.keepalive,
        keepalive_interval=args.keepalive / 4,
        keepalive_probes=8,  # at 5 % loss each way, eight unanswered ones are no accident
        user_timeout=max(5.0, args.keepalive * 3),
    )
    host, port = args.listen
    handler = Handler(room.serve)
    server = await streams.start_server(handler, host, port, limit=MAX_LINE_BYTES, **options)
    log(f"listening on {format_address(server.sockets[0].getsockname())}")
    try:
        await until_stopped(server)
    finally:
        await room.close()
        await handler.stop()
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--listen", type=address, default="127.0.0.1:7070", metavar="HOST:PORT")
    parser.add_argument("--max-users", type=int, default=200, metavar="N")
    parser.add_argument(
        "--keepalive",
        type=float,
        default=4.0,
        metavar="SECONDS",
        help="silence after which a client is asked for a sign of life (default: 4); "
        "it is given up after three times that",
    )
    add_transport_option(parser)
    run(main, parser.parse_args(), until_stopped=True)
