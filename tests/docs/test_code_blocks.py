"""Every Python block of the pages runs, in virtual time unless it says otherwise."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import logging
import os
import re
from collections.abc import Coroutine
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

import rudp
from rudp import sim
from rudp.sim.runner import random_seed

from . import stage
from .pages import PAGES, ROOT, Block, all_blocks, blocks_of, chains

pytest_plugins = ["pytester"]

LANGUAGES = {"python", "sh", "text", "toml", "ini", "json"}
LOOPBACK_TIMEOUT_S = 20.0


def count_tests(block: Block) -> int:
    """How many tests a block has."""
    return len(re.findall(r"^(?:async )?def test_", block.source, re.MULTILINE))


_AWAITS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_ALL = chains()
_SUITES = [chain for chain in _ALL if any(map(count_tests, chain))]
_CHAINS = [chain for chain in _ALL if chain not in _SUITES]
FILES = {
    block.notes["file"]: block.source for block in all_blocks("python") if "file" in block.notes
}


class Runner:
    """Runs a chain of blocks in one namespace, and compares what they print."""

    def __init__(self, chain: list[Block], seed: int) -> None:
        self.blocks = chain
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.network = stage.network(seed)
        self._codes = {id(block): compiled(block) for block in chain if block.language == "python"}
        if not any(imports(block) for block in chain):
            self.names |= {"asyncio": asyncio, "rudp": rudp}

    def run(self, asyncio_run: Any) -> None:
        """Run it all. Blocks that await are one coroutine; others are programs."""
        given = [name for block in self.blocks for name in block.given]
        needs_loop = any("in" in block.notes for block in self.blocks)
        if not given and not needs_loop and not any(map(is_coroutine, self._codes.values())):
            for block in self.blocks:
                result = self._step(block)
                assert result is None
        elif "on" in self.blocks[0].notes:
            asyncio_run(asyncio.wait_for(self._await_all(given), LOOPBACK_TIMEOUT_S))
        else:
            self.run_simulated(self._await_all(given))

    def run_simulated(self, main: Coroutine[Any, Any, Any], **options: Any) -> Any:
        """What `asyncio.run()` is to the programs on the pages."""
        for block in self.blocks:
            if "visited" in block.notes:
                main = stage.visited(main, *block.notes["visited"].split(" > "))
        return sim.run(main, network=self.network, check_leaks=False, **options)

    async def _await_all(self, given: list[str]) -> None:
        await stage.prepare(given, self.names)
        for block in self.blocks:
            result = self._step(block)
            if result is not None:
                await result

    def _step(self, block: Block) -> Coroutine[Any, Any, None] | None:
        """Run a block as far as that goes without awaiting."""
        if "prints" in block.notes:
            assert self._printed() == block.source, block.where
        code = self._codes.get(id(block))
        if code is None or "not run" in block.notes:
            return None
        self._out = io.StringIO()
        self.names["print"] = lambda *args, **kwds: print(*args, **{"file": self._out, **kwds})  # noqa: T201
        if is_coroutine(code):
            coroutine: Coroutine[Any, Any, None] = eval(code, self.names)  # noqa: S307
            return coroutine
        with contextlib.redirect_stdout(self._out):
            exec(code, self.names)  # noqa: S102
        return None

    def _printed(self) -> str:
        return self._out.getvalue()


def compiled(block: Block) -> CodeType:
    """A block's code, whose lines are those of the page."""
    source = "\n" * (block.line - 1) + block.source
    code: CodeType = compile(source, str(block.page), "exec", _AWAITS, dont_inherit=True)
    return code


def is_coroutine(code: CodeType) -> bool:
    """Whether the block awaits outside of functions."""
    return bool(code.co_flags & inspect.CO_COROUTINE)


def imports(block: Block) -> bool:
    """Whether a block imports something: then it has to import all that it uses."""
    return any(line.startswith(("import ", "from ")) for line in block.source.splitlines())


@pytest.fixture
def quiet_logs() -> Any:
    """Leave the log as it was: pages show how it is turned on."""
    logger = logging.getLogger("rudp")
    level, handlers = logger.level, list(logger.handlers)
    root_handlers = list(logging.getLogger().handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers
    logging.getLogger().handlers[:] = root_handlers


# Fragments leave open what the page does not close.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.usefixtures("quiet_logs")
@pytest.mark.parametrize("chain", _CHAINS, ids=[chain[0].where for chain in _CHAINS])
def test_block_runs(
    chain: list[Block],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if all("not run" in block.notes for block in chain):
        for block in chain:
            compiled(block)
        pytest.skip(chain[0].notes["not run"])
    chosen = request.config.getoption("--rudp-seed")
    seed = random_seed() if chosen is None else chosen
    print(f"replay with --rudp-seed={seed}")  # noqa: T201 - pytest shows it if the test fails
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", os.fspath(stage.write_certificates(tmp_path)))
    runner = Runner(chain, seed)
    asyncio_run = asyncio.run
    monkeypatch.setattr(asyncio, "run", runner.run_simulated)
    runner.run(asyncio_run)


@pytest.mark.parametrize("chain", _SUITES, ids=[chain[0].where for chain in _SUITES])
def test_tests_on_pages_pass(
    chain: list[Block], pytester: pytest.Pytester, request: pytest.FixtureRequest
) -> None:
    for name, source in FILES.items():
        (pytester.path / name).write_text(source, encoding="utf-8")
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    pytester.makepyfile(test_page="".join(block.source for block in chain))
    chosen = request.config.getoption("--rudp-seed")
    options = [] if chosen is None else [f"--rudp-seed={chosen}"]
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)
    result.assert_outcomes(passed=sum(map(count_tests, chain)))


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_block_says_its_language(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language in LANGUAGES, f"{block.where}: {block.language!r}"


def test_what_is_not_run_has_a_reason() -> None:
    for block in all_blocks("python", "sh"):
        assert block.notes.get("not run", "because") != "", block.where


def test_what_blocks_are_given_exists() -> None:
    for block in all_blocks("python"):
        assert set(block.given) <= set(stage.READY), block.where
