"""Ancillary data of UDP sockets on Linux: segment sizes and ECN marks, to and from bytes.

The numbers are those of <linux/udp.h>, <linux/in.h> and <linux/in6.h>; the socket module of
Python 3.11 names only some of them.
"""

from __future__ import annotations

import struct
import sys

SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104
IPPROTO_IP = 0
IP_TOS = 1
IP_MTU_DISCOVER = 10
IP_RECVTOS = 13
IP_PMTUDISC_PROBE = 3
IPPROTO_IPV6 = 41
IPV6_MTU_DISCOVER = 23
IPV6_V6ONLY = 26
IPV6_RECVTCLASS = 66
IPV6_TCLASS = 67

CONTROL_BYTES = 512
"""Room for a message's ancillary data: what is asked for here takes 48 bytes, but a socket that
was handed in may have more options set."""

Control = list[tuple[int, int, bytes]]

_ECN_MASK = 0x03
_U16 = struct.Struct("=H")
_INT = struct.Struct("=i")


def send_control(segment_bytes: int, ecn: int, *, ipv4: bool, ipv6: bool) -> Control:
    """Ancillary data for one `sendmsg`.

    Args:
        segment_bytes: Length of each datagram that the kernel is to cut the buffers into
            (`UDP_SEGMENT`), or 0 for a single datagram.
        ecn: The ECN field of RFC 3168, 0 to 3; 0 leaves the socket's own TOS alone.
        ipv4: Mark IPv4 packets.
        ipv6: Mark IPv6 packets. An IPv6 socket that reaches IPv4 peers too wants both: the
            kernel skips the one that the destination is not of.
    """
    control: Control = []
    if segment_bytes:
        control.append((SOL_UDP, UDP_SEGMENT, _U16.pack(segment_bytes)))
    if ecn and ipv4:
        control.append((IPPROTO_IP, IP_TOS, _INT.pack(ecn)))
    if ecn and ipv6:
        control.append((IPPROTO_IPV6, IPV6_TCLASS, _INT.pack(ecn)))
    return control


def read_control(control: Control) -> tuple[int, int]:
    """What came with a buffer: the segment size in bytes, 0 if it is one datagram, and the ECN
    field. Unknown messages are skipped."""
    segment_bytes = ecn = 0
    for level, kind, data in control:
        if level == SOL_UDP and kind == UDP_GRO:
            segment_bytes = int.from_bytes(data, sys.byteorder)
        elif (level == IPPROTO_IP and kind == IP_TOS) or (
            level == IPPROTO_IPV6 and kind == IPV6_TCLASS
        ):
            ecn = int.from_bytes(data, sys.byteorder) & _ECN_MASK
    return segment_bytes, ecn
