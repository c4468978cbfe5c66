"""Fixtures: two simulated hosts in virtual time, and both real loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
import uvloop

import rudp
from rudp.sim import LinkConfig, Network

from .support import DELAY_S

DEADLINE_S = 20.0
_LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
_T = TypeVar("_T")


@pytest.fixture
def network(rudp_network: Network) -> Network:
    """The hosts "left" and "right", 20 ms apart there and back, IPv4 and IPv6 each."""
    rudp_network.default = LinkConfig(delay_s=DELAY_S)
    rudp_network.add_host("10.0.0.1", "fd00::1", name="left")
    rudp_network.add_host("10.0.0.2", "fd00::2", name="right")
    return rudp_network


@pytest.fixture(params=["batched", "stock"])
def config(request: pytest.FixtureRequest) -> rudp.Config:
    """Settings for real sockets: datagrams move in batches, then the way the loop has."""
    return rudp.Config(io=request.param)


@pytest.fixture(params=_LOOPS)
def run_real(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, _T]], _T]:
    """`asyncio.run` on a real loop: stock asyncio's, then uvloop's; with a deadline."""

    async def bounded(main: Coroutine[Any, Any, _T]) -> _T:
        async with asyncio.timeout(DEADLINE_S):
            return await main

    def run(main: Coroutine[Any, Any, _T]) -> _T:
        with asyncio.Runner(loop_factory=_LOOPS[request.param]) as runner:
            return runner.run(bounded(main))

    return run
