"""The other end of `rudp doctor HOST PORT`: answers measurements, within bounds.

A client sends lines of JSON. The first is {"doctor": 1}, answered by a greeting; then:

- {"do": "echo", "bytes": N}: N bytes follow, each sent back as it comes;
- {"do": "sink", "bytes": N}: N bytes follow, answered by {"got": N};
- {"do": "source", "bytes": N}: answered by N bytes;
- {"do": "report"}: answered by what this end knows of the connection.

Anything else ends the connection.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import rudp
from rudp.cli.address import HostPort, format_address
from rudp.cli.output import Output
from rudp.cli.running import reason

VERSION = 1
MAX_BYTES = 64 << 20
"""Most bytes that one request may be about."""
_MAX_TOTAL_BYTES = 256 << 20
_MAX_SECONDS = 120.0
_MAX_CLIENTS = 16
_MAX_LINE_BYTES = 4096
_CHUNK_BYTES = 1 << 16


REPORTED: dict[str, type | tuple[type, ...]] = {
    "bytes_sent": int,
    "bytes_retransmitted": int,
    "bytes_lost": int,
    "bytes_duplicated": int,
    "datagram_size": int,
    "mtu_state": str,
    "ecn": str,
    "delivery_rate": (int, float),
}
"""What an end tells of its connection: fields of `rudp.ConnectionInfo`, and their types. It fits
into the smallest datagram, so that it passes where larger ones do not."""


class ProtocolError(ConnectionError):
    """The other end does not speak this protocol."""


async def read_message(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The next line of JSON, an object; {} at the end. Raises `ProtocolError` for the rest."""
    try:
        line = await reader.readline()
        message = json.loads(line) if line else {}
    except (ValueError, RecursionError):
        raise ProtocolError("the other end is no rudp doctor") from None
    if not isinstance(message, dict):
        raise ProtocolError("the other end is no rudp doctor")
    return message


def send_message(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    """Send a line of JSON."""
    writer.write(json.dumps(message, default=str).encode() + b"\n")


def report(writer: asyncio.StreamWriter) -> dict[str, Any]:
    """What this end knows of the direction in which it sends."""
    info = writer.get_extra_info("rudp_info")
    return {name: getattr(info, name) for name in REPORTED}


async def serve(at: HostPort, config: rudp.Config, out: Output) -> None:
    """Answer measurements until cancelled. Raises `OSError` if the address cannot be bound."""
    service = _Service(out)
    server = await rudp.start_server(
        service.accept, at.host, at.port, limit=_MAX_LINE_BYTES, config=config
    )
    try:
        where = [format_address(address) for address in server.sockaddrs]
        out.say("listening", f"listening on {', '.join(where)}", addresses=where)
        await asyncio.get_running_loop().create_future()
    finally:
        server.close()
        server.abort_clients()


class _Service:
    def __init__(self, out: Output) -> None:
        self._out = out
        self._clients: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client, or reset it if there are too many."""
        if len(self._clients) >= _MAX_CLIENTS:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = format_address(writer.get_extra_info("peername"))
        self._out.say("client", f"measured from {peer}", peer=peer)
        try:
            async with asyncio.timeout(_MAX_SECONDS):
                await _answer(reader, writer)
                writer.close()
                await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError) as exc:
            self._out.detail("gone", f"{peer}: {reason(exc)}", peer=peer)
        finally:
            writer.transport.abort()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One client's requests, up to the end of its stream."""
    if (await read_message(reader)).get("doctor") != VERSION:
        raise ProtocolError("the client speaks another version")
    peer = format_address(writer.get_extra_info("peername"))
    send_message(writer, {"doctor": VERSION, "rudp": rudp.__version__, "seen": peer})
    left_bytes = _MAX_TOTAL_BYTES
    while request := await read_message(reader):
        size = request.get("bytes", 0)
        if not isinstance(size, int) or not 0 <= size <= min(MAX_BYTES, left_bytes):
            raise ProtocolError("more bytes than are allowed")
        left_bytes -= size
        match request.get("do"):
            case "echo":
                await _take(reader, size, writer)
            case "sink":
                await _take(reader, size)
                send_message(writer, {"got": size})
            case "source":
                await _give(writer, size)
            case "report":
                send_message(writer, {"info": report(writer)})
            case _:
                raise ProtocolError("a request that is not known")
        await writer.drain()


async def _take(
    reader: asyncio.StreamReader, size: int, back: asyncio.StreamWriter | None = None
) -> None:
    """Read `size` bytes, and send them back if asked to."""
    while size:
        data = await reader.read(min(size, _CHUNK_BYTES))
        if not data:
            raise ProtocolError("the stream ended early")
        size -= len(data)
        if back is not None:
            back.write(data)
            await back.drain()


async def _give(writer: asyncio.StreamWriter, size: int) -> None:
    while size:
        part = min(size, _CHUNK_BYTES)
        writer.write(bytes(part))
        await writer.drain()
        size -= part
