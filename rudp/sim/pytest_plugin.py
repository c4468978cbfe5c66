"""pytest fixtures for programs on a simulated network.

`rudp_network` is a `rudp.sim.Network` whose seed is random, or that of ``--rudp-seed``; a failing
test reports it. `rudp_sim` runs a coroutine, or an async function without arguments, on it:

    def test_greeting(rudp_network, rudp_sim):
        rudp_network.default = LinkConfig(loss=0.1, delay_s=0.02)

        async def main():
            ...

        rudp_sim(main)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest

# rudp.sim is imported by the fixtures: this module is loaded in every run of pytest.
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from rudp.sim.network import Network

_T = TypeVar("_T")


class Simulate(Protocol):
    """The `rudp_sim` fixture."""

    def __call__(
        self,
        program: Coroutine[Any, Any, _T] | Callable[[], Coroutine[Any, Any, _T]],
        **options: Any,
    ) -> _T:
        """Run `program`, and return its result; `options` are those of `rudp.sim.run`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--rudp-seed``."""
    parser.getgroup("rudp").addoption(
        "--rudp-seed",
        type=lambda text: int(text, 0),
        default=None,
        metavar="SEED",
        help="seed of the simulated network in every test (default: a random one for each)",
    )


@pytest.fixture
def rudp_network(request: pytest.FixtureRequest) -> Network:
    """A simulated network with perfect links, and a seed that a failing test reports."""
    from rudp.sim.network import Network
    from rudp.sim.runner import random_seed

    seed = request.config.getoption("--rudp-seed")
    return Network(random_seed() if seed is None else seed)


@pytest.fixture
def rudp_sim(rudp_network: Network) -> Simulate:
    """A function that runs a coroutine or an async function on `rudp_network`, in virtual time."""
    from rudp.sim.runner import run

    def simulate(
        program: Coroutine[Any, Any, _T] | Callable[[], Coroutine[Any, Any, _T]],
        **options: Any,
    ) -> _T:
        main = program() if callable(program) else program
        return run(main, network=rudp_network, **options)

    return simulate


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say in the report of a failure which seed the network had."""
    report = yield
    network = getattr(item, "funcargs", {}).get("rudp_network")
    if report.failed and network is not None:
        seed = network.seed
        report.sections.append(
            ("rudp simulated network", f"seed {seed}; replay with --rudp-seed={seed}")
        )
    return report
