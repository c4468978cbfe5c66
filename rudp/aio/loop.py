"""A loop whose own `create_connection()` and `create_server()` go to rudp.

For programs that have no hook: libraries ask the running loop for connections and servers, and so
do `asyncio.open_connection()` and `asyncio.start_server()`. The loop stays the object that it is
(tasks and futures are bound to it); attributes are set on it, which hide its methods, on stock
asyncio, on uvloop and on `rudp.sim`'s loop. What the routes do not take goes on to the methods
that were there before.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

from rudp.aio import client, listen, tls
from rudp.aio.tls import ProtocolFactory
from rudp.config import Config

Selector = Callable[[str | None, int | str | None], bool]
"""Says of a host and a port, as the program gave them, whether they are rudp's."""

_ROUTED = ("create_connection", "create_server", "start_tls")


def routed(
    *,
    connections: bool | Selector = True,
    servers: bool | Selector = True,
    config: Config | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
) -> AbstractContextManager[None]:
    """Send a loop's new connections and servers over rudp for the length of a `with` block.

        with rudp.routed(connections=lambda host, port: host == "db.internal"):
            reader, writer = await asyncio.open_connection("db.internal", 5432)

    It holds for everything that runs on the loop meanwhile, whichever task it is in, and for
    nothing on other loops. Connections and servers that were opened inside stay what they are
    when the block ends. Blocks nest, and may end in any order: the one entered last is asked
    first. What none of them takes goes where it went before, as do Unix sockets, `sock=` with a
    stream socket, and sockets that a library connects by itself (`loop.sock_connect()`). A UDP
    socket given as `sock=`, which asyncio refuses, is taken. A call may carry `config=`.

    Args:
        connections: Whether `create_connection()` is routed; a function is asked for each host
            and port.
        servers: Whether `create_server()` is routed; a function is asked for each host and port.
            One server cannot be both: hosts on which it disagrees are a `ValueError`.
        config: Settings of what is routed.
        loop: The loop; default is the running one. One that does not run may be given, too.

    Returns:
        The context manager. It may be entered again.

    Raises:
        TypeError: An argument has the wrong type; on entering, if the loop lets no attribute be
            set.
        RuntimeError: On entering, if no loop runs and none was given, or if the one given runs
            in another thread.
    """
    return _Routing(_Route(connections, servers, config), loop)


def new_event_loop(
    base: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    *,
    connections: bool | Selector = True,
    servers: bool | Selector = True,
    config: Config | None = None,
) -> asyncio.AbstractEventLoop:
    """A new event loop whose connections and servers go over rudp, see `routed()`.

    For programs that take a loop factory, `asyncio.Runner(loop_factory=rudp.new_event_loop)`, or
    the name of one, `uvicorn app:app --loop rudp:new_event_loop`.

    Args:
        base: Makes the loop, for example `uvloop.new_event_loop`.
        connections: As `routed()` has it.
        servers: As `routed()` has it.
        config: Settings of what is routed.

    Raises:
        TypeError: An argument has the wrong type, or the loop lets no attribute be set.
    """
    route = _Route(connections, servers, config)
    loop = base()
    try:
        _Switch.of(loop).routes.append(route)
    except BaseException:
        loop.close()
        raise
    return loop


class _Route:
    """What is taken, and the settings it gets."""

    def __init__(
        self, connections: bool | Selector, servers: bool | Selector, config: Config | None
    ) -> None:
        for name, value in (("connections", connections), ("servers", servers)):
            if not isinstance(value, bool) and not callable(value):
                raise TypeError(f"{name} must be a bool or a function, not {value!r}")
        if config is not None and not isinstance(config, Config):
            raise TypeError(f"config must be a rudp.Config, not {config!r}")
        self._connections = connections
        self._servers = servers
        self.config = config

    def takes_connection(
        self, host: str | None, port: int | str | None, sock: socket.socket | None
    ) -> bool:
        """Whether a connection is rudp's."""
        return _takes(self._connections, host, port, sock)

    def takes_server(
        self,
        host: str | Sequence[str] | None,
        port: int | str | None,
        sock: socket.socket | None,
    ) -> bool:
        """Whether a server is rudp's. Raises `ValueError` if only some of its hosts are."""
        hosts = [host] if host is None or isinstance(host, str) else list(host)
        taken = {_takes(self._servers, one, port, sock) for one in hosts or [None]}
        if len(taken) > 1:
            raise ValueError(f"servers= takes some of {hosts!r} at port {port!r} and not others")
        return taken.pop()


def _takes(
    wanted: bool | Selector,
    host: str | None,
    port: int | str | None,
    sock: socket.socket | None,
) -> bool:
    if sock is not None:
        return wanted is not False and sock.type == socket.SOCK_DGRAM
    return wanted if isinstance(wanted, bool) else bool(wanted(host, port))


class _Switch:
    """What stands in for a loop's methods, as long as there is a route."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._hidden = {name: getattr(loop, name) for name in _ROUTED}
        own = getattr(loop, "__dict__", {})
        self._own = {name: own[name] for name in _ROUTED if name in own}
        self.routes: list[_Route] = []

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> _Switch:
        """The switch of a loop, which is put in place if there is none on top."""
        found = getattr(loop.create_connection, "__self__", None)
        if isinstance(found, cls):
            return found
        switch = cls(loop)
        try:
            for name in _ROUTED:
                setattr(loop, name, getattr(switch, name))
        except AttributeError:
            raise TypeError(
                f"loop must be one that lets attributes be set on it, not {loop!r}"
            ) from None
        return switch

    def leave(self, route: _Route) -> None:
        """Take a route away, and with the last one everything that was set on the loop.

        What somebody else has put on top is left alone: it finds the way through.
        """
        self.routes.remove(route)
        if self.routes:
            return
        for name in _ROUTED:
            if vars(self._loop).get(name) != getattr(self, name):
                continue
            if name in self._own:
                setattr(self._loop, name, self._own[name])
            else:
                delattr(self._loop, name)

    async def start_tls(
        self,
        transport: asyncio.BaseTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        **options: Any,
    ) -> asyncio.BaseTransport | None:
        """`loop.start_tls()`: uvloop's takes no transports but its own."""
        if transport.get_extra_info("rudp_info") is not None:
            return await tls.start_tls(transport, protocol, sslcontext, **options)
        below = self._hidden["start_tls"]
        return cast(
            "asyncio.BaseTransport | None",
            await below(transport, protocol, sslcontext, **options),
        )

    async def create_connection(
        self,
        protocol_factory: ProtocolFactory,
        host: str | None = None,
        port: int | str | None = None,
        **options: Any,
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """`loop.create_connection()`, from rudp or from where it was before."""
        for route in reversed(self.routes):
            if route.takes_connection(host, port, options.get("sock")):
                if options.get("proto") == socket.IPPROTO_TCP:
                    del options["proto"]  # from an earlier getaddrinfo(): it is UDP's turn
                options.setdefault("config", route.config)
                return await client.create_connection(protocol_factory, host, port, **options)
        below = self._hidden["create_connection"]
        return cast(
            "tuple[asyncio.BaseTransport, asyncio.BaseProtocol]",
            await below(protocol_factory, host, port, **options),
        )

    async def create_server(
        self,
        protocol_factory: ProtocolFactory,
        host: str | Sequence[str] | None = None,
        port: int | str | None = None,
        **options: Any,
    ) -> asyncio.AbstractServer:
        """`loop.create_server()`, from rudp or from where it was before."""
        for route in reversed(self.routes):
            if route.takes_server(host, port, options.get("sock")):
                options.setdefault("config", route.config)
                return await listen.create_server(protocol_factory, host, port, **options)
        below = self._hidden["create_server"]
        return cast("asyncio.AbstractServer", await below(protocol_factory, host, port, **options))


class _Routing(AbstractContextManager[None]):
    """One `with` block, or several of the same."""

    def __init__(self, route: _Route, loop: asyncio.AbstractEventLoop | None) -> None:
        self._route = route
        self._loop = loop
        self._entered: list[_Switch] = []

    def __enter__(self) -> None:
        loop = self._loop or asyncio.get_running_loop()
        if loop.is_running() and loop is not asyncio._get_running_loop():
            raise RuntimeError("loop runs in another thread: routes are its own thread's to set")
        switch = _Switch.of(loop)
        switch.routes.append(self._route)
        self._entered.append(switch)

    def __exit__(self, *exc_info: object) -> None:
        self._entered.pop().leave(self._route)
