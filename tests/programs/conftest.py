"""Two hosts with a bad link between them, and the examples as modules."""

from __future__ import annotations

import asyncio
import importlib
import random
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from rudp.aio.relay import LossyRelay
from rudp.sim import Link, LinkConfig, Network

RunReal = Callable[[Coroutine[Any, Any, None]], None]
Relayed = Callable[[tuple[str, int]], Awaitable[tuple[str, int]]]

DEADLINE_S = 30.0
EXAMPLES = Path(__file__).parents[2] / "examples"
LINK = LinkConfig(delay_s=0.02, loss=0.05, reorder=0.02, duplicate=0.01)
RELAY_LINK = LinkConfig(delay_s=0.001, loss=0.03, duplicate=0.01)
_LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def network(rudp_network: Network) -> Network:
    """The hosts "client" and "server", with a lossy link between them."""
    rudp_network.default = LINK
    rudp_network.add_host("10.0.0.1", name="client")
    rudp_network.add_host("10.0.0.2", name="server")
    return rudp_network


@pytest.fixture(scope="session", autouse=True)
def examples() -> Iterator[None]:
    """Makes the examples importable, as they are for a user who starts one."""
    sys.path.insert(0, str(EXAMPLES))
    importlib.invalidate_caches()
    yield
    sys.path.remove(str(EXAMPLES))


@pytest.fixture(params=_LOOPS)
def run_real(request: pytest.FixtureRequest) -> RunReal:
    """`asyncio.run` on a real loop, stock asyncio's and uvloop's, with a deadline."""

    async def bounded(main: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await main

    def run(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=_LOOPS[request.param]) as runner:
            runner.run(bounded(main))

    return run


@pytest.fixture
def relayed(request: pytest.FixtureRequest) -> Iterator[Relayed]:
    """Puts a lossy relay in front of an address on loopback: `address = await relayed(address)`."""
    relays: list[LossyRelay] = []
    given = request.config.getoption("--rudp-seed")
    seed = random.getrandbits(32) if given is None else given
    print(f"link seed {seed}")  # noqa: T201 - pytest shows it if the test fails

    async def start(target: tuple[str, int]) -> tuple[str, int]:
        to_server, to_client = (
            Link(RELAY_LINK, random.Random(f"{seed} {way}")) for way in ("up", "down")
        )
        relays.append(await LossyRelay.start(target, to_server=to_server, to_client=to_client))
        return relays[-1].address

    yield start
    for relay in relays:
        relay.close()
        assert relay.stats.to_server.delivered
