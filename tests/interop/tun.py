"""A TUN device, and whether this machine lets a test have one."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

DEVICE = Path("/dev/net/tun")
MTU = 1500
KERNEL_HOST = "192.0.2.1"
"""The kernel's end; both addresses are for documentation (RFC 5737) and of no use elsewhere."""
RUDP_HOST = "192.0.2.2"
IP = shutil.which("ip") or ""
UNSHARE = shutil.which("unshare") or ""

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_QUEUE_PACKETS = 10_000


def missing() -> str | None:
    """What this machine lacks; None if the tests can run."""
    if sys.platform != "linux":
        return "only Linux has namespaces and TUN devices"
    if os.geteuid() != 0:
        return "only root may make a network namespace and a TUN device in it"
    for command, path in (("ip", IP), ("unshare", UNSHARE)):
        if not path:
            return f"there is no {command} command"
    if not DEVICE.exists():
        return f"there is no {DEVICE}"
    attempt = [UNSHARE, "--net", IP, "tuntap", "add", "dev", "rudp0", "mode", "tun"]
    tried = subprocess.run(attempt, capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"no TUN device in a namespace: {tried.stderr.strip()}"
    return None


def create(name: str) -> int:
    """Make a TUN device in the caller's network namespace; it is gone when the descriptor is.

    Without offloads: the kernel cuts what it sends to packets of the MTU and finishes their
    checksums.
    """
    import fcntl  # not on Windows, where these tests are skipped

    fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    for arguments in (
        f"link set dev {name} mtu {MTU} txqueuelen {_QUEUE_PACKETS}",
        f"link set dev {name} addrgenmode none",  # IPv6 would look for routers
        f"address add {KERNEL_HOST} peer {RUDP_HOST} dev {name}",
        f"link set dev {name} up",
    ):
        subprocess.run([IP, *arguments.split()], check=True)
    return fd
