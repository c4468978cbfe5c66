"""`rudp.routed` and `rudp.new_event_loop`: a loop whose own connections go over rudp."""

from __future__ import annotations

import asyncio
import functools
import inspect
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import uvloop
from certificates import Certificates

import rudp
from rudp.sim import Network

from .support import PORT, RunReal, Simulate, echo, end, round_trip

LOOPBACK = "127.0.0.1"
Make = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def make_loop(request: pytest.FixtureRequest) -> Make:
    """Makes a loop of each kind."""
    made: Make = request.param
    return made


def over_rudp(writer: asyncio.StreamWriter) -> bool:
    """Whether a stream is rudp's: only its transports tell of themselves."""
    return isinstance(writer.get_extra_info("rudp_info"), rudp.ConnectionInfo)


@asynccontextmanager
async def asyncio_server(**options: Any) -> AsyncIterator[tuple[str, int]]:
    """An echo server by `asyncio.start_server`; its address."""
    server = await asyncio.start_server(echo, LOOPBACK, 0, **options)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        await server.wait_closed()


async def is_routed(address: tuple[str, int]) -> bool:
    """Dial with `asyncio.open_connection`, use the stream, and say whether it was rudp's."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        assert await round_trip(reader, writer) == b"alive"
        return over_rudp(writer)
    finally:
        await end(writer)


def untouched(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether nothing hides the loop's methods."""
    return not {"create_connection", "create_server"} & vars(loop).keys()


def test_asyncios_own_streams_go_over_rudp_and_back_to_tcp(run_real: RunReal) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with rudp.routed():
            assert asyncio.get_running_loop() is loop
            async with asyncio_server() as address:
                assert await is_routed(address)
        assert untouched(loop)
        async with asyncio_server() as address:
            assert not await is_routed(address)

    run_real(main())


def test_what_was_opened_inside_outlives_the_block(run_real: RunReal) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            with rudp.routed():
                address = await stack.enter_async_context(asyncio_server())
                reader, writer = await asyncio.open_connection(*address)
            assert await round_trip(reader, writer) == b"alive"
            await end(writer)

    run_real(main())


def test_a_task_that_was_there_before_is_routed_too(run_real: RunReal) -> None:
    async def main() -> None:
        go: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()

        async def dial_later() -> bool:
            return await is_routed(await go)

        earlier = asyncio.create_task(dial_later())
        await asyncio.sleep(0)
        with rudp.routed():
            async with asyncio_server() as address:
                go.set_result(address)
                assert await earlier

    run_real(main())


def test_a_function_selects_hosts_and_ports(run_real: RunReal) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            tcp = await stack.enter_async_context(asyncio_server())
            with rudp.routed():
                over = await stack.enter_async_context(asyncio_server())
            asked: list[tuple[str | None, int | str | None]] = []

            def select(host: str | None, port: int | str | None) -> bool:
                asked.append((host, port))
                return port == over[1]

            with rudp.routed(connections=select, servers=False):
                assert await is_routed(over)
                assert not await is_routed(tcp)
                other = await stack.enter_async_context(asyncio_server())
            assert asked == [over, tcp]
            assert not await is_routed(other)

    run_real(main())


async def test_one_server_cannot_be_both() -> None:
    with (
        rudp.routed(servers=lambda host, port: host == LOOPBACK),
        pytest.raises(ValueError, match="takes some of"),
    ):
        await asyncio.start_server(echo, [LOOPBACK, "127.0.0.2"], 0)


async def test_the_block_entered_last_is_asked_first() -> None:
    small, large = rudp.Config(send_buffer=4096), rudp.Config(send_buffer=8192)
    with rudp.routed(config=small):
        async with asyncio_server() as address:
            with rudp.routed(connections=lambda host, port: port == address[1], config=large):
                loop = asyncio.get_running_loop()
                transport, _ = await loop.create_connection(asyncio.Protocol, *address)
                assert transport._conn.config is large  # type: ignore[attr-defined]
                transport.abort()
            _, writer = await asyncio.open_connection(*address)
            assert writer.transport._conn.config is small  # type: ignore[attr-defined]
            await end(writer)


async def test_blocks_may_end_in_any_order_and_be_entered_again() -> None:
    loop = asyncio.get_running_loop()
    first, second = rudp.routed(connections=False), rudp.routed(servers=False)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    async with asyncio_server() as tcp:
        with first:
            async with asyncio_server() as address:
                assert await is_routed(address)
        second.__exit__(None, None, None)
        assert untouched(loop)
        assert not await is_routed(tcp)
    with first, first:
        pass
    assert untouched(loop)


async def test_a_failing_block_is_undone() -> None:
    with pytest.raises(ZeroDivisionError), rudp.routed():
        raise ZeroDivisionError
    assert untouched(asyncio.get_running_loop())


async def test_what_somebody_else_has_set_on_the_loop_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    seen: list[str] = []

    def noting(name: str, below: Callable[..., Any]) -> Callable[..., Any]:
        async def create(*args: Any, **kwargs: Any) -> Any:
            seen.append(name)
            return await below(*args, **kwargs)

        return create

    before = noting("before", loop.create_server)
    monkeypatch.setattr(loop, "create_server", before)
    with rudp.routed(servers=False):
        async with asyncio_server():
            assert seen == ["before"]
    assert loop.create_server is before
    with rudp.routed():
        on_top = noting("on top", loop.create_server)
        monkeypatch.setattr(loop, "create_server", on_top)
        async with asyncio_server() as address:
            assert await is_routed(address)
    assert loop.create_server is on_top
    async with asyncio_server() as address:
        assert not await is_routed(address)
    assert seen == ["before", "on top", "on top", "before"]


async def test_stream_sockets_stay_with_the_kernel_and_udp_sockets_are_taken() -> None:
    def connected(kind: socket.SocketKind, address: tuple[str, int]) -> socket.socket:
        sock = socket.socket(type=kind)
        sock.connect(address)
        sock.setblocking(False)
        return sock

    async with asyncio_server() as tcp, AsyncExitStack() as stack:
        with rudp.routed():
            bound = socket.socket(type=socket.SOCK_DGRAM)
            bound.bind((LOOPBACK, 0))
            server = await asyncio.start_server(echo, sock=bound)
            stack.callback(server.close)
            address = server.sockets[0].getsockname()
            for kind, where in ((socket.SOCK_STREAM, tcp), (socket.SOCK_DGRAM, address)):
                reader, writer = await asyncio.open_connection(sock=connected(kind, where))
                assert await round_trip(reader, writer) == b"alive"
                assert over_rudp(writer) is (kind is socket.SOCK_DGRAM)
                await end(writer)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Unix sockets")
def test_unix_sockets_stay_with_the_kernel(run_real: RunReal, tmp_path: Any) -> None:
    async def main() -> None:
        with rudp.routed():
            async with await asyncio.start_unix_server(echo, tmp_path / "s"):
                reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
                assert await round_trip(reader, writer) == b"alive"
                assert not over_rudp(writer)
                await end(writer)

    run_real(main())


async def test_a_protocol_number_of_tcp_from_an_earlier_lookup_is_no_obstacle() -> None:
    loop = asyncio.get_running_loop()
    with rudp.routed():
        async with asyncio_server() as address:
            found = await loop.getaddrinfo(*address, type=socket.SOCK_STREAM)
            family, _, proto, _, where = found[0]
            transport, _ = await loop.create_connection(
                asyncio.Protocol, *where, family=family, proto=proto, flags=socket.AI_NUMERICHOST
            )
            transport.close()


async def test_errors_are_those_of_rudp_and_a_call_may_bring_its_settings() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as taken, rudp.routed():
        taken.bind((LOOPBACK, 0))
        with pytest.raises(TimeoutError):
            await asyncio.open_connection(
                *taken.getsockname(), config=rudp.Config(connect_timeout=0.01)
            )
        with pytest.raises(ValueError, match="host and port was not specified"):
            await asyncio.open_connection()


def test_programs_on_the_simulated_loop_need_no_change(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> float:
        with rudp.routed():
            with network.host("right"):
                server = await asyncio.start_server(echo, "right", PORT)
            with network.host("left"):
                reader, writer = await asyncio.open_connection("right", PORT)
            assert await round_trip(reader, writer) == b"alive"
            await end(writer)
            server.close()
        with pytest.raises(NotImplementedError):
            await asyncio.open_connection("right", PORT)
        return asyncio.get_running_loop().time()

    assert rudp_sim(main) < 1


def test_a_new_event_loop_is_routed_for_its_life(make_loop: Make) -> None:
    async def main(expected: bool) -> None:
        async with asyncio_server() as address:
            assert await is_routed(address) is expected

    factory = functools.partial(rudp.new_event_loop, make_loop)
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(True))
        assert type(runner.get_loop()) is type(with_closed(make_loop()))
    factory = functools.partial(factory, connections=False, servers=False)
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(False))


def with_closed(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    """The loop, closed."""
    loop.close()
    return loop


def test_a_loop_that_does_not_run_yet_can_be_routed(make_loop: Make) -> None:
    async def main() -> bool:
        async with asyncio_server() as address:
            return await is_routed(address)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        with rudp.routed(loop=runner.get_loop()):
            assert runner.run(main())
        assert not runner.run(main())


async def test_routes_are_set_in_the_loops_own_thread_and_hold_in_no_other() -> None:
    loop = asyncio.get_running_loop()

    def elsewhere() -> bool:
        with pytest.raises(RuntimeError, match="another thread"), rudp.routed(loop=loop):
            pass

        async def main() -> bool:
            async with asyncio_server() as address:
                return await is_routed(address)

        return asyncio.run(main())

    outcome: list[bool] = []
    with rudp.routed():
        thread = threading.Thread(target=lambda: outcome.append(elsewhere()))
        thread.start()
        await loop.run_in_executor(None, thread.join)
    assert outcome == [False]


def test_without_a_loop_there_is_nothing_to_route() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"), rudp.routed():
        pass


@pytest.mark.parametrize("name", ["connections", "servers", "config"])
def test_a_wrong_argument_is_named(name: str) -> None:
    for function in (rudp.routed, rudp.new_event_loop):
        with pytest.raises(TypeError, match=f"{name} must be"):
            function(**{name: "example.org"})  # type: ignore[operator]


def test_a_loop_that_cannot_be_routed_is_refused_and_closed() -> None:
    class Rigid(asyncio.SelectorEventLoop):
        def __setattr__(self, name: str, value: object) -> None:
            if name.startswith("create"):
                raise AttributeError(name)
            super().__setattr__(name, value)

    made: list[Rigid] = []

    def make() -> Rigid:
        made.append(Rigid())
        return made[0]

    with pytest.raises(TypeError, match="loop must be one that lets attributes be set"):
        rudp.new_event_loop(make)
    assert made[0].is_closed()


def test_the_methods_still_look_like_asyncios(make_loop: Make) -> None:
    loop = rudp.new_event_loop(make_loop)
    try:
        for method in (loop.create_connection, loop.create_server):
            assert inspect.iscoroutinefunction(method)
            assert list(inspect.signature(method).parameters)[:3] == [
                "protocol_factory",
                "host",
                "port",
            ]
    finally:
        loop.close()


def test_tls_can_be_started_on_a_routed_connection(
    run_real: RunReal, certificates: Certificates
) -> None:
    """uvloop's own `loop.start_tls()` takes no transports but its own."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        await writer.start_tls(certificates.server_context())
        writer.write((await reader.readline()).upper())
        await end(writer)

    async def main() -> None:
        with rudp.routed():
            server = await asyncio.start_server(serve, LOOPBACK, 0)
            address = server.sockets[0].getsockname()[:2]
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"STARTTLS\n")
            await writer.start_tls(certificates.client_context(), server_hostname="localhost")
            assert writer.get_extra_info("ssl_object") is not None
            writer.write(b"secret\n")
            assert await reader.readline() == b"SECRET\n"
            await end(writer)
            server.close()

    run_real(main())
