"""The congestion window on the wire, and whole transfers under loss: RFC 5681, RFC 6928."""

from __future__ import annotations

import pytest

from rudp.config import Config
from rudp.core.states import State
from rudp.sim.link import LinkConfig

from .pairs import exchange, watched_pair
from .script import Script


def test_initial_window_and_slow_start() -> None:
    """RFC 6928 §2 and RFC 5681 §3.1: ten segments, then two for every one acknowledged."""
    script = Script().established()
    script.play("""
        0   send 60000
        0   > A seq=1 len=1000 x10
        10  < A seq=1 ack=2001
        10  > A seq=10001 len=1000 x4
        11  < A seq=1 ack=10001
        11  > A seq=14001 len=1000 x16
    """)


def test_restart_after_idle() -> None:
    """RFC 5681 §4.1: after an RTO of silence no more than the initial window at once."""
    script = Script().established()
    script.play("""
        0     send 20000
        0     > A seq=1 len=1000 x10
        10    < A seq=1 ack=10001
        10    > A seq=10001 len=1000 x9
        10    > PA seq=19001 len=1000
        20    < A seq=1 ack=20001
        9000  send 40000
        9000  > A seq=20001 len=1000 x10
    """)


@pytest.mark.parametrize("sack", [True, False])
@pytest.mark.parametrize(("loss", "seed"), [(0.02, 1), (0.2, 1), (0.2, 2), (0.2, 3), (0.2, 4)])
def test_transfer_under_loss(sack: bool, loss: float, seed: int) -> None:
    """RFC 6298, RFC 6582, RFC 6675 together: everything arrives, and the connection is well."""
    pair = watched_pair(seed, LinkConfig(delay_s=0.01, loss=loss), config=Config(sack=sack))
    left, right = pair.connect()
    exchange(pair, [(pair.a, left, pair.b, right)], 100_000, 3000)
    assert left.state is State.ESTABLISHED
    assert left.info(pair.now_s).bytes_retransmitted > 0
