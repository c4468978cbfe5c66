"""Fixtures of the contract suite: a stack, a loop, and pairs that clean up after themselves.

Every test runs on each stack and each loop, but for the combinations in `stacks.NEVER`. Where
the two loops' kernel TCP disagree, a test asserts what both keep; where rudp promises more than
one of them keeps, the marker `not_on("tcp-uvloop", because=...)` leaves that combination out when
tests are collected.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from .stacks import LOOP_FACTORIES, LOOPBACK, NEVER, STACKS, Stack
from .support import (
    Clock,
    ConnectProtocols,
    ConnectStreams,
    Dial,
    DialProtocol,
    End,
    Recorder,
    Serve,
    address_of,
    end_connection,
    end_server,
)

# Only a test that hangs gets this far, also under coverage on a slow machine.
TEST_DEADLINE_S = 30


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
        async with asyncio.timeout(TEST_DEADLINE_S) as deadline:
            await test(*args, **kwargs)
        # The cancellation may have ended in a test's own `pytest.raises(CancelledError)`.
        assert not deadline.expired(), f"not done after {TEST_DEADLINE_S} s"

    return bounded


def _combination(item: pytest.Function) -> str:
    """Stack and loop of a test, as far as it has them: `tcp-uvloop`."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    loops = [name for name, factory in LOOP_FACTORIES.items() if factory in params.values()]
    return "-".join([str(params[name]) for name in ("stack",) if name in params] + loops)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        # The hook is shown what was collected elsewhere, too.
        if here in item.path.parents and isinstance(item, pytest.Function):
            excluded = {name for mark in item.iter_markers("not_on") for name in mark.args}
            if _combination(item) in NEVER | excluded:
                left_out.append(item)
                continue
            if inspect.iscoroutinefunction(item.obj):
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
    """Start a stream server, by default on a free loopback port: `await serve(callback)`."""

    async def serve(
        callback: Callable[..., Any],
        host: str | Sequence[str] | None = LOOPBACK,
        port: int | None = 0,
        **kwargs: Any,
    ) -> asyncio.Server:
        server = await stack.start_server(callback, host, port, **kwargs)
        cleanup.push_async_callback(end_server, server)
        return server

    return serve


@pytest.fixture
def dial(stack: Stack, cleanup: contextlib.AsyncExitStack) -> Dial:
    """Open a stream connection: `end = await dial(host, port)`, as `open_connection` takes them."""

    async def dial(*address: Any, **kwargs: Any) -> End:
        end = End(*await stack.open_connection(*address, **kwargs))
        cleanup.push_async_callback(end_connection, end.writer)
        return end

    return dial


@pytest.fixture
def serve_protocol(stack: Stack, cleanup: contextlib.AsyncExitStack) -> Serve:
    """Start a server of protocols on a free loopback port: `await serve_protocol(factory)`."""

    async def serve(
        factory: Callable[[], Any],
        host: str | Sequence[str] | None = LOOPBACK,
        port: int | None = 0,
        **kwargs: Any,
    ) -> asyncio.Server:
        server = await stack.create_server(factory, host, port, **kwargs)
        cleanup.push_async_callback(end_server, server)
        return server

    return serve


@pytest.fixture
def dial_protocol(stack: Stack, cleanup: contextlib.AsyncExitStack) -> DialProtocol:
    """Connect a protocol: `protocol = await dial_protocol(factory, host, port)`."""

    async def dial(factory: Callable[[], Any], *address: Any, **kwargs: Any) -> Any:
        transport, protocol = await stack.create_connection(factory, *address, **kwargs)
        cleanup.callback(transport.abort)
        return protocol

    return dial


@pytest.fixture
def connect_streams(
    stack: Stack, serve: Serve, dial: Dial, cleanup: contextlib.AsyncExitStack
) -> ConnectStreams:
    """Make a connected pair of stream ends: `client, server = await connect_streams()`.

    `options` go to both sides; without them the pair has small buffers.
    """

    async def connect(
        *,
        host: str = LOOPBACK,
        limit: int = 2**16,
        server_limit: int = 2**16,
        options: Mapping[str, Any] = stack.small_buffers,
    ) -> tuple[End, End]:
        accepted: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        server = await serve(
            lambda r, w: accepted.set_result(End(r, w)), host, limit=server_limit, **options
        )
        client_end = await dial(*address_of(server), limit=limit, **options)
        server_end = await accepted
        cleanup.push_async_callback(end_connection, server_end.writer)
        return client_end, server_end

    return connect


@pytest.fixture
async def ends(connect_streams: ConnectStreams) -> tuple[End, End]:
    """A connected pair of stream ends: the client's and the server's."""
    return await connect_streams()


@pytest.fixture
def connect_protocols(
    stack: Stack,
    serve_protocol: Serve,
    dial_protocol: DialProtocol,
    cleanup: contextlib.AsyncExitStack,
) -> ConnectProtocols:
    """Connect two protocols: `client, server = await connect_protocols(factory, factory)`.

    The connection has small buffers.
    """

    async def connect(
        client_factory: Callable[[], Any] = Recorder, server_factory: Callable[[], Any] = Recorder
    ) -> tuple[Any, Any]:
        accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def build() -> Any:
            accepted.set_result(server_factory())
            return accepted.result()

        options = stack.small_buffers
        server = await serve_protocol(build, **options)
        client = await dial_protocol(client_factory, *address_of(server), **options)
        peer = await accepted
        await peer.made
        cleanup.callback(peer.transport.abort)
        return client, peer

    return connect


@pytest.fixture
async def clock(connect_streams: ConnectStreams) -> Clock:
    """Time told by another connection: what could have happened meanwhile, has happened."""
    return Clock(*await connect_streams())
