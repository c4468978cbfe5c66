"""What the blocks of the pages find when they run: a host, files, names, a server that echoes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import trustme

import rudp
from rudp.sim import LinkConfig, Network

HOST = "example.org"
PEER = "peer"
LINK = LinkConfig(delay_s=0.01, rate_bytes_per_s=12.5e6)

Prepare = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]


def network(seed: int) -> Network:
    """The host that everything runs on, which is `example.org` itself, and a peer of it."""
    made = Network(seed, LINK)
    made.add_host("10.0.0.1", "fd00::1", name=HOST)
    made.add_host("10.0.0.2", "fd00::2", name=PEER)
    return made


def write_certificates(directory: Path) -> Path:
    """server.crt and server.key for the names that the pages use; the authority's file."""
    authority = trustme.CA()
    server = authority.issue_cert(HOST, "localhost", "127.0.0.1")
    server.private_key_pem.write_to_path(directory / "server.key")
    (directory / "server.crt").write_bytes(b"".join(one.bytes() for one in server.cert_chain_pems))
    authority.cert_pem.write_to_path(directory / "ca.crt")
    return directory / "ca.crt"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send everything back."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def visited(server: Coroutine[Any, Any, Any], say: str, expect: str) -> None:
    """Run a server until a client has got the line that it expects, then end it as SIGTERM or
    Ctrl-C does."""
    handlers: dict[int, Callable[[], None]] = {}
    asyncio.get_running_loop().add_signal_handler = handlers.__setitem__  # type: ignore[method-assign, assignment]
    running = asyncio.create_task(server)
    await asyncio.sleep(1)
    assert not running.done(), running
    reader, writer = await rudp.open_connection("127.0.0.1", 7000)
    writer.write(say.encode() + b"\n")
    assert (await reader.readline()).decode() == expect + "\n"
    writer.close()
    await asyncio.sleep(1)
    if signal.SIGTERM in handlers:
        handlers[signal.SIGTERM]()
        await running
        return
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def _serve(names: dict[str, Any]) -> None:
    names["serve"] = serve


async def _echo(names: dict[str, Any]) -> None:
    names["_echo"] = await rudp.start_server(serve, None, 7000)


async def _connected(names: dict[str, Any]) -> None:
    if "_echo" not in names:
        await _echo(names)
    names["reader"], names["writer"] = await rudp.open_connection(HOST, 7000)


async def _contexts(names: dict[str, Any]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("server.crt", "server.key")
    names["server_context"] = context
    names["client_context"] = ssl.create_default_context()


async def _rendezvous(names: dict[str, Any]) -> None:
    """A server, `ask`, and a peer that dials when it was asked for."""
    await _echo(names)
    names["server"] = (HOST, 7000)
    net: Network = asyncio.get_running_loop().network  # type: ignore[attr-defined]
    with net.host(PEER):
        names["_binding"] = binding = rudp.Endpoint.bind("10.0.0.2", 6000)
        peer = await binding.__aenter__()

    async def dial(address: tuple[str, int], word: bytes) -> None:
        names["_met"] = await peer.open_connection(*address, rendezvous=word)

    async def ask(reader: Any, writer: asyncio.StreamWriter) -> tuple[tuple[str, int], bytes]:
        port = writer.get_extra_info("sockname")[1]
        names["_dialling"] = asyncio.create_task(dial(("10.0.0.1", port), b"a word"))
        return ("10.0.0.2", 6000), b"a word"

    names["ask"] = ask


READY: dict[str, Prepare] = {
    "serve": _serve,
    "echo": _echo,
    "reader": _connected,
    "writer": _connected,
    "server_context": _contexts,
    "client_context": _contexts,
    "rendezvous": _rendezvous,
}
"""What a block can be given."""


async def prepare(given: list[str], names: dict[str, Any]) -> None:
    """Make ready what is asked for, each once."""
    for step in dict.fromkeys(READY[name] for name in given):
        await step(names)
