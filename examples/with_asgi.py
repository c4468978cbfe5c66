"""An ASGI application over rudp, under uvicorn, with no line changed in either.

    python examples/with_asgi.py serve
    python examples/with_asgi.py call --requests 20 --loss 5 --delay 20

uvicorn asks its event loop for a listener. So all that it takes is the loop, on the command line:

    uvicorn with_asgi:app --app-dir examples --loop rudp:new_event_loop

or, for a program that runs other things on its loop, `rudp.routed()` as `Server` has it below.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
from typing import TYPE_CHECKING, Any

from _common import Failure, format_address, program, run, through_link

import rudp

try:
    import uvicorn
except ImportError:
    sys.exit("this example needs uvicorn: pip install 'asyncio-rudp[examples]'")

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable

BODY_BYTES = 1 << 20

Message = dict[str, Any]


async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Send a body back, with its digest and the address of who sent it."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            event = await receive()
            await send({"type": event["type"] + ".complete"})
        return
    body, more = bytearray(), True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    headers = [
        (b"x-sha256", hashlib.sha256(body).hexdigest().encode()),
        (b"x-client", format_address(scope["client"]).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": bytes(body)})


class Server(uvicorn.Server):
    """A uvicorn server that listens with rudp; its loop is as before once it listens."""

    async def startup(self, sockets: Any = None) -> None:
        """Start listening, and say where."""
        with rudp.routed(connections=False):
            await super().startup(sockets)
        where = self.servers[0].sockets[0].getsockname()
        print(f"listening on {format_address(where)}", flush=True)


def serve(args: argparse.Namespace) -> None:
    """Serve until stopped; requests under way are finished first."""
    host, port = args.listen
    Server(uvicorn.Config(app, host, port)).run()


async def call(args: argparse.Namespace) -> int:
    """Send requests side by side with httpx, whose pool asks the loop for its connections."""
    try:
        import httpx
    except ImportError:
        raise Failure("`call` needs httpx: pip install 'asyncio-rudp[examples]'") from None
    where = format_address(await through_link(args.server, args))
    limits = httpx.Limits(max_connections=args.connections)

    async def post(client: httpx.AsyncClient, body: bytes) -> None:
        response = await client.post("/", content=body)
        if response.content != body:
            raise Failure("what came back is not what was sent")

    with rudp.routed():
        async with (
            httpx.AsyncClient(base_url=f"http://{where}", limits=limits, timeout=30) as client,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(args.requests):
                group.create_task(post(client, random.randbytes(BODY_BYTES)))
    print(f"{args.requests} bodies of {BODY_BYTES} bytes, identical")
    return 0


if __name__ == "__main__":
    parser, _, calling = program(__doc__, serve, call, port=7082)
    calling.add_argument("--requests", type=int, default=8, metavar="N")
    calling.add_argument("--connections", type=int, default=4, metavar="N", help="pool size")
    arguments = parser.parse_args()
    if arguments.main is serve:
        serve(arguments)  # uvicorn has its own loop, and ends it at a signal
    else:
        run(call, arguments)
