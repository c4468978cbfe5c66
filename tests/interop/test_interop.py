"""rudp's state machine talks to the TCP of the Linux kernel, as client and as server.

Real time, because it is the kernel's; nothing waits for a fixed time. Segments that are lost are
drawn from a seed that a failure prints.
"""

from __future__ import annotations

import os
import sys

from rudp.core.states import State
from rudp.wire.segment import ACK, FIN, SYN

from .driver import MSS, TO_KERNEL, TO_RUDP, Driver, config
from .kernel import Kernel
from .stream import pieces
from .support import (
    KERNEL_PORT,
    Once,
    both_roles,
    dial,
    exchange,
    join,
    needs_tun,
    until,
    until_kernel,
)

pytestmark = needs_tun


# -- handshake -----------------------------------------------------------------------------


@both_roles
def test_the_handshake_agrees_on_every_option(kernel: Kernel, role: str) -> None:
    driver, app, sock = join(kernel, role, config(receive_buffer=4 << 20))
    info = driver.call("info", handle=sock)
    assert info["state"] == "ESTABLISHED"
    assert info["timestamps"]
    assert info["sack"]
    assert info["window_scale"]
    assert not info["ecn"]
    assert info["snd_mss"] == info["advertised_mss"] == MSS
    sender, receiver = app.conn.sender, app.conn.receiver
    assert app.conn.info(driver.now_s()).mss == MSS
    assert sender.peer_sack
    assert receiver.sack_permitted
    assert (sender.scale, receiver.scale) == (info["own_scale"], info["peer_scale"])
    assert receiver.scale > 0


@both_roles
def test_the_handshake_does_without_what_the_kernel_does_not_offer(
    kernel: Kernel, role: str
) -> None:
    for name in ("tcp_sack", "tcp_window_scaling"):
        kernel.ask("sysctl", name=name, value="0")
    driver, app, sock = join(kernel, role, config())
    info = driver.call("info", handle=sock)
    assert not info["sack"]
    assert not info["window_scale"]
    assert not app.conn.sender.peer_sack
    assert not app.conn.receiver.sack_permitted
    assert app.conn.sender.scale == app.conn.receiver.scale == 0
    exchange(driver, app, sock, 200_000, within_s=20.0)


@both_roles
def test_the_kernel_does_without_what_rudp_does_not_offer(kernel: Kernel, role: str) -> None:
    driver, app, sock = join(kernel, role, config(sack=False, max_datagram_size=1000))
    info = driver.call("info", handle=sock)
    assert not info["sack"]
    assert info["snd_mss"] == 976
    assert app.conn.info(driver.now_s()).mss == 976
    exchange(driver, app, sock, 200_000, within_s=20.0)


def test_simultaneous_open(kernel: Kernel) -> None:
    """RFC 9293 figure 7: both dial, the SYNs cross, one connection comes of it."""
    driver = Driver(kernel, config())
    rudp_port = driver.translator.next_port
    dialling = kernel.call("connect", port=rudp_port, local_port=KERNEL_PORT, options={})
    driver.await_crossing()
    app = driver.connect(KERNEL_PORT)
    driver.finish(dialling)
    until(driver, app, State.ESTABLISHED)
    assert app.states == [State.SYN_SENT, State.SYN_RECEIVED, State.ESTABLISHED]
    assert driver.call("info", handle=dialling.result)["retransmissions"] == 0
    exchange(driver, app, dialling.result, 100_000)


@both_roles
def test_the_third_segment_of_the_handshake_is_lost(kernel: Kernel, role: str) -> None:
    """Whoever accepts learns from the first data that its SYN-ACK arrived."""
    driver = Driver(kernel, config())
    way = TO_KERNEL if role == "kernel-listens" else TO_RUDP
    third = driver.drop = Once(way, lambda seg: not seg.flags & SYN)
    if role == "kernel-listens":
        listener = driver.call("listen", port=KERNEL_PORT, options={})
        accepting = kernel.call("accept", listener=listener)
        app = driver.connect(KERNEL_PORT)
        until(driver, app, State.ESTABLISHED)
        app.send(pieces(1, 100))
        driver.finish(accepting)
        sock = accepting.result
    else:
        driver.endpoint.listen(10)
        sock = dial(driver)
        sending = driver.call("send", handle=sock, seed=1, size=100)
        driver.wait(lambda: bool(driver.apps), "the connection to be accepted")
        app = driver.accepted()
        driver.wait(lambda: app.received == 100, "the data to arrive")
        assert app.sha256 == sending["sha256"]
    assert third.lost is not None
    assert not third.lost.payload
    app.conn.shutdown()
    assert driver.call("receive", handle=sock, most=None)["size"] == app.sent


# -- data ----------------------------------------------------------------------------------


@both_roles
def test_fifty_megabytes_each_way_at_once_through_losses(kernel: Kernel, role: str) -> None:
    """One segment in a hundred is lost, each way."""
    seed = int.from_bytes(os.urandom(4))
    sys.stdout.write(f"losses of seed {seed}\n")
    driver, app, sock = join(kernel, role, config(), seed=seed, loss=0.01)
    exchange(driver, app, sock, 50_000_000, within_s=60.0)
    info = driver.call("info", handle=sock)
    assert info["retransmissions"] > 0
    assert app.conn.stats.bytes_retransmitted > 0
    assert driver.translator.untranslatable == 0
    counters = driver.call("counters")
    assert counters["PAWSEstab"] == 0  # microseconds look no older to it than milliseconds
    assert counters["TCPChallengeACK"] == 0
    assert app.conn.stats.paws_drops == app.conn.stats.ack_drops == 0


# -- the end -------------------------------------------------------------------------------


@both_roles
def test_half_close_by_rudp(kernel: Kernel, role: str) -> None:
    """RFC 9293 §3.6: rudp has said all; the kernel goes on, for as long as it likes."""
    driver, app, sock = join(kernel, role, config())
    app.send(pieces(1, 1000), then_shut=True)
    heard = driver.call("receive", handle=sock, most=None)
    assert heard == {"size": 1000, "sha256": app.sent_sha256}
    until(driver, app, State.FIN_WAIT_2)
    assert driver.call("info", handle=sock)["state"] == "CLOSE_WAIT"
    sending = driver.call("send", handle=sock, seed=2, size=300_000)
    driver.call("close", handle=sock)
    driver.wait(lambda: app.closed, "rudp to be done")
    assert sending == {"size": app.received, "sha256": app.sha256}
    assert app.conn.reason is None
    assert app.states[-4:] == [
        *(State.FIN_WAIT_1, State.FIN_WAIT_2),
        *(State.TIME_WAIT, State.CLOSED),
    ]
    until_kernel(driver)


@both_roles
def test_half_close_by_the_kernel(kernel: Kernel, role: str) -> None:
    driver, app, sock = join(kernel, role, config())
    sending = driver.call("send", handle=sock, seed=2, size=1000)
    driver.call("shutdown", handle=sock)
    driver.wait(lambda: app.at_eof, "rudp to read the end")
    assert sending == {"size": app.received, "sha256": app.sha256}
    assert app.conn.state is State.CLOSE_WAIT
    assert driver.call("info", handle=sock)["state"] == "FIN_WAIT2"
    app.send(pieces(1, 300_000), then_shut=True)
    heard = driver.call("receive", handle=sock, most=None)
    assert heard == {"size": 300_000, "sha256": app.sent_sha256}
    driver.wait(lambda: app.closed, "rudp to be done")
    assert app.conn.reason is None
    assert app.states[-2:] == [State.LAST_ACK, State.CLOSED]
    driver.call("close", handle=sock)
    until_kernel(driver, "TIME_WAIT")


@both_roles
def test_simultaneous_close(kernel: Kernel, role: str) -> None:
    """RFC 9293 figure 13: the FINs cross, both sides go through CLOSING."""
    driver, app, sock = join(kernel, role, config())
    kernel.call("shutdown", handle=sock)
    driver.await_crossing()
    app.conn.shutdown()
    driver.flush(app)
    driver.wait(lambda: app.closed, "rudp to be done")
    assert app.states[-4:] == [
        *(State.FIN_WAIT_1, State.CLOSING),
        *(State.TIME_WAIT, State.CLOSED),
    ]
    driver.call("close", handle=sock)
    until_kernel(driver, "TIME_WAIT")


@both_roles
def test_rudp_in_time_wait_acknowledges_the_kernels_fin_again(kernel: Kernel, role: str) -> None:
    """RFC 9293 §3.10.7.4: the last ACK was lost, the kernel repeats its FIN."""
    driver, app, sock = join(kernel, role, config())
    app.conn.shutdown()
    until(driver, app, State.FIN_WAIT_2)
    last = driver.drop = Once(TO_KERNEL, lambda seg: seg.flags & ACK)
    driver.call("close", handle=sock)
    driver.wait(lambda: app.closed, "rudp to be in TIME-WAIT")
    assert driver.endpoint.time_wait
    until_kernel(driver)
    assert last.lost
    assert driver.endpoint.stats.time_wait_acks >= 1
    assert driver.endpoint.stats.resets_sent == 0
    assert driver.count(TO_RUDP, lambda seg: seg.flags & FIN) >= 2


@both_roles
def test_the_kernel_in_time_wait_acknowledges_rudps_fin_again(kernel: Kernel, role: str) -> None:
    driver, app, sock = join(kernel, role, config())
    driver.call("shutdown", handle=sock)
    driver.wait(lambda: app.at_eof, "rudp to read the end")
    last = driver.drop = Once(TO_RUDP, lambda seg: seg.flags & ACK)
    app.conn.shutdown()
    driver.wait(lambda: app.closed, "rudp to be done")
    assert last.lost
    assert app.conn.reason is None
    assert app.states[-2:] == [State.LAST_ACK, State.CLOSED]
    assert driver.count(TO_KERNEL, lambda seg: seg.flags & FIN) >= 2
    driver.call("close", handle=sock)
    until_kernel(driver, "TIME_WAIT")
