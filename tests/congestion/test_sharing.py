"""`resilient` on a link with others, in virtual time: nothing is random, so nothing varies."""

from __future__ import annotations

import pytest

from rudp.congestion import Resilient

from .sharing import Flow, jain, share

QUEUES = pytest.mark.parametrize("queue_bdp", [1.0, 4.0])


@QUEUES
def test_with_a_cubic_flow_each_keeps_its_part(queue_bdp: float) -> None:
    """CUBIC is there first and has the queue full when `resilient` comes."""
    flows = [Flow("cubic"), Flow("resilient", 5.0)]
    shared = share(flows, queue_bdp=queue_bdp, seconds=25.0, since_s=6.0)
    assert sum(shared.shares) > 0.93
    assert min(shared.shares) > 0.28, shared.shares


@QUEUES
def test_two_flows_share_alike_although_one_came_later(queue_bdp: float) -> None:
    """And do not take each other for somebody who keeps the queue full."""
    flows = [Flow("resilient"), Flow("resilient", 3.0)]
    shared = share(flows, queue_bdp=queue_bdp, seconds=25.0, since_s=5.0)
    assert sum(shared.shares) > 0.93
    assert jain(shared.shares) > 0.95, shared.shares
    for controller in shared.controllers:
        assert isinstance(controller, Resilient)
        assert not controller.is_contested


def test_the_queue_goes_when_the_competitor_goes() -> None:
    flows = [Flow("resilient"), Flow("cubic", 0.0, 12.0)]
    shared = share(flows, queue_bdp=4.0, seconds=24.0, since_s=20.0)
    assert shared.shares[0] > 0.93
    assert shared.queue_s < 0.01
