"""websockets over rudp: a broadcasting server, and clients that come back when they are cut off.

    python examples/with_websockets.py serve
    python examples/with_websockets.py call --clients 5 --loss 5 --delay 20

What it takes is `RudpConnect` for the client; the server, for which websockets has no hook, asks
the loop for its listener, and `rudp.routed()` gives it one.
"""

from __future__ import annotations

import asyncio
import random
import sys
from typing import TYPE_CHECKING, Any

from _common import Failure, format_address, program, run, through_link

import rudp

try:
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.asyncio.server import Server, ServerConnection, broadcast
    from websockets.asyncio.server import serve as websockets_serve
    from websockets.exceptions import ConnectionClosed, WebSocketException
except ImportError:
    sys.exit("this example needs websockets: pip install 'asyncio-rudp[examples]'")

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable

MESSAGE_BYTES = 1 << 18


class RudpConnect(connect):
    """websockets' `connect()`, each connection over rudp and by no proxy; `config` may be given.

    It is used in the same ways: awaited, in `async with`, and in `async for`, which reconnects.
    """

    async def open_tcp_connection(self) -> ClientConnection:
        """Open what the WebSocket runs over."""
        uri = self.ws_uri
        options: dict[str, Any] = {"host": uri.host, "port": uri.port}
        if uri.secure:
            options |= {"ssl": True, "server_hostname": uri.host}
        _, connection = await rudp.create_connection(
            lambda: self.factory(self.ws_uri), **options | self.create_connection_kwargs
        )
        assert isinstance(connection, ClientConnection)
        return connection


async def rudp_serve(
    handler: Callable[[ServerConnection], Awaitable[None]],
    host: str,
    port: int,
    *,
    config: rudp.Config | None = None,
    **options: Any,
) -> Server:
    """websockets' `serve()`, listening with rudp; the other arguments are the same."""

    def ours(asked_host: str | None, asked_port: int | str | None) -> bool:
        return (asked_host, asked_port) == (host, port)

    with rudp.routed(connections=False, servers=ours, config=config):
        return await websockets_serve(handler, host, port, **options)


# --- what the two then carry ------------------------------------------------------------------


async def serve(args: argparse.Namespace) -> int:
    """Send what each client says to all of them, until stopped."""
    clients: set[ServerConnection] = set()

    async def handle(connection: ServerConnection) -> None:
        clients.add(connection)
        try:
            async for message in connection:
                broadcast(clients, message)
        finally:
            clients.discard(connection)
            code = connection.close_code
            print(f"{format_address(connection.remote_address)} left with {code}", flush=True)

    server = await rudp_serve(handle, *args.listen)
    print(f"listening on {format_address(server.sockets[0].getsockname())}", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        server.close()
        await server.wait_closed()
    return 0


async def call(args: argparse.Namespace) -> int:
    """Join several times, say something each, and wait until everybody has heard everything."""
    where = format_address(await through_link(args.server, args))
    said = [random.randbytes(MESSAGE_BYTES) for _ in range(args.clients)]
    joined = asyncio.Barrier(args.clients)

    async def member(message: bytes) -> None:
        async with RudpConnect(f"ws://{where}/") as socket:
            await joined.wait()
            await socket.send(message)
            heard = [await socket.recv() for _ in said]
            if sorted(map(bytes, heard)) != sorted(said):
                raise Failure("what came back is not what was said")

    try:
        async with asyncio.TaskGroup() as group:
            for message in said:
                group.create_task(member(message))
    except* (ConnectionClosed, WebSocketException) as errors:
        raise Failure(str(errors.exceptions[0])) from errors
    print(f"{args.clients} clients heard {args.clients} messages of {MESSAGE_BYTES} bytes each")
    return 0


if __name__ == "__main__":
    parser, _, calling = program(__doc__, serve, call, port=7081)
    calling.add_argument("--clients", type=int, default=5, metavar="N")
    arguments = parser.parse_args()
    run(arguments.main, arguments, until_stopped=arguments.until_stopped)
