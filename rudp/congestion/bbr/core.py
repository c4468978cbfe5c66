"""What the phases of BBR share: constants, state, and the control parameters (§5.6).

Section numbers are those of draft-ietf-ccwg-bbr in the working group's text of August 2026.
"""

from __future__ import annotations

import abc
import enum
import math
import random
from typing import ClassVar

from rudp.congestion.bbr.model import PathModel
from rudp.congestion.controller import AckEvent, CongestionController

_SHORTEST_RTT_S = 1e-6


class Phase(enum.Enum):
    """The states of BBR's machine (§5.1)."""

    STARTUP = "startup"
    DRAIN = "drain"
    DOWN = "probe_bw_down"
    CRUISE = "probe_bw_cruise"
    REFILL = "probe_bw_refill"
    UP = "probe_bw_up"
    PROBE_RTT = "probe_rtt"


class AckPhase(enum.Enum):
    """What acknowledgements tell of the bandwidth probe (§2.14)."""

    INIT = "init"
    REFILLING = "refilling"
    PROBE_STARTING = "probe_starting"
    PROBE_FEEDBACK = "probe_feedback"
    PROBE_STOPPING = "probe_stopping"


PROBE_BW = frozenset({Phase.DOWN, Phase.CRUISE, Phase.REFILL, Phase.UP})
_PROBING = frozenset({Phase.STARTUP, Phase.REFILL, Phase.UP})


class BbrCore(CongestionController):
    """Constants, state and control parameters; the phases derive from it.

    Each constant is a class attribute and each decision a method of its own, so that a variant
    is a subclass which overrides what it does differently.
    """

    uses_prr = False

    model_class: ClassVar[type[PathModel]] = PathModel

    startup_pacing_gain: ClassVar[float] = 2.77
    """StartupPacingGain: 4 ln 2, the least that doubles the rate each round."""
    startup_cwnd_gain: ClassVar[float] = 2.0
    """DefaultCwndGain, in Startup and Drain."""
    drain_pacing_gain: ClassVar[float] = 0.5
    down_pacing_gain: ClassVar[float] = 0.9
    cruise_pacing_gain: ClassVar[float] = 1.0
    up_pacing_gain: ClassVar[float] = 1.25
    cwnd_gain_default: ClassVar[float] = 2.0
    """DefaultCwndGain, in ProbeBW."""
    up_cwnd_gain: ClassVar[float] = 2.25
    probe_rtt_cwnd_gain: ClassVar[float] = 0.5
    probe_rtt_duration_s: ClassVar[float] = 0.2
    pacing_margin: ClassVar[float] = 0.01
    """PacingMarginPercent: pace 1 % below the estimate, for low queues."""
    loss_threshold: ClassVar[float] = 0.02
    """LossThresh: the share of a round's bytes that may be lost while probing."""
    beta: ClassVar[float] = 0.7
    headroom: ClassVar[float] = 0.15
    min_pipe_segments: ClassVar[int] = 4
    startup_full_loss_count: ClassVar[int] = 6
    drain_rounds: ClassVar[int] = 3
    probe_wait_s: ClassVar[tuple[float, float]] = (2.0, 3.0)
    """T_bbr lies between these (§5.3.3.8.2)."""
    reno_rounds: ClassVar[int] = 63
    """T_reno's bound in round trips (§5.3.3.8.2)."""
    offload_quanta: ClassVar[int] = 3
    """As TCP's (§5.5.8.1): one train leaving, one under way, one waiting to be acknowledged."""
    quantum_s: ClassVar[float] = 0.001
    quantum_max: ClassVar[int] = 65_536
    min_pacing_segments: ClassVar[float] = 1.0
    """Segments a second below which pacing never falls: a pacer must always send some day."""

    __slots__ = (
        "_limited_before",
        "_limited_now",
        "_lost_s",
        "_now_s",
        "_rng",
        "_rtt_seen",
        "_seed",
        "_sent_s",
        "_timeout_end",
        "ack_phase",
        "bw_probe_up_acked",
        "bw_probe_up_rounds",
        "bw_probe_wait_s",
        "cwnd_gain",
        "cycle_stamp_s",
        "drain_start_round",
        "idle_restart",
        "in_fast_recovery",
        "in_timeout_recovery",
        "is_bw_probe_sample",
        "loss_events_in_round",
        "marked_in_round",
        "model",
        "pacing_gain",
        "phase",
        "prev_probe_precautionary",
        "prev_probe_too_high",
        "prior_cwnd",
        "probe_rtt_done_stamp_s",
        "probe_rtt_round_done",
        "probe_up_acked_per_inc",
        "saved_s",
        "send_quantum",
        "undo_bw_shortterm",
        "undo_inflight_longterm",
        "undo_inflight_shortterm",
        "undo_phase",
    )

    def __init__(self, mss: int, *, rng: random.Random | None = None) -> None:
        super().__init__(mss)
        self.model = self.model_class()
        self._rng = rng
        self._seed = ""
        self._now_s = -math.inf
        self._sent_s = -math.inf
        self._limited_now = self._limited_before = False
        self.phase = Phase.STARTUP
        self.drain_start_round = 0
        self.idle_restart = False
        self._init_probes()
        self._init_recovery()
        self.pacing_gain = self.cwnd_gain = 1.0
        self.enter_startup()
        self._rtt_seen = False
        self.init_pacing_rate(0.0)
        self.set_send_quantum()

    def _init_probes(self) -> None:
        self.ack_phase = AckPhase.INIT
        self.is_bw_probe_sample = False
        """Acknowledgements are of what was sent to probe: losses tell of `inflight_longterm`."""
        self.prev_probe_too_high = self.prev_probe_precautionary = False
        self.bw_probe_up_acked = 0
        self.bw_probe_up_rounds = 0
        self.probe_up_acked_per_inc = math.inf
        self.bw_probe_wait_s = 0.0
        self.cycle_stamp_s = 0.0
        self.probe_rtt_done_stamp_s: float | None = None
        self.probe_rtt_round_done = False

    def _init_recovery(self) -> None:
        self.in_fast_recovery = self.in_timeout_recovery = False
        self._timeout_end = 0
        self._lost_s = -math.inf
        self.loss_events_in_round = 0
        self.marked_in_round = 0
        self.prior_cwnd = 0
        self.saved_s = -math.inf
        self.undo_phase: Phase | None = None
        self.undo_bw_shortterm = 0.0
        self.undo_inflight_shortterm = 0.0
        self.undo_inflight_longterm = 0.0

    # -- transitions that one phase asks of another -----------------------------------------------

    @abc.abstractmethod
    def enter_startup(self) -> None:
        """EnterStartup (§5.3.1.1)."""

    @abc.abstractmethod
    def enter_drain(self) -> None:
        """EnterDrain (§5.3.2)."""

    @abc.abstractmethod
    def enter_probe_bw(self, now_s: float) -> None:
        """EnterProbeBW (§5.3.3.9)."""

    @abc.abstractmethod
    def start_down(self, now_s: float) -> None:
        """StartProbeBW_DOWN (§5.3.3.9)."""

    @abc.abstractmethod
    def start_cruise(self) -> None:
        """StartProbeBW_CRUISE (§5.3.3.9)."""

    @abc.abstractmethod
    def start_refill(self, now_s: float) -> None:
        """StartProbeBW_REFILL (§5.3.3.9)."""

    @abc.abstractmethod
    def check_probe_rtt_done(self, now_s: float) -> None:
        """CheckProbeRTTDone (§5.3.4.3)."""

    @property
    def in_probe_bw(self) -> bool:
        """IsInAProbeBWState."""
        return self.phase in PROBE_BW

    @property
    def is_probing_bw(self) -> bool:
        """IsProbingBW: losses are an answer to the probe, not news of the path."""
        return self.phase in _PROBING

    @property
    def is_cwnd_limited(self) -> bool:
        """C.is_cwnd_limited: `cwnd` was fully used at some moment of the last round trip."""
        return self._limited_now or self._limited_before

    # -- what loss means ---------------------------------------------------------------------------

    def is_inflight_too_high(self, lost: int, tx_in_flight: int) -> bool:
        """IsInflightTooHigh (§5.5.10.2): more than 2 % of a flight was lost (or marked).

        Args:
            lost: Bytes lost since a certain packet was sent.
            tx_in_flight: Bytes in flight when it was sent.
        """
        return lost > tx_in_flight * self.loss_threshold

    def is_sample_too_high(self, event: AckEvent) -> bool:
        """The same of an acknowledgement; a mark counts as a loss (§3.6, RFC 3168 §5)."""
        lost = event.lost_since_sent + self.marked_in_round
        return self.is_inflight_too_high(lost, event.tx_in_flight)

    # -- volumes, §5.6.4.2 -------------------------------------------------------------------------

    @property
    def min_pipe_cwnd(self) -> int:
        """MinPipeCwnd in bytes."""
        return self.min_pipe_segments * self.mss

    def bdp(self, gain: float = 1.0, bw: float | None = None) -> float:
        """BDPMultiple: `gain` times the bandwidth-delay product in bytes."""
        model = self.model
        if model.min_rtt_s == math.inf:
            return self.initial_window(self.mss)
        return gain * (model.bw if bw is None else bw) * model.min_rtt_s

    def target_inflight(self) -> float:
        """TargetInflight (§5.3.3.8.3): the BDP, unless congestion has cut `cwnd` below it."""
        return min(self.bdp(), self.cwnd)

    def quantization_budget(self, inflight: float) -> float:
        """QuantizationBudget: never so little that trains or delayed ACKs leave the path idle."""
        inflight = max(inflight, self.offload_quanta * self.send_quantum, self.min_pipe_cwnd)
        return inflight + 2 * self.mss if self.phase is Phase.UP else inflight

    def inflight(self, gain: float = 1.0, bw: float | None = None) -> float:
        """Inflight: bytes in flight that fill `gain` times the path."""
        return self.quantization_budget(self.bdp(gain, bw))

    def inflight_with_headroom(self) -> float:
        """InflightWithHeadroom (§5.3.3.9): room is left in the bottleneck for other flows."""
        longterm = self.model.inflight_longterm
        if longterm == math.inf:
            return math.inf
        headroom = max(self.mss, self.headroom * longterm)
        return max(longterm - headroom, self.min_pipe_cwnd)

    def max_inflight(self) -> float:
        """UpdateMaxInflight: the upper bound of `cwnd` while nothing else bounds it."""
        return self.quantization_budget(self.bdp(self.cwnd_gain) + self.model.extra_acked)

    # -- pacing rate and quantum, §5.6.2 and §5.6.3 ------------------------------------------------

    def init_pacing_rate(self, srtt_s: float) -> None:
        """InitPacingRate: the initial window a round trip, which is taken to be 1 ms until it is
        known, times Startup's gain."""
        rtt_s = max(srtt_s, _SHORTEST_RTT_S) if srtt_s else 0.001
        self.pacing_rate = self.startup_pacing_gain * self.initial_window(self.mss) / rtt_s

    def bw_for_pacing(self) -> float:
        """The bandwidth in bytes a second that the pacing gain multiplies."""
        return self.model.bw

    def set_pacing_rate(self, gain: float) -> None:
        """SetPacingRateWithGain: until the pipe was full once, the rate only rises."""
        rate = gain * self.bw_for_pacing() * (1 - self.pacing_margin)
        if rate > 0 and (self.model.full_bw_reached or rate > (self.pacing_rate or 0.0)):
            self.pacing_rate = max(rate, self.min_pacing_segments * self.mss)

    def set_send_quantum(self) -> None:
        """SetSendQuantum: a millisecond's worth, two segments at least and 64 KB at most."""
        quantum = min((self.pacing_rate or 0.0) * self.quantum_s, self.quantum_max)
        self.send_quantum = max(int(quantum), 2 * self.mss)

    # -- congestion window, §5.6.4 -----------------------------------------------------------------

    def set_cwnd(self, event: AckEvent) -> None:
        """SetCwnd (§5.6.4.6): up by what was acknowledged, down at once."""
        limit = self.max_inflight()
        cwnd: float = self.cwnd
        if self.model.full_bw_reached:
            cwnd = min(cwnd + event.delivered, limit)
        elif cwnd < limit or event.delivered_total < self.initial_window(self.mss):
            cwnd += event.delivered
        cwnd = max(cwnd, self.min_pipe_cwnd)
        if self.phase is Phase.PROBE_RTT:
            cwnd = min(cwnd, self.probe_rtt_cwnd())
        self.cwnd = max(int(min(cwnd, self.cwnd_bound())), self.mss)

    def cwnd_bound(self) -> float:
        """BoundCwndForModel (§5.6.4.7): the volume cap of each phase, in bytes."""
        model = self.model
        bound = math.inf
        if self.phase is Phase.CRUISE or self.phase is Phase.PROBE_RTT:
            bound = self.inflight_with_headroom()
        elif self.in_probe_bw:
            bound = model.inflight_longterm
        return max(min(bound, model.inflight_shortterm), self.min_pipe_cwnd)

    def probe_rtt_cwnd(self) -> float:
        """ProbeRTTCwnd (§5.6.4.5)."""
        return max(self.bdp(self.probe_rtt_cwnd_gain), self.min_pipe_cwnd)

    def save_cwnd(self) -> None:
        """SaveCwnd (§5.6.4.4): the last good window, which no recovery or ProbeRTT modulates."""
        recovering = self.in_fast_recovery or self.in_timeout_recovery
        modulated = recovering or self.phase is Phase.PROBE_RTT
        self.prior_cwnd = max(self.prior_cwnd, self.cwnd) if modulated else self.cwnd

    def restore_cwnd(self) -> None:
        """RestoreCwnd (§5.6.4.4)."""
        self.cwnd = max(self.cwnd, self.prior_cwnd)

    # -- randomness --------------------------------------------------------------------------------

    def rng(self) -> random.Random:
        """The source of the probes' timing (§5.3.3.8.2): random between flows, not in a replay.

        Without a generator of the user's it is seeded by the first acknowledgement's numbers:
        they differ from flow to flow and are the same whenever a simulation is run again.
        """
        if self._rng is None:
            seed = f"{self.mss} {self._seed}"
            self._rng = random.Random(seed)  # noqa: S311 - it spreads probes, it hides nothing
        return self._rng
