"""rudp.sim.pytest_plugin, in pytest runs of its own."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

PROGRAM = """
    import asyncio
    from rudp.sim import LinkConfig, Network

    def test_sync(rudp_network, rudp_sim):
        assert isinstance(rudp_network, Network)
        rudp_network.default = LinkConfig(delay_s=0.1)

        async def main():
            await asyncio.sleep(3600)
            return asyncio.get_running_loop().network

        assert rudp_sim(main) is rudp_network
        assert rudp_sim(main(), debug=True) is rudp_network

    async def test_async_on_the_real_loop():
        await asyncio.sleep(0)
"""

FAILING = """
    def test_fails(rudp_network, rudp_sim):
        async def main():
            assert rudp_network.seed == {seed}

        rudp_sim(main)
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini(
        """
        [pytest]
        asyncio_mode = auto
        asyncio_default_fixture_loop_scope = function
        filterwarnings = error
        """
    )
    return pytester


def test_the_plugin_is_registered() -> None:
    (entry,) = importlib.metadata.entry_points(group="pytest11", name="rudp")
    assert entry.value == "rudp.sim.pytest_plugin"


def test_fixtures_beside_pytest_asyncio(project: pytest.Pytester) -> None:
    project.makepyfile(PROGRAM)
    project.runpytest().assert_outcomes(passed=2)


def test_a_failure_names_its_seed_and_replays(project: pytest.Pytester) -> None:
    project.makepyfile(FAILING.format(seed=-1))
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*rudp simulated network*", "seed *; replay with --rudp-seed=*"])
    line = next(line for line in result.outlines if line.startswith("seed "))
    seed = int(line.rpartition("=")[2])
    project.makepyfile(FAILING.format(seed=seed))
    project.runpytest(f"--rudp-seed={seed}").assert_outcomes(passed=1)
    project.runpytest(f"--rudp-seed={seed:#x}").assert_outcomes(passed=1)


def test_a_failure_without_the_network_names_no_seed(project: pytest.Pytester) -> None:
    project.makepyfile("def test_fails(): assert False")
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*rudp simulated network*")


def test_loading_the_plugin_loads_none_of_the_simulation() -> None:
    script = (
        "import sys, rudp.sim.pytest_plugin\n"
        "print(*(name for name in sys.modules if name.startswith('rudp.sim.')))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert done.stdout.decode().split() == ["rudp.sim.pytest_plugin"]


def test_the_package_offers_what_it_lists() -> None:
    import rudp.sim

    assert set(rudp.sim.__all__) <= set(dir(rudp.sim))
    for name in rudp.sim.__all__:
        assert getattr(rudp.sim, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        rudp.sim.nonsense  # noqa: B018
