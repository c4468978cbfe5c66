"""Two network namespaces: nothing that is sent in them leaves the machine, or meets its network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Self

import psutil

DEVICE = "link0"
ADDRESSES = ("192.0.2.1", "192.0.2.2")
"""For documentation (RFC 5737), and of no use elsewhere."""
MTU_BYTES = 1500
_QUEUE_PACKETS = 10_000  # of the device: the bottleneck's queue is the link's business
_PREFIX = "rudp-bench"


def why_not() -> str | None:
    """Why this process cannot have namespaces; None if it can."""
    if sys.platform != "linux":
        return "only Linux has network namespaces"
    if os.geteuid() != 0:
        return "only root may make network namespaces: run it with sudo"
    if shutil.which("ip") is None:
        return "there is no ip command (package iproute2)"
    return None


class Namespaces:
    """A pair of namespaces; as a context manager they are gone when the block is left."""

    def __init__(self) -> None:
        self.names = tuple(f"{_PREFIX}-{os.getpid()}-{side}" for side in "ab")

    def __enter__(self) -> Self:
        remove_orphans()
        try:
            for name in self.names:
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        for name in self.names:
            _remove(name)

    def inside(self, side: int, command: list[str]) -> list[str]:
        """`command` as one that runs in the first (0) or the second (1) namespace."""
        return ["ip", "netns", "exec", self.names[side], *command]

    def add_tun_devices(self) -> None:
        """A TUN device in each, for a process that carries packets between them."""
        for name in self.names:
            ip("-n", name, "tuntap", "add", "dev", DEVICE, "mode", "tun")
        self._configure()

    def add_veth_pair(self) -> None:
        """A cable between the two, for a queueing discipline to work on.

        Each packet of its own: a queue that counts packets must not be given trains.
        """
        first, second = self.names
        words = ("type", "veth", "peer", "name", DEVICE, "netns", second)
        ip("-n", first, "link", "add", DEVICE, *words)
        for name in self.names:
            ip("-n", name, "link", "set", "dev", DEVICE, "gso_max_segs", "1")
        self._configure()

    def _configure(self) -> None:
        for name, address in zip(self.names, ADDRESSES, strict=True):
            size = ("mtu", str(MTU_BYTES), "txqueuelen", str(_QUEUE_PACKETS))
            # No IPv6 of its own: it would send packets, and the link's decisions are numbered.
            ip("-n", name, "link", "set", "dev", DEVICE, *size, "addrgenmode", "none")
            ip("-n", name, "address", "add", f"{address}/24", "dev", DEVICE)
            ip("-n", name, "link", "set", "dev", DEVICE, "up")


def ip(*words: str) -> None:
    """Run `ip`. Raises `OSError` with what it says if that fails."""
    # In a session of its own: a Ctrl-C must not stop what takes the namespaces down.
    done = subprocess.run(["ip", *words], capture_output=True, text=True, start_new_session=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def remove_orphans() -> None:
    """Remove what runs that were killed have left behind."""
    for path in Path("/run/netns").glob(f"{_PREFIX}-*"):
        match = re.fullmatch(rf"{_PREFIX}-(\d+)-[ab]", path.name)
        if match and not psutil.pid_exists(int(match[1])):
            _remove(path.name)


def _remove(name: str) -> None:
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, start_new_session=True)
