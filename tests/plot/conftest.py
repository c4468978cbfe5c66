"""Recordings to draw."""

from __future__ import annotations

import pytest

from rudp.telemetry.recording import Header, Recording, Sample


@pytest.fixture
def recording() -> Recording:
    """Two seconds at 1 MB/s, with two losses, a timeout and a second limited by the window."""
    header = Header(title="made by hand", congestion="cubic", link_rate=1.25e6, link_rtt_s=0.04)
    samples = [
        Sample(
            t_s=i / 100,
            cwnd=10_000 + 100 * i,
            in_flight=9_000 + 50 * i,
            bytes_acked=10_000 * i,
            bytes_lost=1_200 * ((i > 50) + (i > 150)),
            bytes_retransmitted=1_200 * ((i > 52) + (i > 152)),
            timeouts=int(i > 152),
            ssthresh=None if i < 100 else 12_000,
            srtt_s=0.04 + i / 1e4 if i else None,
            latest_rtt_s=0.045 if i else None,
            min_rtt_s=0.04 if i else None,
            rto_s=1.0,
            pacing_rate=1.5e6,
            delivery_rate=1e6 + i,
            bytes_duplicated=0,
            spurious_recoveries=int(i > 180),
            tail_probes=0,
            limited_by={"cwnd": min(i / 100, 1.0), "application": max(0.0, i / 100 - 1.0)},
        )
        for i in range(201)
    ]
    return Recording(header, samples)
