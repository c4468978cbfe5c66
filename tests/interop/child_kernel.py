"""Plain TCP sockets in a network namespace of their own, at the command of a test.

Run as `unshare --net python child_kernel.py FD`, where FD is a Unix socket. The TUN device's
descriptor goes out over it first. Each line that comes in is a call, `{"id": …, "call": name,
"args": {…}}`; every call has a thread, so that it may block; its outcome is a line with the same
id. When the other end of the socket closes, the process ends, and the namespace with it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

import tun
from stream import PIECE_BYTES, pieces

TABLE = Path("/proc/self/net/tcp")
NETSTAT = Path("/proc/self/net/netstat")
SYSCTL = Path("/proc/sys/net/ipv4")
_LOOK_AGAIN_S = 0.01
STATES = (
    *("", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT"),
    *("CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV"),
)

sockets: dict[int, socket.socket] = {}
_handles = itertools.count(1)


def _new(sock: socket.socket) -> int:
    handle = next(_handles)
    sockets[handle] = sock
    return handle


def _tune(sock: socket.socket, options: dict[str, int]) -> None:
    """Set options by the name of their constant in `socket`: SO_*, or TCP_*.

    Whatever the machine's default is, congestion control is CUBIC if the kernel has it.
    """
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    for name, value in options.items():
        level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
        sock.setsockopt(level, getattr(socket, name), value)


def listen(port: int, options: dict[str, int]) -> int:
    """A listener on `port`; accepted sockets inherit its options."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _tune(sock, options)
    sock.bind((tun.KERNEL_HOST, port))
    sock.listen()
    return _new(sock)


def accept(listener: int) -> int:
    """The next connection of a listener."""
    return _new(sockets[listener].accept()[0])


def connect(port: int, local_port: int, options: dict[str, int]) -> int:
    """A connection to `port` of rudp's host, from `local_port` (0: any)."""
    sock = socket.socket()
    _tune(sock, options)
    sock.bind((tun.KERNEL_HOST, local_port))
    handle = _new(sock)
    sock.connect((tun.RUDP_HOST, port))
    return handle


def send(handle: int, seed: int, size: int) -> dict[str, Any]:
    """Send `size` bytes of the stream `seed`; their SHA-256."""
    digest = hashlib.sha256()
    for piece in pieces(seed, size):
        digest.update(piece)
        sockets[handle].sendall(piece)
    return {"size": size, "sha256": digest.hexdigest()}


def receive(handle: int, most: int | None) -> dict[str, Any]:
    """Read `most` bytes, or up to the end; the SHA-256 of what came."""
    digest = hashlib.sha256()
    size = 0
    while piece := sockets[handle].recv(PIECE_BYTES if most is None else most - size):
        digest.update(piece)
        size += len(piece)
    return {"size": size, "sha256": digest.hexdigest()}


def shutdown(handle: int) -> None:
    """End the sending direction."""
    sockets[handle].shutdown(socket.SHUT_WR)


def close(handle: int) -> None:
    """Close, as a program does that has read everything."""
    sockets.pop(handle).close()


def reset(handle: int) -> None:
    """Close with a linger time of zero: a reset (the ABORT call of RFC 9293)."""
    sock = sockets.pop(handle)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def info(handle: int) -> dict[str, Any]:
    """TCP_INFO, as much of it as the tests ask for."""
    raw = sockets[handle].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    state, _, _, probes, _, flags, scales, _ = raw[:8]
    numbers = struct.unpack_from("24I", raw, 8)
    return {
        "state": STATES[state],
        "probes": probes,
        "timestamps": bool(flags & 1),
        "sack": bool(flags & 2),
        "window_scale": bool(flags & 4),
        "ecn": bool(flags & 8),
        "peer_scale": scales & 0x0F,
        "own_scale": scales >> 4,
        "snd_mss": numbers[2],
        "rcv_mss": numbers[3],
        "advertised_mss": numbers[19],
        "retransmissions": numbers[23],
        "congestion": sockets[handle]
        .getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        .rstrip(b"\0")
        .decode(),
    }


def reach(wanted: list[str]) -> None:
    """Return once this namespace's connections and listeners are in exactly these states.

    The kernel tells nobody of a change: the table is read again and again.
    """
    while True:
        rows = [line.split() for line in TABLE.read_text().splitlines()[1:]]
        if sorted(STATES[int(row[3], 16)] for row in rows) == sorted(wanted):
            return
        time.sleep(_LOOK_AGAIN_S)


def counters() -> dict[str, int]:
    """The extended counters of this namespace's TCP, by the names of `nstat`."""
    names, values = (
        line.split()[1:] for line in NETSTAT.read_text().splitlines() if line.startswith("TcpExt:")
    )
    return {name: int(value) for name, value in zip(names, values, strict=True)}


def sysctl(name: str, value: str) -> None:
    """Set net.ipv4.NAME in this namespace."""
    (SYSCTL / name).write_text(value)


CALLS = {
    call.__name__: call
    for call in (
        *(listen, accept, connect, send, receive, shutdown, close, reset),
        *(info, reach, counters, sysctl),
    )
}
_speaking = threading.Lock()


def _perform(control: socket.socket, message: dict[str, Any]) -> None:
    try:
        answer: dict[str, Any] = {"result": CALLS[message["call"]](**message["args"])}
    except OSError as error:
        answer = {"error": errno.errorcode[error.errno or 0]}
    except Exception as error:  # noqa: BLE001 - the test shows it
        answer = {"error": repr(error)}
    with _speaking, contextlib.suppress(ConnectionError):  # the test need not wait for it
        control.sendall(json.dumps({"id": message["id"], **answer}).encode() + b"\n")


def main() -> None:
    """Set the namespace up, then serve calls until the test is gone."""
    control = socket.socket(fileno=int(sys.argv[1]))
    device = tun.create("rudp0")
    socket.send_fds(control, [b"\n"], [device])
    os.close(device)
    with contextlib.suppress(ConnectionError), control.makefile() as lines:
        for line in lines:
            message = json.loads(line)
            threading.Thread(target=_perform, args=(control, message), daemon=True).start()
    os._exit(0)


if __name__ == "__main__":
    main()
