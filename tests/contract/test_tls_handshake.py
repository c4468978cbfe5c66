"""TLS: whom it trusts, handshakes that fail, and arguments that make no sense."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from certificates import Certificates

from .stacks import LOOPBACK, Stack
from .support import (
    Dial,
    End,
    Serve,
    address_of,
    echo,
    echo_round_trip,
)

# Whom to trust


async def test_an_unknown_authority_is_not_trusted(
    certificates: Certificates, serve: Serve, stack: Stack
) -> None:
    server = await serve(echo, ssl=certificates.server_context())
    for context in (certificates.client_context(trusts=False), True):
        with pytest.raises(ssl.SSLCertVerificationError):
            await stack.open_connection(*address_of(server), ssl=context)


async def test_an_expired_certificate_is_not_trusted(
    certificates: Certificates, serve: Serve, stack: Stack
) -> None:
    server = await serve(echo, ssl=certificates.server_context(expired=True))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        await stack.open_connection(*address_of(server), ssl=certificates.client_context())


async def test_a_certificate_of_another_name_is_not_trusted(
    certificates: Certificates, serve: Serve, stack: Stack, dial: Dial
) -> None:
    server = await serve(echo, ssl=certificates.server_context())
    address = address_of(server)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)hostname"):
        await stack.open_connection(
            *address, ssl=certificates.client_context(), server_hostname="elsewhere.example"
        )
    end = await dial(*address, ssl=certificates.client_context(), server_hostname="localhost")
    assert await echo_round_trip(end) == b"still alive"


async def test_after_a_failed_handshake_the_server_goes_on(
    certificates: Certificates, serve: Serve, dial: Dial, stack: Stack
) -> None:
    server = await serve(echo, ssl=certificates.server_context())
    address = address_of(server)
    plain = await dial(*address)
    plain.writer.write(b"this is no ClientHello\n" * 100)
    assert await _ends(plain)
    with pytest.raises(ssl.SSLError):
        await stack.open_connection(*address, ssl=certificates.client_context(trusts=False))
    end = await dial(*address, ssl=certificates.client_context())
    assert await echo_round_trip(end) == b"still alive"


async def _ends(end: End) -> bool:
    """Whether the peer ended the connection, and not only its own direction with data before."""
    try:
        # An alert of TLS may come first.
        return len(await end.reader.read()) < 100
    except ConnectionError:
        return True


async def test_a_server_without_tls_fails_the_handshake(
    certificates: Certificates, serve: Serve, stack: Stack
) -> None:
    server = await serve(echo)
    with pytest.raises(OSError):
        await stack.open_connection(*address_of(server), ssl=certificates.client_context())


async def test_a_peer_that_hangs_up_during_the_handshake_is_a_reset(
    certificates: Certificates, serve: Serve, stack: Stack
) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(10)
        await reader.read(1 << 16)
        writer.close()

    server = await serve(hang_up)
    with pytest.raises(ConnectionResetError):
        await stack.open_connection(*address_of(server), ssl=certificates.client_context())


async def test_cancelling_the_handshake_ends_the_connection(
    certificates: Certificates, serve: Serve, stack: Stack
) -> None:
    hello: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(10)
        hello.set_result(None)
        try:
            await reader.read()
        except ConnectionResetError:
            pass
        gone.set_result(None)
        writer.close()

    server = await serve(say_nothing)
    opening = asyncio.ensure_future(
        stack.open_connection(*address_of(server), ssl=certificates.client_context())
    )
    await hello
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await gone


# Arguments


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
async def test_a_tls_timeout_without_ssl_is_a_value_error(stack: Stack, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        await stack.open_connection(LOOPBACK, 1, **{name: 1.0})
    with pytest.raises(ValueError, match=name):
        await stack.start_server(echo, LOOPBACK, 0, **{name: 1.0})


@pytest.mark.not_on("tcp-asyncio", because="its 3.11 leaks the socket that it has connected")
@pytest.mark.parametrize("timeout_s", [0, -1.0])
@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
async def test_a_tls_timeout_that_is_not_positive_is_a_value_error(
    certificates: Certificates, serve: Serve, stack: Stack, name: str, timeout_s: float
) -> None:
    server = await serve(echo, ssl=certificates.server_context())
    with pytest.raises(ValueError, match=name):
        await stack.open_connection(
            *address_of(server), ssl=certificates.client_context(), **{name: timeout_s}
        )


async def test_a_server_needs_a_context_of_its_own(stack: Stack) -> None:
    for nonsense in (True, False):
        with pytest.raises(TypeError, match="ssl"):
            await stack.start_server(echo, LOOPBACK, 0, ssl=nonsense)


async def test_tls_without_a_host_needs_a_name(
    certificates: Certificates, serve: Serve, stack: Stack, dial: Dial
) -> None:
    server = await serve(echo, ssl=certificates.server_context())
    context = certificates.client_context()
    with stack.connected_socket(address_of(server)) as sock:
        with pytest.raises(ValueError, match="server_hostname"):
            await stack.open_connection(sock=sock, ssl=context)
        end = await dial(sock=sock.dup(), ssl=context, server_hostname="localhost")
    assert await echo_round_trip(end) == b"still alive"


async def test_an_empty_name_is_any_name(
    certificates: Certificates, serve: Serve, dial: Dial
) -> None:
    server = await serve(echo, ssl=certificates.server_context())
    context = certificates.client_context()
    context.check_hostname = False
    end = await dial(*address_of(server), ssl=context, server_hostname="")
    assert await echo_round_trip(end) == b"still alive"
    assert end.writer.get_extra_info("ssl_object").server_hostname is None
