"""Simulated datagram endpoints, as an asyncio program sees them."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from rudp.sim import LinkConfig, Network, SimDatagramTransport, run


class Recorder(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.events: list[tuple[float, str, object]] = []
        self.arrived = asyncio.Event()

    def note(self, event: str, detail: object) -> None:
        self.events.append((asyncio.get_running_loop().time(), event, detail))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.note("made", None)

    def datagram_received(self, data: bytes, addr: tuple[object, ...]) -> None:
        self.note("datagram", (data, addr))
        self.arrived.set()

    def error_received(self, exc: Exception) -> None:
        self.note("error", exc)
        self.arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.note("lost", exc)


class Echo(Recorder):
    def datagram_received(self, data: bytes, addr: tuple[object, ...]) -> None:
        self.transport.sendto(data.upper(), addr)


@pytest.fixture
def network() -> Network:
    network = Network(1, LinkConfig(delay_s=0.5))
    network.add_host("10.0.0.1", "fd00::1", name="client")
    network.add_host("10.0.0.2", "fd00::2", name="server")
    return network


async def endpoint(factory: type[Recorder] = Recorder, **options: object):
    loop = asyncio.get_running_loop()
    return await loop.create_datagram_endpoint(factory, **options)


def test_echo_over_the_network(network: Network) -> None:
    async def main() -> list[tuple[float, str, object]]:
        server, _ = await endpoint(Echo, local_addr=("server", 7))
        client, protocol = await endpoint(remote_addr=("server", 7))
        assert isinstance(client, SimDatagramTransport)
        assert client.get_extra_info("peername") == ("10.0.0.2", 7)
        assert client.get_extra_info("sockname")[0] == "10.0.0.1"
        client.sendto(b"hello")
        await protocol.arrived.wait()
        client.close()
        server.abort()
        assert client.is_closing()
        await asyncio.sleep(0)
        return protocol.events

    made, (when, event, detail), lost = run(main(), network=network)
    assert made == (0.0, "made", None)
    assert (when, event, detail) == (1.0, "datagram", (b"HELLO", ("10.0.0.2", 7)))
    assert lost == (1.0, "lost", None)


def test_local_address_decides_the_host_and_the_context_follows(network: Network) -> None:
    class Spawner(Recorder):
        def datagram_received(self, data: bytes, addr: tuple[object, ...]) -> None:
            self.task = asyncio.create_task(self.call_back())

        async def call_back(self) -> None:
            transport, _ = await endpoint(family=socket.AF_INET)
            transport.sendto(b"call back", ("client", 1000))
            transport.sendto(b"call back", ("10.0.0.1", 1000))
            transport.close()

    async def main() -> tuple[object, object]:
        server, _ = await endpoint(Spawner, local_addr=("10.0.0.2", 7))
        client, protocol = await endpoint(local_addr=("0.0.0.0", 1000))
        client.sendto(b"call me", ("10.0.0.2", 7))
        await protocol.arrived.wait()
        server.close()
        client.close()
        return protocol.events[1][2]

    data, addr = run(main(), network=network)
    assert data == b"call back"
    assert addr[0] == "10.0.0.2", "made on the server, because its datagram made it"


def test_current_host_owns_wildcards(network: Network) -> None:
    async def main() -> None:
        with network.host("server"):
            server, _ = await endpoint(Echo, local_addr=("0.0.0.0", 7))
        client, protocol = await endpoint(local_addr=(None, 0), flags=socket.AI_PASSIVE)
        client.sendto(b"x", ("10.0.0.2", 7))
        await protocol.arrived.wait()
        assert protocol.events[1][2] == (b"X", ("10.0.0.2", 7))
        server.close()
        client.close()

    run(main(), network=network)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_localhost_and_families(network: Network, family: int) -> None:
    async def main() -> None:
        server, _ = await endpoint(Echo, local_addr=("localhost", 0), family=family)
        address = server.get_extra_info("sockname")
        client, protocol = await endpoint(remote_addr=address[:2])
        assert client.get_extra_info("sockname")[0] == address[0]
        client.sendto(b"x")
        await protocol.arrived.wait()
        assert protocol.events[1][2] == (b"X", address)
        server.close()
        client.close()

    run(main(), network=network)


def test_local_and_remote_must_share_a_family(network: Network) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="address information"):
            await endpoint(local_addr=("10.0.0.1", 0), remote_addr=("fd00::2", 7))
        client, _ = await endpoint(local_addr=("fd00::1", 0), remote_addr=("server", 7))
        assert client.get_extra_info("peername") == ("fd00::2", 7, 0, 0)
        client.close()

    run(main(), network=network)


def test_creation_errors(network: Network) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="unexpected address family"):
            await endpoint()
        with pytest.raises(TypeError, match="tuple of host and port"):
            await endpoint(local_addr="server")
        with pytest.raises(socket.gaierror):
            await endpoint(remote_addr=("nobody", 7))
        with pytest.raises(OSError, match="assign"):
            await endpoint(local_addr=("192.0.2.1", 7))
        with pytest.raises(NotImplementedError):
            await endpoint(local_addr=("server", 7), reuse_port=True)
        with socket.socket(type=socket.SOCK_DGRAM) as sock, pytest.raises(NotImplementedError):
            await endpoint(sock=sock)
        server, _ = await endpoint(local_addr=("10.0.0.2", 7))
        with pytest.raises(OSError, match="in use"):
            await endpoint(local_addr=("10.0.0.2", 7))
        server.close()

    run(main(), network=network)


def test_a_failing_factory_leaves_no_socket(network: Network) -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: 1 // 0, local_addr=("server", 7)
            )

    run(main(), network=network)


def test_sendto_checks_its_arguments(network: Network) -> None:
    async def main() -> None:
        free, protocol = await endpoint(family=socket.AF_INET)
        bound, _ = await endpoint(remote_addr=("10.0.0.2", 7))
        with pytest.raises(TypeError, match="bytes-like"):
            free.sendto("text", ("10.0.0.2", 7))
        with pytest.raises(TypeError, match="address tuple"):
            free.sendto(b"x")
        with pytest.raises(ValueError, match="the peer's"):
            bound.sendto(b"x", ("10.0.0.2", 8))
        bound.sendto(b"x", ("10.0.0.2", 7))
        free.sendto(b"x", ("fd00::2", 7))
        free.sendto(bytes(70_000), ("10.0.0.2", 7))
        numbers = [detail.errno for _, event, detail in protocol.events if event == "error"]
        assert numbers == [errno.EAFNOSUPPORT, errno.EMSGSIZE]
        assert free.get_write_buffer_size() == 0
        assert free.get_extra_info("socket") is None
        assert free.get_extra_info("peername", "none") == "none"
        assert "SimDatagramTransport" in repr(free)
        free.close()
        free.close()
        free.sendto(b"ignored", ("10.0.0.2", 7))
        bound.close()

    run(main(), network=network)


def test_an_error_inside_a_callback_is_told_to_the_protocol(network: Network) -> None:
    class Careless(Recorder):
        def datagram_received(self, data: bytes, addr: tuple[object, ...]) -> None:
            self.transport.sendto(bytes(70_000), addr)

    async def main() -> None:
        server, protocol = await endpoint(Careless, local_addr=("10.0.0.2", 7))
        client, _ = await endpoint(remote_addr=("10.0.0.2", 7))
        client.sendto(b"x")
        await protocol.arrived.wait()
        assert protocol.events[1][1] == "error"
        server.close()
        client.close()

    run(main(), network=network)


def test_data_is_copied(network: Network) -> None:
    async def main() -> None:
        server, protocol = await endpoint(local_addr=("10.0.0.2", 7))
        client, _ = await endpoint(remote_addr=("10.0.0.2", 7))
        buffer = bytearray(b"before")
        client.sendto(memoryview(buffer))
        buffer[:] = b"after!"
        await protocol.arrived.wait()
        data, _ = protocol.events[1][2]
        assert data == b"before"
        assert type(data) is bytes
        server.close()
        client.close()

    run(main(), network=network)


def test_port_unreachable_reaches_the_protocol(network: Network) -> None:
    async def main() -> None:
        client, protocol = await endpoint(remote_addr=("10.0.0.2", 7))
        client.sendto(b"anybody?")
        await protocol.arrived.wait()
        when, event, error = protocol.events[1]
        assert (when, event) == (1.0, "error")
        assert isinstance(error, ConnectionRefusedError)
        client.close()

    run(main(), network=network)


def test_nothing_arrives_after_close(network: Network) -> None:
    async def main() -> None:
        server, protocol = await endpoint(local_addr=("10.0.0.2", 7))
        client, at_client = await endpoint(remote_addr=("10.0.0.2", 7))
        client.sendto(b"too late")
        await asyncio.sleep(0.25)
        server.close()
        client.close()
        await asyncio.sleep(5)
        assert [event for _, event, _ in protocol.events] == ["made", "lost"]
        assert [event for _, event, _ in at_client.events] == ["made", "lost"]

    run(main(), network=network)


def test_a_datagram_that_came_before_connection_made_waits(network: Network) -> None:
    network.default = LinkConfig()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        client, _ = await endpoint(family=socket.AF_INET)
        # Both become ready in one pass of the loop, the datagram first.
        loop.call_at(1.0, client.sendto, b"early", ("10.0.0.2", 7))
        await asyncio.sleep(1)
        server, protocol = await endpoint(local_addr=("10.0.0.2", 7))
        await protocol.arrived.wait()
        assert [event for _, event, _ in protocol.events] == ["made", "datagram"]
        server.close()
        client.close()

    run(main(), network=network)


def test_set_protocol(network: Network) -> None:
    async def main() -> None:
        server, first = await endpoint(local_addr=("10.0.0.2", 7))
        assert server.get_protocol() is first
        second = Recorder()
        server.set_protocol(second)
        client, _ = await endpoint(remote_addr=("10.0.0.2", 7))
        client.sendto(b"x")
        await second.arrived.wait()
        assert [event for _, event, _ in first.events] == ["made"]
        server.close()
        client.close()

    run(main(), network=network)


def test_sockname_follows_a_change_of_address(network: Network) -> None:
    async def main() -> None:
        server, protocol = await endpoint(local_addr=("10.0.0.2", 7))
        client, _ = await endpoint(remote_addr=("10.0.0.2", 7))
        network.change_address("client", "10.7.0.1")
        assert client.get_extra_info("sockname")[0] == "10.7.0.1"
        client.sendto(b"x")
        await protocol.arrived.wait()
        assert protocol.events[1][2][1][0] == "10.7.0.1"
        server.close()
        client.close()

    run(main(), network=network)


def test_an_exception_in_a_protocol_is_reported_not_swallowed(network: Network) -> None:
    class Broken(Recorder):
        def datagram_received(self, data: bytes, addr: tuple[object, ...]) -> None:
            raise LookupError("broken protocol")

    async def main() -> None:
        server, _ = await endpoint(Broken, local_addr=("10.0.0.2", 7))
        client, _ = await endpoint(remote_addr=("10.0.0.2", 7))
        client.sendto(b"x")
        await asyncio.sleep(1)
        server.close()
        client.close()

    with pytest.raises(ExceptionGroup) as caught:
        run(main(), network=network)
    (error,) = caught.value.exceptions
    assert isinstance(error, LookupError)
