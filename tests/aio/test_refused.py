"""Nobody listens: how an opener and an established connection hear of it."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

import rudp
from rudp.aio import registry
from rudp.sim import Network

from .support import PORT, RunReal, Simulate, echo, end, round_trip, serving

AT_ONCE_S = 2.0


def _closed_port(address: str) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_port_without_a_socket_refuses_at_once(
    run_real: RunReal, config: rudp.Config, host: str
) -> None:
    """The system answers with ICMP, which the error queue tells (RFC 9293 §3.9.2.2)."""

    async def main() -> None:
        with pytest.raises(ConnectionRefusedError) as refused:
            await rudp.open_connection(host, _closed_port("127.0.0.1"), config=config)
        if host != "localhost":
            assert refused.value.reason is rudp.Reason.UNREACHABLE  # type: ignore[attr-defined]

    before_s = time.monotonic()
    run_real(main())
    assert time.monotonic() - before_s < AT_ONCE_S


def test_refusals_and_successes_do_not_mix_on_one_socket(
    run_real: RunReal, config: rudp.Config
) -> None:
    async def main() -> None:
        server = await rudp.start_server(echo, "127.0.0.1", 0, config=config)
        port = server.sockets[0].getsockname()[1]
        closed = _closed_port("127.0.0.1")
        for _ in range(5):
            results = await asyncio.gather(
                *(
                    rudp.open_connection("127.0.0.1", one, config=config)
                    for one in [port, closed] * 10
                ),
                return_exceptions=True,
            )
            for result in results[1::2]:
                assert isinstance(result, ConnectionRefusedError)
            for result in results[::2]:
                assert isinstance(result, tuple), result
                assert await round_trip(*result) == b"alive"
                await end(result[1])
        server.close()

    run_real(main())


class Nagging(socket.socket):
    """What is sent to `spared` finds that another datagram came back just before, and again."""

    spared: Any = None
    closed: Any = None
    left = 2
    told = 0

    def _send(self, send: Callable[..., Any], addr: object, *args: Any) -> Any:
        if addr == self.spared and self.left > 0:
            self.left -= 1
            super().sendto(b"?", self.closed)
        try:
            return send(*args)
        except ConnectionRefusedError:
            self.told += 1
            raise

    def sendmsg(self, *args: Any) -> int:  # buffers, ancillary data, flags, address
        return int(self._send(super().sendmsg, args[3], *args))

    def sendto(self, *args: Any) -> int:  # data, address
        return int(self._send(super().sendto, args[1], *args))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such errors are not told")
def test_a_peer_is_not_blamed_for_what_came_back_from_others(config: rudp.Config) -> None:
    """A socket tells them with its next call, whomever that is for, and there may be several."""

    async def main() -> None:
        server = await rudp.start_server(echo, "127.0.0.1", 0, config=config)
        sock = Nagging(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.spared = server.sockets[0].getsockname()
        sock.closed = ("127.0.0.1", _closed_port("127.0.0.1"))
        impatient = config.replace(initial_rto=0.05)
        async with rudp.Endpoint.bind(sock=sock, config=impatient) as endpoint:
            streams = await endpoint.open_connection("127.0.0.1", sock.spared[1])
            assert sock.told > 0
            assert await round_trip(*streams) == b"alive"
            await end(streams[1])
        server.close()

    asyncio.run(main())


@pytest.mark.parametrize("code", [errno.EMSGSIZE, errno.ENOBUFS, errno.EPERM, errno.EPROTO])
def test_other_errors_of_a_connected_socket_do_not_end_the_attempt(
    run_real: RunReal, config: rudp.Config, code: int
) -> None:
    """Only that there is no way, or nobody there, is hard (RFC 9293 §3.9.2.2)."""

    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.connect(silent.getsockname())
            dialling = asyncio.create_task(rudp.open_connection(sock=sock, config=config))
            known = await registry.of_running_loop()
            while not any(one.connection_count for one in known.endpoints):
                await asyncio.sleep(0)
            (endpoint,) = known.endpoints
            endpoint.error_received(OSError(code, "not about whether the peer is there"))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not dialling.done() or not dialling.exception()
            endpoint.error_received(OSError(errno.ECONNREFUSED, "nobody there"))
            with pytest.raises(ConnectionRefusedError):
                await dialling

    run_real(main())


def test_an_icmp_error_is_soft_once_established(run_real: RunReal, config: rudp.Config) -> None:
    """RFC 9293 MUST-56: the connection goes on, in case the peer's socket comes back."""

    async def main() -> None:
        held: list[asyncio.Task[None]] = []
        async with rudp.Endpoint.bind("127.0.0.1", config=config) as peer:
            await peer.start_server(lambda r, w: held.append(asyncio.create_task(echo(r, w))))
            port = peer.get_extra_info("sockname")[1]
            reader, writer = await rudp.open_connection("127.0.0.1", port, config=config)
            await round_trip(reader, writer)
            # The socket vanishes without a word to its connections' peers.
            peer._transport.abort()  # type: ignore[union-attr]
            await peer.wait_closed()
            writer.write(b"anybody there?")
            while writer.get_extra_info("rudp_info").timeouts < 2:
                await asyncio.sleep(0.05)
            assert not writer.is_closing()
            assert writer.get_extra_info("rudp_info").state == "ESTABLISHED"
            writer.transport.abort()
            await asyncio.gather(*held, return_exceptions=True)

    run_real(main())


@pytest.mark.parametrize("address", ["10.0.0.2", "fd00::2"])
def test_a_simulated_port_without_a_socket_refuses_too(
    network: Network, rudp_sim: Simulate, address: str
) -> None:
    """`Network(icmp=True)` says that a closed port answers, so programs can be tested for it."""

    async def main() -> float:
        with network.host("left"), pytest.raises(ConnectionRefusedError):
            await rudp.open_connection(address, PORT)
        return asyncio.get_running_loop().time()

    assert rudp_sim(main) < 1.0


def test_a_closed_server_refuses_those_that_come_and_keeps_those_that_are(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> None:
        async with serving(network) as server:
            with network.host("left"):
                old = await rudp.open_connection("10.0.0.2", PORT)
                await round_trip(*old)
                server.close()
                before_s = asyncio.get_running_loop().time()
                with pytest.raises(ConnectionRefusedError) as refused:
                    await rudp.open_connection("10.0.0.2", PORT)
            assert refused.value.reason is rudp.Reason.REFUSED  # type: ignore[attr-defined]
            assert asyncio.get_running_loop().time() - before_s == pytest.approx(0.02)
            assert await round_trip(*old) == b"alive"
            await end(old[1])

    rudp_sim(main)
