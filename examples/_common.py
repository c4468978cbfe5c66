"""What the examples share: addresses, the choice of transport, a bad link, clean exits."""

from __future__ import annotations

import argparse
import asyncio
import codecs
import json
import os
import random
import signal
import sys
import threading
import unicodedata
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import rudp
from rudp.aio.relay import LossyRelay
from rudp.sim import Link, LinkConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from contextlib import AbstractContextManager
    from types import ModuleType

Address = tuple[str, int]
Message = dict[str, Any]

CLOSE_TIMEOUT_S = 3.0

_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_ZERO_WIDTH_JOINER = "\u200d"  # a format character that emoji sequences need


class Failure(OSError):
    """What was asked for did not come about, for a reason that is worth reading."""


def address(text: str) -> Address:
    """Parse HOST:PORT, [HOST]:PORT (IPv6) or :PORT; an argparse type."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise argparse.ArgumentTypeError(f"{text!r}: write an IPv6 address as [ADDRESS]:PORT")
    return host or "127.0.0.1", int(port)


def format_address(where: Any) -> str:
    """HOST:PORT for what a socket calls its name."""
    host, port = where[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def add_transport_option(parser: argparse.ArgumentParser) -> None:
    """Add --transport: the same program over rudp or over the kernel's TCP."""
    parser.add_argument(
        "--transport",
        choices=("rudp", "tcp"),
        default="rudp",
        help="rudp (the default), or the kernel's TCP to compare: nothing else changes",
    )


def network(transport: str, **settings: Any) -> tuple[ModuleType, dict[str, Any]]:
    """The module whose stream functions to call, and the keyword arguments that it takes more.

    `settings` are fields of rudp.Config; asyncio's own functions know no such thing.
    """
    if transport == "tcp":
        return asyncio, {}
    return rudp, {"config": rudp.Config(**settings)}


def program(
    text: str,
    serve: Callable[[argparse.Namespace], Any],
    call: Callable[[argparse.Namespace], Any],
    *,
    port: int,
) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser, argparse.ArgumentParser]:
    """A parser with the commands `serve` and `call`, and the parsers of the two, to add to.

    `args.main` is the command's function. `call` knows the server and a bad link on the way to it.
    """
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="serve | call")
    serving = commands.add_parser("serve", help="run the server until stopped")
    calling = commands.add_parser("call", help="use the server, and check what comes back")
    serving.set_defaults(main=serve, until_stopped=True)
    calling.set_defaults(main=call, until_stopped=False, transport="rudp")
    where = f"127.0.0.1:{port}"
    serving.add_argument("--listen", type=address, default=where, metavar="HOST:PORT")
    calling.add_argument("--server", type=address, default=where, metavar="HOST:PORT")
    add_link_options(calling)
    return parser, serving, calling


def percent(text: str) -> float:
    """A percentage as a probability; an argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 100.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage from 0 to 100")
    return value / 100.0


def milliseconds(text: str) -> float:
    """Milliseconds as seconds; an argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 60_000.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of milliseconds up to 60,000")
    return value / 1000.0


def add_link_options(parser: argparse.ArgumentParser) -> None:
    """Add --loss, --delay, --jitter, --reorder, --duplicate and --seed: a bad link on the way."""
    link = parser.add_argument_group("a bad link on the way (each direction; rudp only)")
    link.add_argument("--loss", type=percent, default=0.0, metavar="PERCENT")
    link.add_argument("--delay", type=milliseconds, default=0.0, metavar="MS")
    link.add_argument("--jitter", type=milliseconds, default=0.0, metavar="MS")
    link.add_argument("--reorder", type=percent, default=0.0, metavar="PERCENT")
    link.add_argument("--duplicate", type=percent, default=0.0, metavar="PERCENT")
    link.add_argument("--seed", type=int, metavar="N", help="repeat the decisions of a run")


def impaired(args: argparse.Namespace) -> bool:
    """Whether the options ask for a bad link at all."""
    return any((args.loss, args.delay, args.jitter, args.reorder, args.duplicate))


def links(args: argparse.Namespace) -> tuple[Link, Link]:
    """The two directions of the link that the options describe: to the server, to the client.

    `args.seed` is drawn if there is none.
    """
    if args.reorder and not args.delay:
        raise Failure("--reorder needs a --delay: what arrives at once cannot be overtaken")
    config = LinkConfig(
        loss=args.loss,
        delay_s=args.delay,
        jitter_s=args.jitter,
        reorder=args.reorder,
        duplicate=args.duplicate,
    )
    if args.seed is None:
        args.seed = random.getrandbits(32)
    return (
        Link(config, random.Random(f"{args.seed} to the server")),
        Link(config, random.Random(f"{args.seed} to the client")),
    )


async def through_link(target: Address, args: argparse.Namespace) -> Address:
    """The address to connect to: `target` itself, or a relay with the bad link in front of it.

    The relay lives as long as the event loop, since what the program has written may still be
    under way when its main function has returned.
    """
    if not impaired(args):
        return target
    if args.transport != "rudp":
        raise Failure("a bad link carries UDP: use it with --transport rudp")
    to_server, to_client = links(args)
    print(f"link seed {args.seed}", file=sys.stderr, flush=True)
    relay = await LossyRelay.start(target, to_server=to_server, to_client=to_client)
    _relays.append(relay)
    return relay.address


_relays: list[LossyRelay] = []


def printable(text: str, keep: str = "") -> str:
    """`text` without control, format and line-separating characters, safe for a terminal.

    The characters of `keep` stay, and the one that joins emoji.
    """
    return "".join(
        char
        for char in text
        if unicodedata.category(char) not in _UNSAFE or char in keep or char == _ZERO_WIDTH_JOINER
    )


async def stdin_lines() -> AsyncIterator[str]:
    """The lines of standard input without their ends, whether a terminal, a pipe or a file."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue(maxsize=64)

    def put(line: str | None) -> None:
        asyncio.run_coroutine_threadsafe(lines.put(line), loop).result()

    def read() -> None:
        # os.read, since a daemon thread inside sys.stdin would hold its lock at shutdown.
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        rest = ""
        try:
            while data := os.read(0, 65536):
                *whole, rest = (rest + decoder.decode(data)).split("\n")
                for line in whole:
                    put(line.removesuffix("\r"))
            if rest:
                put(rest)
            put(None)
        except (RuntimeError, OSError):  # the loop has ended, or the terminal has gone
            return

    threading.Thread(target=read, name="stdin", daemon=True).start()
    while (line := await lines.get()) is not None:
        yield line


class Handler:
    """A server's callback that can be stopped: it knows the tasks in which it runs."""

    def __init__(self, serve: Callable[..., Coroutine[Any, Any, None]]) -> None:
        self._serve = serve
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            # Not passed on: only stop() cancels, and the streams of Python 3.11 report a
            # cancelled callback as a mistake.
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def stop(self) -> None:
        """Cut off the connections that are still being served."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)


async def until_stopped(server: asyncio.AbstractServer, until: asyncio.Event | None = None) -> None:
    """Serve until the program is stopped, or an event happens; then take no new connections.

    Unlike serve_forever() it does not wait for the clients that are still there.
    """
    try:
        await (until or asyncio.Event()).wait()
    finally:
        server.close()


async def send_message(writer: asyncio.StreamWriter, message: Message) -> None:
    """Send one line of JSON."""
    writer.write(json.dumps(message).encode() + b"\n")
    await writer.drain()


async def receive_message(reader: asyncio.StreamReader) -> Message:
    """The next line of JSON; raise Failure for anything else, EOFError at the end of the stream."""
    try:
        line = await reader.readline()
        message = json.loads(line) if line else None
    except (ValueError, RecursionError):
        raise Failure("not a line of JSON") from None
    if not line:
        raise EOFError("the connection ended early")
    if not isinstance(message, dict):
        raise Failure("not a JSON object")
    return message


async def close(writer: asyncio.StreamWriter) -> None:
    """Close properly, but do not wait forever for a peer that has gone."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            writer.close()
            await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()


def add_counters(writer: asyncio.StreamWriter, totals: dict[str, float]) -> None:
    """Add what rudp has counted on a connection to `totals`; the kernel's TCP tells nothing."""
    info = writer.get_extra_info("rudp_info")
    if info is None:
        return
    for name in ("bytes_sent", "bytes_retransmitted"):
        totals[name] = totals.get(name, 0) + getattr(info, name)
    totals["connections"] = totals.get("connections", 0) + 1
    totals["srtt_sum_s"] = totals.get("srtt_sum_s", 0) + (info.srtt_s or 0)


def progress_bar(name: str, size: int) -> AbstractContextManager[Callable[[int], None]]:
    """A progress bar in bytes on standard error; none without rich, or without a terminal."""
    try:
        from rich import progress
        from rich.console import Console
    except ImportError:
        return nullcontext(lambda done: None)

    @contextmanager
    def bar() -> Iterator[Callable[[int], None]]:
        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        with progress.Progress(*columns, console=console, disable=not console.is_terminal) as shown:
            task = shown.add_task(name, total=size)
            yield lambda done: shown.update(task, completed=done)
            shown.update(task, completed=size)

    return bar()


def reason(error: BaseException) -> str:
    """One readable line for an error."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def run(
    main: Callable[[argparse.Namespace], Coroutine[Any, Any, int]],
    args: argparse.Namespace,
    *,
    until_stopped: bool = False,
) -> None:
    """Run a program and exit with its status: 1 for an error, 130 for Ctrl-C, 143 for SIGTERM.

    `until_stopped` says that being stopped is how the program ends when all is well: status 0.
    """
    terminated = False

    async def supervised() -> int:
        work = asyncio.create_task(main(args))

        def terminate() -> None:
            nonlocal terminated
            terminated = True
            work.cancel()

        try:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
        except NotImplementedError:  # Windows ends a process without asking it
            pass
        try:
            return await work
        finally:
            if _relays:
                # What has been said to the peer, a reset say, is still on the link.
                await asyncio.sleep(args.delay + args.jitter + 0.01)

    try:
        status = asyncio.run(supervised())
    except KeyboardInterrupt:
        status = 0 if until_stopped else 130
    except asyncio.CancelledError:
        if not terminated:
            raise
        status = 0 if until_stopped else 143
    except (OSError, EOFError) as error:
        status = _complain(error)
    except BaseExceptionGroup as group:
        if group.split((OSError, EOFError))[1] is not None:
            raise
        status = _complain(group)
    finally:
        for relay in _relays:
            relay.close()
    sys.exit(status)


def _complain(error: BaseException) -> int:
    print(f"{os.path.basename(sys.argv[0])}: {reason(error)}", file=sys.stderr, flush=True)
    return 1
