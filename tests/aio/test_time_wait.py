"""TIME-WAIT: the side that closed first answers for the last acknowledgement, if it was lost."""

from __future__ import annotations

import asyncio

import pytest

import rudp
from rudp.aio import registry
from rudp.sim import Network

from .support import PORT, Simulate, end, serving


async def _outage_at_the_end(network: Network, outage_s: float) -> None:
    """The client half-closes, the server answers and closes, no client's datagram gets through."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        network.partition("left", "right", both=False)
        writer.write(b"answer")
        try:
            await end(writer)
        except OSError as error:
            ended.set_exception(error)
        else:
            ended.set_result(None)

    async with serving(network, answer):
        with network.host("left"):
            reader, writer = await rudp.open_connection("right", PORT)
        writer.write_eof()
        assert await reader.read() == b"answer"
        await end(writer)
        await asyncio.sleep(outage_s)
        network.heal("left", "right", both=False)
        await ended


@pytest.mark.parametrize("outage_s", [0.5, 3.0])
def test_a_short_outage_of_the_last_acknowledgement_is_no_error(
    network: Network, rudp_sim: Simulate, outage_s: float
) -> None:
    rudp_sim(lambda: _outage_at_the_end(network, outage_s))


@pytest.mark.parametrize("outage_s", [10.0, 25.0])
def test_an_outage_that_data_would_survive_is_no_error_at_the_end_either(
    network: Network, rudp_sim: Simulate, outage_s: float
) -> None:
    """With the defaults: all that was written has arrived, so its writer must not see a reset.

    TCP's TIME-WAIT of 2 MSL (RFC 9293 §3.4.3, MUST-13) is what covers this.
    """
    rudp_sim(lambda: _outage_at_the_end(network, outage_s))


def test_the_record_expires_and_the_socket_goes_with_it(
    network: Network, rudp_sim: Simulate
) -> None:
    async def main() -> None:
        config = rudp.Config(time_wait=11.0)
        async with serving(network):
            with network.host("left"):
                _, writer = await rudp.open_connection("right", PORT, config=config)
            await end(writer)
            known = await registry.of_running_loop()
            (endpoint,) = known.shared.values()
            await asyncio.sleep(10.5)
            assert endpoint.connection_count == 0
            assert not endpoint.is_closing()
            await asyncio.sleep(1.0)
            assert endpoint.is_closing()
            assert not known.shared

    rudp_sim(main)


def test_a_closing_loop_does_not_wait_for_time_wait(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with serving(network):
            with network.host("left"):
                _, writer = await rudp.open_connection("right", PORT)
            await end(writer)

    rudp_sim(main, max_virtual_s=1.0)
