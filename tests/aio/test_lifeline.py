"""What happens to connections when their event loop comes to its end."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
import warnings

import pytest

import rudp
from rudp.aio import registry
from rudp.sim import Network, SimLoop

from .support import (
    DELAY_S,
    PORT,
    THREAD_DEADLINE_S,
    RunReal,
    Simulate,
    end,
    round_trip,
    serving_in_thread,
)

SIZE_BYTES = 4_000_000


class Digests:
    """A `start_server` callback that keeps the SHA-256 of what each connection sent.

    It does not begin to read before `may_read` is set.
    """

    def __init__(self) -> None:
        self.found: list[str] = []
        self.may_read = threading.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.to_thread(self.may_read.wait, THREAD_DEADLINE_S)
        received = hashlib.sha256()
        while data := await reader.read(1 << 16):
            received.update(data)
        self.found.append(received.hexdigest())
        writer.close()


@pytest.mark.parametrize("closing", ["close", "write_eof"])
def test_a_loop_that_ends_right_after_close_delivers_everything(
    run_real: RunReal, config: rudp.Config, closing: str
) -> None:
    """No `wait_closed()`, no `drain()`: kernel TCP would deliver, so must this."""
    data = random.Random(1).randbytes(SIZE_BYTES)
    digests = Digests()
    digests.may_read.set()
    _write_and_leave(run_real, config, digests, data, closing)
    assert digests.found == [hashlib.sha256(data).hexdigest()]


@pytest.mark.parametrize("closing", ["close", "write_eof"])
def test_what_arrived_is_still_read_when_the_writer_s_loop_has_ended(
    run_real: RunReal, config: rudp.Config, closing: str
) -> None:
    """It was acknowledged, FIN and all: a socket that goes away must not take it back.

    Nobody reads, so that it has to fit into the window that is announced at first (256 KiB).
    """
    data = random.Random(1).randbytes(250_000)
    digests = Digests()
    _write_and_leave(run_real, config, digests, data, closing)
    assert digests.found == [hashlib.sha256(data).hexdigest()]


def _write_and_leave(
    run_real: RunReal, config: rudp.Config, digests: Digests, data: bytes, closing: str
) -> None:
    async def main(address: tuple[str, int]) -> None:
        _, writer = await rudp.open_connection(*address, config=config)
        writer.write(data)
        getattr(writer, closing)()
        if closing == "write_eof":
            writer.close()

    with serving_in_thread(digests, config=config.replace(linger=0.1)) as server:
        run_real(main(server.address))
        digests.may_read.set()


def test_a_loop_that_ends_with_open_connections_delivers_what_was_written(
    run_real: RunReal, config: rudp.Config
) -> None:
    digests = Digests()
    digests.may_read.set()
    kept = []

    async def main(address: tuple[str, int]) -> None:
        for index in range(10):
            _, writer = await rudp.open_connection(*address, config=config)
            kept.append(writer)
            writer.write(b"%d" % index * 50_000)

    with serving_in_thread(digests, config=config.replace(linger=0.1)) as server:
        run_real(main(server.address))
    expected = [hashlib.sha256(b"%d" % index * 50_000).hexdigest() for index in range(10)]
    assert sorted(digests.found) == sorted(expected)
    assert all(writer.transport.is_closing() for writer in kept)


def test_a_server_s_loop_that_ends_delivers_what_it_had_written(
    run_real: RunReal, config: rudp.Config
) -> None:
    async def main() -> bytes:
        async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"x" * 300_000)
            writer.close()

        with serving_in_thread(say, config=config) as server:
            brief = config.replace(linger=0.1)
            reader, writer = await rudp.open_connection(*server.address, config=brief)
            received = await reader.readexactly(1)  # it has been accepted, and written to
            await asyncio.to_thread(server.stop)
            received += await reader.read()
            writer.close()
            return received

    assert run_real(main()) == b"x" * 300_000


@pytest.mark.parametrize("linger_s", [0.0, 2.5])
def test_a_closing_loop_waits_for_a_silent_peer_only_so_long(
    network: Network, linger_s: float
) -> None:
    loop = SimLoop(network)
    config = rudp.Config(linger=linger_s)

    async def main() -> asyncio.StreamWriter:
        # Its settings are its own: it has nothing to deliver.
        with network.host("right"):
            await rudp.start_server(lambda reader, writer: None, "right", PORT, config=config)
        with network.host("left"):
            _, writer = await rudp.open_connection("right", PORT, config=config)
        await asyncio.sleep(1.0)
        network.partition("left", "right")
        writer.write(b"lost")
        writer.close()
        return writer

    try:
        writer = loop.run_until_complete(main())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            loop.run_until_complete(loop.shutdown_asyncgens())
        assert loop.time() == pytest.approx(1.0 + linger_s, abs=0.1)
        assert network.open_sockets() == []
        assert loop.leaks() == []
        assert writer.transport.is_closing()
    finally:
        loop.close()


def test_a_closing_loop_does_not_wait_for_who_never_finished_opening(network: Network) -> None:
    """Nothing was written to a connection in SYN-RECEIVED, and nobody has it."""
    loop = SimLoop(network)

    async def main() -> None:
        with network.host("right"):
            await rudp.start_server(lambda reader, writer: None, "right", PORT)
        with network.host("left"):
            dialling = asyncio.create_task(rudp.open_connection("right", PORT))
        await asyncio.sleep(1.5 * DELAY_S)  # the SYN has arrived, its answer has not
        network.partition("left", "right")
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        known = await registry.of_running_loop()
        assert [one.connection_count for one in known.endpoints if one.connection_count] == [1]

    try:
        loop.run_until_complete(main())
        began_s = loop.time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            loop.run_until_complete(loop.shutdown_asyncgens())
        assert loop.time() == pytest.approx(began_s, abs=0.1)
        assert loop.leaks() == []
    finally:
        loop.close()


def test_a_closing_loop_ends_the_connections_of_all_endpoints(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> registry.LoopEndpoints:
        accepted = []
        with network.host("right"):
            await rudp.start_server(lambda *streams: accepted.append(streams), "right", PORT)
        with network.host("left"):
            for local in (None, ("10.0.0.1", 0), None):
                await rudp.open_connection("10.0.0.2", PORT, local_addr=local)
        await asyncio.sleep(1.0)
        known = await registry.of_running_loop()
        assert len(known.endpoints) == 4  # one shared, one of its own, two of the server
        assert len(accepted) == 3
        return known

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        known = rudp_sim(main)
    assert known.endpoints == set()
    assert known.shared == {}


def test_endpoints_of_two_loops_are_apart(run_real: RunReal) -> None:
    async def main(address: tuple[str, int]) -> bytes:
        reader, writer = await rudp.open_connection(*address)
        echoed = await round_trip(reader, writer)
        await end(writer)
        return echoed

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        await end(writer)

    with serving_in_thread(echo) as server:
        assert [run_real(main(server.address)) for _ in range(3)] == [b"alive"] * 3


def test_a_handler_cancelled_with_the_loop_still_ends_its_connection(
    network: Network, rudp_sim: Simulate
) -> None:
    """`asyncio.run` cancels the tasks first; their `finally` may still write and close."""
    said: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            writer.write(b"goodbye")
            writer.close()

    async def main() -> None:
        with network.host("right"):
            await rudp.start_server(handler, "right", PORT)
        with network.host("left"):
            reader, writer = await rudp.open_connection("right", PORT)

        async def listen() -> None:
            try:
                await asyncio.sleep(1e6)
            finally:
                said.append(await reader.read())
                await end(writer)

        listening = asyncio.create_task(listen(), name="listening")
        await asyncio.sleep(1.0)
        assert not listening.done()

    rudp_sim(main)
    assert said == [b"goodbye"]
