"""A process dies, or is replaced by another one."""

from __future__ import annotations

import sys

import pytest

from .processes import Children

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform == "win32", reason="signals"),
]

KEEPALIVE = {"keepalive": 0.3, "keepalive_interval": 0.2, "keepalive_probes": 3}
AT_ONCE_S = 5.0


async def test_a_sender_killed_in_mid_transfer_is_noticed_by_keepalive(
    children: Children, loop: str
) -> None:
    """Its receiver has nothing to retransmit: only probes can tell silence from death."""
    server = await children.start("server", "pour", loop=loop)
    client = await children.start(
        "client", "listen", loop=loop, port=await server.port(), config=KEEPALIVE
    )
    assert (await client.hear())["connected"]
    await server.kill()
    message = await client.hear(AT_ONCE_S)
    assert message["error"] == "TimeoutError"
    assert message["reason"] == "KEEPALIVE_TIMEOUT"


async def test_a_receiver_killed_in_mid_transfer_is_noticed_by_the_user_timeout(
    children: Children, loop: str
) -> None:
    server = await children.start("server", "swallow", loop=loop)
    client = await children.start(
        "client",
        "upload",
        loop=loop,
        size=10**10,
        port=await server.port(),
        config={"user_timeout": 1.0},
    )
    assert (await client.hear())["connected"]
    await server.kill()
    message = await client.hear(AT_ONCE_S)
    assert message["error"] == "TimeoutError"
    assert message["reason"] == "USER_TIMEOUT"


async def test_a_client_killed_in_mid_transfer_is_noticed_by_the_server(
    children: Children, loop: str
) -> None:
    server = await children.start("server", "swallow", loop=loop, config=KEEPALIVE)
    port = await server.port()
    client = await children.start("client", "upload", loop=loop, size=10**10, port=port)
    assert (await client.hear())["connected"]
    await client.kill()
    message = await server.hear(AT_ONCE_S)
    assert message["reason"] == "KEEPALIVE_TIMEOUT"
    # The server goes on serving.
    other = await children.start("client", "upload", loop=loop, size=100_000, port=port)
    assert (await other.hear())["connected"]
    assert (await server.hear())["received_bytes"] == 100_000


@pytest.mark.parametrize("how", ["killed", "finished"])
async def test_a_server_that_is_restarted_on_its_port(
    children: Children, loop: str, how: str
) -> None:
    """Old connections get a reset from the new process, which does not know them."""
    server = await children.start("server", "echo", loop=loop, config={"linger": 0.1})
    port = await server.port()
    client = await children.start("client", "turns", loop=loop, port=port)
    assert (await client.hear())["connected"]
    await client.tell("before")
    assert (await client.hear())["answer"] == "before\n"
    if how == "killed":
        await server.kill()
    else:
        await server.finish()
    again = await children.start("server", "echo", loop=loop, port=port)
    assert await again.port() == port
    await client.tell("after")
    message = await client.hear(AT_ONCE_S)
    if how == "killed":
        assert message["error"] == "ConnectionResetError"
    else:
        assert message.get("answer") == "" or message["error"] == "ConnectionResetError"
    fresh = await children.start("client", "turns", loop=loop, port=port)
    assert (await fresh.hear())["connected"]
    await fresh.tell("anew")
    assert (await fresh.hear())["answer"] == "anew\n"


async def test_a_client_that_waits_for_its_server_to_come(children: Children, loop: str) -> None:
    """Refused at once while nobody listens, so that it can try again."""
    server = await children.start("server", "echo", loop=loop)
    port = await server.port()
    await server.finish()
    refused = await children.start("client", "turns", loop=loop, port=port)
    message = await refused.hear(AT_ONCE_S)
    assert message["error"] == "ConnectionRefusedError"
    assert message["elapsed_s"] < AT_ONCE_S
    server = await children.start("server", "echo", loop=loop, port=port)
    assert await server.port() == port
    client = await children.start("client", "turns", loop=loop, port=port)
    assert (await client.hear())["connected"]
