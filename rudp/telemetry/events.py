"""Connection events as structlog log entries.

Silent by default: unless the program configures structlog, events go to the standard library's
logger "rudp", which shows nothing below warnings. State changes are logged at level info,
segments at level debug; a connection that nobody logs has no observer at all.
"""

from __future__ import annotations

import enum
import logging
import sys
from typing import Any

from rudp.telemetry.observer import Observer
from rudp.wire.segment import HEADER, Segment
from rudp.wire.train import Train

_stdlib = logging.getLogger("rudp")
_stdlib.addHandler(logging.NullHandler())


class LogObserver(Observer):
    """Logs what happens to one connection, bound with its id and its peer."""

    __slots__ = ("_log", "_segments")

    def __init__(self, logger: Any, *, segments: bool) -> None:
        self._log = logger
        self._segments = segments

    def state_changed(self, before: enum.IntEnum, after: enum.IntEnum, event: enum.Enum) -> None:
        """Log an arrow of the state diagram."""
        self._log.info("state", before=before.name, after=after.name, event_name=event.name)

    def segment_received(self, segment: Segment, size: int, ecn: int, now_s: float) -> None:
        """Log a segment, at level debug."""
        if self._segments:
            self._log.debug("received", segment=str(segment), segments=segment.segments)

    def train_sent(self, train: Train, ecn: int, now_s: float) -> None:
        """Log a train, at level debug."""
        if self._segments:
            _, seq, ack, _, flags, window, _, _ = HEADER.unpack_from(train.buffers[0])
            header = str(Segment(0, seq, ack, flags, window, 0, 0))
            size = sum(map(len, train.buffers))
            self._log.debug("sent", segment=header, segments=train.segments, size=size)

    def closed(self, reason: enum.Enum | None) -> None:
        """Log the end."""
        self._log.info("closed", reason=reason.name if reason is not None else None)


def get_logger() -> Any:
    """The logger of all that rudp logs: structlog's, where the program has configured that, else
    the standard library's "rudp"."""
    # Here, because it takes longer to import than all of rudp, and most programs see no event.
    import structlog

    if structlog.is_configured():
        return structlog.get_logger("rudp")
    return structlog.wrap_logger(
        _stdlib,
        processors=[structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def observe(connection_id: int, peer: object) -> Observer | None:
    """An observer for a new connection, or None where nobody would see what it logs."""
    if not _is_structlog_configured() and not _stdlib.isEnabledFor(logging.INFO):
        return None
    bound = get_logger().bind(connection=f"{connection_id:08x}", peer=peer)
    if not _lets_through(bound, logging.INFO):
        return None
    return LogObserver(bound, segments=_lets_through(bound, logging.DEBUG))


def _is_structlog_configured() -> bool:
    """Without importing it: who has not imported it has not configured it either."""
    structlog = sys.modules.get("structlog")
    return structlog is not None and structlog.is_configured()


def _lets_through(logger: Any, level: int) -> bool:
    """Whether events of `level` would be seen. A logger that cannot tell is taken to show all:
    its class is asked, since a generic bound logger takes any name for an event's level."""
    for name in ("is_enabled_for", "isEnabledFor"):
        is_enabled = getattr(type(logger), name, None)
        if is_enabled is not None:
            try:
                return bool(is_enabled(logger, level))
            except AttributeError:
                return True
    return True
