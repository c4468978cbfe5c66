"""KCP by kcptun: a Go process beside each of the two, and TCP between them and it."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import socket
import subprocess

from benchmarks.transports.base import LIMIT_BYTES, Connection, Handler, Transport

_LOCALHOST = "127.0.0.1"
# Encryption and compression off and windows that do not limit it; otherwise as it comes.
_OPTIONS = (
    *("--crypt", "none", "--nocomp", "--mode", "fast3", "--quiet"),
    *("--sndwnd", "4096", "--rcvwnd", "4096", "--mtu", "1400"),
)
_ATTEMPTS = 100
_ATTEMPT_EVERY_S = 0.05


class Kcptun(Transport):
    """kcptun-client and kcptun-server with one KCP session between them.

    Its connections are streams inside of that session, so that opening them, and what they take
    while idle, does not measure KCP.
    """

    tests = frozenset({"bulk", "echo", "links"})

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._relay: subprocess.Popen[bytes] | None = None

    def why_not(self) -> str | None:
        """It is not a Python package."""
        for program in ("kcptun-client", "kcptun-server"):
            if shutil.which(program) is None:
                return f"there is no {program} (Debian and Ubuntu: apt install kcptun)"
        return None

    async def serve(self, handler: Handler, host: str) -> int:
        """See `Transport`."""
        self._server = await asyncio.start_server(handler, _LOCALHOST, 0, limit=LIMIT_BYTES)
        behind = self._server.sockets[0].getsockname()[1]
        port = _free_port(host, socket.SOCK_DGRAM)
        self._start("kcptun-server", "-t", f"{_LOCALHOST}:{behind}", "-l", f"{host}:{port}")
        return port

    async def prepare(self, host: str, port: int) -> int:
        """Start the client's relay; the port that it listens to."""
        near = _free_port(_LOCALHOST, socket.SOCK_STREAM)
        words = ("-r", f"{host}:{port}", "-l", f"{_LOCALHOST}:{near}", "--conn", "1")
        self._start("kcptun-client", *words)
        for _ in range(_ATTEMPTS):
            try:
                _, writer = await asyncio.open_connection(_LOCALHOST, near)
            except ConnectionRefusedError:
                await asyncio.sleep(_ATTEMPT_EVERY_S)
                continue
            writer.close()
            return near
        raise OSError("kcptun-client does not listen")

    async def connect(self, host: str, port: int) -> Connection:
        """Dial the relay on this machine, `port` being what `prepare()` said."""
        return Connection(*await asyncio.open_connection(_LOCALHOST, port, limit=LIMIT_BYTES))

    def pids(self) -> list[int]:
        """The relay's work is this side's."""
        return [os.getpid(), *([self._relay.pid] if self._relay is not None else [])]

    def _start(self, program: str, *words: str) -> None:
        self._relay = subprocess.Popen(
            (program, *words, *_OPTIONS),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        atexit.register(self._relay.kill)  # a measurement that fails must not leave it behind


def _free_port(host: str, kind: socket.SocketKind) -> int:
    """A port that was free a moment ago: kcptun does not say which one it was given."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port
