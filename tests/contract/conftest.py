"""Fixtures of the contract suite: a stack, a loop, and pairs that clean up after themselves.

Every test runs on each stack and each loop. Where the two loops' kernel TCP disagree, a test
asserts what both keep; where rudp promises more than one of them keeps, the marker
`not_on("tcp-uvloop", because=...)` leaves that combination out when tests are collected.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from .stacks import LOOP_FACTORIES, LOOPBACK, STACKS, Stack
from .support import (
    Clock,
    ConnectProtocols,
    ConnectStreams,
    End,
    Recorder,
    Serve,
    address_of,
    end_connection,
    end_server,
)

TEST_DEADLINE_S = 10


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "not_on(*names, because): does not hold on these combinations of stack and loop",
    )


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return LOOP_FACTORIES


def _bounded(test: Callable[..., Any]) -> Callable[..., Any]:
    """Give the whole test one deadline: a wait that never ends fails where it waits."""

    @functools.wraps(test)
    async def bounded(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(TEST_DEADLINE_S):
            await test(*args, **kwargs)

    return bounded


def _combination(item: pytest.Function) -> str:
    params = item.callspec.params.values()
    loop = next(name for name, factory in LOOP_FACTORIES.items() if factory in params)
    return f"{item.callspec.params['stack']}-{loop}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        excluded = {name for mark in item.iter_markers("not_on") for name in mark.args}
        if excluded and isinstance(item, pytest.Function) and _combination(item) in excluded:
            left_out.append(item)
            continue
        if (
            here in item.path.parents
            and isinstance(item, pytest.Function)
            and inspect.iscoroutinefunction(item.obj)
        ):
            item.obj = _bounded(item.obj)
        kept.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


@pytest.fixture(params=STACKS, ids=str)
def stack(request: pytest.FixtureRequest) -> Stack:
    """The transport under test."""
    return request.param


@pytest.fixture(autouse=True)
async def loop_errors() -> AsyncIterator[list[dict[str, Any]]]:
    """What reached the loop's exception handler; a test that expects some must take them out."""
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    yield errors
    assert errors == []


@pytest.fixture
async def cleanup(loop_errors: list[dict[str, Any]]) -> AsyncIterator[contextlib.AsyncExitStack]:
    """Closes what a test registers here, last first."""
    async with contextlib.AsyncExitStack() as exit_stack:
        yield exit_stack


@pytest.fixture
def serve(stack: Stack, cleanup: contextlib.AsyncExitStack) -> Serve:
    """Start a stream server on a free loopback port: `server = await serve(callback)`."""

    async def serve(callback: Callable[..., Any], **kwargs: Any) -> asyncio.Server:
        server = await stack.start_server(callback, LOOPBACK, 0, **kwargs)
        cleanup.push_async_callback(end_server, server)
        return server

    return serve


@pytest.fixture
def connect_streams(
    stack: Stack, serve: Serve, cleanup: contextlib.AsyncExitStack
) -> ConnectStreams:
    """Make a connected pair of stream ends: `client, server = await connect_streams()`."""

    async def connect(*, limit: int = 2**16, server_limit: int = 2**16) -> tuple[End, End]:
        accepted: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        server = await serve(lambda r, w: accepted.set_result(End(r, w)), limit=server_limit)
        client_end = End(*await stack.open_connection(*address_of(server), limit=limit))
        cleanup.push_async_callback(end_connection, client_end.writer)
        server_end = await accepted
        cleanup.push_async_callback(end_connection, server_end.writer)
        return client_end, server_end

    return connect


@pytest.fixture
async def ends(connect_streams: ConnectStreams) -> tuple[End, End]:
    """A connected pair of stream ends: the client's and the server's."""
    return await connect_streams()


@pytest.fixture
def connect_protocols(stack: Stack, cleanup: contextlib.AsyncExitStack) -> ConnectProtocols:
    """Connect two protocols: `client, server = await connect_protocols(factory, factory)`."""

    async def connect(
        client_factory: Callable[[], Any] = Recorder, server_factory: Callable[[], Any] = Recorder
    ) -> tuple[Any, Any]:
        accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def build() -> Any:
            accepted.set_result(server_factory())
            return accepted.result()

        server = await stack.create_server(build, LOOPBACK, 0)
        cleanup.push_async_callback(end_server, server)
        transport, protocol = await stack.create_connection(client_factory, *address_of(server))
        cleanup.callback(transport.abort)
        peer = await accepted
        await peer.made
        cleanup.callback(peer.transport.abort)
        return protocol, peer

    return connect


@pytest.fixture
async def clock(connect_streams: ConnectStreams) -> Clock:
    """Time told by another connection: what could have happened meanwhile, has happened."""
    return Clock(*await connect_streams())
