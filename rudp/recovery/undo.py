"""Undo: was what recovery sent again sent for nothing?"""

from __future__ import annotations

import math

_CLOCK_S = 2e-6
"""Timestamps count whole microseconds: what differs by less may be the same moment."""


class UndoWatch:
    """Watches one reduction of the congestion window for signs that nothing had been lost.

    Two signs count: the first acknowledgement of new data echoes a timestamp from before the
    first retransmission, so that it was the original that arrived (Eifel, RFC 3522 §3.2); or
    duplicate SACKs name every byte that was sent again (RFC 2883, RFC 3708 §2).
    """

    __slots__ = ("_again", "_began_s", "active")

    def __init__(self) -> None:
        self.active = False
        self._began_s = math.inf
        self._again = 0

    def begin(self, now_s: float) -> None:
        """The window was reduced now; nothing was sent again for it yet."""
        self.active = True
        self._began_s = now_s
        self._again = 0

    def stop(self) -> None:
        """The question is settled, or cannot be settled any more."""
        self.active = False

    def on_sent_again(self, size: int) -> None:
        """`size` bytes were sent again."""
        self._again += size

    def is_original(self, echo_s: float, head_again_s: float | None) -> bool:
        """Whether an acknowledgement of new data answers the original of what was sent again.

        Args:
            echo_s: When the segment that the acknowledgement echoes was sent.
            head_again_s: When the lowest data that it acknowledges was sent again first. What an
                earlier episode had sent again proves nothing about this one.
        """
        if not self.active or head_again_s is None or head_again_s < self._began_s:
            return False
        return echo_s + _CLOCK_S < head_again_s

    def on_duplicate(self, size: int) -> bool:
        """The peer got `size` bytes twice. True once that is all that was sent again."""
        if not self.active or not self._again:
            return False
        self._again -= min(size, self._again)
        return not self._again
