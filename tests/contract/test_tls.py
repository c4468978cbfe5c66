"""TLS: the data, what is known of the peer, and how it ends."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
from certificates import CLIENT_NAME, NAMES, Certificates, names_of

from .stacks import Stack
from .support import (
    BufferedRecorder,
    Clock,
    Dial,
    DialProtocol,
    Echo,
    End,
    Recorder,
    Serve,
    address_of,
    digest,
    end_connection,
    fill,
    random_bytes,
    read_digest,
)

SIZE_BYTES = 1_500_000


class Pairs:
    """Makes pairs of stream ends with TLS between them."""

    def __init__(self, certificates: Certificates, serve: Serve, dial: Dial, cleanup: Any) -> None:
        self.certificates = certificates
        self._serve = serve
        self._dial = dial
        self._cleanup = cleanup

    async def connect(
        self,
        server_context: ssl.SSLContext | None = None,
        client_context: ssl.SSLContext | None = None,
        **options: Any,
    ) -> tuple[End, End]:
        """A connected pair: the client's end and the server's."""
        accepted: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        server = await self._serve(
            lambda r, w: accepted.set_result(End(r, w)),
            ssl=server_context or self.certificates.server_context(),
            **options,
        )
        client = await self._dial(
            *address_of(server),
            ssl=client_context or self.certificates.client_context(),
            **options,
        )
        peer = await accepted
        self._cleanup.push_async_callback(end_connection, peer.writer)
        return client, peer


@pytest.fixture
def pairs(certificates: Certificates, serve: Serve, dial: Dial, cleanup: Any) -> Pairs:
    return Pairs(certificates, serve, dial, cleanup)


# Data


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_directions_at_once(pairs: Pairs, version: ssl.TLSVersion) -> None:
    context = pairs.certificates.client_context(version=version)
    client, server = await pairs.connect(client_context=context)
    data = {client: random_bytes(SIZE_BYTES, 1), server: random_bytes(SIZE_BYTES, 2)}

    async def send(end: End) -> None:
        for at in range(0, SIZE_BYTES, 100_000):
            end.writer.write(data[end][at : at + 100_000])
            await end.writer.drain()

    received, answered, *_ = await asyncio.gather(
        read_digest(server.reader, SIZE_BYTES),
        read_digest(client.reader, SIZE_BYTES),
        send(client),
        send(server),
    )
    assert received == digest(data[client])
    assert answered == digest(data[server])


async def test_protocols_are_called_as_without_tls(
    certificates: Certificates, serve_protocol: Serve, dial_protocol: DialProtocol
) -> None:
    accepted: list[Recorder] = []

    def build() -> Recorder:
        accepted.append(Echo())
        return accepted[-1]

    server = await serve_protocol(build, ssl=certificates.server_context())
    client = await dial_protocol(Recorder, *address_of(server), ssl=certificates.client_context())
    client.transport.write(b"to and fro")
    await client.until(lambda: client.received == b"to and fro")
    client.transport.close()
    assert await client.lost is None
    (peer,) = accepted
    assert await peer.lost is None
    assert peer.calls == ["connection_made", "data_received", "eof_received", "connection_lost"]
    assert client.calls[:2] == ["connection_made", "data_received"]
    assert client.calls[-1] == "connection_lost"


class ViewRecorder(BufferedRecorder):
    """asyncio's TLS fills slices of the buffer: those of a bytearray would be copies."""

    def get_buffer(self, sizehint: int) -> memoryview:  # type: ignore[override]
        return memoryview(super().get_buffer(sizehint))


async def test_a_buffered_protocol_gets_the_plain_text(
    certificates: Certificates, serve_protocol: Serve, dial_protocol: DialProtocol
) -> None:
    data = random_bytes(100_000)
    server = await serve_protocol(Echo, ssl=certificates.server_context())
    client = await dial_protocol(
        ViewRecorder, *address_of(server), ssl=certificates.client_context()
    )
    client.transport.write(data)
    await client.until(lambda: len(client.received) == len(data))
    assert digest(client.received) == digest(data)


async def test_a_peer_that_does_not_read_stops_the_writer(
    stack: Stack, pairs: Pairs, clock: Clock
) -> None:
    client, server = await pairs.connect(**stack.small_buffers)
    server.writer.transport.pause_reading()
    written = await fill(client.writer.transport, clock)
    drained = asyncio.ensure_future(client.writer.drain())
    await clock.ticks()
    assert not drained.done()
    server.writer.transport.resume_reading()
    assert await read_digest(server.reader, len(written)) == digest(written)
    await drained


# What is known of the peer


async def test_what_tls_knows_is_extra_information(pairs: Pairs) -> None:
    client, server = await pairs.connect()
    for end in (client, server):
        known = end.writer.get_extra_info
        assert isinstance(known("ssl_object"), ssl.SSLObject)
        assert isinstance(known("sslcontext"), ssl.SSLContext)
        name, version, bits = known("cipher")
        assert (name, version, bits) == known("ssl_object").cipher()
        assert known("compression") is None
        assert known("no such thing", "default") == "default"
    assert names_of(client.writer.get_extra_info("peercert")) == set(NAMES)
    assert not server.writer.get_extra_info("peercert")


async def test_what_the_connection_knows_is_known_through_tls(pairs: Pairs) -> None:
    client, server = await pairs.connect()
    for near, far in ((client, server), (server, client)):
        peername = near.writer.get_extra_info("peername")
        assert peername == far.writer.get_extra_info("sockname")
        assert near.writer.get_extra_info("socket").fileno() >= 0


async def test_a_client_s_certificate_is_known_to_the_server(pairs: Pairs) -> None:
    client, server = await pairs.connect(
        pairs.certificates.server_context(asks_for_certificate=True),
        pairs.certificates.client_context(with_certificate=True),
    )
    client.writer.write(b"x")
    assert await server.reader.readexactly(1) == b"x"
    assert names_of(server.writer.get_extra_info("peercert")) == {CLIENT_NAME}


async def test_a_client_without_the_certificate_asked_for_is_turned_away(
    certificates: Certificates, serve: Serve, stack: Stack
) -> None:
    """In TLS 1.3 the client's handshake is done by then: it learns of it by reading."""
    served: list[Any] = []
    server = await serve(
        lambda reader, writer: served.append((reader, writer)),
        ssl=certificates.server_context(asks_for_certificate=True),
    )
    with pytest.raises(OSError):
        _, writer = await stack.open_connection(
            *address_of(server), ssl=certificates.client_context()
        )
        try:
            await writer.drain()
            await writer.wait_closed()
            raise ConnectionResetError  # kernel TCP may end it with a FIN
        finally:
            writer.transport.abort()
    assert served == []


# The end


async def test_close_delivers_everything_then_eof(pairs: Pairs) -> None:
    client, server = await pairs.connect()
    data = random_bytes(SIZE_BYTES)
    client.writer.write(data)
    client.writer.close()
    assert digest(await server.reader.read()) == digest(data)
    server.writer.close()
    await server.writer.wait_closed()
    await client.writer.wait_closed()


async def test_there_is_no_half_close(pairs: Pairs) -> None:
    client, _ = await pairs.connect()
    assert not client.writer.can_write_eof()
    with pytest.raises(NotImplementedError):
        client.writer.write_eof()


async def test_an_eof_closes_the_connection_in_both_directions(
    certificates: Certificates, serve_protocol: Serve, dial_protocol: DialProtocol
) -> None:
    """RFC 8446 §6.1 allows the other direction to go on; asyncio's TLS does not."""
    accepted: asyncio.Future[Recorder] = asyncio.get_running_loop().create_future()

    def build() -> Recorder:
        accepted.set_result(Recorder())
        return accepted.result()

    server = await serve_protocol(build, ssl=certificates.server_context())
    client = await dial_protocol(Recorder, *address_of(server), ssl=certificates.client_context())
    peer = await accepted
    await peer.made
    client.transport.close()
    assert await peer.lost is None
    assert await client.lost is None
    assert peer.transport.is_closing()
    peer.transport.write(b"to nobody")


async def test_abort_ends_both_sides(pairs: Pairs) -> None:
    client, server = await pairs.connect()
    client.writer.write(b"x")
    await server.reader.readexactly(1)
    client.writer.transport.abort()
    await client.writer.wait_closed()
    try:
        assert await server.reader.read() == b""
    except OSError:
        pass  # a reset, where the stack sends one; with unread input kernel TCP does, too


async def test_a_reset_reaches_the_reader_through_tls(stack: Stack, pairs: Pairs) -> None:
    client, server = await pairs.connect()
    stack.reset(client.writer.transport)
    with pytest.raises(ConnectionResetError):
        await server.reader.read()


class BareTls:
    """TLS's server by hand, over a plain connection: for what a well-behaved one does not do."""

    def __init__(self, end: End, context: ssl.SSLContext) -> None:
        self._end = end
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def call(self, name: str, *args: Any, waits: bool = True) -> Any:
        """Call a method of `ssl.SSLObject`, carrying what it sends and needs."""
        while True:
            try:
                result = getattr(self._tls, name)(*args)
            except ssl.SSLWantReadError:
                self._flush()
                if not waits:
                    return None
                received = await self._end.reader.read(1 << 16)
                if not received:
                    raise AssertionError("EOF without close_notify") from None
                self._incoming.write(received)
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._end.writer.write(self._outgoing.read())


@pytest.mark.not_on("tcp-uvloop", "tcp-asyncio", because="sent or not by the kernel's buffers")
async def test_a_close_notify_is_answered_after_all_that_was_written(
    certificates: Certificates, serve: Serve, dial: Dial, stack: Stack
) -> None:
    """asyncio's TLS loses its answer if the transport below has paused it."""
    accepted: asyncio.Future[End] = asyncio.get_running_loop().create_future()
    server = await serve(lambda r, w: accepted.set_result(End(r, w)))
    dialling = asyncio.ensure_future(dial(*address_of(server), ssl=certificates.client_context()))
    peer = BareTls(await accepted, certificates.server_context())
    await peer.call("do_handshake")
    client = await dialling
    data = random_bytes(SIZE_BYTES)
    client.writer.write(data)
    await peer.call("unwrap", waits=False)  # before it reads: OpenSSL wants it so
    received = bytearray()
    with pytest.raises(ssl.SSLZeroReturnError):
        while True:
            received += await peer.call("read", 1 << 16)
    assert digest(received) == digest(data)
    (await accepted).writer.close()
