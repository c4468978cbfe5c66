"""`start_tls()`: a connection that goes on encrypted, and streams that are cut off."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
from certificates import NAMES, Certificates, names_of

from .stacks import Stack
from .support import (
    ConnectStreams,
    Dial,
    End,
    Serve,
    address_of,
    digest,
    random_bytes,
    read_digest,
)

SIZE_BYTES = 1_000_000


async def upgrade(certificates: Certificates, client: End, server: End, **options: Any) -> None:
    """Let both ends go on with TLS, after words in the clear."""
    server.writer.write(b"220 ready\n")
    assert await client.reader.readline() == b"220 ready\n"
    client.writer.write(b"STARTTLS\n")
    assert await server.reader.readline() == b"STARTTLS\n"
    context = certificates.client_context(**options)
    await asyncio.gather(
        server.writer.start_tls(certificates.server_context()),
        client.writer.start_tls(context, server_hostname="localhost"),
    )


async def test_the_conversation_goes_on_encrypted(
    certificates: Certificates, ends: tuple[End, End]
) -> None:
    client, server = ends
    before = client.writer.transport
    await upgrade(certificates, client, server)
    assert client.writer.transport is not before
    assert names_of(client.writer.get_extra_info("peercert")) == set(NAMES)
    assert isinstance(server.writer.get_extra_info("ssl_object"), ssl.SSLObject)
    data = random_bytes(SIZE_BYTES)
    for sender, receiver in ((client, server), (server, client)):
        sender.writer.write(data)
        assert await read_digest(receiver.reader, SIZE_BYTES) == digest(data)
    client.writer.close()
    assert await server.reader.read() == b""
    server.writer.close()
    for end in ends:
        await end.writer.wait_closed()


async def test_the_server_of_tls_is_who_accepted(
    certificates: Certificates, serve: Serve, dial: Dial
) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"ready\n")
        await writer.start_tls(certificates.server_context())
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    server = await serve(accept)
    end = await dial(*address_of(server))
    end.writer.write(b"STARTTLS\n")
    await end.reader.readline()
    await end.writer.start_tls(certificates.client_context(), server_hostname="localhost")
    end.writer.write(b"encrypted\n")
    assert await end.reader.read() == b"encrypted\n"


async def test_a_peer_that_is_not_trusted_fails_the_upgrade(
    certificates: Certificates, ends: tuple[End, End]
) -> None:
    client, server = ends
    upgraded = asyncio.ensure_future(server.writer.start_tls(certificates.server_context()))
    with pytest.raises(ssl.SSLCertVerificationError):
        await client.writer.start_tls(
            certificates.client_context(trusts=False), server_hostname="localhost"
        )
    with pytest.raises(OSError):
        await upgraded
        await server.reader.read()  # in TLS 1.3 the server's handshake may be done
        raise ConnectionResetError  # kernel TCP may end it with a FIN


async def test_an_argument_that_is_no_context_is_a_type_error(ends: tuple[End, End]) -> None:
    with pytest.raises(TypeError, match="sslcontext"):
        await ends[0].writer.start_tls(None)  # type: ignore[arg-type]


async def test_a_reader_that_is_full_stops_the_sender_after_the_upgrade(
    stack: Stack, certificates: Certificates, connect_streams: ConnectStreams
) -> None:
    client, server = await connect_streams(server_limit=1000, options=stack.small_buffers)
    await upgrade(certificates, client, server)
    data = random_bytes(SIZE_BYTES)

    async def send() -> None:
        client.writer.write(data)
        await client.writer.drain()

    sending = asyncio.ensure_future(send())
    assert await read_digest(server.reader, SIZE_BYTES) == digest(data)
    await sending


@pytest.mark.not_on("tcp-asyncio", "tcp-uvloop", because="the handshake hangs (gh-142352)")
async def test_a_handshake_that_began_before_start_tls_is_not_lost(
    certificates: Certificates, ends: tuple[End, End]
) -> None:
    """The ClientHello is in the reader's buffer by then."""
    client, server = ends
    starting = asyncio.ensure_future(
        client.writer.start_tls(certificates.client_context(), server_hostname="localhost")
    )
    while not server.reader._buffer:  # type: ignore[attr-defined]
        await asyncio.sleep(0)
    await server.writer.start_tls(certificates.server_context())
    await starting
    client.writer.write(b"x")
    assert await server.reader.readexactly(1) == b"x"


# Streams that are cut off: the connection ends in order, TLS does not


async def _cut_off(certificates: Certificates, client: End, server: End, **options: Any) -> None:
    """Send something encrypted, and end the connection under TLS."""
    below = server.writer.transport
    await upgrade(certificates, client, server, **options)
    server.writer.write(b"half of ")
    await server.writer.drain()
    below.close()


async def test_with_the_option_a_cut_off_stream_is_an_eof(
    certificates: Certificates, ends: tuple[End, End]
) -> None:
    client, server = ends
    await _cut_off(certificates, client, server, ignores_cut_off=True)
    assert await client.reader.read() == b"half of "


@pytest.mark.not_on("tcp-asyncio", "tcp-uvloop", because="there it is an EOF")
@pytest.mark.parametrize("paused", [False, True])
async def test_a_cut_off_stream_is_an_error(
    certificates: Certificates, ends: tuple[End, End], paused: bool
) -> None:
    client, server = ends
    await _cut_off(certificates, client, server)
    if paused:
        client.writer.transport.pause_reading()
        asyncio.get_running_loop().call_soon(client.writer.transport.resume_reading)
    with pytest.raises(ssl.SSLEOFError):
        await client.reader.read()
    with pytest.raises(ssl.SSLEOFError):
        await client.writer.wait_closed()
