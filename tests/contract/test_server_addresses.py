"""Where a server listens: hosts, families, ports, and what it says when it cannot."""

from __future__ import annotations

import errno
import socket

import pytest

from .stacks import FOREIGN_HOST, LOOPBACK, Stack
from .support import (
    ConnectStreams,
    Dial,
    Serve,
    address_of,
    echo,
    echo_round_trip,
    end_server,
)

LOOPBACK_6 = "::1"


async def answers(dial: Dial, host: str, port: int) -> bool:
    """Whether an echo server answers there."""
    return await echo_round_trip(await dial(host, port)) == b"still alive"


def reachable(address: tuple[str, int]) -> tuple[str, int]:
    """Return where to connect to reach a server that listens on `address`."""
    host = {"0.0.0.0": LOOPBACK, "::": LOOPBACK_6}.get(address[0], address[0])
    return host, address[1]


async def test_port_zero_is_a_free_port_of_its_own(serve: Serve, dial: Dial) -> None:
    servers = [await serve(echo) for _ in range(3)]
    assert len({address_of(server) for server in servers}) == 3
    for server in servers:
        assert await answers(dial, *address_of(server))


async def test_a_port_that_was_chosen_is_the_port(stack: Stack, serve: Serve, dial: Dial) -> None:
    port = stack.unused_port()
    server = await serve(echo, LOOPBACK, port)
    assert address_of(server) == (LOOPBACK, port)
    assert await answers(dial, LOOPBACK, port)


@pytest.mark.parametrize("host", [None, ""], ids=["None", "empty"])
async def test_no_host_is_every_interface_of_both_families(
    host: str | None, serve: Serve, dial: Dial
) -> None:
    server = await serve(echo, host, 0)
    addresses = [address_of(server, index) for index in range(len(server.sockets))]
    assert {address[0] for address in addresses} == {"0.0.0.0", "::"}
    for address in addresses:
        assert await answers(dial, *reachable(address))


async def test_a_family_chooses_among_the_interfaces(serve: Serve, dial: Dial) -> None:
    server = await serve(echo, None, 0, family=socket.AF_INET)
    assert [sock.family for sock in server.sockets] == [socket.AF_INET]
    assert await answers(dial, LOOPBACK, address_of(server)[1])


async def test_a_list_of_hosts_is_a_socket_for_each(serve: Serve, dial: Dial) -> None:
    server = await serve(echo, [LOOPBACK, LOOPBACK_6], 0)
    addresses = {address_of(server, index) for index in range(len(server.sockets))}
    assert {host for host, _ in addresses} == {LOOPBACK, LOOPBACK_6}
    for address in addresses:
        assert await answers(dial, *address)


async def test_a_list_of_hosts_on_one_port(stack: Stack, serve: Serve, dial: Dial) -> None:
    port = stack.unused_port()
    await serve(echo, [LOOPBACK, LOOPBACK_6], port)
    for host in (LOOPBACK, LOOPBACK_6):
        assert await answers(dial, host, port)


async def test_localhost_by_name(serve: Serve, dial: Dial) -> None:
    server = await serve(echo, "localhost", 0)
    assert address_of(server)[0] in (LOOPBACK, LOOPBACK_6)
    assert await answers(dial, "localhost", address_of(server)[1])


async def test_a_port_may_be_a_string(serve: Serve, dial: Dial) -> None:
    server = await serve(echo)
    host, port = address_of(server)
    end = await dial(host, str(port))
    assert await echo_round_trip(end) == b"still alive"


async def test_ipv6_addresses_have_four_parts(connect_streams: ConnectStreams) -> None:
    ends = await connect_streams(host=LOOPBACK_6)
    for near, far in (ends, ends[::-1]):
        address = near.writer.get_extra_info("sockname")
        assert address[0] == LOOPBACK_6
        assert len(address) == 4
        assert far.writer.get_extra_info("peername") == address
        near.writer.write(b"over six")
        assert await far.reader.readexactly(8) == b"over six"


async def test_a_server_on_ipv6_only_refuses_ipv4(stack: Stack, serve: Serve, dial: Dial) -> None:
    server = await serve(echo, "::", 0)
    port = address_of(server)[1]
    assert await answers(dial, LOOPBACK_6, port)
    with pytest.raises(ConnectionRefusedError):
        await stack.open_connection(LOOPBACK, port)


async def test_an_address_in_use_is_an_os_error_that_says_so(
    stack: Stack, serve: Serve, dial: Dial
) -> None:
    server = await serve(echo)
    with pytest.raises(OSError) as caught:
        await stack.start_server(echo, *address_of(server))
    assert caught.value.errno == errno.EADDRINUSE
    assert await answers(dial, *address_of(server))


async def test_an_address_of_another_host_is_an_os_error(stack: Stack) -> None:
    with pytest.raises(OSError):
        await stack.start_server(echo, FOREIGN_HOST, 0)


async def test_one_host_that_fails_leaves_the_others_unbound(
    stack: Stack, serve: Serve, dial: Dial
) -> None:
    port = stack.unused_port()
    await serve(echo, LOOPBACK_6, port)
    with pytest.raises(OSError) as caught:
        await stack.start_server(echo, [LOOPBACK, LOOPBACK_6], port)
    assert caught.value.errno == errno.EADDRINUSE
    await serve(echo, LOOPBACK, port)
    assert await answers(dial, LOOPBACK, port)


async def test_reuse_port_lets_two_servers_share_a_port(serve: Serve, dial: Dial) -> None:
    """Which of the two answers is the kernel's choice; that one does is the contract."""
    first = await serve(echo, reuse_port=True)
    second = await serve(echo, *address_of(first), reuse_port=True)
    assert address_of(first) == address_of(second)
    for _ in range(5):
        assert await answers(dial, *address_of(first))


async def test_closing_a_server_of_two_hosts_closes_both(stack: Stack, serve: Serve) -> None:
    server = await serve(echo, [LOOPBACK, LOOPBACK_6], 0)
    addresses = [address_of(server, index) for index in range(2)]
    await end_server(server)
    for address in addresses:
        with pytest.raises(ConnectionRefusedError):
            await stack.open_connection(*address)


@pytest.mark.not_on("tcp-uvloop", because="it knows no happy_eyeballs_delay")
@pytest.mark.parametrize("delay", [None, 0.25])
async def test_happy_eyeballs_reaches_a_server_on_either_family(
    delay: float | None, serve: Serve, dial: Dial
) -> None:
    for host in (LOOPBACK, LOOPBACK_6):
        server = await serve(echo, host, 0)
        end = await dial(*address_of(server), happy_eyeballs_delay=delay)
        assert await echo_round_trip(end) == b"still alive"
