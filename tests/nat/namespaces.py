"""Two homes behind the kernel's NAT and a public network, in network namespaces of their own.

    alice --- alices NAT ---+--- internet (a bridge; the rendezvous server)
    bob ------- bobs NAT ---+

Nothing leaves the namespaces: they have links to each other and to nothing else.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from typing import Any, Self

SERVER = "203.0.113.254"
OUTSIDE = {"alice": "203.0.113.1", "bob": "203.0.113.2"}
INSIDE = {"alice": "192.168.1.2", "bob": "192.168.2.2"}
COMMAND_TIMEOUT_S = 10.0
NETNS = ("ip", "netns")

_NFT = """\
table ip rudp {{
  chain out {{ type nat hook postrouting priority 100; oifname "wan" masquerade {flags}; }}
  chain in {{ type filter hook input priority 0; iifname "wan" ct state new drop; }}
}}
"""
_IPTABLES = (
    "-t nat -A POSTROUTING -o wan -j MASQUERADE {flags}",
    "-A INPUT -i wan -m conntrack --ctstate NEW -j DROP",
)


class Unavailable(Exception):
    """The machine does not let us do this."""


def missing() -> str | None:
    """What the tests here need and the machine does not have, without trying."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "making network namespaces takes root"
    if shutil.which("ip") is None:
        return "there is no `ip` command (iproute2)"
    if shutil.which("nft") is None and shutil.which("iptables") is None:
        return "there is neither nft nor iptables"
    return None


def _run(*command: str, text: str | None = None) -> None:
    """Run a command; raises `Unavailable` with what it says if it fails."""
    result = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    if result.returncode:
        raise Unavailable(f"{' '.join(command)}: {result.stderr.strip() or result.returncode}")


class Homes:
    """The namespaces, for the duration of a ``with`` block; all of them are removed at its end.

    Raises `Unavailable` on entering if the machine cannot make them.

    Args:
        random_ports: Whether the NATs give each destination another port, as symmetric ones do.
    """

    def __init__(self, *, random_ports: bool = False) -> None:
        self._flags = random_ports
        self._tag = f"rudp{os.getpid()}{secrets.token_hex(3)}"
        self._made: list[str] = []
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        try:
            self._make("internet")
            self._in("internet", "ip", "link", "add", "lan", "type", "bridge")
            self._in("internet", "ip", "addr", "add", f"{SERVER}/24", "dev", "lan")
            self._in("internet", "ip", "link", "set", "lan", "up")
            for who in OUTSIDE:
                self._home(who)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        for name in reversed(self._made):
            with contextlib.suppress(Unavailable, subprocess.TimeoutExpired):
                _run(*NETNS, "delete", name)

    def start(self, where: str, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a process in a namespace: "alice", "bob" or "internet". It ends with the block."""
        process = subprocess.Popen(
            [*NETNS, "exec", self._name(where), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )
        self._processes.append(process)
        return process

    def move(self, who: str, outside: str) -> None:
        """Give a home another outside address, which makes netfilter forget its mappings."""
        nat = f"{who}s-nat"
        self._in(nat, "ip", "addr", "del", f"{OUTSIDE[who]}/24", "dev", "wan")
        self._address(nat, "wan", outside)

    def left_behind(self) -> list[str]:
        """Namespaces of ours that exist."""
        listed = subprocess.run(
            [*NETNS, "list"], capture_output=True, text=True, check=True, timeout=10.0
        )
        return [line for line in listed.stdout.splitlines() if self._tag in line]

    def _name(self, where: str) -> str:
        return f"{self._tag}-{where}"

    def _make(self, where: str) -> None:
        _run(*NETNS, "add", self._name(where))
        self._made.append(self._name(where))
        self._in(where, "ip", "link", "set", "lo", "up")

    def _in(self, where: str, *command: str, text: str | None = None) -> None:
        _run(*NETNS, "exec", self._name(where), *command, text=text)

    def _home(self, who: str) -> None:
        """A host, its NAT, and their links."""
        nat, inside = f"{who}s-nat", INSIDE[who]
        gateway = inside.rpartition(".")[0] + ".1"
        self._make(who)
        self._make(nat)
        self._link(who, "eth", nat, "lan")
        self._link(nat, "wan", "internet", who)
        self._in("internet", "ip", "link", "set", who, "master", "lan")
        self._address(who, "eth", inside)
        self._address(nat, "lan", gateway)
        self._address(nat, "wan", OUTSIDE[who])
        self._in(who, "ip", "route", "add", "default", "via", gateway)
        self._in(nat, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        if shutil.which("nft") is not None:
            flags = "fully-random" if self._flags else ""
            self._in(nat, "nft", "-f", "-", text=_NFT.format(flags=flags))
        else:
            flags = "--random-fully" if self._flags else ""
            for rule in _IPTABLES:
                self._in(nat, "iptables", *rule.format(flags=flags).split())

    def _link(self, one: str, device: str, other: str, other_device: str) -> None:
        """A pair of virtual devices between two namespaces, up at both ends."""
        ends = ("name", other_device, "netns", self._name(other))
        self._in(one, "ip", "link", "add", device, "type", "veth", "peer", *ends)
        self._in(one, "ip", "link", "set", device, "up")
        self._in(other, "ip", "link", "set", other_device, "up")

    def _address(self, where: str, device: str, address: str) -> None:
        self._in(where, "ip", "addr", "add", f"{address}/24", "dev", device)
