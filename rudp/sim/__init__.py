"""A seeded network and a virtual clock, to test programs that use the network.

A program that waits for hours, over a link that loses a tenth of everything, is done in
milliseconds, and does exactly the same again when it gets the same seed:

    network = rudp.sim.Network(seed=1, default=rudp.sim.LinkConfig(loss=0.1, delay_s=0.02))
    network.add_host("10.0.0.1", name="client"), network.add_host("10.0.0.2", name="server")
    async def main():
        await start_my_server("server", 7000)              # any asyncio code that uses rudp or UDP
        assert await my_client("server", 7000) == "hello"
    rudp.sim.run(main(), network=network)

`run` is `asyncio.run` on a `SimLoop`, a loop that jumps from timer to timer, and fails when the
program waits for what cannot happen (`SimDeadlock`) or leaves something open (`SimLeakError`).
`Network` has the hosts and their links, partitions and changes of address, and the NATs that some
hosts are behind (`Network.add_nat`, with a `NatConfig` or one of the four usual kinds):

    nat = network.add_nat("203.0.113.1", rudp.sim.PORT_RESTRICTED_CONE, name="home")
    network.add_host("192.168.1.2", name="laptop", behind=nat)
    asyncio.get_running_loop().call_at(60.0, nat.rebind)   # the router is restarted after a minute

`Link` is one direction of a path, and needs neither a loop nor a network. For pytest, which finds
the plugin by itself, there are the fixtures `rudp_network` and `rudp_sim`, and the option
``--rudp-seed`` to replay a failure.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rudp.sim.address import Address
    from rudp.sim.host import Host, Receiver, SimSocket
    from rudp.sim.link import Link, LinkConfig, LinkStats
    from rudp.sim.loop import SimDeadlock, SimLimitError, SimLoop
    from rudp.sim.nat import (
        FULL_CONE,
        PORT_RESTRICTED_CONE,
        RESTRICTED_CONE,
        SYMMETRIC,
        Dependence,
        Nat,
        NatConfig,
        NatStats,
    )
    from rudp.sim.network import Network, NetworkStats, Tap
    from rudp.sim.pair import CorePair, Node
    from rudp.sim.runner import SimLeakError, run
    from rudp.sim.trace import Trace, TraceLine
    from rudp.sim.transport import SimDatagramTransport

__all__ = [
    "FULL_CONE",
    "PORT_RESTRICTED_CONE",
    "RESTRICTED_CONE",
    "SYMMETRIC",
    "Address",
    "CorePair",
    "Dependence",
    "Host",
    "Link",
    "LinkConfig",
    "LinkStats",
    "Nat",
    "NatConfig",
    "NatStats",
    "Network",
    "NetworkStats",
    "Node",
    "Receiver",
    "SimDatagramTransport",
    "SimDeadlock",
    "SimLeakError",
    "SimLimitError",
    "SimLoop",
    "SimSocket",
    "Tap",
    "Trace",
    "TraceLine",
    "run",
]

# pytest imports this package for its plugin in every run, of projects too that only have rudp
# installed: so the modules are loaded when a name of theirs is first asked for.
_MODULES = {
    "Address": "address",
    "CorePair": "pair",
    "Dependence": "nat",
    "FULL_CONE": "nat",
    "Host": "host",
    "Link": "link",
    "LinkConfig": "link",
    "LinkStats": "link",
    "Nat": "nat",
    "NatConfig": "nat",
    "NatStats": "nat",
    "Network": "network",
    "NetworkStats": "network",
    "Node": "pair",
    "PORT_RESTRICTED_CONE": "nat",
    "RESTRICTED_CONE": "nat",
    "Receiver": "host",
    "SYMMETRIC": "nat",
    "SimDatagramTransport": "transport",
    "SimDeadlock": "loop",
    "SimLeakError": "runner",
    "SimLimitError": "loop",
    "SimLoop": "loop",
    "SimSocket": "host",
    "Tap": "network",
    "Trace": "trace",
    "TraceLine": "trace",
    "run": "runner",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
