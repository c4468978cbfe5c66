"""A rendezvous server: two peers that name the same room learn where the other one is.

    python examples/rendezvous.py --listen 0.0.0.0:7090

It has to run where both can reach it; what the peers then say to each other does not pass through
it. See examples/peer.py. A peer asks with one line of JSON, {"room": NAME, "inside": [HOST, PORT]},
and is told with another, as soon as there are two in the room,

    {"you": [HOST, PORT], "peer": [HOST, PORT], "inside": [HOST, PORT], "token": HEX}

where the two are seen from here, at which address the peer sees itself, and what to name so that
the two dials find each other (`rendezvous` of `rudp.Endpoint.open_connection`). Then the room is
free again. Whoever knows a room's name may enter it: choose one that nobody guesses.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets

from _common import (
    Address,
    Failure,
    Handler,
    address,
    close,
    format_address,
    printable,
    reason,
    receive_message,
    run,
    send_message,
    until_stopped,
)

import rudp

MOST_WAITING = 10_000
MOST_NAME_BYTES = 200
ASK_TIMEOUT_S = 10.0
WAIT_TIMEOUT_S = 3600.0
CONFIG = rudp.Config(keepalive=15.0, keepalive_interval=5.0)
TOKEN_BYTES = 12

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


class Visitor:
    """Somebody who has asked: where we see them, where they see themselves, who has come."""

    def __init__(self, outside: Address, inside: Address) -> None:
        self.outside = outside
        self.inside = inside
        self.told: asyncio.Future[tuple[Visitor, str]] = asyncio.get_running_loop().create_future()


class Rooms:
    """Who waits in which room; each lets in two at a time."""

    def __init__(self) -> None:
        self._waiting: dict[str, Visitor] = {}

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """Serve one visitor: the question, the wait, the answer."""
        outside = writer.get_extra_info("peername")[:2]
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                question = await receive_message(reader)
            room, visitor = room_of(question), Visitor(outside, place(question.get("inside")))
            other, token = await self._meet(room, visitor, reader)
            places = {"you": outside, "peer": other.outside, "inside": other.inside}
            await send_message(writer, {**places, "token": token})
            print(f"{format_address(outside)} meets {format_address(other.outside)}", flush=True)
            await close(writer)
        except Failure as failure:
            with contextlib.suppress(OSError):
                await send_message(writer, {"error": str(failure)})
                await close(writer)
        except (OSError, EOFError) as error:
            print(f"{format_address(outside)}: {printable(reason(error))}", flush=True)
        finally:
            writer.close()

    async def _meet(self, room: str, visitor: Visitor, reader: Reader) -> tuple[Visitor, str]:
        """Whom the visitor meets, once they are there; a visitor that leaves makes room."""
        first = self._waiting.pop(room, None)
        if first is not None and not first.told.done():
            token = secrets.token_hex(TOKEN_BYTES)
            first.told.set_result((visitor, token))
            return first, token
        if len(self._waiting) >= MOST_WAITING:
            raise Failure("there are too many who wait")
        self._waiting[room] = visitor
        leaving = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait(
                (visitor.told, leaving),
                timeout=WAIT_TIMEOUT_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not visitor.told.done():
                raise Failure("nobody came" if not leaving.done() else "you left")
            return visitor.told.result()
        finally:
            visitor.told.cancel()
            leaving.cancel()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await leaving
            if self._waiting.get(room) is visitor:
                del self._waiting[room]


def room_of(question: dict[str, object]) -> str:
    """The room's name out of a question."""
    room = question.get("room")
    if not isinstance(room, str) or not 0 < len(room.encode(errors="replace")) <= MOST_NAME_BYTES:
        raise Failure(f"a room has a name of 1 to {MOST_NAME_BYTES} bytes")
    return room


def place(value: object) -> Address:
    """An address out of a message."""
    match value:
        case [str(host), int(port)] if len(host) <= 64 and 0 < port < 65536:
            return host, port
    raise Failure("an address is a list of host and port")


async def main(args: argparse.Namespace) -> int:
    """Serve until stopped."""
    host, port = args.listen
    handler = Handler(Rooms().serve)
    server = await rudp.start_server(handler, host, port, config=CONFIG)
    print(f"listening on {format_address(server.sockaddrs[0])}", flush=True)
    try:
        await until_stopped(server)
    finally:
        await handler.stop()
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--listen", type=address, default="127.0.0.1:7090", metavar="HOST:PORT")
    run(main, parser.parse_args(), until_stopped=True)
