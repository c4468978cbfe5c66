"""The sending half of a connection: SND.* of RFC 9293 §3.3.1 and what belongs to it."""

from __future__ import annotations

from typing import NamedTuple

from rudp.buffers.send import SendBuffer
from rudp.config import HEADER_BYTES, Config
from rudp.congestion import CongestionController, resolve
from rudp.core.ecn import EcnSender
from rudp.core.limits import LimitedTimes
from rudp.core.mtu import PathMtu
from rudp.recovery.dupthresh import DuplicateAcks
from rudp.recovery.ledger import Ledger
from rudp.recovery.pacer import Pacer
from rudp.recovery.prr import Prr
from rudp.recovery.rack import Rack
from rudp.recovery.rtt import RttEstimator
from rudp.recovery.undo import UndoWatch

DEFAULT_MSS = 536
"""For a peer whose SYN has no MSS option (RFC 9293 MUST-15)."""

MIN_MSS = 64
"""Less would let a SYN turn every byte into a datagram (Linux: tcp_min_snd_mss)."""

_MIN_SEND_BUFFER = 65_536


class TailProbe(NamedTuple):
    """A tail loss probe whose outcome is open: TLP.end_seq and TLP.is_retrans (RFC 8985 §7)."""

    end: int
    again: bool


class Sender:
    """Unacknowledged and unsent data, the peer's window, recovery and congestion state.

    SYN and FIN are in the ledger like bytes: [iss, iss + 1) and [buffer.end, buffer.end + 1).
    """

    __slots__ = (
        "_capacity",
        "_controller",
        "_initial_cwnd",
        "after_timeout",
        "buffer",
        "cc_in_use",
        "delivery_rate",
        "doubt_size_at_s",
        "dup_acks",
        "ecn",
        "fin_queued",
        "force_retransmit",
        "frto",
        "full_until",
        "in_recovery",
        "iss",
        "last_sent_s",
        "ledger",
        "limit",
        "limits",
        "max_snd_wnd",
        "mss",
        "mtu",
        "mtu_probe",
        "next_round_delivered",
        "override",
        "pacer",
        "peer_sack",
        "persist_backoff",
        "probe_due",
        "progress_s",
        "prr",
        "rack",
        "recover",
        "rtt",
        "scale",
        "snd_wl1",
        "snd_wl2",
        "snd_wnd",
        "tail_probe",
        "tell_at_s",
        "timeout_s",
        "unanswered_probes",
        "undo",
        "untold_bytes",
    )

    def __init__(self, config: Config, iss: int, now_s: float) -> None:
        self.iss = iss
        self.ledger = Ledger(iss)
        self.buffer = SendBuffer(iss + 1)
        self.rtt = RttEstimator(config.initial_rto, config.min_rto, config.max_rto)
        self.mtu = PathMtu(config.base_datagram_size, config.max_datagram_size)
        self.doubt_size_at_s = 0.0
        """Before this a repeated loss is no further reason to doubt the path MTU."""
        self.mtu_probe: tuple[int, int] | None = None
        """The sequence numbers of a path MTU probe whose fate is open."""
        self.ecn: EcnSender | None = None
        """None where marks cannot be sent, or are not to be."""
        self.mss = self.mtu.size - HEADER_BYTES
        self._controller = resolve(config.congestion)
        self._initial_cwnd = self._controller.initial_window(self.mss)
        self.cc_in_use: CongestionController | None = None
        """None until there is something to control: most connections of a server never send
        more than fits the initial window at a time."""
        self.pacer = Pacer()
        self.limits = LimitedTimes(now_s)
        self.limit = config.send_buffer
        self._capacity = min(_MIN_SEND_BUFFER, self.limit)
        self.snd_wnd = 0
        self.snd_wl1 = 0
        self.snd_wl2 = 0
        self.max_snd_wnd = 0
        self.scale = 0
        self.peer_sack = False
        self.fin_queued = False
        self.last_sent_s = 0.0
        self.progress_s = 0.0
        """When the peer last acknowledged something new, or answered a zero-window probe."""
        self.override = False
        """The override time-out has expired: send even a silly amount (§3.8.6.2.1, case 4)."""
        self.persist_backoff = 0
        self.unanswered_probes = 0
        """Zero-window probes since the peer last answered one."""
        self.next_round_delivered = 0
        """A round trip ends when something sent after this much was delivered arrives."""
        self.full_until = iss
        """Up to here it was the congestion window that bounded what was sent."""
        self.untold_bytes = 0
        """Delivered, and the controller was not told of it yet."""
        self.tell_at_s = 0.0
        """Before this it need not be told of what does not concern it."""
        self.delivery_rate = 0.0
        """The last delivery-rate sample that no lack of data understated, bytes a second."""
        self._start_recovery_state()

    def _start_recovery_state(self) -> None:
        self.rack = Rack()
        self.dup_acks = DuplicateAcks()
        self.undo = UndoWatch()
        self.prr: Prr | None = None
        self.in_recovery = False
        self.recover = self.ledger.snd_nxt
        """RecoveryPoint: recovery, or the repair after a timeout, lasts until this is acked."""
        self.force_retransmit = False
        """Recovery has just begun: one segment goes whatever the window (RFC 6675 §5, 4.3)."""
        self.frto = 0
        """RFC 5682's step after a timeout: 1 waits for the first acknowledgement, 2 for the
        second, 0 is done."""
        self.after_timeout = False
        """What a timeout took for lost is being repaired."""
        self.timeout_s = 0.0
        """When the retransmission timer expired last."""
        self.probe_due = False
        """A tail loss probe is to be sent (RFC 8985 §7.3)."""
        self.tail_probe: TailProbe | None = None

    def negotiate(
        self, config: Config, peer_mss: int | None, scale: int | None, *, sack: bool
    ) -> None:
        """Take what the peer's SYN announced."""
        largest = max(peer_mss or DEFAULT_MSS, MIN_MSS) + HEADER_BYTES
        self.mtu = PathMtu(
            config.base_datagram_size,
            min(config.max_datagram_size, largest),
            enabled=config.mtu_discovery,
        )
        self.mss = self.mtu.size - HEADER_BYTES
        self.scale = min(scale or 0, 14)  # RFC 7323 §2.3: a larger shift means 14
        self.peer_sack = sack
        self._initial_cwnd = self._controller.initial_window(self.mss)
        self.cc_in_use = None

    def set_mss(self) -> None:
        """Cut by the path MTU as it is known now."""
        self.mss = self.mtu.size - HEADER_BYTES
        self._initial_cwnd = self._controller.initial_window(self.mss)
        if self.cc_in_use is not None:
            self.cc_in_use.on_mss(self.mss)

    def forget_path(self, config: Config, now_s: float) -> None:
        """Start afresh on another path: RTT, congestion window, everything in flight lost."""
        ledger = self.ledger
        self.rtt = RttEstimator(config.initial_rto, config.min_rto, config.max_rto)
        self.mtu.on_path_changed(now_s)
        self.mtu_probe = None
        if self.ecn is not None:
            self.ecn.on_path_changed(now_s)
        self.cc_in_use = None
        self.untold_bytes = 0
        self.set_mss()
        self.pacer = Pacer()
        ledger.mark_lost(ledger.snd_una, ledger.snd_nxt)
        self.next_round_delivered = ledger.delivered
        self._start_recovery_state()

    @property
    def cc(self) -> CongestionController:
        """The congestion controller, made when it is first asked for."""
        if self.cc_in_use is None:
            self.cc_in_use = self._controller(self.mss)
        return self.cc_in_use

    @property
    def congestion(self) -> str:
        """The controller's name."""
        return self._controller.name

    @property
    def cwnd(self) -> int:
        """The congestion window in bytes."""
        return self._initial_cwnd if self.cc_in_use is None else self.cc_in_use.cwnd

    @property
    def outstanding(self) -> int:
        """Sequence numbers sent and not cumulatively acknowledged."""
        return self.ledger.snd_nxt - self.ledger.snd_una

    @property
    def is_calm(self) -> bool:
        """Whether nothing is missing, in doubt or being repaired: an acknowledgement of the
        oldest data says no more than that."""
        ledger = self.ledger
        return self.peer_sack and not (
            ledger.sacked.size
            or ledger.lost.size
            or self.in_recovery
            or self.after_timeout
            or self.frto
            or self.tail_probe is not None
            or self.mtu_probe is not None
        )

    @property
    def unsent(self) -> int:
        """Bytes that were never sent; -1 once the FIN was, which lies behind them all."""
        return self.buffer.end - self.ledger.snd_nxt

    @property
    def fin_sent(self) -> bool:
        """Whether a FIN has left."""
        return self.fin_queued and self.ledger.snd_nxt > self.buffer.end

    @property
    def fin_acked(self) -> bool:
        """Whether everything, the FIN included, is acknowledged."""
        return self.fin_queued and self.ledger.snd_una > self.buffer.end

    @property
    def all_acked(self) -> bool:
        """Whether the peer has all the data that was ever written."""
        return len(self.buffer) == 0

    @property
    def has_new(self) -> bool:
        """Whether there is something never sent: data or the FIN."""
        return self.unsent > 0 or (self.fin_queued and self.unsent == 0)

    @property
    def capacity(self) -> int:
        """Bytes that the connection takes before the application is slowed: enough for two
        congestion windows beside what only waits for a hole to be filled, so that
        acknowledgements never find it empty-handed. It grows with the window and does not
        shrink with it, as the kernel's send buffer."""
        wanted = min(2 * self.cwnd + self.ledger.sacked.size, self.limit)
        if wanted > self._capacity:
            self._capacity = wanted
        return self._capacity

    def usable_window(self) -> int:
        """Sequence numbers that the peer's window still lets out."""
        return self.ledger.snd_una + self.snd_wnd - self.ledger.snd_nxt

    def room(self) -> int:
        """Bytes that congestion control lets out: by proportional rate reduction during
        recovery (RFC 9937), else what the congestion window leaves."""
        if self.prr is not None:
            return self.prr.snd_cnt
        return self.cc.cwnd - self.ledger.in_flight
