"""What endpoints an event loop has, and how they are closed with it.

All endpoints of a loop are closed when it ends, in order: what was written and not yet
acknowledged when `asyncio.run()` comes to its end gets `Config.linger` seconds.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncIterator, Hashable
from typing import TYPE_CHECKING

from rudp.aio import tracing
from rudp.aio.udp import has_own_network
from rudp.core.stats import EndpointStats

if TYPE_CHECKING:
    from rudp.aio.endpoint import Endpoint
    from rudp.aio.monitor import Monitor
    from rudp.aio.udp import Address


class LoopEndpoints:
    """The endpoints of one event loop.

    `shared` are the sockets of connections that name no local address, by what they depend on,
    `traces` the files that connections are recorded to; `monitors` tell other processes about all
    of them (`rudp.aio.monitor`).
    """

    def __init__(self) -> None:
        self.endpoints: set[Endpoint] = set()
        self.shared: dict[Hashable, Endpoint] = {}
        self.past = EndpointStats()
        """What endpoints that are closed had counted."""
        self.traces = tracing.of_environment()
        self.monitors: list[Monitor] = []
        self.lifeline: AsyncIterator[None] | None = None

    def forget(self, endpoint: Endpoint) -> None:
        """The endpoint is closed."""
        if endpoint in self.endpoints:
            self.past.add(endpoint.stats)
            self.endpoints.discard(endpoint)
        for key in [key for key, one in self.shared.items() if one is endpoint]:
            del self.shared[key]

    def vacant_at(self, address: Address) -> Endpoint | None:
        """An endpoint whose server was closed and whose connections still live on `address`.

        Kernel TCP lets a new listener bind there; here the socket, which the old connections
        need, is handed to the new server.
        """
        for endpoint in self.endpoints:
            if endpoint.is_vacant and endpoint.get_extra_info("sockname") == address:
                return endpoint
        return None


_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopEndpoints] = (
    weakref.WeakKeyDictionary()
)


def of_loop(loop: asyncio.AbstractEventLoop) -> LoopEndpoints | None:
    """The endpoints of `loop`; None while it has had none."""
    return _loops.get(loop)


async def of_running_loop() -> LoopEndpoints:
    """The endpoints of the running event loop."""
    loop = asyncio.get_running_loop()
    known = _loops.get(loop)
    if known is None:
        known = _loops[loop] = LoopEndpoints()
        known.lifeline = _lifeline(known)
        await anext(known.lifeline)
        where = os.environ.get("RUDP_TOP")
        if where and not has_own_network(loop):
            from rudp.aio import monitor  # costs nothing when off

            await monitor.serve_from_environment(known, where)
    return known


async def _lifeline(known: LoopEndpoints) -> AsyncIterator[None]:
    """Suspended for as long as the loop lives: `loop.shutdown_asyncgens()`, which
    `asyncio.run()` calls at the end, is the one hook that a loop has for closing things."""
    try:
        yield
    finally:
        # The generator holds the loop (its finalizer hook), which would keep the loop for ever.
        known.lifeline = None
        for one in list(known.monitors):
            one.close()
        try:
            await asyncio.gather(*(endpoint.aclose() for endpoint in list(known.endpoints)))
        finally:
            known.traces.close()
