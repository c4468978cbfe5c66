"""What travels, as hypothesis strategies."""

from __future__ import annotations

from hypothesis import strategies as st

from rudp.wire.options import Options
from rudp.wire.segment import Segment

U8 = st.integers(0, 0xFF)
U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFF_FFFF)

OPTIONS = st.builds(
    Options,
    mss=st.none() | U16,
    window_scale=st.none() | U8,
    sack_permitted=st.booleans(),
    sack=st.lists(st.tuples(U32, U32), max_size=31).map(tuple),
    version=st.none() | U8,
    connection_id=st.none() | U32,
    cookie=st.none() | st.binary(min_size=1, max_size=64),
    unknown_id=st.none() | U32,
    path_challenge=st.none() | st.binary(min_size=8, max_size=8),
    path_response=st.none() | st.binary(min_size=8, max_size=8),
    ecn_counts=st.none() | st.tuples(U32, U32, U32),
    rendezvous=st.none() | st.binary(min_size=1, max_size=16),
)


def is_possible(flags: int) -> bool:
    """RFC 9293 §3.10: at most one of SYN, FIN, RST; ACK unless SYN or RST; URG never."""
    syn, fin, rst, ack, urg = (bool(flags & bit) for bit in (0x02, 0x01, 0x04, 0x10, 0x20))
    return not urg and syn + fin + rst <= 1 and (ack or syn or rst)


POSSIBLE_FLAGS = [flags for flags in range(256) if is_possible(flags)]

SEGMENTS = st.builds(
    Segment,
    cid=U32,
    seq=U32,
    ack=U32,
    flags=st.sampled_from(POSSIBLE_FLAGS),
    window=U16,
    tsval=U32,
    tsecr=U32,
    options=OPTIONS,
    payload=st.binary(max_size=200),
    segments=st.just(1),
)
