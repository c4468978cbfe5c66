"""QUIC by aioquic: one stream a connection, TLS included, as it cannot do without."""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from benchmarks.transports.base import Connection, Handler, Transport

if TYPE_CHECKING:
    from aioquic.quic.configuration import QuicConfiguration

_ALPN = ["rudp-benchmark"]
_WINDOW_BYTES = 1 << 26


class QuicConnection(Connection):
    """A stream, and the connection that it is alone in."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, whole: AsyncExitStack
    ) -> None:
        super().__init__(reader, writer)
        self._whole = whole

    async def close(self) -> None:
        """Close the connection, without waiting for the draining period (RFC 9000 §10.2)."""
        task = asyncio.create_task(self._whole.aclose())
        _closing.add(task)
        task.add_done_callback(_closing.discard)
        await asyncio.sleep(0)


_closing: set[asyncio.Task[None]] = set()


class Quic(Transport):
    """`aioquic.asyncio`, with windows that do not limit it."""

    tests = frozenset({"bulk", "echo", "connections", "idle", "links"})
    drains = False
    connects_at_once = 10

    def why_not(self) -> str | None:
        """It may not be installed."""
        for package in ("aioquic", "trustme"):
            if importlib.util.find_spec(package) is None:
                return f"{package} is not installed (extra [peers])"
        return None

    async def serve(self, handler: Handler, host: str) -> int:
        """See `Transport`."""
        from aioquic.asyncio.server import serve

        configuration = _configuration(is_client=False)
        _certify(configuration)
        tasks: set[asyncio.Future[None]] = set()

        def started(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(handler(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await serve(host, 0, configuration=configuration, stream_handler=started)
        transport = server._transport  # there is no other way to learn the port
        assert transport is not None
        port: int = transport.get_extra_info("sockname")[1]
        return port

    async def connect(self, host: str, port: int) -> Connection:
        """See `Transport`."""
        from aioquic.asyncio.client import connect

        configuration = _configuration(is_client=True)
        configuration.verify_mode = ssl.CERT_NONE
        whole = AsyncExitStack()
        client = await whole.enter_async_context(connect(host, port, configuration=configuration))
        reader, writer = await client.create_stream()
        return QuicConnection(reader, writer, whole)


def _configuration(*, is_client: bool) -> QuicConfiguration:
    from aioquic.quic.configuration import QuicConfiguration

    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=_ALPN,
        max_data=_WINDOW_BYTES,
        max_stream_data=_WINDOW_BYTES,
    )


def _certify(configuration: QuicConfiguration) -> None:
    """Give a server a certificate that is made for this run."""
    import trustme

    certificate = trustme.CA().issue_cert("rudp.invalid")
    with (
        certificate.cert_chain_pems[0].tempfile() as chain,
        certificate.private_key_pem.tempfile() as key,
    ):
        configuration.load_cert_chain(chain, key)
