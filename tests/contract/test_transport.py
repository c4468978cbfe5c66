"""The transport's own interface: protocols, extra information, life after the end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from .stacks import LOOPBACK, Stack
from .support import (
    BufferedRecorder,
    Clock,
    ConnectProtocols,
    Echo,
    Recorder,
)

Pair = tuple[Recorder, Recorder]
CONNECTION_ENDS = {"client": 0, "server": 1}


@pytest.fixture
async def pair(connect_protocols: ConnectProtocols) -> Pair:
    return await connect_protocols()


@pytest.fixture(params=CONNECTION_ENDS)
def transport(request: pytest.FixtureRequest, pair: Pair) -> Any:
    """A connected transport: once the client's, once the server's."""
    return pair[CONNECTION_ENDS[request.param]].transport


# Protocols


async def test_set_protocol_in_mid_stream(pair: Pair) -> None:
    client, server = pair
    client.transport.write(b"for the first")
    await server.until(lambda: server.received == b"for the first")
    second = Recorder()
    server.transport.set_protocol(second)
    assert server.transport.get_protocol() is second
    client.transport.write(b"for the second")
    await second.until(lambda: second.received == b"for the second")
    client.transport.close()
    assert await second.lost is None
    assert server.calls == ["connection_made", "data_received"]
    assert second.calls == ["data_received", "eof_received", "connection_lost"]


async def test_set_protocol_from_within_data_received(connect_protocols: ConnectProtocols) -> None:
    second = Recorder()

    class HandsOver(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.set_protocol(second)
            self.transport.write(b"next")

    client, server = await connect_protocols(Recorder, HandsOver)
    client.transport.write(b"one")
    await client.until(lambda: client.received == b"next")
    client.transport.write(b"two")
    await second.until(lambda: second.received == b"two")
    assert server.received == b"one"


async def test_set_protocol_between_plain_and_buffered(pair: Pair) -> None:
    client, server = pair
    buffered, plain = BufferedRecorder(7), Recorder()
    server.transport.set_protocol(buffered)
    client.transport.write(b"through a buffer")
    await buffered.until(lambda: buffered.received == b"through a buffer")
    server.transport.set_protocol(plain)
    client.transport.write(b"and without")
    await plain.until(lambda: plain.received == b"and without")


async def test_set_protocol_while_reading_is_paused_hands_the_data_to_the_new_one(
    pair: Pair, clock: Clock
) -> None:
    client, server = pair
    server.transport.pause_reading()
    client.transport.write(b"upgrade")
    await clock.ticks()
    second = Recorder()
    server.transport.set_protocol(second)
    server.transport.resume_reading()
    await second.until(lambda: second.received == b"upgrade")
    assert server.calls == ["connection_made"]


# What it is and what it knows


@pytest.mark.not_on("tcp-uvloop", because="its transports are of no asyncio class")
async def test_it_is_an_asyncio_transport_with_the_flow_control_asyncio_builds_upon(
    transport: Any,
) -> None:
    assert isinstance(transport, asyncio.Transport)
    assert isinstance(transport, asyncio.transports._FlowControlMixin)


@pytest.mark.not_on("tcp-uvloop", because="its transports have no such methods")
@pytest.mark.parametrize("name", ["_force_close", "_start_tls_compatible", "_sendfile_compatible"])
async def test_it_has_what_asyncio_itself_looks_for(transport: Any, name: str) -> None:
    assert hasattr(transport, name)


async def test_peername_and_sockname_mirror_each_other(pair: Pair) -> None:
    for near, far in (pair, pair[::-1]):
        host, port = near.transport.get_extra_info("peername")
        assert host == LOOPBACK
        assert 0 < port < 65_536
        assert (host, port) == far.transport.get_extra_info("sockname")


async def test_extra_info_of_an_unknown_key_is_the_default(transport: Any) -> None:
    assert transport.get_extra_info("no such thing") is None
    assert transport.get_extra_info("no such thing", "default") == "default"
    assert transport.get_extra_info("sslcontext") is None


async def test_addresses_are_still_known_after_the_end(pair: Pair) -> None:
    client, server = pair
    peername = client.transport.get_extra_info("peername")
    assert peername == server.transport.get_extra_info("sockname")
    client.transport.close()
    await client.lost
    assert client.transport.get_extra_info("peername") == peername


async def test_the_socket_names_its_port_and_takes_tcp_nodelay(pair: Pair) -> None:
    """Many programs set TCP_NODELAY on whatever they get; here as there it must do no harm."""
    client, server = pair
    for side in pair:
        sock = side.transport.get_extra_info("socket")
        assert sock.getsockname()[1] == side.transport.get_extra_info("sockname")[1]
        assert sock.family == socket.AF_INET
        assert sock.fileno() >= 0
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.transport.write(b"after setsockopt")
    await server.until(lambda: server.received == b"after setsockopt")


async def test_the_socket_of_a_transport_is_always_the_same(transport: Any) -> None:
    sock = transport.get_extra_info("socket")
    assert transport.get_extra_info("socket") is sock
    assert sock.getpeername() == transport.get_extra_info("peername")


async def test_the_socket_of_a_transport_is_of_the_stacks_type(stack: Stack, pair: Pair) -> None:
    for side in pair:
        assert side.transport.get_extra_info("socket").type == stack.socket_type


async def test_is_closing_from_close_or_abort_on(connect_protocols: ConnectProtocols) -> None:
    for name in ("close", "abort"):
        client, _ = await connect_protocols()
        assert not client.transport.is_closing()
        getattr(client.transport, name)()
        assert client.transport.is_closing()
        await client.lost
        assert client.transport.is_closing()


async def test_a_transport_is_shown_with_repr_alive_and_ended(pair: Pair) -> None:
    client, _ = pair
    assert repr(client.transport)
    client.transport.abort()
    await client.lost
    assert repr(client.transport)


Act = Callable[[Any], Awaitable[None] | None]


@pytest.mark.parametrize(
    "act",
    [
        lambda transport: transport.close(),
        lambda transport: transport.abort(),
        lambda transport: transport.pause_reading(),
        lambda transport: transport.resume_reading(),
        pytest.param(
            lambda transport: transport.set_write_buffer_limits(high=10),
            marks=pytest.mark.not_on("tcp-uvloop", because="it raises RuntimeError"),
        ),
    ],
    ids=["close", "abort", "pause_reading", "resume_reading", "set_write_buffer_limits"],
)
async def test_calls_after_connection_lost_do_no_harm(
    connect_protocols: ConnectProtocols, act: Act
) -> None:
    client, _ = await connect_protocols(Recorder, Echo)
    client.transport.close()
    await client.lost
    act(client.transport)
    assert client.calls == ["connection_made", "connection_lost"]
