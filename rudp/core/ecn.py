"""Explicit congestion notification (RFC 3168) with byte counts fed back (option 135).

The receiver counts the bytes of payload that arrived with each codepoint and reports the sums, as
RFC 9768 (AccECN) and RFC 9000 §13.4 do; a lost report costs nothing, the next one holds it too.
The sender marks its data ECT(0), validates what is reported (RFC 9000 §13.4.2), and stops for good
where the path or the peer treats the marks in a way that no honest network does: congestion marks
that are erased, or made up, are worse than none.

SYNs, pure acknowledgements, retransmissions and probes of a closed window are never marked
(RFC 3168 §6.1.1, §6.1.4, §6.1.5, §6.1.6).
"""

from __future__ import annotations

import enum
import math

NOT_ECT, ECT_1, ECT_0, CE = 0, 1, 2, 3
"""The two low bits of TOS or traffic class (RFC 3168 §5)."""

TESTING_TRAINS = 10
"""Trains that are marked before a report has to confirm them (RFC 9000 §13.4.2: ten packets)."""

REPORTS = 2
"""Acknowledgements that carry a report before it is no longer news: one may be lost."""

_MASK = 0xFFFF_FFFF
_HALF = 1 << 31
_TOLERANCE_BYTES = 2
"""SYN and FIN take a sequence number each, and arrive as no byte."""
_SILENT_TESTING_BYTES = 65_536
_SILENT_CAPABLE_BYTES = 4 << 20
"""Acknowledged bytes that no report has covered. While nothing is proven, few; later many: where
data flows both ways, reports travel on the few acknowledgements that are not data."""
_ALL_CE_BYTES = 65_536
_STALE_REPORTS = 8
_BLACKHOLED_DATAGRAMS = 3
_BLACKHOLED_TIMEOUTS = 3
_DUE_BYTES = 1 << 20
"""A report without CE only shows that marks pass. Acknowledgements without options are cheaper, and
a quarter of what the sender tolerates unreported leaves room for lost ones."""
_FIRST_AFTER = 4
_FIRST_AFTER_BYTES = 2048
"""The first reports confirm the test of the sender, who marks ten trains for it; a connection of
one request and one answer need not pay for it. There are `REPORTS` of them, four datagrams apart:
where data flows both ways nothing else would repeat one that was lost, and the sender would take
the path for one that erases marks."""


class EcnState(enum.Enum):
    """RFC 9000 appendix A.4."""

    TESTING = "the first trains are marked"
    UNKNOWN = "the test is over, no verdict yet: nothing is marked"
    CAPABLE = "marks were seen to arrive"
    OFF = "for the rest of the connection"


class EcnReason(enum.Enum):
    """Why ECN is off."""

    DISABLED = "the configuration or the socket does not allow it"
    BLEACHED = "bytes sent as ECT are acknowledged, and not reported as such"
    BLACKHOLED = "what is marked is lost, what is not marked arrives"
    ALL_CE = "everything was CE from the first byte on"
    REMARKED = "ECT(1) is reported, which is never sent"
    BACKWARDS = "counts that only ever grow went back"
    EXCESS = "more is reported than was sent"


class EcnSender:
    """Decides what to mark, and whether to believe what is reported. Sizes are bytes of payload.

    Args:
        enabled: Whether the socket can send marks and the configuration wants them.

    Attributes:
        state: Where the validation stands.
        reason: Why ECN is off; None while it is not.
        changed_s: When a report, a timeout or a new path changed `state` last, seconds; -inf if
            none did.
        ce_bytes: Bytes reported as CE so far.
    """

    __slots__ = (
        "_acked",
        "_barren",
        "_barren_timeouts",
        "_ce",
        "_counts",
        "_ect0",
        "_fresh",
        "_marked",
        "_reported",
        "_sent",
        "_stale",
        "_trains",
        "ce_bytes",
        "changed_s",
        "reason",
        "state",
    )

    def __init__(self, *, enabled: bool = True) -> None:
        self.state = EcnState.TESTING if enabled else EcnState.OFF
        self.reason = None if enabled else EcnReason.DISABLED
        self.changed_s = -math.inf
        self.ce_bytes = 0
        self._counts = (0, 0, 0)
        self._sent = 0  # on all paths together, as `_reported`
        self._reported = 0
        self._start_test()

    def _start_test(self) -> None:
        self._trains = 0
        self._marked = 0
        self._acked = 0
        self._ect0 = 0
        self._ce = 0
        self._stale = 0
        self._barren = 0
        """Datagrams marked since something marked was acknowledged."""
        self._fresh = 0
        """Those of them that were sent after the last timeout."""
        self._barren_timeouts = 0

    def mark_for(self, size: int, datagrams: int = 1) -> int:
        """The codepoint, 0 or `ECT_0`, for a train of `size` bytes of new data in `datagrams`.

        What is answered with `ECT_0` counts as sent.
        """
        state = self.state
        if size <= 0 or state is EcnState.OFF or state is EcnState.UNKNOWN:
            return NOT_ECT
        if state is EcnState.TESTING:
            self._trains += 1
            if self._trains == TESTING_TRAINS:
                self.state = EcnState.UNKNOWN
        self._sent += size
        self._marked += size
        self._barren += datagrams
        self._fresh += datagrams
        return ECT_0

    def on_feedback(
        self, counts: tuple[int, int, int] | None, newly_acked_ect_bytes: int, now_s: float
    ) -> int:
        """An acknowledgement arrived: returns the bytes that it newly reports as CE.

        Args:
            counts: Bytes that arrived as ECT(0), ECT(1), CE, modulo 2**32; None if it has none.
            newly_acked_ect_bytes: Bytes that it acknowledges for the first time, selectively or
                not, that were sent marked and not sent again since.
            now_s: The present, seconds.
        """
        if self.state is EcnState.OFF:
            return 0
        if newly_acked_ect_bytes > 0:
            self._acked += newly_acked_ect_bytes
            self._barren = self._fresh = self._barren_timeouts = 0
        if counts is None:
            self._check_silence(now_s)
            return 0
        ect0, ect1, ce = (
            (new - old) & _MASK for new, old in zip(counts, self._counts, strict=True)
        )
        if max(ect0, ect1, ce) >= _HALF:
            self._went_back((ect0, ect1, ce), newly_acked_ect_bytes, now_s)
            return 0
        self._counts = counts
        self._stale = 0
        self._ect0 += ect0
        self._ce += ce
        self._reported += ect0 + ce
        if not self._is_believed(ect1, now_s):
            return 0
        self.ce_bytes += ce
        return ce

    def on_timeout(self, now_s: float) -> None:
        """The retransmission timer expired (RFC 9000 §13.4.2: whether all that is marked is lost).

        A path that drops what is marked passes the retransmissions, which are not, and then drops
        the next new data. An outage drops both, and no new data is sent between two timeouts.
        """
        if self.state is EcnState.OFF or not self._fresh:
            return
        self._fresh = 0
        self._barren_timeouts += 1
        unproven = not self._acked and self._barren >= _BLACKHOLED_DATAGRAMS
        if unproven or self._barren_timeouts >= _BLACKHOLED_TIMEOUTS:
            self._turn_off(EcnReason.BLACKHOLED, now_s)

    def on_path_changed(self, now_s: float) -> None:
        """Test the new path (RFC 9000 §13.4.2), unless ECN is off already.

        Nothing that is in flight may count as acknowledged with its mark any more.
        """
        if self.state is not EcnState.OFF:
            self._start_test()
            self._become(EcnState.TESTING, now_s)

    def _is_believed(self, ect1: int, now_s: float) -> bool:
        """RFC 9000 §13.4.2.1, with sums in place of each report's increase: reports get lost."""
        reason = self._fault(ect1)
        if reason is not None:
            self._turn_off(reason, now_s)
            return False
        if self._ect0 and self.state is not EcnState.CAPABLE:
            self._become(EcnState.CAPABLE, now_s)
        return True

    def _fault(self, ect1: int) -> EcnReason | None:
        if ect1:
            return EcnReason.REMARKED
        if self._reported > 2 * self._sent:  # the network may have duplicated some
            return EcnReason.EXCESS
        if self._acked > self._ect0 + self._ce + _TOLERANCE_BYTES:
            return EcnReason.BLEACHED
        tested = self.state is EcnState.UNKNOWN and 2 * self._ce >= self._marked
        if not self._ect0 and self._ce and (tested or self._ce >= _ALL_CE_BYTES):
            return EcnReason.ALL_CE
        return None

    def _check_silence(self, now_s: float) -> None:
        """RFC 9000 §13.4.2.1: "if the corresponding ECN counts are not present"."""
        limit = _SILENT_TESTING_BYTES
        if self.state is EcnState.CAPABLE:
            limit = _SILENT_CAPABLE_BYTES
        elif self.state is EcnState.UNKNOWN:
            limit = min(limit, self._marked // 2)
        if self._acked - self._ect0 - self._ce > limit:
            self._turn_off(EcnReason.BLEACHED, now_s)

    def _went_back(self, growth: tuple[int, int, int], acked: int, now_s: float) -> None:
        """A report with less than the last one: overtaken on its way, or made up."""
        if acked > 0:
            self._stale += 1
        if self._stale > _STALE_REPORTS or any(0 < grown < _HALF for grown in growth):
            self._turn_off(EcnReason.BACKWARDS, now_s)
        else:
            self._check_silence(now_s)

    def _turn_off(self, reason: EcnReason, now_s: float) -> None:
        self.reason = reason
        self._become(EcnState.OFF, now_s)

    def _become(self, state: EcnState, now_s: float) -> None:
        self.state = state
        self.changed_s = now_s


class EcnReceiver:
    """Counts the payload that arrives by codepoint, and says when there is something to report.

    Attributes:
        has_news: Whether `counts` has something to report.
        is_due: Whether that is worth an acknowledgement without data, at once: for the first
            trains, for CE, and for every megabyte.
    """

    __slots__ = ("_counts", "_firsts", "_news", "_unreported", "_until_first", "has_news", "is_due")

    def __init__(self) -> None:
        self._counts = [0, 0, 0, 0]
        self._news = 0
        self._unreported = 0
        self._until_first = _FIRST_AFTER
        self._firsts = REPORTS
        self.has_news = False
        self.is_due = False

    def on_received(self, codepoint: int, size: int) -> None:
        """`size` bytes of payload arrived, duplicates included, with this codepoint each."""
        codepoint &= 3
        if codepoint == NOT_ECT or size <= 0:
            return
        self._counts[codepoint] = (self._counts[codepoint] + size) & _MASK
        self._news = REPORTS
        self.has_news = True
        self._unreported += size
        if self._until_first:
            self._until_first -= 1
            bulk = size > _FIRST_AFTER_BYTES and self._firsts == REPORTS
            if not self._until_first or bulk:
                self._until_first = 0
                self.is_due = True
        if codepoint == CE or self._unreported >= _DUE_BYTES:
            self.is_due = True

    def counts(self) -> tuple[int, int, int] | None:
        """The value of option 135 for an acknowledgement that leaves now; None if it needs none.

        A report is repeated once, because acknowledgements get lost.
        """
        if not self._news:
            return None
        self._news -= 1
        if self._firsts:
            self._firsts -= 1
            self._until_first = _FIRST_AFTER if self._firsts else 0
        self.has_news = self._news > 0
        self._unreported = 0
        self.is_due = False
        counts = self._counts
        return counts[ECT_0], counts[ECT_1], counts[CE]
