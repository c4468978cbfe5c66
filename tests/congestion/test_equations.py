"""newreno and cubic against the equations of their RFCs: the window of each round trip.

The controllers are driven over the smallest path there can be: a fixed round-trip time, a window
of data in flight, one acknowledgement for every few segments. The references know bytes, trains
and events not at all; they are the formulas, in segments, in closed form where there is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from rudp.congestion import CongestionController, Cubic, NewReno

from .support import MSS, ack, round_trip

C = 0.4
BETA = 0.7
ALPHA = 3 * (1 - BETA) / (1 + BETA)


@dataclass
class Path:
    """Round trips, and the window at the end of each in `windows`, in segments."""

    controller: CongestionController
    rtt_s: float
    per_ack: int = 2
    """Segments that an acknowledgement covers."""
    now_s: float = 0.0
    windows: list[float] = field(default_factory=list)

    def rounds(self, count: int) -> None:
        """Undisturbed round trips."""
        for _ in range(count):
            round_trip(self.controller, self.per_ack * MSS, now_s=self.now_s, srtt_s=self.rtt_s)
            self.now_s += self.rtt_s
            self.windows.append(self.controller.cwnd / MSS)

    def loss(self) -> None:
        """One segment of the window was lost, and is repaired within a round trip."""
        controller, flight = self.controller, self.controller.cwnd
        controller.on_congestion(self.now_s, flight)
        for number in range(4):
            event = ack(
                flight // 4,
                flight,
                now_s=self.now_s + self.rtt_s * number / 4,
                srtt_s=self.rtt_s,
                in_recovery=True,
            )
            controller.on_ack(event)
        self.now_s += self.rtt_s
        controller.on_recovered(self.now_s)
        self.windows.append(controller.cwnd / MSS)

    def timeout(self) -> None:
        """All of the window was lost."""
        self.controller.on_timeout(self.now_s, self.controller.cwnd, first=True)
        self.windows.append(self.controller.cwnd / MSS)


# -- NewReno, RFC 5681 ---------------------------------------------------------------------------


@pytest.mark.parametrize("per_ack", [1, 2, 16])
def test_newreno_is_slow_start_and_additive_increase(per_ack: int) -> None:
    """RFC 5681 §3.1, §3.2: doubled each round; half at a loss; one segment more each round."""
    path = Path(NewReno(MSS), 0.05, per_ack)
    path.rounds(4)
    path.loss()
    path.rounds(20)
    path.loss()
    path.rounds(20)
    assert path.windows[:4] == [20, 40, 80, 160]
    assert path.windows[4:25] == [80 + round_ for round_ in range(21)]
    assert path.windows[25:] == [50 + round_ for round_ in range(21)]


def test_newreno_after_a_timeout() -> None:
    """RFC 5681 §3.1: 1, 2, 4, … to ssthresh, half of what was in flight; then additive."""
    path = Path(NewReno(MSS), 0.05, 1)
    path.rounds(4)
    path.timeout()
    path.rounds(30)
    assert path.windows[4:11] == [1, 2, 4, 8, 16, 32, 64]
    assert path.windows[11:] == pytest.approx([80 + round_ for round_ in range(24)], abs=1)


# -- CUBIC, RFC 9438: regions that have a closed form --------------------------------------------


def on_the_curve(w_max: float, cwnd_epoch: float, rtt_s: float, t_s: float) -> float:
    """The window `t_s` into a stage that equation 1 alone governs.

    §4.4: each segment acknowledged adds (W_cubic(t + RTT) - cwnd) / cwnd, and cwnd of them are in
    a round trip, so RTT * cwnd'(t) = W_cubic(t + RTT) - cwnd(t). A cubic on the right-hand side
    has the solution p - RTT p' + RTT² p'' - RTT³ p''', plus what of the start dies away.
    """
    k_s = ((w_max - cwnd_epoch) / C) ** (1 / 3)

    def particular(at_s: float) -> float:
        x_s = at_s + rtt_s - k_s
        value = C * x_s**3 + w_max
        return value - 3 * C * rtt_s * x_s**2 + 6 * C * rtt_s**2 * x_s - 6 * C * rtt_s**3

    return particular(t_s) + (cwnd_epoch - particular(0)) * math.exp(-t_s / rtt_s)


@pytest.mark.parametrize("per_ack", [1, 2, 16])
def test_cubic_in_its_concave_and_convex_regions(per_ack: int) -> None:
    """§4.2, §4.4, §4.5: a loss at 640 segments, the plateau 7.8 s later, and two seconds more."""
    path = Path(Cubic(MSS), 0.1, per_ack)
    path.rounds(6)
    assert path.windows == [20, 40, 80, 160, 320, 640]
    path.loss()
    path.rounds(100)
    curve = [on_the_curve(640, 448, 0.1, round_ * 0.1) for round_ in range(101)]
    assert path.windows[6:] == pytest.approx(curve, abs=1)
    assert 640 < curve[-1] < 650, "both regions were seen"


def test_cubic_with_fast_convergence() -> None:
    """§4.7: a second loss, below the first, puts the plateau at 0.85 of where it happened; a
    third one, above that, puts it where it happened."""
    path = Path(Cubic(MSS), 0.1)
    path.rounds(6)
    path.loss()
    path.rounds(30)
    second = path.windows[-1]
    assert 590 < second < 640
    path.loss()
    path.rounds(70)
    curve = [on_the_curve(second * 0.85, second * 0.7, 0.1, n * 0.1) for n in range(71)]
    assert path.windows[37:] == pytest.approx(curve, abs=1)
    third = path.windows[-1]
    assert third > second * 0.85
    path.loss()
    path.rounds(30)
    curve = [on_the_curve(third, third * 0.7, 0.1, n * 0.1) for n in range(31)]
    assert path.windows[108:] == pytest.approx(curve, abs=1)


def test_cubic_in_the_reno_friendly_region() -> None:
    """§4.3, equation 4, at 10 ms: within a round of W segments W_est' = alpha / W_est, so that it
    comes to sqrt(W² + 2 alpha W); alpha is 0.53 below the window of the loss, 1 from there."""

    def reno(window: float, prior: float, rounds: int) -> list[float]:
        windows = [window]
        for _ in range(rounds):
            alpha = 1.0 if window >= prior else ALPHA
            window = math.sqrt(window**2 + 2 * alpha * window)
            windows.append(window)
        return windows

    path = Path(Cubic(MSS), 0.01)
    path.rounds(2)
    path.loss()
    path.rounds(45)
    assert path.windows[2:] == pytest.approx(reno(28, 40, 45), abs=0.6)
    top = path.windows[-1]
    assert top > 55, "alpha was 1 for twenty rounds"
    path.loss()
    path.rounds(30)
    assert path.windows[48:] == pytest.approx(reno(top * 0.7, top, 30), abs=0.6)


# -- CUBIC, RFC 9438: all regions, segment by segment --------------------------------------------


class Reference:
    """RFC 9438 §4.2 to §4.8 to the letter, for a receiver that acknowledges every segment."""

    def __init__(self, cwnd: float, rtt_s: float) -> None:
        self.cwnd = cwnd
        self.rtt_s = rtt_s
        self.ssthresh = math.inf
        self.cwnd_prior = 0.0
        self.w_max: float | None = None
        self.t_epoch: float | None = None
        self.k = self.w_est = 0.0

    def w_cubic(self, t: float) -> float:
        assert self.w_max is not None
        return C * (t - self.k) ** 3 + self.w_max

    def begin(self, now_s: float) -> None:
        """The start of a congestion avoidance stage."""
        self.t_epoch, self.w_est = now_s, self.cwnd
        if self.w_max is None:  # §4.8, §4.10
            self.w_max, self.k = self.cwnd, 0.0
        else:
            self.k = ((self.w_max - self.cwnd) / C) ** (1 / 3)

    def segment(self, now_s: float) -> None:
        """A new ACK, of one segment."""
        if self.cwnd < self.ssthresh:
            self.cwnd += 1
            return
        if self.t_epoch is None:
            self.begin(now_s)
        assert self.t_epoch is not None
        t = now_s - self.t_epoch
        self.w_est += (1 if self.w_est >= self.cwnd_prior else ALPHA) / self.cwnd
        if self.w_cubic(t) < self.w_est:
            self.cwnd = self.w_est
        else:
            target = min(max(self.w_cubic(t + self.rtt_s), self.cwnd), 1.5 * self.cwnd)
            self.cwnd += (target - self.cwnd) / self.cwnd

    def rounds(self, start_s: float, count: int) -> list[float]:
        windows = []
        for number in range(count):
            window = round(self.cwnd)
            for done in range(1, window + 1):
                self.segment(start_s + self.rtt_s * (number + done / window))
            windows.append(self.cwnd)
        return windows

    def loss(self) -> None:
        self.cwnd_prior = self.cwnd
        below = self.w_max is not None and self.cwnd < self.w_max
        self.w_max = self.cwnd * (1 + BETA) / 2 if below else self.cwnd
        self.ssthresh = self.cwnd = self.cwnd * BETA
        self.t_epoch = None

    def timeout(self) -> None:
        self.cwnd_prior = self.cwnd
        self.ssthresh, self.cwnd = self.cwnd * BETA, 1
        self.w_max = self.t_epoch = None


@pytest.mark.parametrize("per_ack", [1, 2, 16])
@pytest.mark.parametrize(
    ("doublings", "rtt_s"), [(2, 0.1), (4, 0.02), (4, 0.1), (4, 0.3), (5, 0.05)]
)
def test_cubic_through_all_regions(doublings: int, rtt_s: float, per_ack: int) -> None:
    """Reno-friendly first or later, concave, convex; losses above and below the last maximum."""
    path = Path(Cubic(MSS), rtt_s, per_ack)
    reference = Reference(10, rtt_s)
    expected = []
    for count in (doublings, 40, 10, 30):
        if expected:
            path.loss()
            reference.loss()
            expected.append(reference.cwnd)
        expected += reference.rounds(path.now_s, count)
        path.rounds(count)
    # An ACK of 16 segments comes when the last of them does.
    assert path.windows == pytest.approx(expected, rel=0.007, abs=1)


def test_cubic_after_a_timeout() -> None:
    """§4.8: slow start to 0.7 of the window; from there with K = 0, not back to where it was."""
    path = Path(Cubic(MSS), 0.1, 1)
    reference = Reference(10, 0.1)
    path.rounds(5)
    expected = reference.rounds(0.0, 5)
    path.timeout()
    reference.timeout()
    expected.append(reference.cwnd)
    start_s = path.now_s
    path.rounds(60)
    # Slow start ends in the middle of a round, from where on the two count it a little apart.
    assert path.windows == pytest.approx(expected + reference.rounds(start_s, 60), rel=0.01, abs=1)
    # Beyond slow start: 5.2 s at most of avoidance from 224 segments, where W_max is now.
    assert path.windows[-1] == pytest.approx(224 + C * 5.2**3, abs=15)


def test_cubic_after_hystart() -> None:
    """§4.10: slow start ended without a loss: K = 0, W_max = cwnd, and alpha is 1 at once."""
    cubic = Cubic(MSS)
    cubic.cwnd = 200 * MSS
    cubic.ssthresh = 200 * MSS  # as HyStart++ leaves it (RFC 9406 §4.2)
    path = Path(cubic, 0.1)
    path.rounds(60)
    reference = Reference(200, 0.1)
    reference.ssthresh = 200
    expected = reference.rounds(0.0, 60)
    assert path.windows == pytest.approx(expected, abs=1)
    assert path.windows[9] == pytest.approx(210, abs=0.7), "Reno-friendly, a segment a round"
    assert path.windows[-1] == pytest.approx(200 + C * 6**3, abs=3), "convex"
