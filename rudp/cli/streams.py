"""Dialling and listening over either transport: kernel TCP, or rudp."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import socket
from collections.abc import Callable
from typing import cast

import rudp
from rudp.cli.address import StreamAddress, format_address
from rudp.cli.bridge import StreamSide
from rudp.cli.running import reason

BACKLOG = 1024
"""A burst of clients should not be turned away while the loop is busy."""


async def dial(
    to: StreamAddress,
    factory: Callable[[], StreamSide],
    config: rudp.Config,
    *,
    family: int = 0,
    local: tuple[str, int] | None = None,
) -> StreamSide:
    """Connect to `to` within `config.connect_timeout` seconds.

    Raises `OSError` (`ConnectionRefusedError`, `TimeoutError`, …). Cancellation aborts it.
    """
    try:
        async with asyncio.timeout(config.connect_timeout):
            return await _dial(to, factory, config, family, local)
    except TimeoutError as exc:
        text = f"{to.at}: no answer within {config.connect_timeout:g} s"
        raise TimeoutError(errno.ETIMEDOUT, text) from exc
    except OSError as exc:
        raise OSError(exc.errno, f"{to.at}: {reason(exc)}") from exc  # of the same class, by errno


async def _dial(
    to: StreamAddress,
    factory: Callable[[], StreamSide],
    config: rudp.Config,
    family: int,
    local: tuple[str, int] | None,
) -> StreamSide:
    host, port = to.at.to_dial
    side: StreamSide
    if to.scheme == "rudp":
        _, made = await rudp.create_connection(
            factory, host, port, family=family, local_addr=local, config=config
        )
        side = cast("StreamSide", made)
    else:
        transport, side = await asyncio.get_running_loop().create_connection(
            factory, host, port, family=family, local_addr=local
        )
        watch_peer(transport, config)
    return side


async def listen(
    at: StreamAddress,
    factory: Callable[[], StreamSide],
    config: rudp.Config,
    *,
    family: int = 0,
) -> rudp.Server | asyncio.Server:
    """A server at `at` that does not serve yet. Raises `OSError` if it cannot be bound."""
    if at.scheme == "rudp":
        return await rudp.create_server(
            factory,
            at.at.host,
            at.at.port,
            family=family,
            backlog=BACKLOG,
            start_serving=False,
            config=config,
        )
    return await asyncio.get_running_loop().create_server(
        factory, at.at.host, at.at.port, family=family, backlog=BACKLOG, start_serving=False
    )


def addresses(server: rudp.Server | asyncio.Server) -> list[str]:
    """Where a server of either kind listens."""
    if isinstance(server, rudp.Server):
        return [format_address(name) for name in server.sockaddrs]
    return [format_address(sock.getsockname()) for sock in server.sockets]


def watch_peer(transport: asyncio.BaseTransport, config: rudp.Config) -> None:
    """Have the kernel's TCP notice a dead peer when rudp with this `config` would."""
    sock = transport.get_extra_info("socket")
    if config.keepalive is None or sock is None or sock.type != socket.SOCK_STREAM:
        return
    options = {
        "TCP_KEEPIDLE": math.ceil(config.keepalive),
        "TCP_KEEPINTVL": math.ceil(config.keepalive_interval),
        "TCP_KEEPCNT": config.keepalive_probes,
    }
    if config.user_timeout is not None:
        options["TCP_USER_TIMEOUT"] = math.ceil(config.user_timeout * 1e3)
    with contextlib.suppress(OSError):  # the connection may be gone already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            number = getattr(socket, name, None)  # not every platform has them all
            if number is not None:
                sock.setsockopt(socket.IPPROTO_TCP, number, value)
