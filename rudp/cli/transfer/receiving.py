"""The receiver's side of a transfer: frames in, files and frames out; no network.

Nothing that a sender says is trusted. What breaks the protocol ends the session (`FormatError`);
what merely cannot be done, such as a path that leads elsewhere, fails that one file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from rudp.cli.transfer.format import (
    EAGER_BYTES,
    MAX_OUTSTANDING,
    VERSION,
    Abandon,
    Abort,
    Begin,
    Bye,
    Data,
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
    encode,
)
from rudp.cli.transfer.names import UnsafePath, parse_path, printable
from rudp.cli.transfer.store import HeldFile, Incoming, Place, Store
from rudp.cli.transfer.summary import Summary, describe

if TYPE_CHECKING:
    from hashlib import _Hash

Arrived = Callable[[str, int, Outcome], None]
"""Called with path, size and outcome of a verified file."""


class _Awaited:
    """A file between its offer and its data."""

    __slots__ = ("hasher", "offer", "offset", "place", "proving", "whole")

    def __init__(self, offer: Offer, place: Place) -> None:
        self.offer = offer
        self.place = place
        self.proving: int | None = None
        """Bytes that the sender is to prove; None while nothing is."""
        self.whole = False
        """They are those of a file that has the name, not of a partial one."""
        self.offset = 0
        self.hasher: _Hash | None = None


class _Current:
    """The file whose data are coming; without `incoming` they are thrown away."""

    __slots__ = ("incoming", "left", "offer")

    def __init__(self, offer: Offer, left: int, incoming: Incoming | None) -> None:
        self.offer = offer
        self.left = left
        self.incoming = incoming


class ReceivingSession:
    """One sender's transfer.

    Args:
        store: Where files go.
        max_bytes: Most bytes of files that this sender may have written here.
        max_files: Most files and directories that it may offer.
        arrived: Called for each verified file.
    """

    def __init__(
        self,
        store: Store,
        *,
        max_bytes: int | None = None,
        max_files: int | None = None,
        arrived: Arrived = lambda path, size, outcome: None,
    ) -> None:
        self.summary = Summary()
        self.finished = False
        """The sender has said BYE, and everything it offered is settled."""
        self._store = store
        self._room = max_bytes
        self._max_files = max_files
        self._arrived = arrived
        self.greeted = False
        """The peer has shown that it is a sender."""
        self._next_index = 0
        self._awaited: dict[int, _Awaited] = {}
        self._current: _Current | None = None
        self._replies = bytearray(encode(Hello()))

    @property
    def writing(self) -> tuple[str, ...] | None:
        """The path of the file whose data are coming, if they are kept."""
        current = self._current
        if current is None or current.incoming is None:
            return None
        return parse_path(current.offer.path)

    def take_replies(self) -> bytes:
        """What is to be sent to the sender now."""
        replies = bytes(self._replies)
        self._replies.clear()
        return replies

    def handle(self, frames: Iterable[Frame]) -> None:
        """Carry out frames. Raises `FormatError` for a sender that breaks the protocol, and
        `ConnectionAbortedError` for one that gives up."""
        for frame in frames:
            if type(frame) is Data:
                self._on_data(frame.data)
            else:
                self._handle(frame)
                self._store.trim()

    def close(self) -> None:
        """The sender is gone: leave what a later transfer can go on with, remove the rest."""
        current, self._current = self._current, None
        if current is not None and current.incoming is not None:
            current.incoming.keep()
        if current is not None:
            self.summary.fail(printable(current.offer.path), "the transfer ended early")
        for awaited in self._awaited.values():
            self.summary.fail(printable(awaited.offer.path), "the transfer ended early")
        self._awaited.clear()
        self._store.close()

    def _handle(self, frame: Frame) -> None:
        if not self.greeted:
            self._greet(frame)
            return
        if self.finished:
            raise FormatError("something came after BYE")
        match frame:
            case Offer():
                self._on_offer(frame)
            case Proof():
                self._on_proof(frame)
            case Begin():
                self._on_begin(frame)
            case End():
                self._on_end(frame)
            case Abandon():
                self._on_abandon(frame)
            case Bye():
                self._on_bye()
            case Abort():
                raise ConnectionAbortedError(f"the sender gave up: {frame.reason}")
            case _:
                raise FormatError(f"{type(frame).__name__} is not for a sender to say")

    def _greet(self, frame: Frame) -> None:
        if type(frame) is not Hello:
            raise FormatError("the first frame is not HELLO")
        if frame.version != VERSION:
            raise FormatError(f"version {frame.version} is not spoken here, only {VERSION}")
        self.greeted = True

    # -- offers ------------------------------------------------------------------------------

    def _on_offer(self, offer: Offer) -> None:
        if offer.index != self._next_index:
            raise FormatError(f"offer {offer.index} comes where {self._next_index} is due")
        self._next_index += 1
        if self._max_files is not None and self._next_index > self._max_files:
            raise FormatError(f"this receiver takes {self._max_files} files from one sender")
        if len(self._awaited) >= MAX_OUTSTANDING:
            raise FormatError("too many offers at a time")
        if offer.kind is Kind.EAGER_FILE:
            self._on_eager_offer(offer)
            return
        try:
            path = parse_path(offer.path)
            if offer.kind is Kind.DIRECTORY:
                self._store.set_directory(path, offer.mode, offer.mtime_ns)
                self.summary.directories += 1
                self._reply(Done(offer.index, Outcome.WRITTEN))
            else:
                self._consider(offer, self._store.place(path))
        except (OSError, UnsafePath) as exc:
            self._fail(offer, exc)

    def _consider(self, offer: Offer, place: Place) -> None:
        """Ask for a file, or for a proof that what is here already is the same."""
        found = place.found()
        awaited = _Awaited(offer, place)
        have = 0
        if found is not None and found.st_size == offer.size:
            have, awaited.whole = offer.size, True
        elif found is not None and not self._store.overwrite:
            raise FileExistsError("it is there with another content")
        else:
            self._check_room(offer.size, place)
            part = place.part_bytes()
            have = part if part <= offer.size else 0
        self._awaited[offer.index] = awaited
        if have:
            awaited.proving = have
            self._reply(Have(offer.index, have))
        else:
            self._reply(Want(offer.index, 0))

    def _check_room(self, size: int, place: Place) -> None:
        if self._room is not None and size > self._room:
            raise OSError("more bytes than this receiver takes from one sender")
        if size > place.free_bytes():
            raise OSError(f"no room for {size} bytes")

    def _on_proof(self, proof: Proof) -> None:
        awaited = self._awaited.get(proof.index)
        if awaited is None or awaited.proving is None:
            raise FormatError(f"a proof for {proof.index} was not asked for")
        size, awaited.proving = awaited.proving, None
        try:
            if awaited.whole:
                self._compare(awaited, proof.digest)
                return
            hasher = awaited.place.digest_of_part(size)
            if hasher.digest() == proof.digest:
                awaited.offset, awaited.hasher = size, hasher
            self._reply(Want(proof.index, awaited.offset))
        except InterruptedError:
            raise
        except OSError as exc:
            del self._awaited[proof.index]
            self._fail(awaited.offer, exc)

    def _compare(self, awaited: _Awaited, digest: bytes) -> None:
        """A file has the name already: done if it is the same, else replaced or refused."""
        offer, place = awaited.offer, awaited.place
        if place.digest_of_found(offer.size) == digest:
            place.discard()
            place.set_attributes(offer.mode, offer.mtime_ns)
            del self._awaited[offer.index]
            self.summary.bytes_unchanged += offer.size
            self._succeed(offer, Outcome.UNCHANGED)
            return
        if not self._store.overwrite:
            raise FileExistsError("it is there with another content")
        self._check_room(offer.size, place)
        self._reply(Want(offer.index, 0))

    # -- data --------------------------------------------------------------------------------

    def _on_begin(self, begin: Begin) -> None:
        awaited = self._awaited.get(begin.index)
        if self._current is not None or awaited is None or awaited.proving is not None:
            raise FormatError(f"data of {begin.index} were not asked for now")
        if begin.offset != awaited.offset:
            raise FormatError(f"data were asked for from {awaited.offset}, not {begin.offset}")
        offer = awaited.offer
        del self._awaited[begin.index]
        left = offer.size - awaited.offset
        try:
            self._spend(left)
            incoming = awaited.place.begin(offer.size, awaited.offset, awaited.hasher)
        except OSError as exc:
            self._current = _Current(offer, left, None)
            self._fail(offer, exc)
            return
        self.summary.bytes_resumed += awaited.offset
        self._current = _Current(offer, left, incoming)

    def _on_eager_offer(self, offer: Offer) -> None:
        if self._current is not None or offer.size > EAGER_BYTES:
            raise FormatError("a file whose data follow at once comes at the wrong time, or is big")
        incoming: Incoming | None = None
        try:
            place = self._store.place(parse_path(offer.path))
            self._spend(offer.size)
            incoming = HeldFile(place)
        except (OSError, UnsafePath) as exc:
            self._fail(offer, exc)
        self._current = _Current(offer, offer.size, incoming)

    def _spend(self, size: int) -> None:
        """Count bytes that are going to be written against what the sender may have written."""
        if self._room is not None:
            if size > self._room:
                raise OSError("more bytes than this receiver takes from one sender")
            self._room -= size

    def _on_data(self, data: bytes | memoryview) -> None:
        current = self._current
        if current is None or len(data) > current.left:
            raise FormatError("data came that belong to no file")
        current.left -= len(data)
        if current.incoming is None:
            return
        try:
            current.incoming.write(data)
            self.summary.bytes_moved += len(data)
        except OSError as exc:
            self._drop_current(exc)

    def _drop_current(self, error: Exception) -> None:
        """Fail the current file; what still comes of it is thrown away."""
        current = self._current
        if current is not None and current.incoming is not None:
            incoming, current.incoming = current.incoming, None
            incoming.keep()
            self._fail(current.offer, error)

    def _on_end(self, end: End) -> None:
        current = self._take_current(end.index)
        if current.left:
            raise FormatError(f"END comes {current.left} bytes early")
        if current.incoming is None:
            return
        offer = current.offer
        try:
            outcome = current.incoming.finish(end.digest, offer.mode, offer.mtime_ns)
        except (OSError, ValueError) as exc:
            self._fail(offer, exc)
        else:
            self._succeed(offer, outcome)

    def _on_abandon(self, abandon: Abandon) -> None:
        """The sender cannot read the file to its end, or not at all."""
        error = OSError(f"the sender: {abandon.reason}")
        awaited = self._awaited.pop(abandon.index, None)
        if awaited is not None:
            self._fail(awaited.offer, error)
            return
        current = self._take_current(abandon.index)
        if current.incoming is not None:
            current.incoming.discard()
            self._fail(current.offer, error)

    def _take_current(self, index: int) -> _Current:
        current = self._current
        if current is None or current.offer.index != index:
            raise FormatError(f"{index} is not the file whose data are coming")
        self._current = None
        return current

    def _on_bye(self) -> None:
        if self._current is not None or self._awaited:
            raise FormatError("BYE comes before everything is settled")
        self.finished = True
        self._reply(Bye())

    # -- answers -----------------------------------------------------------------------------

    def _succeed(self, offer: Offer, outcome: Outcome) -> None:
        summary = self.summary
        summary.verified += 1
        summary.bytes_verified += offer.size
        summary.unchanged += outcome is Outcome.UNCHANGED
        self._reply(Done(offer.index, outcome))
        self._arrived(printable(offer.path), offer.size, outcome)

    def _fail(self, offer: Offer, error: Exception) -> None:
        if isinstance(error, InterruptedError):
            raise error
        reason = describe(error)
        self.summary.fail(printable(offer.path), reason)
        self._reply(Failed(offer.index, reason))

    def _reply(self, frame: Frame) -> None:
        self._replies += encode(frame)
