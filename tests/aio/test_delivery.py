"""`rudp.acknowledged()` and `rudp.unacknowledged()`: whether what was written has arrived."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from certificates import Certificates

import rudp
from rudp.sim import LinkConfig, Network

from .support import DELAY_S, PORT, Simulate, end, serving

ROUND_TRIP_S = 2 * DELAY_S


class Pair:
    """Both ends of a connection; "right" reads only when it is told to."""

    def __init__(self, near: Any, far: Any) -> None:
        self.reader, self.writer = near
        self.far_reader, self.far_writer = far

    @property
    def transport(self) -> Any:
        return self.writer.get_extra_info("rudp_transport")


@contextlib.asynccontextmanager
async def connected(
    network: Network, config: rudp.Config | None = None, certificates: Certificates | None = None
) -> AsyncIterator[Pair]:
    accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    server_tls = {"ssl": certificates.server_context()} if certificates else {}
    client_tls = {"ssl": certificates.client_context()} if certificates else {}
    async with serving(network, lambda *far: accepted.set_result(far), config=config, **server_tls):
        with network.host("left"):
            near = await rudp.open_connection("right", PORT, config=config, **client_tls)
        pair = Pair(near, await accepted)
        try:
            yield pair
        finally:
            for writer in (pair.writer, pair.far_writer):
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()


def test_nothing_written_is_nothing_to_wait_for(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with connected(network) as pair:
            assert rudp.unacknowledged(pair.writer) == 0
            before_s = asyncio.get_running_loop().time()
            await rudp.acknowledged(pair.writer)
            assert asyncio.get_running_loop().time() == before_s

    rudp_sim(main)


@pytest.mark.parametrize("of", [lambda w: w, lambda w: w.transport], ids=["writer", "transport"])
def test_it_takes_a_round_trip(
    network: Network, rudp_sim: Simulate, of: Callable[[asyncio.StreamWriter], Any]
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected(network) as pair:
            before_s = loop.time()
            pair.writer.write(b"x" * 3000)
            assert rudp.unacknowledged(of(pair.writer)) == 3000
            await rudp.acknowledged(of(pair.writer))
            assert rudp.unacknowledged(of(pair.writer)) == 0
            # The acknowledgement may be delayed, by 25 ms.
            assert ROUND_TRIP_S <= loop.time() - before_s <= ROUND_TRIP_S + 0.03

    rudp_sim(main)


def test_what_is_written_later_is_not_waited_for(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with connected(network) as pair:
            pair.writer.write(b"x" * 3000)
            waiting = asyncio.ensure_future(rudp.acknowledged(pair.writer))
            await asyncio.sleep(DELAY_S)
            network.set_link("left", "right", LinkConfig(delay_s=10.0))
            pair.writer.write(b"y" * 500)
            await waiting
            assert rudp.unacknowledged(pair.writer) == 500
            await rudp.acknowledged(pair.writer)

    rudp_sim(main)


def test_it_says_more_than_drain_and_less_than_an_answer(
    network: Network, rudp_sim: Simulate
) -> None:
    """The receive buffer counts as arrived; what it has no room for does not."""
    config = rudp.Config(receive_buffer=50_000)

    async def main() -> None:
        async with connected(network, config) as pair:
            pair.far_writer.transport.pause_reading()
            pair.writer.write(b"x" * 80_000)
            await pair.writer.drain()
            waiting = asyncio.ensure_future(rudp.acknowledged(pair.writer))
            await asyncio.sleep(5.0)
            assert not waiting.done()
            assert 80_000 - 50_000 <= rudp.unacknowledged(pair.writer) < 80_000
            pair.far_writer.transport.resume_reading()
            await pair.far_reader.readexactly(80_000)
            await waiting
            assert rudp.unacknowledged(pair.writer) == 0

    rudp_sim(main)


def test_many_may_wait_and_some_may_be_cancelled(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with connected(network) as pair:
            waiting = []
            for _ in range(20):
                pair.writer.write(b"x" * 1000)
                waiting.append(asyncio.ensure_future(rudp.acknowledged(pair.writer)))
            await asyncio.sleep(0)
            for each in waiting[::2]:
                each.cancel()
            done = await asyncio.gather(*waiting, return_exceptions=True)
            assert done[1::2] == [None] * 10
            assert all(isinstance(each, asyncio.CancelledError) for each in done[::2])
            await rudp.acknowledged(pair.writer)

    rudp_sim(main)


def test_giving_up_again_and_again_leaves_nothing_behind(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> None:
        async with connected(network) as pair:
            network.partition("left", "right")
            pair.writer.write(b"x")
            for _ in range(5):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await rudp.acknowledged(pair.writer)
            assert not pair.transport.delivery._waiting
            network.heal("left", "right")
            await rudp.acknowledged(pair.writer)

    rudp_sim(main)


# The end


@pytest.mark.parametrize("ending", ["close", "write_eof"])
def test_after_an_orderly_end_all_is_acknowledged(
    network: Network, rudp_sim: Simulate, ending: str
) -> None:
    async def main() -> None:
        async with connected(network) as pair:
            pair.writer.write(b"x" * 3000)
            getattr(pair.writer, ending)()
            await rudp.acknowledged(pair.writer)
            assert await pair.far_reader.read() == b"x" * 3000
            await end(pair.far_writer)
            await end(pair.writer)
            await rudp.acknowledged(pair.writer)
            assert rudp.unacknowledged(pair.writer) == 0

    rudp_sim(main)


def test_a_connection_that_times_out_raises_why(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with connected(network, rudp.Config(user_timeout=5.0)) as pair:
            network.partition("left", "right")
            pair.writer.write(b"x" * 3000)
            for _ in range(2):  # while it lasts, then afterwards
                with pytest.raises(rudp.ConnectionTimedOut) as caught:
                    await rudp.acknowledged(pair.writer)
                assert caught.value.reason is rudp.Reason.USER_TIMEOUT
            assert rudp.unacknowledged(pair.writer) == 3000

    rudp_sim(main)


def test_a_reset_raises_for_what_had_not_arrived_only(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with connected(network) as pair:
            pair.writer.write(b"x")
            await rudp.acknowledged(pair.writer)
            pair.far_writer.transport.abort()
            with pytest.raises(rudp.ConnectionReset):
                await pair.reader.read()
            await rudp.acknowledged(pair.writer)
            assert rudp.unacknowledged(pair.writer) == 0

    rudp_sim(main)


def test_abort_raises_for_those_who_wait(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with connected(network) as pair:
            pair.writer.write(b"x" * 3000)
            waiting = asyncio.ensure_future(rudp.acknowledged(pair.writer))
            await asyncio.sleep(0)
            pair.writer.transport.abort()
            with pytest.raises(rudp.ConnectionAborted) as caught:
                await waiting
            assert caught.value.reason is rudp.Reason.ABORTED
            assert rudp.unacknowledged(pair.writer) == 3000

    rudp_sim(main)


# Under TLS


def test_under_tls_it_counts_what_tls_sends(
    network: Network, rudp_sim: Simulate, certificates: Certificates
) -> None:
    async def main() -> None:
        async with connected(network, certificates=certificates) as pair:
            await rudp.acknowledged(pair.writer)
            pair.writer.write(b"x" * 3000)
            assert 3000 < rudp.unacknowledged(pair.writer) < 3200
            await rudp.acknowledged(pair.writer)
            assert rudp.unacknowledged(pair.writer) == 0
            assert await pair.far_reader.readexactly(3000)

    rudp_sim(main)


def test_under_tls_what_it_holds_back_is_waited_for(
    network: Network, rudp_sim: Simulate, certificates: Certificates
) -> None:
    """The transport has paused TLS, which keeps the rest: 300,000 bytes are not 65,536."""
    config = rudp.Config(send_buffer=65_536, receive_buffer=65_536)

    async def main() -> None:
        async with connected(network, config, certificates) as pair:
            received = asyncio.ensure_future(pair.far_reader.readexactly(300_000))
            for _ in range(30):
                pair.writer.write(b"x" * 10_000)
            assert pair.writer.transport.get_write_buffer_size() > 0
            assert rudp.unacknowledged(pair.writer) > 300_000
            await rudp.acknowledged(pair.writer)
            assert rudp.unacknowledged(pair.writer) == 0
            assert pair.writer.transport.get_write_buffer_size() == 0
            assert await received

    rudp_sim(main)


def test_under_tls_an_end_raises_why(
    network: Network, rudp_sim: Simulate, certificates: Certificates
) -> None:
    config = rudp.Config(send_buffer=65_536, receive_buffer=65_536, user_timeout=5.0)

    async def main() -> None:
        async with connected(network, config, certificates) as pair:
            network.partition("left", "right")
            for _ in range(30):
                pair.writer.write(b"x" * 10_000)
            with pytest.raises(rudp.ConnectionTimedOut) as caught:
                await rudp.acknowledged(pair.writer)
            assert caught.value.reason is rudp.Reason.USER_TIMEOUT

    rudp_sim(main)


@pytest.mark.parametrize("ask", [rudp.acknowledged, rudp.unacknowledged])
def test_a_foreign_stream_is_a_type_error(ask: Callable[[Any], Any]) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="rudp"):
            found = ask(asyncio.Transport())
            await found

    asyncio.run(main())
