"""Resets and refusals, both ways, between rudp and the kernel's TCP."""

from __future__ import annotations

import pytest

from rudp.errors import Reason
from rudp.wire.segment import RST

from .driver import TO_KERNEL, TO_RUDP, Driver, config
from .kernel import Kernel, KernelError
from .stream import pieces
from .support import (
    KERNEL_PORT,
    Once,
    both_roles,
    dial,
    join,
    needs_tun,
    until_kernel,
)

pytestmark = needs_tun


@both_roles
def test_the_kernel_resets(kernel: Kernel, role: str) -> None:
    driver, app, sock = join(kernel, role, config())
    driver.call("reset", handle=sock)
    driver.wait(lambda: app.closed, "rudp to be reset")
    assert app.conn.reason is Reason.RESET_BY_PEER


@both_roles
def test_the_kernel_resets_ahead_of_lost_data(kernel: Kernel, role: str) -> None:
    """RFC 5961 §3.2: a reset beyond RCV.NXT draws a challenge ACK, whose answer fits."""
    driver, app, sock = join(kernel, role, config())
    last = driver.drop = Once(TO_RUDP, lambda seg: len(seg.payload))
    driver.call("send", handle=sock, seed=1, size=1000)
    driver.wait(lambda: bool(last.lost), "the data to be lost")
    driver.call("reset", handle=sock)
    driver.wait(lambda: app.closed, "rudp to be reset")
    assert app.conn.reason is Reason.RESET_BY_PEER
    assert app.conn.stats.challenge_acks == 1
    assert driver.count(TO_RUDP, lambda seg: seg.flags & RST) == 2


@both_roles
def test_rudp_aborts(kernel: Kernel, role: str) -> None:
    driver, app, sock = join(kernel, role, config())
    reading = kernel.call("receive", handle=sock, most=None)
    app.conn.abort(driver.now_s())
    driver.flush(app)
    driver.finish(reading)
    assert reading.error == "ECONNRESET"
    assert app.conn.reason is Reason.ABORTED
    until_kernel(driver)


@both_roles
def test_rudp_has_forgotten_the_connection(kernel: Kernel, role: str) -> None:
    """The reset of a stranger names only the id; the kernel takes it as a reset."""
    driver, app, sock = join(kernel, role, config())
    last = driver.drop = Once(TO_KERNEL, lambda seg: seg.flags & RST)
    app.conn.abort(driver.now_s())
    driver.flush(app)
    assert last.lost
    reading = kernel.call("receive", handle=sock, most=None)
    driver.call("send", handle=sock, seed=1, size=10)
    driver.finish(reading)
    assert reading.error == "ECONNRESET"
    assert driver.endpoint.stats.resets_sent == 1


@both_roles
def test_the_kernel_is_gone_and_rudp_writes(kernel: Kernel, role: str) -> None:
    """RFC 1122 §4.2.2.13: after close() nobody reads, and data draws a reset."""
    driver, app, sock = join(kernel, role, config())
    driver.call("close", handle=sock)
    driver.wait(lambda: app.at_eof, "rudp to read the end")
    app.send(pieces(1, 5000))
    driver.wait(lambda: app.closed, "rudp to be reset")
    assert app.conn.reason is Reason.RESET_BY_PEER


@both_roles
def test_the_kernel_closes_with_data_unread(kernel: Kernel, role: str) -> None:
    """RFC 2525 §2.17: its close is a reset."""
    driver, app, sock = join(kernel, role, config())
    app.send(pieces(1, 5000))
    driver.wait(lambda: app.conn.stats.bytes_acked == 5000, "the data to be acknowledged")
    driver.call("close", handle=sock)
    driver.wait(lambda: app.closed, "rudp to be reset")
    assert app.conn.reason is Reason.RESET_BY_PEER


@both_roles
def test_rudp_closes_with_data_unread(kernel: Kernel, role: str) -> None:
    """What rudp wrote arrives, then comes the reset; the kernel would have sent it at once."""
    driver, app, sock = join(kernel, role, config())
    app.reading = False
    driver.call("send", handle=sock, seed=2, size=1000)
    driver.wait(lambda: app.conn.receiver.inbox.size == 1000, "the data to arrive")
    app.send(pieces(1, 100_000))
    driver.flush(app)
    app.conn.close(driver.now_s())
    heard = driver.call("receive", handle=sock, most=100_000)
    assert heard == {"size": 100_000, "sha256": app.sent_sha256}
    with pytest.raises(KernelError, match="ECONNRESET"):
        driver.call("receive", handle=sock, most=None)
    assert app.conn.reason is Reason.DATA_AFTER_CLOSE


def test_the_kernel_refuses(kernel: Kernel) -> None:
    driver = Driver(kernel, config())
    app = driver.connect(KERNEL_PORT)
    driver.wait(lambda: app.closed, "rudp to be refused")
    assert app.conn.reason is Reason.REFUSED
    assert driver.count(TO_KERNEL, lambda seg: True) == 1


def test_rudp_refuses(kernel: Kernel) -> None:
    driver = Driver(kernel, config())
    with pytest.raises(KernelError, match="ECONNREFUSED"):
        dial(driver)
    assert driver.endpoint.stats.refused == 1
    assert not driver.endpoint.connections
