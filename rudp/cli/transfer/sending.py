"""The sender's side of a transfer: frames in, frames out; no network.

Offers run ahead of the data, so that the receiver's answers are there when a file's turn comes;
small files are sent without asking. Data are sent of one file at a time.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from rudp.cli.transfer.format import (
    EAGER_BYTES,
    MAX_DATA_BYTES,
    MAX_OUTSTANDING,
    MAX_PATH_BYTES,
    VERSION,
    Abandon,
    Abort,
    Begin,
    Bye,
    Done,
    End,
    Failed,
    FormatError,
    Frame,
    Have,
    Hello,
    Kind,
    Offer,
    Outcome,
    Proof,
    Want,
    data_header,
    encode,
)
from rudp.cli.transfer.names import printable
from rudp.cli.transfer.summary import Summary, describe
from rudp.cli.transfer.tree import Entry, Source

if TYPE_CHECKING:
    from hashlib import _Hash

_OFFERED_AHEAD = 32
"""Files that wait for an answer, or for their turn, while another is being sent."""
_EAGER_AHEAD = 256
"""Small files that were found while a large one is being sent."""


class _Offered:
    """An offer that is not settled."""

    __slots__ = ("abandoned", "entry", "have", "index", "wanted")

    def __init__(self, index: int, entry: Entry) -> None:
        self.index = index
        self.entry = entry
        self.have: int | None = None
        """What the receiver has of it and wants proved."""
        self.wanted: int | None = None
        """The offset that it asked for."""
        self.abandoned = False
        """It cannot be read; the receiver still has to confirm that."""


class _Sending:
    """The file whose data are being sent."""

    __slots__ = ("hasher", "left", "offered", "source")

    def __init__(self, offered: _Offered, source: Source, offset: int, hasher: _Hash) -> None:
        self.offered = offered
        self.source = source
        self.left = offered.entry.size - offset
        self.hasher = hasher


class SendingSession:
    """One transfer of `entries`, which is walked as the transfer goes.

    Args:
        entries: What to send; directories before what is in them.
        summary: Where to count.
        stopped: Asked between the steps of long work; True ends it with `InterruptedError`.
    """

    def __init__(
        self,
        entries: Iterator[Entry],
        summary: Summary,
        *,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.summary = summary
        self.finished = False
        """The receiver has answered BYE."""
        self._entries = entries
        self._stopped = stopped
        self._buffers: list[bytes] = [encode(Hello())]
        self._size = 0
        self._greeted = False
        self._said_bye = False
        self._exhausted = False
        self._next_index = 0
        self._open: dict[int, _Offered] = {}
        """Offers without DONE or FAILED."""
        self._files_open = 0
        """How many of them are files."""
        self._asked = 0
        """How many of them are files that are not sent before the receiver asks."""
        self._turns: deque[_Offered] = deque()
        """Files that the receiver has answered."""
        self._eager: deque[Entry] = deque()
        self._directories: list[Entry] = []
        self._sending: _Sending | None = None

    # -- frames from the receiver --------------------------------------------------------------

    def handle(self, frames: Iterable[Frame]) -> None:
        """Take the receiver's answers. Raises `FormatError` for what makes no sense and
        `ConnectionAbortedError` if it gives up."""
        for frame in frames:
            if not self._greeted:
                self._greet(frame)
                continue
            match frame:
                case Done() | Failed():
                    self._settle(frame)
                case Have() | Want():
                    self._on_answer(frame)
                case Bye() if self._said_bye:
                    self.finished = True
                case Abort():
                    raise ConnectionAbortedError(f"the receiver: {frame.reason}")
                case _:
                    raise FormatError(f"{type(frame).__name__} is not for the receiver to say now")

    def _greet(self, frame: Frame) -> None:
        if type(frame) is Abort:
            raise ConnectionAbortedError(f"the receiver: {frame.reason}")
        if type(frame) is not Hello:
            raise FormatError("the first frame is not HELLO")
        if frame.version != VERSION:
            raise FormatError(f"the receiver speaks version {frame.version}, not {VERSION}")
        self._greeted = True

    def _settle(self, frame: Done | Failed) -> None:
        offered = self._open.pop(frame.index, None)
        if offered is None:
            raise FormatError(f"there is no open offer {frame.index}")
        entry, summary = offered.entry, self.summary
        self._asked -= _waits(entry)
        self._files_open -= not entry.is_directory
        if offered.abandoned:
            return
        if isinstance(frame, Failed):
            summary.fail(printable(entry.path), frame.reason)
        elif entry.is_directory:
            summary.directories += 1
        else:
            summary.verified += 1
            summary.bytes_verified += entry.size
            if frame.outcome is Outcome.UNCHANGED:
                summary.unchanged += 1
                # Small files are sent before it is known that they are there.
                summary.bytes_unchanged += entry.size if _waits(entry) else 0

    def _on_answer(self, frame: Have | Want) -> None:
        offered = self._open.get(frame.index)
        waits = offered is not None and _waits(offered.entry) and not offered.abandoned
        if offered is None or not waits or offered.wanted is not None:
            raise FormatError(f"offer {frame.index} does not wait for an answer")
        amount = frame.size if isinstance(frame, Have) else frame.offset
        if amount > offered.entry.size:
            raise FormatError(f"offer {frame.index} has {offered.entry.size} bytes, not {amount}")
        if isinstance(frame, Want):
            offered.wanted = amount
        elif offered.have is None:
            offered.have = amount
        else:
            raise FormatError(f"a proof of {frame.index} is asked for twice")
        self._turns.append(offered)

    # -- frames to the receiver ----------------------------------------------------------------

    def produce(self, budget: int) -> list[bytes]:
        """The next buffers to send, `budget` bytes or a little more; empty when there is nothing
        to say before the receiver answers."""
        while self._size < budget and self._step():
            if self._stopped():
                raise InterruptedError("stopped")
        buffers, self._buffers, self._size = self._buffers, [], 0
        return buffers

    def close(self) -> None:
        """The transfer is over: what is not settled has failed."""
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.source.close()
        for offered in self._open.values():
            if not offered.abandoned:
                self.summary.fail(printable(offered.entry.path), "the transfer ended early")
        self._open.clear()

    def _step(self) -> bool:
        """Do the next thing; False if there is none now."""
        room = len(self._open) < MAX_OUTSTANDING
        if room and self._asked < _OFFERED_AHEAD and self._look_ahead():
            return True
        if self._sending is not None:
            self._send_piece(self._sending)
        elif self._turns:
            self._take_turn(self._turns.popleft())
        elif self._eager and room:
            self._send_eager(self._eager.popleft())
        else:
            return self._exhausted and not self._files_open and room and self._conclude()
        return True

    def _look_ahead(self) -> bool:
        """Find the next file and offer it, or put it aside if it needs no offer."""
        if self._exhausted or len(self._eager) >= _EAGER_AHEAD:
            return False
        entry = next(self._entries, None)
        if entry is None:
            self._exhausted = True
        elif len(entry.path) > MAX_PATH_BYTES:
            self.summary.fail(printable(entry.path), "its path is too long")
        elif entry.is_directory:
            self._directories.append(entry)
        elif _waits(entry):
            self._offer(entry, Kind.FILE)
        else:
            self._eager.append(entry)
        return True

    def _conclude(self) -> bool:
        """Directories come last, the deepest first, when nothing changes in them any more; then
        BYE. False if there is nothing to say now."""
        if self._directories:
            self._offer(self._directories.pop(), Kind.DIRECTORY)
        elif not self._open and not self._said_bye:
            self._said_bye = True
            self._emit(encode(Bye()))
        else:
            return False
        return True

    def _offer(self, entry: Entry, kind: Kind) -> _Offered:
        index = self._next_index
        self._next_index += 1
        offered = self._open[index] = _Offered(index, entry)
        self._asked += kind is Kind.FILE
        self._files_open += kind is not Kind.DIRECTORY
        offer = Offer(index, kind, entry.size, entry.mode, entry.mtime_ns, entry.path)
        self._emit(encode(offer))
        return offered

    def _send_eager(self, entry: Entry) -> None:
        """A small file in one go: read first, so that what cannot be read is not offered."""
        try:
            source = Source(entry)
            try:
                data = source.read(entry.size + 1) if entry.size else b""
                if len(data) != entry.size:
                    raise OSError("it changed while it was being sent")
            finally:
                source.close()
        except OSError as exc:
            self.summary.fail(printable(entry.path), describe(exc))
            return
        offered = self._offer(entry, Kind.EAGER_FILE)
        if data:
            self._emit_data(data)
        self._emit(encode(End(offered.index, hashlib.sha256(data).digest())))

    def _take_turn(self, offered: _Offered) -> None:
        """Prove what the receiver has, or begin to send what it wants."""
        if offered.index not in self._open:
            return  # it failed meanwhile
        offset = offered.wanted
        try:
            source = Source(offered.entry)
            try:
                hasher = self._hash(source, offset if offset is not None else offered.have or 0)
            except BaseException:
                source.close()
                raise
        except InterruptedError:
            raise
        except OSError as exc:
            self._abandon(offered, exc)
            return
        if offset is None:
            source.close()
            self._emit(encode(Proof(offered.index, hasher.digest())))
        else:
            self.summary.bytes_resumed += offset
            self._sending = _Sending(offered, source, offset, hasher)
            self._emit(encode(Begin(offered.index, offset)))

    def _hash(self, source: Source, size: int) -> _Hash:
        """The hash of the first bytes, after which the file stands there."""
        hasher = hashlib.sha256()
        while size:
            if self._stopped():
                raise InterruptedError("stopped")
            piece = source.read(min(MAX_DATA_BYTES, size))
            if not piece:
                raise OSError("it changed while it was being sent")
            hasher.update(piece)
            size -= len(piece)
        return hasher

    def _send_piece(self, sending: _Sending) -> None:
        offered = sending.offered
        if offered.index not in self._open:
            self._stop_sending(sending)  # the receiver could not write it
            self._emit(encode(Abandon(offered.index, "not taken")))
            return
        try:
            data = sending.source.read(min(MAX_DATA_BYTES, sending.left)) if sending.left else b""
            sending.left -= len(data)
            if not data or not sending.left:
                sending.source.check_unchanged()
            if not data and sending.left:
                raise OSError("it changed while it was being sent")
        except OSError as exc:
            self._stop_sending(sending)
            self._abandon(offered, exc)
            return
        if data:
            sending.hasher.update(data)
            self._emit_data(data)
        if not sending.left:
            self._stop_sending(sending)
            self._emit(encode(End(offered.index, sending.hasher.digest())))

    def _stop_sending(self, sending: _Sending) -> None:
        sending.source.close()
        self._sending = None

    def _abandon(self, offered: _Offered, error: OSError) -> None:
        offered.abandoned = True
        self.summary.fail(printable(offered.entry.path), describe(error))
        self._emit(encode(Abandon(offered.index, describe(error))))

    def _emit_data(self, data: bytes) -> None:
        self.summary.bytes_moved += len(data)
        self._emit(data_header(len(data)))
        self._emit(data)

    def _emit(self, buffer: bytes) -> None:
        self._buffers.append(buffer)
        self._size += len(buffer)


def _waits(entry: Entry) -> bool:
    """Whether it is offered before it is sent."""
    return not entry.is_directory and entry.size > EAGER_BYTES
