"""What a connection has to tell about itself: rudp's counters, or Linux' TCP_INFO."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass

from rudp.core.stats import ConnectionInfo

# Offsets of struct tcp_info (linux/tcp.h): it only ever grows at its end.
_MSS_AT, _RTT_AT, _CWND_AT = 16, 68, 80
_BYTES_ACKED_AT, _BYTES_RETRANSMITTED_AT = 120, 208
_TCP_INFO_BYTES = 216


@dataclass(frozen=True, slots=True)
class Measured:
    """A connection at one moment; bytes and seconds, None where the system does not tell."""

    srtt_s: float | None = None
    cwnd: int | None = None
    bytes_retransmitted: int | None = None
    bytes_acked: int | None = None
    congestion: str | None = None


def measure(transport: asyncio.BaseTransport) -> Measured:
    """Ask a connection, of rudp or TCP. It may be closing, but not yet closed."""
    info: ConnectionInfo | None = transport.get_extra_info("rudp_info")
    if info is not None:
        return Measured(
            info.srtt_s, info.cwnd, info.bytes_retransmitted, info.bytes_acked, info.congestion
        )
    return _ask_kernel(transport.get_extra_info("socket"))


def _ask_kernel(sock: socket.socket | None) -> Measured:
    option = getattr(socket, "TCP_INFO", None)
    if sock is None or option is None:
        return Measured()
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, option, _TCP_INFO_BYTES)
        name = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    except (OSError, AttributeError):
        return Measured()
    if len(info) < _TCP_INFO_BYTES:
        return Measured()
    (mss,) = struct.unpack_from("=I", info, _MSS_AT)
    (rtt_us,) = struct.unpack_from("=I", info, _RTT_AT)
    (cwnd_segments,) = struct.unpack_from("=I", info, _CWND_AT)
    (acked,) = struct.unpack_from("=Q", info, _BYTES_ACKED_AT)
    (retransmitted,) = struct.unpack_from("=Q", info, _BYTES_RETRANSMITTED_AT)
    congestion = name.rstrip(b"\0").decode(errors="replace")
    return Measured(rtt_us / 1e6, cwnd_segments * mss, retransmitted, acked, congestion)
