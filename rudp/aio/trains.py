"""Trains in and out of a UDP socket: many datagrams a system call, joined where the kernel did not.

The design's section 4. Nothing here knows an event loop; `rudp.aio.batched` is the transport.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from rudp.aio.capabilities import Capabilities, reaches_ipv4
from rudp.aio.cmsg import CONTROL_BYTES, Control, read_control, send_control
from rudp.wire.train import Buffer

if TYPE_CHECKING:
    from rudp.aio.udp import Address

MAX_READS = 128
"""`recvmsg` calls of one wake-up. A train of small datagrams is as many calls long."""
MAX_READ_S = 0.002
"""Seconds of one wake-up, the protocol's work included, after which no new train is begun."""

_DATAGRAM_BYTES = 1 << 16
_TRAIN_BYTES = 1 << 16
_BUFFER_BYTES = _TRAIN_BYTES + _DATAGRAM_BYTES
_CUT = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)  # an IntFlag's operators are Python code

_MAX_SEGMENTS = 64  # UDP_MAX_SEGMENTS of <linux/udp.h>; 128 since Linux 6.9
_MAX_SEND_BYTES = 65_507  # an IPv4 packet less its headers, all segments together
_MAX_CONTROLS = 256
_GSO_REFUSED = (errno.EIO, errno.EINVAL)
WAIT = (errno.EAGAIN, errno.ENOBUFS)
"""Errors that mean later, not no."""

_LONE = 3
"""Wake-ups for one datagram each after which the next is expected to be another."""
_PROBE = 8
"""One of so many lone wake-ups looks whether it is one."""

_spare: list[tuple[memoryview]] = []
"""Read buffers that nobody uses now: one a thread that reads at the same time, not one a socket."""

Deliver: TypeAlias = "Callable[[memoryview, int, Address, int], bool]"
Stopped = tuple[int, OSError]
"""How many datagrams of a train were sent, and the error that the next one met."""


class TrainReader:
    """Reads a socket's datagrams as trains of equal size, one sender and one ECN mark each."""

    __slots__ = ("_control", "_lone", "_meaning", "_recvmsg_into", "cut")

    def __init__(self, sock: socket.socket) -> None:
        self._recvmsg_into = sock.recvmsg_into
        self._control: Control = []
        self._meaning = (0, 0)
        self._lone = 0
        """Consecutive wake-ups for one datagram."""
        self.cut = 0
        """Reads dropped because they, or their ancillary data, were longer than the buffer."""

    def read(self, deliver: Deliver, report: Callable[[OSError], None]) -> bool:
        """Read until the socket is empty or the budget of a wake-up is used up.

        After some wake-ups for one datagram each, one is expected of the next too: to find the
        socket empty costs as much as to read it, and what else there is wakes the loop again.

        Args:
            deliver: Called with each train: the datagrams, their size in bytes (the last may be
                shorter), where they came from, their ECN field. The memory is used again after
                the call. No more is read once it returns False.
            report: Called with each error that the socket tells of instead of a datagram.

        Returns:
            Whether the socket had anything at all.
        """
        try:
            room = _spare.pop()
        except IndexError:
            room = (memoryview(bytearray(_BUFFER_BYTES)),)
        if self._lone > _LONE and self._lone % _PROBE:
            reads = self._read_one(room, deliver, report)
        else:
            reads = self._read_all(room, deliver, report)
        _spare.append(room)
        self._lone = self._lone + 1 if reads == 1 else 0
        return reads > 0

    def _read_one(
        self, room: tuple[memoryview], deliver: Deliver, report: Callable[[OSError], None]
    ) -> int:
        """One read; 1 if it was one datagram again, 0 if none, 2 if all is to be read next."""
        try:
            size, ancillary, flags, source = self._recvmsg_into(room, CONTROL_BYTES)
        except BlockingIOError:
            return 0
        except OSError as error:
            report(error.with_traceback(None))
            return 2
        if flags & _CUT:
            self.cut += 1
            return 2
        segment, ecn = self._meaning if ancillary == self._control else self._tell(ancillary)
        deliver(room[0][:size], segment or size or 1, source, ecn)
        return 2 if segment else 1

    def _read_all(
        self, room: tuple[memoryview], deliver: Deliver, report: Callable[[OSError], None]
    ) -> int:
        """Until the socket is empty; how often something was read. The train so far is
        view[start:end]."""
        recvmsg_into, (view,) = self._recvmsg_into, room
        start = end = stride = ecn = reads = 0
        like = -1  # the size of a datagram (or run of them) that prolongs the train for certain
        until_s = time.monotonic() + MAX_READ_S
        addr: Address | None = None
        control: Control | None = None
        for reads in range(1, MAX_READS + 1):
            try:
                size, ancillary, flags, source = recvmsg_into(
                    (view[end:],) if end else room, CONTROL_BYTES
                )
            except BlockingIOError:
                reads -= 1
                break
            except OSError as error:
                report(error.with_traceback(None))
                continue
            if size == like and ancillary == control and source == addr and not flags:
                end += size
            elif flags & _CUT:
                self.cut += 1
                continue
            else:
                segment, mark = (
                    self._meaning if ancillary == self._control else self._tell(ancillary)
                )
                fits = segment == stride or (not segment and 0 < size <= stride)
                if not (fits and like >= 0 and mark == ecn and source == addr):
                    late = False
                    if addr is not None:
                        if not deliver(view[start:end], stride, addr, ecn):
                            return reads
                        late = time.monotonic() >= until_s
                    addr, control, ecn, stride = source, ancillary, mark, segment or size or 1
                    start, like = end, size
                    if late:
                        end += size
                        break
                end += size
                if size % stride or not size:
                    like = -1
            if end >= _TRAIN_BYTES and addr is not None:
                if not deliver(view[start:end], stride, addr, ecn) or time.monotonic() >= until_s:
                    return reads
                start, end, like, addr = 0, 0, -1, None
        if addr is not None:
            deliver(view[start:end], stride, addr, ecn)
        return reads

    def _tell(self, control: Control) -> tuple[int, int]:
        self._control, self._meaning = control, read_control(control)
        return self._meaning


class TrainSender:
    """Sends trains in as few system calls as the socket allows."""

    __slots__ = ("_can_mark", "_controls", "_ipv4", "_ipv6", "_largest", "_report", "_sendmsg")

    def __init__(
        self, sock: socket.socket, can: Capabilities, report: Callable[[OSError], None]
    ) -> None:
        """`report` is called with errors of earlier sends, which the network sent back.

        Such an error is told once, by the next call on the socket, whatever that was for.
        """
        self._sendmsg = sock.sendmsg
        self._report = report
        self._can_mark = can.ecn
        self._ipv4 = reaches_ipv4(sock)
        self._ipv6 = sock.family == socket.AF_INET6
        self._largest = _MAX_SEND_BYTES if can.gso else 0
        self._controls: dict[int, Control] = {}

    @property
    def gso(self) -> bool:
        """Whether the kernel may still be given whole trains."""
        return self._largest > 0

    def send(
        self, buffers: list[Buffer], size: int, count: int, addr: Address | None, ecn: int
    ) -> Stopped | None:
        """Send `count` datagrams of `size` bytes, the last maybe shorter, from `buffers`.

        Returns None, or how many were sent and the error that the next one met. A train that
        the kernel or the device does not segment is sent one by one, and that is remembered.
        """
        if count == 1:
            key = ecn
        elif size <= self._largest and count <= _MAX_SEGMENTS and size * count <= _MAX_SEND_BYTES:
            key = size << 2 | ecn
        else:
            return self._send_in_runs(buffers, size, count, addr, ecn)
        control = self._controls.get(key)
        if control is None:
            control = self._make_control(key)
        # One buffer copied here costs less than a hundred that the kernel walks: 8.6 us for 65 KB
        # instead of 11.6 (54 segments of 1,200 bytes).
        whole = buffers if count == 1 else (b"".join(buffers),)
        try:
            self._sendmsg(whole, control, 0, addr)
        except OSError as exc:
            error = self._send_again(exc.with_traceback(None), buffers, control, addr)
        else:
            return None
        if error is None:
            return None
        if count > 1 and error.errno in _GSO_REFUSED:
            return self._send_unsegmented(error, buffers, size, count, addr, ecn)
        return 0, error

    def _send_again(
        self, first: OSError, buffers: Sequence[Buffer], control: Control, addr: Address | None
    ) -> OSError | None:
        """The error may be that of an earlier datagram, which came back, and concern another
        peer: it is, if it does not repeat itself."""
        if first.errno in WAIT:
            return first
        try:
            self._sendmsg(buffers, control, 0, addr)
        except OSError as error:
            if error.errno != first.errno:
                self._report(first)
            return error.with_traceback(None)
        self._report(first)
        return None

    def _send_in_runs(
        self, buffers: list[Buffer], size: int, count: int, addr: Address | None, ecn: int
    ) -> Stopped | None:
        """Send what the kernel does not take at once: too much for it, or not to be segmented."""
        if size > self._largest:
            return self._send_singly(buffers, count, addr, ecn)
        run = min(_MAX_SEGMENTS, _MAX_SEND_BYTES // size)
        for done in range(0, count, run):
            upto = min(done + run, count)
            part = _part(buffers, count, done, upto)
            stopped = self.send(part, size, upto - done, addr, ecn)
            if stopped is not None:
                return done + stopped[0], stopped[1]
        return None

    def _send_singly(
        self, buffers: list[Buffer], count: int, addr: Address | None, ecn: int
    ) -> Stopped | None:
        sendmsg = self._sendmsg
        control = self._make_control(ecn)
        pieces = iter(buffers)
        for done, datagram in enumerate(zip(*[pieces] * (len(buffers) // count), strict=True)):
            try:
                sendmsg(datagram, control, 0, addr)
            except OSError as exc:
                error = self._send_again(exc.with_traceback(None), datagram, control, addr)
                if error is not None:
                    return done, error
        return None

    def _send_unsegmented(
        self,
        refused: OSError,
        buffers: list[Buffer],
        size: int,
        count: int,
        addr: Address | None,
        ecn: int,
    ) -> Stopped | None:
        """Send a train, which was refused, one by one; if that works, it was the segmentation.

        EIO: the device computes no checksums, or IPsec is on the way. EINVAL: the size is beyond
        the interface's MTU (EMSGSIZE since Linux 6.14), smaller ones may go.
        """
        stopped = self.send(_part(buffers, count, 0, 1), size, 1, addr, ecn)
        if stopped is not None:
            return stopped
        self._largest = 0 if refused.errno == errno.EIO else min(self._largest, size - 1)
        stopped = self.send(rest_of(buffers, count, 1), size, count - 1, addr, ecn)
        return None if stopped is None else (1 + stopped[0], stopped[1])

    def _make_control(self, key: int) -> Control:
        if len(self._controls) >= _MAX_CONTROLS:
            self._controls.clear()
        mark = key & 3 if self._can_mark else 0
        control = send_control(key >> 2, mark, ipv4=self._ipv4, ipv6=self._ipv6)
        self._controls[key] = control
        return control


def rest_of(buffers: list[Buffer], count: int, done: int) -> list[Buffer]:
    """The buffers of a train of `count` datagrams, without those of the first `done`."""
    return _part(buffers, count, done, count)


def _part(buffers: list[Buffer], count: int, start: int, end: int) -> list[Buffer]:
    width = len(buffers) // count
    return buffers[start * width : end * width]
