"""The kernel's TCP in a network namespace of a test's own, driven through a child process."""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from .tun import UNSHARE

CHILD = Path(__file__).parent / "child_kernel.py"
_PATIENCE_S = 20.0


class KernelError(Exception):
    """A socket call in the namespace failed; `args[0]` is the errno's name."""


class Call:
    """A socket call under way in the child."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.outcome: dict[str, Any] | None = None

    @property
    def done(self) -> bool:
        """Whether it has returned or failed."""
        return self.outcome is not None

    @property
    def error(self) -> str | None:
        """The errno's name, if it failed."""
        assert self.outcome is not None, f"{self.name} has not returned"
        error: str | None = self.outcome.get("error")
        return error

    @property
    def result(self) -> Any:
        """What it returned. Raises `KernelError` if it failed."""
        if self.error is not None:
            raise KernelError(self.error, self.name)
        assert self.outcome is not None
        return self.outcome["result"]


class Kernel:
    """A namespace with a TUN device and a process in it that has sockets.

    The namespace has no name: it ends with the process and the device, and both end with the
    test process, however that ends.

    Attributes:
        tun: Descriptor of the TUN device, not blocking.
        control: The socket that outcomes come from; `collect()` when it is readable.
    """

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [UNSHARE, "--net", sys.executable, str(CHILD), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
            )
        self.tun = -1
        self._ids = itertools.count(1)
        self._calls: dict[int, Call] = {}
        self._buffer = b""

    def __enter__(self) -> Self:
        try:
            self.control.settimeout(_PATIENCE_S)
            word, fds, _, _ = socket.recv_fds(self.control, 1, 1)
            assert word, f"{CHILD.name} ended without a word"
            (self.tun,) = fds
        except BaseException:
            self.close()
            raise
        self.control.setblocking(False)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, the device and the namespace."""
        self.control.close()
        if self.tun >= 0:
            os.close(self.tun)
            self.tun = -1
        try:
            self._child.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def call(self, name: str, /, **args: Any) -> Call:
        """Start a call of `child_kernel`'s; `collect()` completes it."""
        call = Call(name)
        number = next(self._ids)
        self._calls[number] = call
        line = json.dumps({"id": number, "call": name, "args": args}).encode() + b"\n"
        self.control.sendall(line)
        return call

    def ask(self, name: str, /, **args: Any) -> Any:
        """A call that needs nothing from the network: its result."""
        call = self.call(name, **args)
        while not call.done:
            assert select.select([self.control], [], [], _PATIENCE_S)[0], f"{name} is stuck"
            self.collect()
        return call.result

    def collect(self) -> None:
        """Take the outcomes that have come."""
        try:
            data = self.control.recv(1 << 16)
        except BlockingIOError:
            return
        assert data, f"{CHILD.name} ended"
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            self._calls.pop(message.pop("id")).outcome = message
