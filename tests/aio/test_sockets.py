"""Sockets handed in, and the view of the shared socket that a transport shows."""

from __future__ import annotations

import asyncio
import functools
import socket
from typing import Any, Literal

import pytest

import rudp
from rudp.aio import capabilities
from rudp.aio.batched import BatchedTransport
from rudp.aio.socketview import StreamSocketView
from rudp.core.connection import Connection, Identity

from .support import RunReal, echo, end, round_trip


def _udp(connected_to: Any = None, family: int = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if connected_to is not None:
        sock.connect(connected_to)
    else:
        sock.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
    return sock


@pytest.mark.skipif(not capabilities.available(), reason="no batched sockets here")
@pytest.mark.parametrize("io", ["auto", "batched", "stock"])
def test_the_settings_choose_how_datagrams_move(
    run_real: RunReal, io: Literal["auto", "batched", "stock"]
) -> None:
    async def main() -> None:
        async with rudp.Endpoint.bind("127.0.0.1", config=rudp.Config(io=io)) as endpoint:
            assert (endpoint.get_extra_info("rudp_io") is None) == (io == "stock")
            assert isinstance(endpoint._transport, BatchedTransport) == (io != "stock")

    run_real(main())


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_connected_socket_is_taken_over(
    run_real: RunReal, config: rudp.Config, family: int
) -> None:
    config = config.replace(time_wait=0.0)

    async def main() -> None:
        listening = _udp(family=family)
        server = await rudp.start_server(echo, sock=listening, config=config)
        sock = _udp(server.sockets[0].getsockname(), family)
        own = sock.getsockname()
        reader, writer = await rudp.open_connection(sock=sock, config=config)
        assert writer.get_extra_info("sockname") == own
        assert writer.get_extra_info("peername") == listening.getsockname()
        assert await round_trip(reader, writer) == b"alive"
        await end(writer)
        server.close()
        while sock.fileno() != -1 or listening.fileno() != -1:
            await asyncio.sleep(0.01)

    run_real(main())


def test_a_server_on_a_socket_that_was_handed_in_closes_it(
    run_real: RunReal, config: rudp.Config
) -> None:
    async def main() -> None:
        sock = _udp()
        server = await rudp.start_server(echo, sock=sock, config=config)
        assert server.sockets[0].fileno() == sock.fileno()
        server.close()
        await server.wait_closed()
        assert sock.fileno() == -1

    run_real(main())


def test_an_endpoint_on_a_socket_that_was_handed_in(run_real: RunReal, config: rudp.Config) -> None:
    async def main() -> None:
        one, other = _udp(), _udp()
        async with (
            rudp.Endpoint.bind(sock=one, config=config) as a,
            rudp.Endpoint.bind(sock=other, config=config) as b,
        ):
            await b.start_server(echo)
            reader, writer = await a.open_connection(*other.getsockname())
            assert writer.get_extra_info("sockname") == one.getsockname()
            assert await round_trip(reader, writer) == b"alive"
            await end(writer)
        assert one.fileno() == other.fileno() == -1

    run_real(main())


def test_sockets_that_cannot_be_used(run_real: RunReal) -> None:
    async def main() -> None:
        with _udp() as unconnected, socket.socket() as stream:
            with pytest.raises(ValueError, match="connected"):
                await rudp.open_connection(sock=unconnected)
            calls: list[Any] = [rudp.open_connection, functools.partial(rudp.start_server, echo)]
            for call in calls:
                with pytest.raises(ValueError, match="SOCK_DGRAM"):
                    await call(sock=stream)
                with pytest.raises(TypeError, match="sock"):
                    await call(sock="no socket")
                with pytest.raises(ValueError, match="same time"):
                    await call(host="127.0.0.1", port=1, sock=unconnected)
            assert unconnected.fileno() != -1

    run_real(main())


def test_a_dial_over_a_handed_in_socket_that_fails_closes_it(
    run_real: RunReal, config: rudp.Config
) -> None:
    async def main() -> None:
        with _udp() as nobody:
            address = nobody.getsockname()
        sock = _udp(address)
        with pytest.raises(ConnectionRefusedError):
            await rudp.open_connection(sock=sock, config=config)
        while sock.fileno() != -1:
            await asyncio.sleep(0.01)

    run_real(main())


class FakeSocket:
    """Records what reaches the real socket."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.family = socket.AF_INET

    def setsockopt(self, *args: object) -> None:
        self.calls.append(("set", *args))

    def getsockopt(self, *args: object) -> int:
        self.calls.append(("get", *args))
        return 42

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 1)

    def fileno(self) -> int:
        return 7


def test_the_view_passes_on_what_is_not_tcp_s() -> None:
    sock = FakeSocket()
    conn = Connection(rudp.Config(), Identity(1, 0, 0), ("127.0.0.1", 2), 0.0)
    view = StreamSocketView(sock, conn)
    view.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert view.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert sock.calls == []
    view.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1000)
    assert view.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 42
    assert sock.calls == [
        ("set", socket.SOL_SOCKET, socket.SO_RCVBUF, 1000),
        ("get", socket.SOL_SOCKET, socket.SO_RCVBUF),
    ]
    assert view.getpeername() == ("127.0.0.1", 2)
    assert view.getsockname() == ("127.0.0.1", 1)
    assert view.fileno() == 7
    assert view.family == socket.AF_INET
    assert "127.0.0.1" in repr(view)
    with pytest.raises(AttributeError):
        _ = view.no_such_thing


def test_the_socket_of_a_transport_is_a_view_with_its_peer(run_real: RunReal) -> None:
    async def main() -> None:
        server = await rudp.start_server(echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        _, writer = await rudp.open_connection(*address)
        view = writer.get_extra_info("socket")
        assert view.type == socket.SOCK_DGRAM
        assert view.getpeername() == address
        view.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        view.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await end(writer)
        server.close()

    run_real(main())


def test_in_a_simulated_network_a_stand_in_tells_the_addresses(
    network: rudp.sim.Network, rudp_sim: object
) -> None:
    async def main() -> None:
        with network.host("right"):
            server = await rudp.start_server(echo, "10.0.0.2", 7000)
        with network.host("left"):
            _, writer = await rudp.open_connection("10.0.0.2", 7000)
        shown = writer.get_extra_info("socket")
        assert shown.getpeername() == server.sockets[0].getsockname() == ("10.0.0.2", 7000)
        assert shown.getsockname() == writer.get_extra_info("sockname")
        assert (shown.family, shown.type, shown.fileno()) == (socket.AF_INET, socket.SOCK_DGRAM, -1)
        shown.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert shown.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
        assert "7000" in repr(server.sockets)
        assert server.sockaddrs == (("10.0.0.2", 7000),)
        await end(writer)
        await asyncio.sleep(100)
        assert writer.get_extra_info("socket", "none") == "none"
        server.close()

    rudp_sim(main)  # type: ignore[operator]


@pytest.mark.parametrize("host", [None, ""])
def test_in_a_simulated_network_no_host_is_every_address(
    network: rudp.sim.Network, rudp_sim: object, host: str | None
) -> None:
    async def main() -> None:
        with network.host("right"):
            server = await rudp.start_server(echo, host, 7000)
        with network.host("left"):
            reader, writer = await rudp.open_connection("right", 7000)
        writer.write(b"alive")
        assert await reader.readexactly(5) == b"alive"
        await end(writer)
        server.close()

    rudp_sim(main, check_leaks=False)  # type: ignore[operator]
