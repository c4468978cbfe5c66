"""`create_server` and `start_server`, with asyncio's own signatures."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ssl import SSLContext
from typing import Any

from rudp.aio import registry, tls, udp
from rudp.aio.endpoint import Endpoint
from rudp.aio.server import Server
from rudp.aio.tls import ProtocolFactory
from rudp.aio.udp import Address
from rudp.aio.writer import ClientConnected, accepting_streams
from rudp.config import Config


async def create_server(
    protocol_factory: ProtocolFactory,
    host: str | Sequence[str] | None = None,
    port: int | str | None = None,
    *,
    family: int = socket.AF_UNSPEC,
    flags: int = socket.AI_PASSIVE,
    sock: socket.socket | None = None,
    backlog: int = 100,
    ssl: SSLContext | None = None,
    reuse_address: bool | None = None,
    reuse_port: bool | None = None,
    keep_alive: bool | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    start_serving: bool = True,
    config: Config | None = None,
) -> Server:
    """Serve connections; `asyncio`'s `loop.create_server()` over UDP.

    Args:
        protocol_factory: Called for each connection.
        host: Name, address, or a sequence of them; None or "" is every interface.
        port: Port; 0 or None lets the system choose, for each address on its own.
        family: Restricts the addresses of a name.
        flags: Passed to `getaddrinfo()`.
        sock: A bound UDP socket to use instead; the server takes it over.
        backlog: Connections that may be half-open at a time; further SYNs are dropped.
        ssl: A context for TLS; None for no TLS (`rudp.aio.tls`).
        reuse_address: Accepted and ignored: UDP has no TIME-WAIT that it would override.
        reuse_port: Set SO_REUSEPORT, for several processes on one port.
        keep_alive: True asks for keepalive probes after 75 s unless `config.keepalive` is set.
        ssl_handshake_timeout: Seconds for TLS's handshake; 60 by default.
        ssl_shutdown_timeout: Seconds that `close()` waits for the peer to end TLS, too; 30 by
            default.
        start_serving: False leaves that to `server.start_serving()`.
        config: Settings of the connections.

    Raises:
        OSError: An address cannot be resolved or bound (`errno.EADDRINUSE`).
        ValueError: The arguments contradict each other.
        TypeError: An argument has the wrong type.

    A client that fails TLS's handshake is turned away; neither the protocol nor the server hears
    of it. Cancellation leaves no socket open.
    """
    config = config or Config()
    secure = tls.for_server(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
    tls.check_no_ssl_socket(sock)
    if secure is not None:
        protocol_factory = secure.over(protocol_factory)
    if keep_alive and config.keepalive is None:
        config = config.replace(keepalive=_KEEP_ALIVE_S)
    if not isinstance(backlog, int):
        raise TypeError(f"backlog must be an integer, not {backlog!r}")
    if sock is not None:
        if host is not None or port is not None:
            raise ValueError("host/port and sock can not be specified at the same time")
        udp.check_datagram_socket(sock)
        endpoints = [await Endpoint.open(None, family=sock.family, config=config, sock=sock)]
    else:
        if host is None and port is None:
            raise ValueError("Neither host/port nor sock were specified")
        addresses = await _addresses(host, port, family, flags)
        endpoints = await _bind_all(addresses, config, reuse_port=reuse_port)
    for endpoint in endpoints:
        endpoint.closes_when_idle = True
    server = Server(asyncio.get_running_loop(), endpoints, protocol_factory, backlog)
    if start_serving:
        try:
            await server.start_serving()
        except BaseException:
            server.close()
            raise
    return server


async def start_server(
    client_connected_cb: ClientConnected,
    host: str | Sequence[str] | None = None,
    port: int | str | None = None,
    *,
    limit: int = 2**16,
    config: Config | None = None,
    **kwds: Any,
) -> Server:
    """Serve connections as streams; `asyncio.start_server()` over UDP.

    `client_connected_cb` is called with a reader and a writer for each connection; a coroutine
    function becomes a task. `limit` is the readers' buffer limit in bytes. The other arguments
    and the errors are those of `create_server()`.
    """
    factory = accepting_streams(client_connected_cb, limit)
    return await create_server(factory, host, port, config=config, **kwds)


_KEEP_ALIVE_S = 75.0


async def _addresses(
    host: str | Sequence[str] | None, port: int | str | None, family: int, flags: int
) -> list[tuple[int, Address]]:
    """Family and address of everything to bind, each once."""
    hosts: Sequence[str | None]
    if host is None or host == "":
        hosts = [None]
    elif isinstance(host, str):
        hosts = [host]
    else:
        hosts = list(host)
    found: dict[tuple[int, Address], None] = {}
    for one in hosts:
        for info in await udp.resolve(one, port or 0, family=family, flags=flags):
            found[info[0], info[4]] = None
    return list(found)


async def _bind_all(
    addresses: Sequence[tuple[int, Address]], config: Config, *, reuse_port: bool | None
) -> list[Endpoint]:
    known = await registry.of_running_loop()
    endpoints: list[Endpoint] = []
    try:
        for family, address in addresses:
            vacant = known.vacant_at(address)
            if vacant is not None:
                vacant.configure(config)
            endpoints.append(
                vacant
                or await Endpoint.open(address, family=family, config=config, reuse_port=reuse_port)
            )
    except BaseException:
        idle = [endpoint for endpoint in endpoints if not endpoint.connection_count]
        for endpoint in idle:
            endpoint.close()
        await asyncio.gather(*(endpoint.wait_closed() for endpoint in idle))
        raise
    return endpoints
