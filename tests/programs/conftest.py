"""Two hosts with a bad link between them, and the examples as modules."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rudp.sim import LinkConfig, Network

EXAMPLES = Path(__file__).parents[2] / "examples"
LINK = LinkConfig(delay_s=0.02, loss=0.05, reorder=0.02, duplicate=0.01)


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
