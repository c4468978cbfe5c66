"""Errors: when nobody listens, when arguments are nonsense, when the loop is gone."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from .stacks import FOREIGN_HOST, LOOP_FACTORIES, LOOPBACK, Stack
from .support import (
    ConnectStreams,
    Dial,
    End,
    Recorder,
    Serve,
    address_of,
    echo,
    echo_round_trip,
    end_connection,
    end_server,
)

UNRESOLVABLE = "no-such-host.invalid"


# Connecting


async def test_a_port_where_nothing_listens_refuses_at_once(stack: Stack) -> None:
    with pytest.raises(ConnectionRefusedError):
        await stack.open_connection(LOOPBACK, stack.unused_port())


async def test_create_connection_is_refused_as_well(stack: Stack) -> None:
    with pytest.raises(ConnectionRefusedError):
        await stack.create_connection(Recorder, LOOPBACK, stack.unused_port())


async def test_a_closed_server_refuses_at_once(stack: Stack, serve: Serve) -> None:
    server = await serve(echo)
    address = address_of(server)
    await end_server(server)
    with pytest.raises(ConnectionRefusedError):
        await stack.open_connection(*address)


async def test_a_closed_server_refuses_at_once_though_it_still_serves(
    stack: Stack, serve: Serve, dial: Dial
) -> None:
    server = await serve(echo)
    address = address_of(server)
    live = await dial(*address)
    assert await echo_round_trip(live) == b"still alive"
    server.close()
    with pytest.raises(ConnectionRefusedError):
        await stack.open_connection(*address)
    assert await echo_round_trip(live) == b"still alive"


async def test_after_a_refusal_the_next_attempt_may_succeed(
    stack: Stack, serve: Serve, dial: Dial
) -> None:
    port = stack.unused_port()
    with pytest.raises(ConnectionRefusedError):
        await stack.open_connection(LOOPBACK, port)
    await serve(echo, LOOPBACK, port)
    end = await dial(LOOPBACK, port)
    assert await echo_round_trip(end) == b"still alive"


async def test_a_host_that_does_not_resolve_is_a_gaierror(stack: Stack) -> None:
    with pytest.raises(socket.gaierror):
        await stack.open_connection(UNRESOLVABLE, 1)


async def test_a_server_host_that_does_not_resolve_is_a_gaierror(stack: Stack) -> None:
    with pytest.raises(socket.gaierror):
        await stack.start_server(echo, UNRESOLVABLE, 0)


async def test_an_address_of_the_wrong_family_is_an_error(stack: Stack) -> None:
    with pytest.raises(OSError):
        await stack.open_connection(LOOPBACK, 1, family=socket.AF_INET6)


async def test_a_local_address_of_another_host_is_an_os_error(stack: Stack, serve: Serve) -> None:
    server = await serve(echo)
    with pytest.raises(OSError):
        await stack.open_connection(*address_of(server), local_addr=(FOREIGN_HOST, 0))


async def test_local_addr_is_where_the_connection_comes_from(
    stack: Stack, serve: Serve, dial: Dial
) -> None:
    server = await serve(echo)
    local = (LOOPBACK, stack.unused_port())
    end = await dial(*address_of(server), local_addr=local)
    assert end.writer.get_extra_info("sockname") == local
    assert await echo_round_trip(end) == b"still alive"


# Arguments that contradict each other


async def test_connecting_to_nowhere_is_a_value_error(stack: Stack) -> None:
    with pytest.raises(ValueError):
        await stack.open_connection()


async def test_listening_nowhere_is_a_value_error(stack: Stack) -> None:
    with pytest.raises(ValueError):
        await stack.start_server(echo)


async def test_host_and_sock_together_are_a_value_error(stack: Stack) -> None:
    with stack.bound_socket() as sock:
        with pytest.raises(ValueError, match="sock"):
            await stack.open_connection(LOOPBACK, 1, sock=sock)
        with pytest.raises(ValueError, match="sock"):
            await stack.start_server(echo, LOOPBACK, 1, sock=sock)


async def test_a_socket_of_the_wrong_type_is_a_value_error(stack: Stack) -> None:
    with socket.socket(socket.AF_INET, stack.foreign_socket_type) as sock:
        with pytest.raises(ValueError, match=r"(?i)socket"):
            await stack.open_connection(sock=sock)
        with pytest.raises(ValueError, match=r"(?i)socket"):
            await stack.start_server(echo, sock=sock)


async def test_server_hostname_without_ssl_is_a_value_error(stack: Stack) -> None:
    with pytest.raises(ValueError, match="server_hostname"):
        await stack.open_connection(LOOPBACK, 1, server_hostname="example.org")


async def test_an_unknown_keyword_is_a_type_error(stack: Stack) -> None:
    with pytest.raises(TypeError):
        await stack.open_connection(LOOPBACK, 1, no_such_argument=1)
    with pytest.raises(TypeError):
        await stack.start_server(echo, LOOPBACK, 0, no_such_argument=1)


# Sockets handed in


async def test_a_connected_socket_may_be_handed_in(stack: Stack, serve: Serve, dial: Dial) -> None:
    server = await serve(echo)
    sock = stack.connected_socket(address_of(server))
    end = await dial(sock=sock)
    assert end.writer.get_extra_info("peername") == address_of(server)
    assert await echo_round_trip(end) == b"still alive"


async def test_a_bound_socket_may_be_handed_in_and_belongs_to_the_server(
    stack: Stack, serve: Serve, dial: Dial
) -> None:
    sock = stack.bound_socket()
    address = sock.getsockname()
    server = await serve(echo, None, None, sock=sock)
    assert address_of(server) == address
    end = await dial(*address)
    assert await echo_round_trip(end) == b"still alive"
    server.close()
    with pytest.raises(ConnectionRefusedError):
        await stack.open_connection(*address)


# A loop that ends


@pytest.mark.parametrize("factory", LOOP_FACTORIES.values(), ids=LOOP_FACTORIES)
def test_after_its_loop_is_closed_a_transport_may_be_called_without_harm(
    stack: Stack, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Stock asyncio and uvloop each raise RuntimeError from some calls, and not the same ones."""

    async def connect() -> list[Callable[[], Any]]:
        server = await stack.create_server(Recorder, LOOPBACK, 0)
        transport, _ = await stack.create_connection(Recorder, *address_of(server))
        return [
            lambda: transport.write(b"x"),
            transport.pause_reading,
            transport.close,
            transport.abort,
            transport.is_closing,
            server.close,
        ]

    with warnings.catch_warnings():
        # A loop closed under open connections leaves their sockets to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        with asyncio.Runner(loop_factory=factory) as runner:
            actions = runner.run(connect())
        for action in actions:
            with contextlib.suppress(RuntimeError):
                action()
        del actions, action
        gc.collect()


@pytest.mark.parametrize("factory", LOOP_FACTORIES.values(), ids=LOOP_FACTORIES)
def test_a_port_is_free_again_after_asyncio_run(
    stack: Stack, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Two loops, one after the other, may use the same port: nothing lives in a global."""
    port = stack.unused_port()

    async def serve_once() -> bytes:
        server = await stack.start_server(echo, LOOPBACK, port, reuse_port=True)
        end = End(*await stack.open_connection(LOOPBACK, port))
        answer = await echo_round_trip(end)
        await end_connection(end.writer)
        await end_server(server)
        return answer

    for _ in range(2):
        with asyncio.Runner(loop_factory=factory) as runner:
            assert runner.run(serve_once()) == b"still alive"


def test_without_a_running_loop_it_is_a_runtime_error(stack: Stack) -> None:
    coroutine = stack.open_connection(LOOPBACK, 1)
    with pytest.raises(RuntimeError):
        coroutine.send(None)


# What the exceptions are


async def test_a_refusal_is_an_os_error_with_an_errno_and_a_text(stack: Stack) -> None:
    with pytest.raises(OSError) as caught:
        await stack.open_connection(LOOPBACK, stack.unused_port())
    assert isinstance(caught.value.errno, int)
    assert str(caught.value)


async def test_a_reset_is_an_os_error_with_an_errno_and_a_text(
    stack: Stack, connect_streams: ConnectStreams
) -> None:
    client, server = await connect_streams()
    stack.reset(client.writer.transport)
    with pytest.raises(ConnectionResetError) as caught:
        await server.reader.read()
    assert isinstance(caught.value.errno, int)
    assert str(caught.value)
