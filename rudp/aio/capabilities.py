"""What a UDP socket can do here, found by asking it."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass

from rudp.aio import cmsg


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the socket took when it was asked.

    Attributes:
        gso: One `sendmsg` may carry many datagrams (`UDP_SEGMENT`, Linux 4.18).
        gro: One `recvmsg` may return many datagrams (`UDP_GRO`, Linux 5.0).
        ecn: The ECN field of arriving packets is told, so that marks are worth sending.
        dont_fragment: Packets leave with don't-fragment set and the kernel's own idea of the
            path MTU is ignored (RFC 8899 §3 wants both); only the interface's MTU is obeyed.
    """

    gso: bool = False
    gro: bool = False
    ecn: bool = False
    dont_fragment: bool = False


def available() -> bool:
    """Whether the platform has batched sockets at all: Linux, with `recvmsg_into`."""
    return sys.platform == "linux" and hasattr(socket.socket, "recvmsg_into")


def usable(sock: socket.socket) -> bool:
    """Whether `sock` can be driven by `rudp.aio.batched`: a UDP socket on such a platform.

    Every option is optional, so nothing is set here; without any of them reads are still joined.
    """
    inet = sock.family in (socket.AF_INET, socket.AF_INET6)
    return available() and inet and sock.type == socket.SOCK_DGRAM


def enable(sock: socket.socket) -> Capabilities:
    """Set what can be set on `sock`; an option that is refused is a feature that is off."""
    ipv6 = sock.family == socket.AF_INET6
    tos = _set(sock, cmsg.IPPROTO_IP, cmsg.IP_RECVTOS, 1)
    probe = _set(sock, cmsg.IPPROTO_IP, cmsg.IP_MTU_DISCOVER, cmsg.IP_PMTUDISC_PROBE)
    if ipv6:  # the two above are for IPv4 peers of an IPv6 socket, which it need not have
        tos = _set(sock, cmsg.IPPROTO_IPV6, cmsg.IPV6_RECVTCLASS, 1)
        probe = _set(sock, cmsg.IPPROTO_IPV6, cmsg.IPV6_MTU_DISCOVER, cmsg.IP_PMTUDISC_PROBE)
    return Capabilities(
        gso=_set(sock, cmsg.SOL_UDP, cmsg.UDP_SEGMENT, 0),
        gro=_set(sock, cmsg.SOL_UDP, cmsg.UDP_GRO, 1),
        ecn=tos,
        dont_fragment=probe,
    )


def reaches_ipv4(sock: socket.socket) -> bool:
    """Whether packets of `sock` may be IPv4: an IPv4 socket, or an IPv6 one that is not only."""
    if sock.family != socket.AF_INET6:
        return True
    try:
        return not sock.getsockopt(cmsg.IPPROTO_IPV6, cmsg.IPV6_V6ONLY)
    except OSError:
        return False


def _set(sock: socket.socket, level: int, option: int, value: int) -> bool:
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return False
    return True
