"""`create_connection` and `open_connection`, with asyncio's own signatures."""

from __future__ import annotations

import asyncio
import functools
import itertools
import socket
from asyncio import staggered
from collections.abc import Awaitable, Callable, Sequence
from ssl import SSLContext

from rudp.aio import registry, tls, udp, writer
from rudp.aio.endpoint import Endpoint
from rudp.aio.tls import Connected, ProtocolFactory
from rudp.aio.udp import Address, AddressInfo
from rudp.config import Config

Attempt = Callable[[ProtocolFactory], Awaitable[Connected]]


async def create_connection(
    protocol_factory: ProtocolFactory,
    host: str | None = None,
    port: int | str | None = None,
    *,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    sock: socket.socket | None = None,
    local_addr: tuple[str, int] | None = None,
    ssl: SSLContext | bool | None = None,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    happy_eyeballs_delay: float | None = None,
    interleave: int | None = None,
    all_errors: bool = False,
    config: Config | None = None,
) -> Connected:
    """Open a connection; `asyncio`'s `loop.create_connection()` over UDP.

    Connections that give neither `sock` nor `local_addr` share one UDP socket per event loop.

    Args:
        protocol_factory: Called when the connection is established.
        host: Name or address of the peer.
        port: Port of the peer.
        family: Restricts the addresses of a name.
        proto: Passed to `getaddrinfo()`.
        flags: Passed to `getaddrinfo()`.
        sock: A connected UDP socket to use instead of `host` and `port`, whose peer is dialled;
            the connection takes it over.
        local_addr: Local address and port: the connection gets a socket of its own.
        ssl: A context for TLS, or True for `ssl.create_default_context()`'s; None for no TLS
            (`rudp.aio.tls`).
        server_hostname: The name that the server's certificate must have, `host` by default; ""
            for any.
        ssl_handshake_timeout: Seconds for TLS's handshake; 60 by default.
        ssl_shutdown_timeout: Seconds that `close()` waits for the peer to end TLS, too; 30 by
            default.
        happy_eyeballs_delay: Seconds before the next address is tried beside the last one
            (RFC 8305); None tries them one after the other.
        interleave: Number of addresses of the first family before families alternate
            (RFC 8305 §4).
        all_errors: Raise an `ExceptionGroup` of all attempts' errors.
        config: Settings.

    Returns:
        The transport and the protocol.

    Raises:
        ConnectionRefusedError: The peer has no listener there.
        TimeoutError: Nobody answered within `config.connect_timeout` seconds.
        OSError: No address could be resolved, bound or reached.
        ssl.SSLError: TLS's handshake failed: `ssl.SSLCertVerificationError` for a certificate
            that is not trusted, or of another name.
        ConnectionAbortedError: TLS's handshake took too long.
        ValueError: The arguments contradict each other.
        TypeError: An argument has the wrong type.

    Cancellation aborts the attempt; nothing is left open.
    """
    config = config or Config()
    secure = tls.for_client(ssl, host, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
    tls.check_no_ssl_socket(sock)
    if sock is not None:
        if host is not None or port is not None:
            raise ValueError("host/port and sock can not be specified at the same time")
        dial = functools.partial(_over_socket, sock=sock, config=config)
    else:
        if host is None and port is None:
            raise ValueError("host and port was not specified and no sock specified")
        infos = await udp.resolve(host, port, family=family, proto=proto, flags=flags)
        if happy_eyeballs_delay is not None and interleave is None:
            interleave = 1
        if interleave:
            infos = _interleave(infos, interleave)
        attempts = [
            functools.partial(_attempt, info=info, local_addr=local_addr, config=config)
            for info in infos
        ]
        dial = functools.partial(
            _race, attempts=attempts, delay_s=happy_eyeballs_delay, all_errors=all_errors
        )
    return await (
        dial(protocol_factory) if secure is None else secure.connect(dial, protocol_factory)
    )


async def open_connection(
    host: str | None = None,
    port: int | str | None = None,
    *,
    limit: int = 2**16,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    sock: socket.socket | None = None,
    local_addr: tuple[str, int] | None = None,
    ssl: SSLContext | bool | None = None,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    happy_eyeballs_delay: float | None = None,
    interleave: int | None = None,
    all_errors: bool = False,
    config: Config | None = None,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection and return `(reader, writer)`; `asyncio.open_connection()` over UDP.

    `limit` is the reader's buffer limit in bytes; the other arguments, the errors and
    cancellation are those of `create_connection()`.
    """
    connect = functools.partial(
        create_connection,
        host=host,
        port=port,
        family=family,
        proto=proto,
        flags=flags,
        sock=sock,
        local_addr=local_addr,
        ssl=ssl,
        server_hostname=server_hostname,
        ssl_handshake_timeout=ssl_handshake_timeout,
        ssl_shutdown_timeout=ssl_shutdown_timeout,
        happy_eyeballs_delay=happy_eyeballs_delay,
        interleave=interleave,
        all_errors=all_errors,
        config=config,
    )
    return await writer.open_streams(connect, limit)


async def _over_socket(
    protocol_factory: ProtocolFactory, sock: socket.socket, config: Config
) -> Connected:
    udp.check_datagram_socket(sock)
    try:
        peer: Address = sock.getpeername()
    except OSError as exc:
        raise ValueError("sock must be connected to the peer") from exc
    endpoint = await Endpoint.open(None, family=sock.family, config=config, sock=sock)
    return await _dial_alone(endpoint, protocol_factory, peer)


async def _attempt(
    protocol_factory: ProtocolFactory,
    info: AddressInfo,
    local_addr: tuple[str, int] | None,
    config: Config,
) -> Connected:
    """Dial one address, from the shared socket or from one of its own."""
    family, *_, address = info
    if local_addr is None:
        endpoint = await shared_endpoint(family, config)
        return await endpoint.dial(protocol_factory, address, config)
    error: OSError | None = None
    for found, *_, local in await udp.resolve(*local_addr, flags=socket.AI_PASSIVE):
        if found != family:
            continue
        try:
            endpoint = await Endpoint.open(local, family=family, config=config)
        except OSError as exc:
            error = exc
        else:
            return await _dial_alone(endpoint, protocol_factory, address)
    raise error or OSError(f"no matching local address with family={family} found")


async def _dial_alone(
    endpoint: Endpoint, protocol_factory: ProtocolFactory, address: Address
) -> Connected:
    endpoint.closes_when_idle = True
    try:
        return await endpoint.dial(protocol_factory, address)
    except BaseException:
        endpoint.close()
        raise


async def shared_endpoint(family: int, config: Config) -> Endpoint:
    """The socket of this loop's connections that name no local address. Raises `OSError`.

    One descriptor serves thousands of connections, and a change of the machine's address does
    not strand an unbound socket.
    """
    known = await registry.of_running_loop()
    key = (family, config.io, config.max_connections, udp.origin_of(asyncio.get_running_loop()))
    endpoint = known.shared.get(key)
    if endpoint is not None and not endpoint.is_closing():
        return endpoint
    # What belongs to no connection is nobody's here: it goes into no connection's trace.
    own = config.replace(trace=None)
    endpoint = await Endpoint.open(None, family=family, config=own)
    raced = known.shared.setdefault(key, endpoint)
    if raced is not endpoint:
        endpoint.close()
        return raced
    endpoint.closes_when_idle = True
    return endpoint


def _interleave(infos: Sequence[AddressInfo], first_count: int) -> list[AddressInfo]:
    """Alternate between families (RFC 8305 §4)."""
    families: dict[int, list[AddressInfo]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    lists = list(families.values())
    head = lists[0][: first_count - 1]
    del lists[0][: first_count - 1]
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*lists))
    return head + [info for info in rounds if info is not None]


async def _race(
    protocol_factory: ProtocolFactory,
    *,
    attempts: Sequence[Attempt],
    delay_s: float | None,
    all_errors: bool,
) -> Connected:
    """The first attempt that succeeds: one after the other, or staggered (RFC 8305 §5)."""
    errors: list[OSError] = []
    if delay_s is None:
        for attempt in attempts:
            try:
                return await attempt(protocol_factory)
            except OSError as exc:
                errors.append(exc)
    else:
        bound = [functools.partial(attempt, protocol_factory) for attempt in attempts]
        dialled, _, raised = await staggered.staggered_race(bound, delay_s)
        if dialled is not None:
            return dialled  # type: ignore[no-any-return]
        for failure in raised:
            if isinstance(failure, OSError):
                errors.append(failure)
            elif failure is not None:
                raise failure
    if all_errors:
        raise ExceptionGroup("create_connection failed", errors)
    raise _describe(errors)


def _describe(errors: Sequence[OSError]) -> OSError:
    """One error for several failed attempts: theirs if they failed alike, else asyncio's words."""
    first = errors[0]
    if all(type(error) is type(first) and error.errno == first.errno for error in errors):
        return first
    return OSError("Multiple exceptions: {}".format(", ".join(str(error) for error in errors)))
