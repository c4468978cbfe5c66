"""Proportional rate reduction: how much recovery sends for what arrives (RFC 9937)."""

from __future__ import annotations


class Prr:
    """Brings what is in flight down to `ssthresh` while one window is acknowledged.

    Names are RFC 9937 §5's, in bytes.

    Args:
        recover_fs: FlightSize at the start of recovery less what was selectively acknowledged
            before (§6.1).
        ssthresh: The window to arrive at.
        mss: Bytes of a full-sized segment.
    """

    __slots__ = ("_delivered", "_mss", "_recover_fs", "_ssthresh", "out", "snd_cnt")

    def __init__(self, recover_fs: int, ssthresh: int, mss: int) -> None:
        self._recover_fs = max(recover_fs, 1)
        self._ssthresh = ssthresh
        self._mss = mss
        self._delivered = 0
        self.out = 0
        """prr_out: bytes sent since recovery began."""
        self.snd_cnt = 0
        """Bytes that may be sent now."""

    def on_ack(self, delivered: int, in_flight: int, *, safe: bool) -> None:
        """An acknowledgement during recovery (§6.2).

        `safe`: SND.UNA advanced and nothing else was found to be lost (SafeACK).
        """
        if not delivered and self.out:
            return  # no progress, whatever SND.UNA did
        self._delivered += delivered
        if in_flight > self._ssthresh:
            due = -(-self._delivered * self._ssthresh // self._recover_fs)
            count = due - self.out
        else:
            count = max(self._delivered - self.out, delivered)
            if safe:
                count += self._mss
            count = min(count, self._ssthresh - in_flight)
        if not self.out and count < self._mss:
            count = self._mss  # the fast retransmit itself
        self.snd_cnt = max(0, count)

    def on_sent(self, size: int) -> None:
        """`size` bytes were sent, of whatever kind."""
        self.out += size
        self.snd_cnt = max(0, self.snd_cnt - size)
