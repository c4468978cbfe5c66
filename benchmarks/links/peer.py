"""The two ends of a transfer over a link. Not run by hand.

`sink TRANSPORT ADDRESS SECONDS` says its port, then how many bytes its application got;
`source TRANSPORT ADDRESS PORT SECONDS` writes until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
import time

from benchmarks.loops import loop_factory
from benchmarks.processes import end_with_parent, say
from benchmarks.transports import find
from benchmarks.transports.base import LIMIT_BYTES, Transport

CHUNK = bytes(64 << 10)
_UNDRAINED_BITS_A_SECOND = 120e6
"""Where `drain()` never waits, so much is offered: more than any link here carries."""


async def sink(transport: Transport, address: str, seconds: float) -> None:
    """Count what the first connection's application gets within a time of its opening."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    total = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal total
        loop.call_later(seconds, over.set)
        try:
            while data := await reader.read(LIMIT_BYTES):
                if not over.is_set():
                    total += len(data)
        except OSError:
            pass

    say({"port": await transport.serve(count, address)})
    await over.wait()
    say({"bytes": total})
    await asyncio.Event().wait()  # to be ended by the parent, and not in the middle of a loss


async def source(transport: Transport, address: str, port: int, seconds: float) -> None:
    """Write all that `drain()` allows; longer than the sink counts, and then wait for the end."""
    connection = await transport.connect(address, await transport.prepare(address, port))
    end_s = time.monotonic() + 2 * seconds
    while time.monotonic() < end_s:
        connection.writer.write(CHUNK)
        await connection.writer.drain()
        if not transport.drains:
            await asyncio.sleep(len(CHUNK) * 8 / _UNDRAINED_BITS_A_SECOND)
    await asyncio.Event().wait()


def main() -> None:
    """Be one of the two, on uvloop where there is one."""
    end_with_parent()
    role, name, address, *rest = sys.argv[1:]
    transport = find(name)
    try:
        factory = loop_factory("uvloop")
    except ImportError:
        factory = loop_factory("asyncio")
    with asyncio.Runner(loop_factory=factory) as runner:
        if role == "sink":
            runner.run(sink(transport, address, float(rest[0])))
        else:
            runner.run(source(transport, address, int(rest[0]), float(rest[1])))


if __name__ == "__main__":
    main()
