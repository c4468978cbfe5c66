"""Closed windows, keepalive, long silences: rudp and the kernel's TCP probe each other.

These tests wait for timers, so that each runs in one role only.
"""

from __future__ import annotations

from rudp.core.connection import Notice
from rudp.core.states import State
from rudp.errors import Reason
from rudp.wire.segment import ACK
from rudp.wire.seq import to_wire

from .driver import MSS, TO_KERNEL, TO_RUDP, App, Driver, config
from .kernel import Kernel
from .stream import pieces
from .support import ROLES, exchange, join, needs_tun

pytestmark = needs_tun


def _kernel_probes(driver: Driver, app: App) -> int:
    """Empty segments just before what rudp expects: for keepalive, or of a closed window."""
    before = to_wire(app.conn.receiver.rcv_nxt - 1)
    return driver.count(TO_RUDP, lambda seg: seg.flags == ACK and seg.seq == before, size=0)


def test_the_kernels_window_closes_and_opens(kernel: Kernel) -> None:
    """RFC 9293 §3.8.6.1: rudp probes, and the kernel answers, for as long as it takes."""
    size = 1_000_000
    options = {"SO_RCVBUF": 65_536}
    driver, app, sock = join(kernel, ROLES[0], config(), options=options)
    app.send(pieces(1, size), then_shut=True)
    stats = app.conn.stats
    driver.wait(lambda: stats.zero_window_probes >= 2, "zero-window probes")
    assert app.conn.info(driver.now_s()).snd_wnd < MSS
    assert not app.closed
    assert app.conn.stats.bytes_acked < size
    heard = driver.call("receive", handle=sock, most=None)
    assert heard == {"size": size, "sha256": app.sent_sha256}


def test_rudps_window_closes_and_opens(kernel: Kernel) -> None:
    size = 1_000_000
    driver, app, sock = join(kernel, ROLES[1], config(receive_buffer=100_000))
    app.reading = False
    sending = kernel.call("send", handle=sock, seed=2, size=size)

    driver.wait(lambda: _kernel_probes(driver, app) >= 2, "two of the kernel's probes")
    assert app.conn.info(driver.now_s()).rcv_wnd == 0
    assert app.received == 0
    assert app.conn.receiver.held_bytes <= 100_000
    app.reading = True
    driver.finish(sending)
    driver.wait(lambda: app.received == size, "all of it to arrive")
    assert app.sha256 == sending.result["sha256"]


def test_rudp_answers_the_kernels_keepalive(kernel: Kernel) -> None:
    """Two probes, where one unanswered would be the end."""
    options = {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 1}
    driver, app, sock = join(kernel, ROLES[0], config(), options=options)

    driver.wait(lambda: _kernel_probes(driver, app) >= 2, "two of the kernel's probes")
    info = driver.call("info", handle=sock)
    assert info["state"] == "ESTABLISHED"
    assert info["probes"] == 0
    assert Notice.CLOSED not in app.notices


def test_the_kernel_answers_rudps_keepalive(kernel: Kernel) -> None:
    keepalive = config(keepalive=0.6, keepalive_interval=0.6, keepalive_probes=1)
    driver, app, sock = join(kernel, ROLES[1], keepalive)
    driver.wait(lambda: app.conn.stats.keepalive_probes >= 2, "two of rudp's probes")
    assert app.conn.state is State.ESTABLISHED
    exchange(driver, app, sock, 1000)


def test_keepalive_notices_a_peer_that_is_gone(kernel: Kernel) -> None:
    """Both directions go dead: each side's keepalive finds out by itself."""
    options = {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 1}
    keepalive = config(keepalive=0.6, keepalive_interval=0.3, keepalive_probes=2)
    driver, app, sock = join(kernel, ROLES[0], keepalive, options=options)
    reading = kernel.call("receive", handle=sock, most=None)
    driver.drop = lambda way, seg: True
    driver.wait(lambda: app.closed, "rudp to give up")
    assert app.conn.reason is Reason.KEEPALIVE_TIMEOUT
    driver.finish(reading)
    assert reading.error == "ETIMEDOUT"


def test_the_kernel_mistrusts_timestamps_after_36_minutes_of_silence(kernel: Kernel) -> None:
    """Half a turn of a microsecond clock looks like going back; keepalive avoids it.

    RFC 7323 §5.5 has a clock of a millisecond or slower in mind and lets TS.Recent count for 24
    days. Between rudp and rudp it is void after 28 minutes.
    """
    driver, app, sock = join(kernel, ROLES[0], config())
    reading = kernel.call("receive", handle=sock, most=1000)
    driver.ahead_s += 2200.0
    app.send(pieces(1, 1000))
    driver.wait(lambda: driver.count(TO_KERNEL, bool, size=1000) >= 2, "a retransmission")
    assert kernel.ask("counters")["PAWSEstab"] >= 2
    assert not reading.done
    driver.ahead_s += 2200.0
    driver.finish(reading)
    assert reading.result == {"size": 1000, "sha256": app.sent_sha256}
