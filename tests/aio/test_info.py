"""`get_extra_info("rudp_info")`: a connection's numbers at one moment."""

from __future__ import annotations

import asyncio

import pytest

import rudp
from rudp.sim import LinkConfig, Network

from .support import DELAY_S, PORT, Simulate, echo, end, round_trip, serving


def test_the_numbers_of_a_short_exchange(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        accepted: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        async with serving(network, lambda *streams: accepted.append(streams)):
            with network.host("left"):
                _, writer = await rudp.open_connection("10.0.0.2", PORT)
            info = writer.get_extra_info("rudp_info")
            assert isinstance(info, rudp.ConnectionInfo)
            assert (info.state, info.congestion, info.mss) == ("ESTABLISHED", "resilient", 1176)
            assert info.srtt_s == pytest.approx(2 * DELAY_S, abs=1e-5)
            assert info.min_rtt_s == pytest.approx(2 * DELAY_S, abs=1e-5)
            assert info.rto_s >= 0.2
            assert info.ssthresh is None
            assert info.cwnd == pytest.approx(32 * 1176, abs=1)
            assert (info.bytes_sent, info.bytes_acked, info.unacked, info.unsent) == (0, 0, 0, 0)

            writer.write(b"x" * 5000)
            info = writer.get_extra_info("rudp_info")
            assert (info.bytes_sent, info.bytes_acked) == (5000, 0)
            assert (info.unacked, info.in_flight, info.unsent) == (5000, 5000, 0)
            await asyncio.sleep(1.0)
            info = writer.get_extra_info("rudp_info")
            assert (info.bytes_acked, info.unacked, info.in_flight) == (5000, 0, 0)
            assert info.segments_sent >= 5
            assert info.age_s == pytest.approx(1.0 + 2 * DELAY_S, abs=1e-3)
            assert (info.timeouts, info.fast_recoveries, info.bytes_lost) == (0, 0, 0)
            assert info.retransmitted_share == 0.0

            peer = accepted[0][1].get_extra_info("rudp_info")
            assert (peer.bytes_received, peer.bytes_sent, peer.unread) == (5000, 0, 0)
            for one in (writer, accepted[0][1]):
                one.close()
            await writer.wait_closed()
            assert writer.get_extra_info("rudp_info").state in ("TIME_WAIT", "CLOSED")

    rudp_sim(main)


def test_what_is_not_read_shows_as_unread_and_closes_the_window(
    network: Network, rudp_sim: Simulate
) -> None:
    config = rudp.Config(receive_buffer=20_000)

    async def main() -> None:
        accepted: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        async with serving(network, lambda *streams: accepted.append(streams), config=config):
            with network.host("left"):
                _, writer = await rudp.open_connection("10.0.0.2", PORT)
            await asyncio.sleep(1.0)
            reader, other = accepted[0]
            other.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"x" * 100_000)
            await asyncio.sleep(60.0)
            info = other.get_extra_info("rudp_info")
            assert 20_000 - info.mss < info.unread <= 20_000
            assert 0 <= info.rcv_wnd < info.mss
            sender = writer.get_extra_info("rudp_info")
            assert sender.snd_wnd < info.mss
            assert sender.unsent > 0
            other.transport.resume_reading()  # type: ignore[attr-defined]
            assert await reader.readexactly(100_000) == b"x" * 100_000
            assert other.get_extra_info("rudp_info").unread == 0
            for one in (writer, other):
                one.close()
            await writer.wait_closed()

    rudp_sim(main)


def test_losses_show(network: Network, rudp_sim: Simulate) -> None:
    network.default = LinkConfig(delay_s=DELAY_S, loss=0.05)

    async def main() -> None:
        async with serving(network, echo):
            with network.host("left"):
                config = rudp.Config(congestion="newreno", mtu_discovery=False)
                reader, writer = await rudp.open_connection("10.0.0.2", PORT, config=config)
            await round_trip(reader, writer, b"x" * 500_000)
            info = writer.get_extra_info("rudp_info")
            assert info.bytes_sent == info.bytes_received == 500_000
            assert info.bytes_lost > 0
            assert info.bytes_retransmitted > 0
            assert 0.01 < info.retransmitted_share < 0.3
            assert info.fast_recoveries + info.timeouts > 0
            assert info.ssthresh is not None
            await end(writer)

    rudp_sim(main)


def test_the_numbers_survive_the_connection(network: Network, rudp_sim: Simulate) -> None:
    async def main() -> None:
        async with serving(network, echo):
            with network.host("left"):
                reader, writer = await rudp.open_connection("10.0.0.2", PORT)
            await round_trip(reader, writer, b"x" * 1000)
            await end(writer)
            await asyncio.sleep(600.0)
            info = writer.get_extra_info("rudp_info")
            assert (info.state, info.bytes_sent, info.bytes_received) == ("CLOSED", 1000, 1000)

    rudp_sim(main)
