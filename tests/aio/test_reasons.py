"""Every lost connection tells why: the table in `rudp.errors`, seen from where a program stands."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

import rudp
from rudp import Reason
from rudp.errors import error_for
from rudp.sim import Network

from .support import PORT, Simulate, end, serving

PATIENT = rudp.Config(user_timeout=None)


class Watcher(asyncio.Protocol):
    """Keeps what `connection_lost()` was called with."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@dataclass
class Scene:
    """Two connections from "left" to "right", of streams and of protocols, and both endpoints."""

    network: Network
    near_endpoint: rudp.Endpoint
    far_endpoint: rudp.Endpoint
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    transport: Any
    protocol: Watcher
    far: list[asyncio.StreamWriter]
    stack: contextlib.AsyncExitStack

    def write(self) -> None:
        self.writer.write(b"x")
        self.transport.write(b"x")


@contextlib.asynccontextmanager
async def staged(network: Network, config: rudp.Config) -> AsyncIterator[Scene]:
    far: list[asyncio.StreamWriter] = []
    async with contextlib.AsyncExitStack() as stack:
        with network.host("right"):
            right = await stack.enter_async_context(
                rudp.Endpoint.bind("right", PORT, config=rudp.Config(linger=0))
            )
            await right.start_server(lambda _, writer: far.append(writer))
        with network.host("left"):
            left = await stack.enter_async_context(
                rudp.Endpoint.bind("left", config=config.replace(linger=0))
            )
        reader, writer = await left.open_connection("right", PORT)
        transport, protocol = await left.create_connection(Watcher, "right", PORT)
        assert isinstance(protocol, Watcher)
        await asyncio.sleep(1.0)
        yield Scene(network, left, right, reader, writer, transport, protocol, far, stack)
        for each in (*far, writer):
            each.transport.abort()


async def reset(scene: Scene) -> None:
    for writer in scene.far:
        writer.transport.abort()


async def forget(scene: Scene) -> None:
    """The peer's process dies, and another takes its port."""
    scene.network.partition("left", "right")
    scene.far_endpoint.close()
    await scene.far_endpoint.wait_closed()
    scene.network.heal("left", "right")
    with scene.network.host("right"):
        await scene.stack.enter_async_context(rudp.Endpoint.bind("right", PORT))
    scene.write()


async def vanish(scene: Scene) -> None:
    scene.network.partition("left", "right")
    scene.write()


async def vanish_silently(scene: Scene) -> None:
    scene.network.partition("left", "right")


async def close_endpoint(scene: Scene) -> None:
    scene.near_endpoint.close()


Act = Callable[[Scene], Awaitable[None]]
ENDS: list[tuple[Reason, Act, rudp.Config]] = [
    (Reason.RESET_BY_PEER, reset, PATIENT),
    (Reason.UNKNOWN_TO_PEER, forget, PATIENT),
    (Reason.RETRANSMISSION_TIMEOUT, vanish, PATIENT),
    (Reason.USER_TIMEOUT, vanish, rudp.Config(user_timeout=5.0)),
    (Reason.KEEPALIVE_TIMEOUT, vanish_silently, rudp.Config(keepalive=5.0)),
    (Reason.ENDPOINT_CLOSED, close_endpoint, PATIENT),
]


@pytest.mark.parametrize(
    ("reason", "act", "config"), ENDS, ids=lambda value: getattr(value, "name", "")
)
def test_reader_drain_wait_closed_and_connection_lost_tell_the_reason(
    network: Network, rudp_sim: Simulate, reason: Reason, act: Act, config: rudp.Config
) -> None:
    async def main() -> None:
        async with staged(network, config) as scene:
            reading = asyncio.ensure_future(scene.reader.read())
            await act(scene)
            errors = [await scene.protocol.lost]
            for call in (reading, scene.writer.drain(), scene.writer.wait_closed()):
                with pytest.raises(OSError) as caught:
                    await call
                errors.append(caught.value)
            errors.append(scene.reader.exception())
            for error in errors:
                assert type(error) is type(error_for(reason))
                assert error.reason is reason

    rudp_sim(main)


def test_a_writer_that_waits_in_drain_hears_the_reason(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> None:
        async with staged(network, rudp.Config(user_timeout=5.0)) as scene:
            network.partition("left", "right")
            scene.writer.write(bytes(1_000_000))
            with pytest.raises(rudp.ConnectionTimedOut) as caught:
                await scene.writer.drain()
            assert caught.value.reason is Reason.USER_TIMEOUT

    rudp_sim(main)


@pytest.mark.parametrize("how", ["close", "abort"])
def test_an_end_of_one_s_own_is_no_error_but_for_drain(
    network: Network, rudp_sim: Simulate, how: str
) -> None:
    async def main() -> None:
        async with staged(network, PATIENT) as scene:
            getattr(scene.transport, how)()
            assert await scene.protocol.lost is None
            getattr(scene.writer.transport, how)()
            await scene.writer.wait_closed()
            assert await scene.reader.read() == b""
            with pytest.raises(rudp.ConnectionReset) as caught:
                await scene.writer.drain()
            assert caught.value.reason is Reason.CLOSED

    rudp_sim(main)


def test_data_after_close_is_no_error_here_and_a_reset_there(
    network: Network, rudp_sim: Simulate
) -> None:
    """RFC 1122 §4.2.2.13: the peer learns that nobody read it; what was written has arrived."""

    async def main() -> None:
        heard: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(bytes(10_000))
            try:
                await reader.readexactly(1)
                await asyncio.sleep(1.0)
                writer.write(b"to nobody")
                await asyncio.sleep(1.0)
                await writer.drain()
            except OSError as exc:
                heard.set_result(exc)

        async with serving(network, talk):
            with network.host("left"):
                _, writer = await rudp.open_connection("right", PORT)
            writer.write(b"x")
            await asyncio.sleep(0.5)
            await end(writer)
            assert (await heard).reason is Reason.RESET_BY_PEER

    rudp_sim(main)


# Opening


async def _open(network: Network, config: rudp.Config | None = None, host: str = "right") -> None:
    with network.host("left"):
        await rudp.open_connection(host, PORT, config=config)


def test_nobody_listens(network: Network, rudp_sim: Simulate) -> None:
    """A name has several addresses: what is wrong with all of them keeps its class."""

    async def main() -> None:
        with pytest.raises(rudp.ConnectionRefused) as caught:
            await _open(network)
        assert caught.value.reason is Reason.UNREACHABLE
        with network.host("right"):
            async with rudp.Endpoint.bind("right", PORT):
                with pytest.raises(rudp.ConnectionRefused) as caught:
                    await _open(network, host="10.0.0.2")
        assert caught.value.reason is Reason.REFUSED

    rudp_sim(main)


def test_nobody_answers(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        network.partition("left", "right")
        with pytest.raises(rudp.ConnectionTimedOut) as caught:
            await _open(network, rudp.Config(connect_timeout=3.0))
        assert caught.value.reason is Reason.CONNECT_TIMEOUT

    rudp_sim(main)


def test_the_endpoint_is_closed_meanwhile(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        network.partition("left", "right")
        with network.host("left"):
            async with rudp.Endpoint.bind("left") as endpoint:
                opening = asyncio.ensure_future(endpoint.open_connection("right", PORT))
                await asyncio.sleep(0.1)
                endpoint.close()
                for attempt in (opening, endpoint.open_connection("right", PORT)):
                    with pytest.raises(rudp.ConnectionAborted) as caught:
                        await attempt
                    assert caught.value.reason is Reason.ENDPOINT_CLOSED

    rudp_sim(main)
