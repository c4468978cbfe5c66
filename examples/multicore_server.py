"""An echo server on one port that uses several cores: a process each, SO_REUSEPORT between them.

    python examples/multicore_server.py --listen 127.0.0.1:7007 --processes 2

Talk to it with examples/echo_client.py. Linux hands each datagram to one of the sockets of a port,
by a hash of both addresses and ports. So a connection stays with its process, and so do all that
share a client's socket: the load spreads over clients, not over the connections of one client.

The hash also depends on which sockets the port has. Where each process just calls
`rudp.start_server(..., reuse_port=True)`, one that ends or starts moves the connections of all the
others to processes that do not know them. Here the parent opens the sockets and keeps them open, so
that nothing moves: a process that dies is replaced, on its socket, and only its own clients notice.

Ctrl-C ends it: new connections are refused, those that are open have --grace seconds to finish.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import time
from contextlib import suppress

from _common import (
    CLOSE_TIMEOUT_S,
    Address,
    Failure,
    Handler,
    add_transport_option,
    address,
    format_address,
    network,
    run,
    stdin_lines,
    until_stopped,
)

SCRIPT = os.path.abspath(__file__)
SHORTEST_LIFE_S = 1.0  # between two starts, so that what cannot live does not take a core
STOP_TIMEOUT_S = 2 * CLOSE_TIMEOUT_S  # beyond the grace: cutting off, and the loop's own end


class Service:
    """Echoes, and knows how many connections there were and are."""

    def __init__(self) -> None:
        self.served = 0
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until the client has sent everything."""
        self.served += 1
        self._open += 1
        self._idle.clear()
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()
            await writer.wait_closed()
        except OSError:
            pass
        finally:
            writer.close()
            self._open -= 1
            if not self._open:
                self._idle.set()

    async def finish(self, grace_s: float) -> None:
        """Wait until no connection is open, but not longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle.wait()


async def work(args: argparse.Namespace) -> int:
    """One process: serve on the socket that the parent opened until stdin ends."""
    streams, options = network(args.transport)
    service, stopped = Service(), asyncio.Event()
    handler = Handler(service.echo)
    server = await streams.start_server(handler, sock=socket.socket(fileno=args.worker), **options)
    print("ready", flush=True)

    async def hear_parent() -> None:
        async for _ in stdin_lines():
            pass
        stopped.set()

    listening = asyncio.create_task(hear_parent())
    await until_stopped(server, stopped)
    await listening
    await service.finish(args.grace)
    await handler.stop()
    print(service.served, flush=True)
    return 0


class Worker:
    """A process and its socket, from the parent's side."""

    def __init__(self, number: int, sock: socket.socket, args: argparse.Namespace) -> None:
        self._number = number
        self._sock = sock
        self._words = ("--transport", args.transport, "--grace", str(args.grace))
        self._patience_s = args.grace + STOP_TIMEOUT_S
        self._process: asyncio.subprocess.Process | None = None
        self._started_s = 0.0

    async def start(self) -> None:
        """Start the process and wait until it serves."""
        self._started_s = time.monotonic()
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            SCRIPT,
            *("--worker", str(self._sock.fileno()), *self._words),
            pass_fds=[self._sock.fileno()],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for the parent, which then ends them in order
        )
        assert process.stdout is not None
        if await process.stdout.readline() != b"ready\n":
            raise Failure(f"process {self._number} does not start")
        print(f"process {self._number}: {process.pid}", flush=True)

    async def keep_up(self) -> None:
        """Replace the process whenever it dies, once a second at most."""
        while True:
            assert self._process is not None
            await self._process.wait()
            print(f"process {self._number} died and is replaced", flush=True)
            await asyncio.sleep(self._started_s + SHORTEST_LIFE_S - time.monotonic())
            await self.start()

    async def stop(self) -> None:
        """Let the process finish, and say how much it had to do."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(self._patience_s):
                served = (await self._process.stdout.read()).decode().strip()
                await self._process.wait()
        except TimeoutError:
            served = "unknown"
            self._process.kill()
            await self._process.wait()
        print(f"process {self._number}: {served or 'unknown'} connections served", flush=True)


def bind(where: Address, transport: str, count: int) -> list[socket.socket]:
    """So many sockets of one port, which the kernel chooses if it is 0."""
    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
    info = socket.getaddrinfo(*where, type=kind, flags=socket.AI_PASSIVE)[0]
    family, name = info[0], info[4]
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(socket.socket(family, kind))
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sockets[-1].bind(name)
            name = sockets[-1].getsockname()
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


async def main(args: argparse.Namespace) -> int:
    """Start the processes, keep them running, end them when stopped."""
    if args.worker is not None:
        return await work(args)
    if sys.platform != "linux":
        raise Failure("only Linux spreads datagrams over the sockets of a port")
    sockets = bind(args.listen, args.transport, args.processes)
    workers = [Worker(number, sock, args) for number, sock in enumerate(sockets, 1)]
    try:
        for worker in workers:
            await worker.start()
        print(f"listening on {format_address(sockets[0].getsockname())}", flush=True)
        async with asyncio.TaskGroup() as tasks:
            for worker in workers:
                tasks.create_task(worker.keep_up())
    finally:
        await asyncio.gather(*(worker.stop() for worker in workers))
        for sock in sockets:
            sock.close()
    return 0


def positive(text: str) -> int:
    """A number above zero; an argparse type."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return int(text)


def seconds(text: str) -> float:
    """Seconds, none or more; an argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 3600.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to 3,600")
    return value


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--listen", type=address, default="127.0.0.1:7007", metavar="HOST:PORT")
    parser.add_argument(
        "--processes",
        type=positive,
        default=os.cpu_count() or 1,
        metavar="N",
        help="default: as many as the machine has cores",
    )
    parser.add_argument(
        "--grace",
        type=seconds,
        default=CLOSE_TIMEOUT_S,
        metavar="SECONDS",
        help=f"for open connections to finish when stopped (default: {CLOSE_TIMEOUT_S:g})",
    )
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    add_transport_option(parser)
    run(main, parser.parse_args(), until_stopped=True)
