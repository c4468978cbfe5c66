"""A path in virtual time that drives a controller through its interface, packet by packet.

A first-in-first-out bottleneck of a rate and a queue, a propagation delay, seeded random loss, and
a sender that does what a connection does: paces, keeps to `cwnd`, samples the delivery rate (the
draft's §4.1.2), finds losses by three later packets, and falls back on a timeout.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from rudp.congestion import AckEvent, LossEvent
from rudp.congestion.bbr import Bbr, Phase

MSS = 1200
_THRESHOLD = 3
_RTO_S = 1.0


class Packet:
    """What the sender remembers of a packet, and whether it was acknowledged."""

    __slots__ = (
        "acked",
        "app_limited",
        "delivered",
        "delivered_s",
        "first_sent_s",
        "lost",
        "number",
        "sent_s",
        "tx_in_flight",
    )

    def __init__(self, path: Path, number: int) -> None:
        self.number = number
        self.sent_s = path.now_s
        self.first_sent_s = path.first_sent_s
        self.delivered = path.delivered
        self.delivered_s = path.delivered_s
        self.app_limited = path.app_limited_until > 0
        self.tx_in_flight = path.in_flight
        self.lost = path.lost
        self.acked = False


class Step(NamedTuple):
    """The state after an acknowledgement."""

    now_s: float
    phase: Phase
    cwnd: int
    in_flight: int
    pacing_rate: float
    pacing_gain: float
    cwnd_gain: float
    rtt_s: float
    delivered: int


class Path:
    """One flow over one bottleneck. Bytes, seconds, bytes a second."""

    def __init__(
        self,
        controller: Bbr,
        *,
        rate: float,
        rtt_s: float,
        queue: float,
        loss: float = 0.0,
        seed: int = 1,
        slot_s: float = 0.0,
        start_s: float = 100.0,
    ) -> None:
        self.cc = controller
        self.rate, self.rtt_s, self.queue, self.loss = rate, rtt_s, queue, loss
        self.slot_s = slot_s
        """Acknowledgements leave only at multiples of this: an aggregating link."""
        self.random = random.Random(seed)
        self.now_s = self.start_s = start_s
        self.app_rate = math.inf
        self.app_bytes = 0.0
        self._app_s = start_s
        self.in_flight = self.delivered = self.lost = 0
        self.delivered_s = self.first_sent_s = start_s
        self.app_limited_until = 0
        self.free_s = start_s
        self.next_send_s = start_s
        self.last_s = start_s
        self.recover: int | None = None
        self.number = 0
        self.round_end = 0
        self.srtt_s = 0.0
        self.min_rtt_s = math.inf
        self.drops = 0
        self.timeouts = 0
        self.steps: list[Step] = []
        self.changes: list[tuple[float, Phase]] = [(start_s, controller.phase)]
        self.on_step: Callable[[AckEvent], None] | None = None
        self._outstanding: deque[Packet] = deque()
        self._arrivals: deque[tuple[float, Packet]] = deque()
        self._wakes: list[float] = []
        self._handshake()

    def _handshake(self) -> None:
        self.now_s += self.rtt_s
        self._tell_ack([], 0, self.rtt_s, [])

    # -- running -----------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let `seconds` pass."""
        end_s = self.now_s + seconds
        self._send()
        while True:
            due_s = min(
                self._arrivals[0][0] if self._arrivals else math.inf,
                self._wakes[0] if self._wakes else math.inf,
                self.last_s + _RTO_S if self._outstanding else math.inf,
            )
            if due_s > end_s:
                break
            self.now_s = due_s
            while self._wakes and self._wakes[0] <= due_s:
                heapq.heappop(self._wakes)
            if self._arrivals and self._arrivals[0][0] <= due_s:
                self._receive()
            elif self._outstanding and due_s >= self.last_s + _RTO_S:
                self.time_out()
            self._send()
        self.now_s = end_s

    def run_until(
        self, reached: Callable[[], bool], within_s: float, step_s: float = 0.001
    ) -> None:
        """Let time pass until `reached()`; fail after `within_s` seconds."""
        end_s = self.now_s + within_s
        while not reached():
            assert self.now_s < end_s, f"not reached within {within_s} s, in {self.cc.phase}"
            self.run(step_s)

    def reach(self, phase: Phase, within_s: float = 10.0) -> None:
        """Let time pass until the controller is in `phase`."""
        self.run_until(lambda: self.cc.phase is phase, within_s)

    # -- the sender --------------------------------------------------------------------------------

    def limit_app(self, rate: float) -> None:
        """The application writes `rate` bytes a second from now on (`math.inf`: no limit)."""
        self.app_rate, self.app_bytes, self._app_s = rate, 0.0, self.now_s

    def _take_app_bytes(self) -> bool:
        if self.app_rate == math.inf:
            return True
        self.app_bytes += self.app_rate * (self.now_s - self._app_s)
        self._app_s = self.now_s
        if self.app_bytes >= MSS - 1e-6:
            self.app_bytes -= MSS
            return True
        if self.in_flight < self.cc.cwnd:
            self.app_limited_until = max(self.delivered + self.in_flight, 1)
        if self.app_rate > 0:
            self._wake((MSS - self.app_bytes) / self.app_rate)
        return False

    def _wake(self, delay_s: float) -> None:
        heapq.heappush(self._wakes, self.now_s + max(delay_s, 1e-9))

    def _send(self) -> None:
        cc = self.cc
        while self.in_flight + MSS <= cc.cwnd:
            if self.next_send_s > self.now_s:
                self._wake(self.next_send_s - self.now_s)
                return
            if not self._take_app_bytes():
                return
            if not self.in_flight:
                if self.number:
                    cc.on_idle(self.now_s - self.last_s, _RTO_S)
                self.first_sent_s = self.delivered_s = self.now_s
            self.in_flight += MSS
            packet = Packet(self, self.number)
            self.number += 1
            self.last_s = self.now_s
            self._outstanding.append(packet)
            self._transmit(packet)
            cc.on_sent(self.now_s, MSS, self.in_flight)
            assert cc.pacing_rate is not None
            self.next_send_s = max(self.now_s, self.next_send_s) + MSS / cc.pacing_rate

    def _transmit(self, packet: Packet) -> None:
        waiting = max(0.0, self.free_s - self.now_s) * self.rate
        if waiting + MSS > self.queue + MSS or self.random.random() < self.loss:
            self.drops += 1
            return
        self.free_s = max(self.free_s, self.now_s) + MSS / self.rate
        back_s = self.free_s + self.rtt_s
        if self.slot_s:
            back_s = math.ceil(back_s / self.slot_s) * self.slot_s
        if self._arrivals:
            back_s = max(back_s, self._arrivals[-1][0])
        self._arrivals.append((back_s, packet))

    # -- acknowledgements --------------------------------------------------------------------------

    def _receive(self) -> None:
        acked = []
        while self._arrivals and self._arrivals[0][0] <= self.now_s:
            packet = self._arrivals.popleft()[1]
            if packet.number >= 0:
                packet.acked = True
                acked.append(packet)
        if not acked:
            return
        self.last_s = self.now_s
        prior_in_flight = self.in_flight
        self.delivered += MSS * len(acked)
        self.delivered_s = self.now_s
        self.in_flight -= MSS * len(acked)
        newest = acked[-1]
        self.first_sent_s = newest.sent_s
        lost = self._find_lost(newest.number - _THRESHOLD)
        self._tell_losses(lost)
        self._tell_ack(acked, prior_in_flight, self.now_s - newest.sent_s, lost)

    def _find_lost(self, up_to: int) -> list[Packet]:
        lost = []
        outstanding = self._outstanding
        while outstanding and (outstanding[0].acked or outstanding[0].number <= up_to):
            packet = outstanding.popleft()
            if not packet.acked:
                lost.append(packet)
        return lost

    def _tell_losses(self, lost: list[Packet]) -> None:
        for packet in lost:
            self.in_flight -= MSS
            self.lost += MSS
            self.cc.on_lost(
                LossEvent(
                    self.now_s,
                    MSS,
                    packet.tx_in_flight,
                    self.lost - packet.lost,
                    packet.app_limited,
                    packet.sent_s,
                )
            )
        head = self._outstanding[0].number if self._outstanding else self.number
        if self.recover is not None and head >= self.recover:
            self.recover = None
            self.cc.on_recovered(self.now_s)
        if lost and self.recover is None:
            self.recover = self.number
            self.cc.on_congestion(self.now_s, self.in_flight)

    def _tell_ack(
        self, acked: list[Packet], prior_in_flight: int, rtt_s: float, lost: list[Packet]
    ) -> None:
        self.srtt_s = rtt_s if not self.srtt_s else self.srtt_s * 7 / 8 + rtt_s / 8
        self.min_rtt_s = min(self.min_rtt_s, rtt_s)
        rate = 0.0
        newest = acked[-1] if acked else Packet(self, -1)
        round_start = bool(acked) and newest.delivered >= self.round_end
        if round_start:
            self.round_end = self.delivered
        interval_s = max(newest.sent_s - newest.first_sent_s, self.now_s - newest.delivered_s)
        if acked and interval_s >= self.min_rtt_s:
            rate = (self.delivered - newest.delivered) / interval_s
        if self.delivered > self.app_limited_until:
            self.app_limited_until = 0
        event = AckEvent(
            self.now_s,
            MSS * len(acked),
            self.delivered,
            prior_in_flight,
            self.in_flight,
            rtt_s,
            self.min_rtt_s,
            rate,
            newest.app_limited,
            self.recover is not None,
            srtt_s=self.srtt_s,
            round_start=round_start,
            lost=MSS * len(lost),
            lost_total=self.lost,
            prior_delivered=newest.delivered,
            tx_in_flight=newest.tx_in_flight,
            lost_since_sent=self.lost - newest.lost,
        )
        self.cc.on_ack(event)
        self._record(rtt_s)
        if self.on_step is not None:
            self.on_step(event)

    def time_out(self) -> None:
        """The retransmission timer expires: everything in flight is deemed lost."""
        self.timeouts += 1
        self.last_s = self.now_s
        for _, packet in self._arrivals:
            packet.number = -1
        flight_size = self.in_flight
        lost = [packet for packet in self._outstanding if not packet.acked]
        self._outstanding.clear()
        self.recover = None
        for packet in lost:
            self.in_flight -= MSS
            self.lost += MSS
            self.cc.on_lost(
                LossEvent(
                    self.now_s,
                    MSS,
                    packet.tx_in_flight,
                    self.lost - packet.lost,
                    packet.app_limited,
                    packet.sent_s,
                )
            )
        self.cc.on_timeout(self.now_s, flight_size, first=True)

    # -- looking back ------------------------------------------------------------------------------

    def _record(self, rtt_s: float) -> None:
        cc = self.cc
        assert cc.pacing_rate is not None
        self.steps.append(
            Step(
                self.now_s,
                cc.phase,
                cc.cwnd,
                self.in_flight,
                cc.pacing_rate,
                cc.pacing_gain,
                cc.cwnd_gain,
                rtt_s,
                self.delivered,
            )
        )
        if cc.phase is not self.changes[-1][1]:
            self.changes.append((self.now_s, cc.phase))

    @property
    def bdp(self) -> float:
        """What the path holds without a queue."""
        return self.rate * self.rtt_s

    @property
    def queued(self) -> float:
        """Bytes waiting at the bottleneck."""
        return max(0.0, self.free_s - self.now_s) * self.rate

    def throughput(self, from_s: float, to_s: float | None = None) -> float:
        """Bytes a second delivered between two moments, counted from the start."""
        low, high = self.start_s + from_s, self.start_s + (math.inf if to_s is None else to_s)
        inside = [step for step in self.steps if low <= step.now_s <= high]
        return (inside[-1].delivered - inside[0].delivered) / (inside[-1].now_s - inside[0].now_s)

    def phases(self) -> list[Phase]:
        """The phases in their order."""
        return [phase for _, phase in self.changes]

    def time_in(self) -> Counter[Phase]:
        """Seconds spent in each phase."""
        spent: Counter[Phase] = Counter()
        for (start_s, phase), (end_s, _) in zip(
            self.changes, [*self.changes[1:], (self.now_s, self.cc.phase)], strict=True
        ):
            spent[phase] += end_s - start_s  # type: ignore[assignment]
        return spent


def path(
    mbit: float = 20.0, rtt_ms: float = 40.0, *, queue_bdp: float = 2.0, **kwargs: float
) -> Path:
    """A path of so many Mbit/s and milliseconds, whose queue holds `queue_bdp` times its BDP."""
    rate, rtt_s = mbit * 1e6 / 8, rtt_ms / 1e3
    return Path(
        Bbr(MSS),
        rate=rate,
        rtt_s=rtt_s,
        queue=queue_bdp * rate * rtt_s,
        **kwargs,  # type: ignore[arg-type]
    )
