"""The links: what they carry, and what they do to it."""

from __future__ import annotations

from dataclasses import dataclass

IP_PACKET_BYTES = 1500
PAYLOAD_BYTES = 1448
"""Of a full packet: 52 bytes of headers are rudp's (28 + 24) and TCP's with timestamps."""


@dataclass(frozen=True)
class Scenario:
    """One link; both directions are alike, and loss and the like hit each on its own.

    Attributes:
        rtt_ms: Round trip of an empty link.
        queue_kb: Drop-tail queue at the bottleneck, in kilobytes (1,000).
        loss: Probability of a packet to be lost, alone.
        burst: Probabilities that a spell in which everything is lost starts, and that it ends,
            at a packet (Gilbert-Elliott).
        reorder: Probability of a packet to arrive `early_ms` before its time.
        jitter_ms: Each packet is up to so much late.
        duplicate: Probability of a packet to arrive twice.
        corrupt: Probability of a packet to arrive with one bit flipped.
    """

    name: str
    text: str
    rate_mbit: float
    rtt_ms: float
    queue_kb: float
    loss: float = 0.0
    burst: tuple[float, float] | None = None
    reorder: float = 0.0
    early_ms: float = 0.0
    jitter_ms: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0

    @property
    def lost_share(self) -> float:
        """The share of packets that never arrive, or not unharmed, in the long run."""
        kept = (1 - self.loss) * (1 - self.corrupt)
        if self.burst is not None:
            start, end = self.burst
            kept *= end / (start + end)
        return 1 - kept

    @property
    def possible_mbit(self) -> float:
        """Payload that a sender which always fills the link gets through."""
        return self.rate_mbit * (1 - self.lost_share) * PAYLOAD_BYTES / IP_PACKET_BYTES


_ALL = (
    Scenario("clean", "100 Mbit/s, 40 ms, 500 KB queue", 100, 40, 500),
    Scenario("loss1", "the same, 1 % lost", 100, 40, 500, loss=0.01),
    Scenario("loss5", "5 % lost", 100, 40, 500, loss=0.05),
    Scenario("loss10", "10 % lost", 100, 40, 500, loss=0.10),
    Scenario("long2", "20 Mbit/s, 200 ms, 500 KB queue, 2 % lost", 20, 200, 500, loss=0.02),
    Scenario(
        "burst", "50 Mbit/s, 40 ms, bursts of 3.3, 1.6 % lost", 50, 40, 250, burst=(0.005, 0.3)
    ),
    Scenario(
        "reorder", "50 Mbit/s, 40 ms, 5 % are 15 ms early", 50, 40, 250, reorder=0.05, early_ms=15
    ),
    Scenario("jitter", "50 Mbit/s, 40 ms, each up to 10 ms late", 50, 40, 250, jitter_ms=10),
    Scenario(
        "damage",
        "50 Mbit/s, 40 ms, 1 % with a bit flipped, 2 % twice",
        *(50, 40, 250),
        corrupt=0.01,
        duplicate=0.02,
    ),
    Scenario("shallow", "10 Mbit/s, 30 ms, 37 KB queue", 10, 30, 37),
    Scenario("fair", "two flows at once: 20 Mbit/s, 40 ms, 100 KB queue", 20, 40, 100),
)
SCENARIOS = {scenario.name: scenario for scenario in _ALL}
