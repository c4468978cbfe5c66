"""After connection_lost nothing holds a connection, and no cycle keeps it for the collector."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from certificates import Certificates

from .stacks import LOOPBACK, Stack
from .support import Recorder, address_of, end_server, loop_passes


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Whatever dies in the test dies of its reference count."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


References = tuple[weakref.ref[Any], ...]


async def finish(stack: Stack, how: str) -> tuple[References, References]:
    """Use and end a connection; return weak references to its protocols and its transports."""
    accepted: asyncio.Queue[Recorder] = asyncio.Queue()

    def build() -> Recorder:
        protocol = Recorder()
        accepted.put_nowait(protocol)
        return protocol

    server = await stack.create_server(build, LOOPBACK, 0)
    transport, client = await stack.create_connection(Recorder, *address_of(server))
    assert isinstance(client, Recorder)
    transport.write(b"x" * 100_000)
    peer = await accepted.get()
    await peer.until(lambda: len(peer.received) == 100_000)
    getattr(transport, how)()
    await client.lost
    await peer.lost
    await end_server(server)
    protocols = (client, peer)
    transports = (client.transport, peer.transport)
    return tuple(map(weakref.ref, protocols)), tuple(map(weakref.ref, transports))


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_protocols_die_with_their_last_reference(stack: Stack, how: str) -> None:
    protocols, _ = await finish(stack, how)
    await loop_passes()
    assert [reference() for reference in protocols] == [None, None]


@pytest.mark.not_on("tcp-asyncio", because="its transport holds a bound method of its own")
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_transports_die_with_their_last_reference(stack: Stack, how: str) -> None:
    _, transports = await finish(stack, how)
    await loop_passes()
    assert [reference() for reference in transports] == [None, None]


async def test_readers_and_writers_die_with_their_last_reference(stack: Stack) -> None:
    async def converse() -> list[weakref.ref[Any]]:
        accepted: asyncio.Queue[Any] = asyncio.Queue()
        server = await stack.start_server(
            lambda reader, writer: accepted.put_nowait((reader, writer)), LOOPBACK, 0
        )
        reader, writer = await stack.open_connection(*address_of(server))
        peer_reader, peer_writer = await accepted.get()
        writer.write(b"x")
        await peer_reader.readexactly(1)
        for each in (writer, peer_writer):
            each.close()
            await each.wait_closed()
        await end_server(server)
        return [weakref.ref(each) for each in (reader, writer, peer_reader, peer_writer)]

    references = await converse()
    await loop_passes()
    assert [reference() for reference in references] == [None] * 4


async def test_tls_leaves_nothing_for_long(
    stack: Stack, certificates: Certificates, no_collector: None
) -> None:
    """asyncio's TLS is a cycle, which the collector breaks; nothing else holds it."""

    async def converse() -> list[weakref.ref[Any]]:
        contexts = [certificates.server_context(), certificates.client_context()]
        server = await stack.start_server(_answer, LOOPBACK, 0, ssl=contexts[0])
        reader, writer = await stack.open_connection(*address_of(server), ssl=contexts[1])
        writer.write(b"x")
        assert await reader.read() == b"x"
        writer.close()
        await writer.wait_closed()
        await end_server(server)
        return [weakref.ref(each) for each in (*contexts, reader, writer)]

    references = await converse()
    await loop_passes(20)
    gc.collect()
    assert [reference() for reference in references] == [None] * 4


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readexactly(1))
    writer.close()
    await writer.wait_closed()


@pytest.mark.not_on("tcp-uvloop", because="it builds the protocol before it connects")
async def test_a_refused_connection_leaves_its_protocol_unbuilt(stack: Stack) -> None:
    built: list[Recorder] = []

    def build() -> Recorder:
        built.append(Recorder())
        return built[-1]

    with pytest.raises(ConnectionRefusedError):
        await stack.create_connection(build, LOOPBACK, stack.unused_port())
    assert built == []
