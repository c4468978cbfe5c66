"""The sending half of a connection: SND.* of RFC 9293 §3.3.1 and what belongs to it."""

from __future__ import annotations

from rudp.buffers.send import SendBuffer
from rudp.config import Config
from rudp.congestion import CongestionController, resolve
from rudp.recovery.dupthresh import DupThreshDetector
from rudp.recovery.ledger import Ledger
from rudp.recovery.rtt import RttEstimator

DEFAULT_MSS = 536
"""For a peer whose SYN has no MSS option (RFC 9293 MUST-15)."""

MIN_MSS = 64
"""Less would let a SYN turn every byte into a datagram (Linux: tcp_min_snd_mss)."""

_MIN_SEND_BUFFER = 65_536


class Sender:
    """Unacknowledged and unsent data, the peer's window, recovery and congestion state.

    SYN and FIN are in the ledger like bytes: [iss, iss + 1) and [buffer.end, buffer.end + 1).
    """

    __slots__ = (
        "_capacity",
        "_own_mss",
        "buffer",
        "cc",
        "detector",
        "fin_queued",
        "force_retransmit",
        "in_recovery",
        "iss",
        "last_sent_s",
        "ledger",
        "limit",
        "max_snd_wnd",
        "mss",
        "override",
        "peer_sack",
        "persist_backoff",
        "progress_s",
        "recover",
        "rtt",
        "scale",
        "snd_wl1",
        "snd_wl2",
        "snd_wnd",
    )

    def __init__(self, config: Config, iss: int) -> None:
        self.iss = iss
        self.ledger = Ledger(iss)
        self.buffer = SendBuffer(iss + 1)
        self.rtt = RttEstimator(config.initial_rto, config.min_rto, config.max_rto)
        self._own_mss = config.mss
        self.mss = config.mss
        self.cc: CongestionController = resolve(config.congestion)(config.mss)
        self.detector = DupThreshDetector()
        self.limit = config.send_buffer
        self._capacity = min(_MIN_SEND_BUFFER, self.limit)
        self.snd_wnd = 0
        self.snd_wl1 = 0
        self.snd_wl2 = 0
        self.max_snd_wnd = 0
        self.scale = 0
        self.peer_sack = False
        self.fin_queued = False
        self.recover = iss
        self.in_recovery = False
        self.force_retransmit = False
        """Recovery has just begun: one segment goes whatever the window (RFC 6675 §5, 4.3)."""
        self.override = False
        """The override time-out has expired: send even a silly amount (§3.8.6.2.1, case 4)."""
        self.persist_backoff = 0
        self.last_sent_s = 0.0
        self.progress_s = 0.0
        """When the peer last acknowledged something new, or answered a zero-window probe."""

    def negotiate(self, peer_mss: int | None, scale: int | None, *, sack: bool) -> None:
        """Take what the peer's SYN announced."""
        self.mss = min(self._own_mss, max(peer_mss or DEFAULT_MSS, MIN_MSS))
        self.scale = min(scale or 0, 14)  # RFC 7323 §2.3: a larger shift means 14
        self.peer_sack = sack
        self.cc.mss = self.mss
        self.cc.cwnd = self.cc.initial_window(self.mss)

    def forget_path(self, config: Config) -> None:
        """Start afresh on another path: RTT, congestion window, everything in flight lost."""
        ledger = self.ledger
        self.rtt = RttEstimator(config.initial_rto, config.min_rto, config.max_rto)
        self.cc = resolve(config.congestion)(self.mss)
        ledger.mark_lost(ledger.snd_una, ledger.snd_nxt)
        self.detector.restart(ledger.snd_nxt)
        self.recover = ledger.snd_nxt
        self.in_recovery = False

    @property
    def outstanding(self) -> int:
        """Sequence numbers sent and not cumulatively acknowledged."""
        return self.ledger.snd_nxt - self.ledger.snd_una

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
        congestion windows, so that acknowledgements never find it empty-handed. It grows with
        the window and does not shrink with it, as the kernel's send buffer."""
        wanted = min(2 * self.cc.cwnd, self.limit)
        if wanted > self._capacity:
            self._capacity = wanted
        return self._capacity

    def usable_window(self) -> int:
        """Sequence numbers that the peer's window still lets out."""
        return self.ledger.snd_una + self.snd_wnd - self.ledger.snd_nxt
