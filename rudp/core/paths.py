"""A peer whose address changes: validate the new one, then move the connection there.

The connection id, not the address, names a connection. Before anything but one small segment is
sent to an address that has not proved itself, it has to return eight random bytes (as RFC 9000
§8.2 and §9 have it), so that a forged source address cannot turn a stream on somebody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rudp.core import acks, transmit
from rudp.core.connection import Address, Connection
from rudp.core.receive import widen
from rudp.core.states import SYNCHRONIZED, State
from rudp.wire.options import NONE
from rudp.wire.segment import ACK, RST, SYN, Segment
from rudp.wire.seq import MASK, from_wire, to_wire

_REPEAT_AFTER_S = 0.25


class PathProbe(NamedTuple):
    """An address that was challenged, with what, and when."""

    address: Address
    token: bytes
    sent_s: float


def may_come_from_elsewhere(conn: Connection, segment: Segment) -> bool:
    """Whether a segment that names the connection counts although its source is another.

    A SYN-ACK may: a server with several addresses does not always answer from the one that was
    dialled, a NAT may give its answer to a crossing SYN another port, and it shows that it got
    our random id and sequence number.
    """
    if conn.state is State.SYN_SENT or (conn.state is State.SYN_RECEIVED and not conn.passive):
        expected = to_wire(conn.sender.iss + 1)
        return segment.flags & (SYN | ACK | RST) == SYN | ACK and segment.ack == expected
    if conn.state not in SYNCHRONIZED or segment.flags & (SYN | RST) or not segment.flags & ACK:
        return False
    # The challenge tells our numbers: only who knows them already may draw one (32-bit ids of many
    # connections can be hit by chance; id, SEQ and ACK together cannot).
    sender, receiver = conn.sender, conn.receiver
    seq, length = widen(receiver, segment.seq), segment.length
    return acks.is_acceptable(sender, from_wire(segment.ack, sender.ledger.snd_una)) and (
        receiver.is_acceptable(seq, length)
        or (length > 0 and receiver.is_repeat(seq, length))
        or seq == receiver.rcv_nxt - 1
    )


def answers_probe(conn: Connection, segment: Segment, address: Address) -> bool:
    """Whether the segment returns what was sent to this address."""
    probe = conn.path_probe
    return (
        probe is not None
        and probe.address == address
        and segment.options.path_response == probe.token
    )


def challenge(
    conn: Connection,
    segment: Segment,
    address: Address,
    now_s: float,
    random_bits: Callable[[int], int],
) -> Segment | None:
    """The challenge to send to `address`, or None: only the peer's newest segment, not one that
    was overtaken on its way from the old address, tells where the peer is now."""
    # By its timestamp: after the move it may well repeat data whose ACK went to the old address.
    is_newest = (segment.tsval - conn.receiver.ts_recent) & MASK < 0x8000_0000
    probe = conn.path_probe
    # Whoever else claims the connection meanwhile must not displace a probe that is under way.
    waiting = probe is not None and now_s - probe.sent_s < _REPEAT_AFTER_S
    if not is_newest or waiting:
        return None
    token = random_bits(64).to_bytes(8, "big")
    conn.path_probe = PathProbe(address, token, now_s)
    header = transmit.header(conn, conn.sender.ledger.snd_nxt, ACK, now_s)
    return header._replace(options=NONE._replace(path_challenge=token))


def move(conn: Connection, address: Address, now_s: float) -> None:
    """Go on at a validated address. What is known of the old path says nothing of the new one
    (RFC 9000 §9.4), and what was in flight to the old address is lost."""
    conn.peer = address
    conn.path_probe = None
    conn.stats.path_changes += 1
    conn.sender.forget_path(conn.config, now_s)
