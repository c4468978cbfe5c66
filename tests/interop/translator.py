"""rudp segments to TCP segments and back, with nothing remembered but ids and ports.

What each side lacks is made up here: ports for connection ids, an id and a version for the
kernel's SYN. Everything else is carried over field by field (docs/protocol.md, "What differs
from the kernel's TCP").
"""

from __future__ import annotations

from collections.abc import Callable

from rudp.telemetry import tcp
from rudp.telemetry.tcp import TIMESTAMP_BYTES, Address, Packet
from rudp.wire import options as opt
from rudp.wire.options import Options
from rudp.wire.segment import ACK, CWR, ECE, RST, SYN, URG, Segment

_FIRST_PORT = 49_152
_NOT_NEGOTIATED = ECE | CWR | URG
"""ECN is left out: a SYN without its bits makes both sides do without it."""


class Flow:
    """A connection's two names: a pair of ports, and an id on each side."""

    __slots__ = ("isn", "kernel", "kernel_cid", "rudp", "rudp_cid")

    def __init__(self, kernel: Address, rudp: Address, kernel_cid: int) -> None:
        self.kernel = kernel
        self.rudp = rudp
        self.kernel_cid = kernel_cid
        """The id that stands for the kernel's end."""
        self.rudp_cid = 0
        """The id that rudp chose; 0 while it has not said."""
        self.isn: int | None = None
        """SEQ of the kernel's SYN: a port may come back for another connection."""


class Translator:
    """The table, and the two directions.

    Args:
        host: The IPv4 address that stands for the rudp endpoint.
        random_bits: `random_bits(n)` gives n random bits.
    """

    def __init__(self, host: str, random_bits: Callable[[int], int]) -> None:
        self.host = host
        self._random_bits = random_bits
        self._by_ports: dict[tuple[Address, Address], Flow] = {}
        self._by_kernel_cid: dict[int, Flow] = {}
        self._by_rudp_cid: dict[int, Flow] = {}
        self.next_port = _FIRST_PORT
        """The port of the connection that rudp opens next."""
        self.untranslatable = 0
        """Segments dropped because the other side has no words for them."""

    # -- rudp to TCP -----------------------------------------------------------------------

    def to_tcp(self, seg: Segment, peer: Address) -> Packet | None:
        """The TCP segment of one that rudp sends to `peer`."""
        flow = self._flow_of(seg, peer)
        if flow is None:
            self.untranslatable += 1
            return None
        packet = tcp.packet_of(seg, flow.rudp, flow.kernel)
        return packet._replace(flags=seg.flags & ~_NOT_NEGOTIATED)

    def _flow_of(self, seg: Segment, peer: Address) -> Flow | None:
        if seg.cid:
            flow = self._by_kernel_cid.get(seg.cid)
        elif seg.flags & SYN:
            flow = self._by_rudp_cid.get(seg.options.connection_id or 0)
            if flow is None:
                flow = self._add(peer, (self.host, self.next_port))
                self.next_port += 1
        else:
            flow = self._by_rudp_cid.get(seg.options.unknown_id or 0)
        if flow is not None and seg.flags & SYN and seg.options.connection_id:
            flow.rudp_cid = seg.options.connection_id
            self._by_rudp_cid[flow.rudp_cid] = flow
        return flow

    # -- TCP to rudp -----------------------------------------------------------------------

    def to_rudp(self, packet: Packet) -> tuple[Address, Segment] | None:
        """The rudp segment of one that the kernel sends, and the address it comes from."""
        if packet.target[0] != self.host:
            return None
        flow = self._by_ports.get((packet.source, packet.target))
        if packet.flags & (SYN | ACK) == SYN and (
            flow is None or flow.isn not in (None, packet.seq)
        ):
            flow = self._add(packet.source, packet.target)
        options, timestamps = _rudp_options(packet.options)
        if flow is None or (timestamps is None and not packet.flags & RST):
            self.untranslatable += 1
            return None
        if packet.flags & SYN:
            flow.isn = packet.seq
            options = options._replace(
                version=opt.WIRE_VERSION,
                connection_id=flow.kernel_cid,
                mss=options.mss and options.mss - TIMESTAMP_BYTES,
            )
        tsval, tsecr = timestamps or (0, 0)
        return packet.source, Segment(
            # A first SYN knows no id yet, and neither does one that crosses ours.
            flow.rudp_cid if packet.flags & (SYN | ACK) != SYN else 0,
            packet.seq,
            packet.ack if packet.flags & ACK else 0,
            packet.flags & ~_NOT_NEGOTIATED,
            packet.window,
            tsval,
            tsecr,
            options,
            packet.payload,
        )

    def _add(self, kernel: Address, rudp: Address) -> Flow:
        flow = Flow(kernel, rudp, self._random_bits(31) + 1)
        self._by_ports[kernel, rudp] = flow
        self._by_kernel_cid[flow.kernel_cid] = flow
        return flow


def _rudp_options(block: bytes) -> tuple[Options, tuple[int, int] | None]:
    """TCP's options as rudp's, and the timestamps. rudp skips kinds that it does not know."""
    options = opt.parse(block)
    if options is None:
        raise tcp.Damaged("TCP options")
    return options, tcp.timestamps_of(block)
