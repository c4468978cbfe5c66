"""aiohttp over rudp: a web server and a client with its pool of connections.

    python examples/with_aiohttp.py serve
    python examples/with_aiohttp.py call --requests 20 --loss 5 --delay 20

What it takes is `RudpSite` for the server and `RudpConnector` for the client; everything else is
aiohttp as it is: keep-alive, WebSockets, access logs, graceful shutdown.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import sys
from typing import TYPE_CHECKING, Any

from _common import Failure, format_address, program, run, through_link

import rudp

try:
    import aiohttp
    from aiohttp import web
except ImportError:
    sys.exit("this example needs aiohttp: pip install 'asyncio-rudp[examples]'")

if TYPE_CHECKING:
    import argparse

BODY_BYTES = 1 << 20


class RudpConnector(aiohttp.TCPConnector):
    """The client's pool, each of its connections over rudp; those to a proxy stay TCP.

    The event loop resolves names. The arguments are TCPConnector's, and `config`.
    """

    def __init__(self, *, config: rudp.Config | None = None, **pool: Any) -> None:
        super().__init__(**pool)
        self._config = config

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Any:
        if req.proxy:
            return await super()._create_connection(req, traces, timeout)
        tls = self._get_ssl_context(req)
        host = req.url.raw_host
        try:
            async with asyncio.timeout(timeout.sock_connect):
                _, protocol = await rudp.create_connection(
                    self._factory,
                    host,
                    req.port,
                    family=self._family,
                    ssl=tls,
                    server_hostname=(req.server_hostname or host) if tls else None,
                    happy_eyeballs_delay=self._happy_eyeballs_delay,
                    config=self._config,
                )
        except TimeoutError:
            raise  # aiohttp has an error of its own for it
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error
        return protocol


class RudpSite(web.BaseSite):
    """Where an aiohttp runner listens; TCPSite over rudp."""

    def __init__(
        self,
        runner: web.BaseRunner,
        host: str | None = None,
        port: int = 8080,
        *,
        backlog: int = 128,
        config: rudp.Config | None = None,
    ) -> None:
        super().__init__(runner, backlog=backlog)
        self._address = (host, port)
        self._config = config

    @property
    def name(self) -> str:
        """The site's URL."""
        return f"http://{format_address(self.address)}"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; once started, those that are bound."""
        host, port = self._address
        if isinstance(self._server, rudp.Server) and self._server.sockaddrs:
            host, port = self._server.sockaddrs[0][:2]
        return host or "0.0.0.0", port  # noqa: S104 - only how no host is written

    async def start(self) -> None:
        """Listen."""
        await super().start()
        assert self._runner.server is not None
        self._server = await rudp.create_server(
            self._runner.server, *self._address, backlog=self._backlog, config=self._config
        )


# --- what the two then carry ------------------------------------------------------------------


async def put_body(request: web.Request) -> web.Response:
    """Answer a body with the same, and with its digest in a header."""
    body = await request.read()
    digest = hashlib.sha256(body).hexdigest()
    return web.Response(body=body, headers={"X-SHA256": digest})


async def websocket(request: web.Request) -> web.WebSocketResponse:
    """Echo messages; "bye" makes the server close with a code of its own."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT and message.data == "bye":
            await socket.close(code=4000, message=b"as you wish")
        elif message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            await socket.send_str(f"echo of {len(message.data)}")
    return socket


def application() -> web.Application:
    """The server's routes."""
    app = web.Application(client_max_size=4 * BODY_BYTES)
    app.router.add_put("/body", put_body)
    app.router.add_get("/websocket", websocket)
    return app


async def serve(args: argparse.Namespace) -> int:
    """Serve until stopped; requests under way are finished first."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    runner = web.AppRunner(application(), access_log_format="%a %r %s %b")
    await runner.setup()
    site = RudpSite(runner, *args.listen)
    await site.start()
    print(f"listening on {format_address(site.address)}", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
    return 0


async def call(args: argparse.Namespace) -> int:
    """Send requests side by side and compare what comes back, then talk over a WebSocket."""
    base = f"http://{format_address(await through_link(args.server, args))}"
    opened = 0

    async def count(*_: Any) -> None:
        nonlocal opened
        opened += 1

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(count)
    connector = RudpConnector(limit=args.connections)
    async with aiohttp.ClientSession(base, connector=connector, trace_configs=[tracing]) as session:

        async def put() -> None:
            body = random.randbytes(BODY_BYTES)
            async with session.put("/body", data=body) as response:
                if await response.read() != body:
                    raise Failure("what came back is not what was sent")

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(args.requests):
                    group.create_task(put())
            async with session.ws_connect("/websocket") as socket:
                await socket.send_str("bye")
                await socket.receive()
        except aiohttp.ClientError as error:
            raise Failure(str(error)) from error
    print(f"{args.requests} bodies of {BODY_BYTES} bytes over {opened} connections, identical")
    print(f"WebSocket closed with {socket.close_code}")
    return 0


if __name__ == "__main__":
    parser, _, calling = program(__doc__, serve, call, port=7080)
    calling.add_argument("--requests", type=int, default=8, metavar="N")
    calling.add_argument("--connections", type=int, default=4, metavar="N", help="pool size")
    arguments = parser.parse_args()
    run(arguments.main, arguments, until_stopped=arguments.until_stopped)
