"""Connections between the kernel and rudp, as the tests begin with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from rudp.config import Config
from rudp.core.states import State
from rudp.wire.segment import Segment

from . import tun
from .driver import RUDP_PORT, App, Driver
from .kernel import Kernel
from .stream import pieces

KERNEL_PORT = 9
ROLES = ("kernel-listens", "rudp-listens")

_MISSING = tun.missing()
needs_tun = [
    pytest.mark.processes,
    pytest.mark.skipif(_MISSING is not None, reason=str(_MISSING)),
]
both_roles = pytest.mark.parametrize("role", ROLES)


class Joined(NamedTuple):
    """An established connection: rudp's application, and the handle of the kernel's socket."""

    driver: Driver
    app: App
    sock: int


class Once:
    """Loses the first segment that goes one way and fits."""

    def __init__(self, way: str, fits: Callable[[Segment], object]) -> None:
        self._way = way
        self._fits = fits
        self.lost: Segment | None = None

    def __call__(self, way: str, segment: Segment) -> bool:
        if self.lost is not None or way != self._way or not self._fits(segment):
            return False
        self.lost = segment
        return True


def join(
    kernel: Kernel,
    role: str,
    config: Config,
    *,
    options: dict[str, int] | None = None,
    seed: int = 0,
    loss: float = 0.0,
) -> Joined:
    """Establish a connection, with `options` on the kernel's socket; `loss` begins afterwards.

    Were the handshake's third segment lost, and nobody sent data, rudp would repeat its SYN-ACK,
    which the kernel has to challenge (RFC 5961 §4.2).
    """
    driver = Driver(kernel, config, seed=seed)
    if role == "kernel-listens":
        listener = driver.call("listen", port=KERNEL_PORT, options=options or {})
        accepting = kernel.call("accept", listener=listener)
        app = driver.connect(KERNEL_PORT)
        driver.finish(accepting)
        sock = accepting.result
        driver.call("close", handle=listener)
    else:
        driver.endpoint.listen(10)
        sock = dial(driver, options=options)
        driver.wait(lambda: bool(driver.apps), "the connection to be accepted")
        app = driver.accepted()
    until(driver, app, State.ESTABLISHED)
    driver.loss = loss
    return Joined(driver, app, sock)


def dial(driver: Driver, *, options: dict[str, int] | None = None) -> int:
    """The kernel connects to rudp: the socket's handle."""
    handle: int = driver.call("connect", port=RUDP_PORT, local_port=0, options=options or {})
    return handle


def until(driver: Driver, app: App, *states: State) -> None:
    """Wait for rudp to be in one of some states."""
    names = " or ".join(state.name for state in states)
    driver.wait(lambda: app.conn.state in states, f"rudp to be in {names}")


def until_kernel(driver: Driver, *states: str) -> None:
    """Wait for the namespace's sockets to be in exactly these states."""
    driver.call("reach", wanted=states)


def exchange(driver: Driver, app: App, sock: int, size: int, *, within_s: float = 10.0) -> None:
    """`size` bytes each way at once, then both FINs; what was sent is what was received."""
    app.send(pieces(1, size), then_shut=True)
    sending = driver.kernel.call("send", handle=sock, seed=2, size=size)
    receiving = driver.kernel.call("receive", handle=sock, most=None)
    driver.finish(sending, receiving, within_s=within_s)
    driver.call("shutdown", handle=sock)
    driver.wait(lambda: app.at_eof, "rudp to read the end")
    assert receiving.result == {"size": size, "sha256": app.sent_sha256}
    assert sending.result == {"size": app.received, "sha256": app.sha256}
