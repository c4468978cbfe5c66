"""An asyncio event loop whose time is virtual and whose network is simulated.

Waiting costs nothing: when nothing is ready, the clock jumps to the next timer. The loop starts no
thread, opens no descriptor and reads no clock, so that a run depends on its seed alone.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import heapq
import math
import socket
import weakref
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, TypeVarTuple

from rudp.sim.host import os_error
from rudp.sim.network import Network
from rudp.sim.resolver import FAMILIES, address_infos, address_pairs
from rudp.sim.transport import SimDatagramTransport

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Hashable

    from rudp.sim.address import Address
    from rudp.sim.resolver import AddressInfo

__all__ = ["SimDeadlock", "SimLimitError", "SimLoop"]

_Ts = TypeVarTuple("_Ts")
_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)

MAX_VIRTUAL_S = 30 * 24 * 3600.0
"""How far a `SimLoop` lets its clock go by default: a month."""

MAX_STEPS = 10_000_000
"""How many callbacks a `SimLoop` runs by default."""

# Compacting a short heap of timers is not worth a pass over it.
_MIN_CANCELLED = 64


class SimDeadlock(RuntimeError):
    """Nothing is ready or scheduled, so that the program would wait for ever."""


class SimLimitError(RuntimeError):
    """The program ran for more virtual time, or more steps, than the loop allows."""


class _Delivery(asyncio.TimerHandle):
    """A datagram on its way: a timer that is nobody's leak."""

    __slots__ = ()


class SimLoop(asyncio.BaseEventLoop):
    """A virtual-time event loop on a simulated network.

    Only UDP exists: `create_datagram_endpoint`. Threads, descriptors, signals, subprocesses and TCP
    raise NotImplementedError. Timers of equal time run in the order in which they were scheduled.

    Args:
        network: The network that its sockets are on; default is a fresh one with seed 0. The loop
            drives it until it is closed.
        max_virtual_s: The clock does not go beyond this many seconds.
        max_steps: No more callbacks than this are run.

    Attributes:
        network: As given.
        max_virtual_s: As given; may be changed at any time.
        max_steps: As given; may be changed at any time.
        steps: How many callbacks have been run.
        unhandled: The exceptions given to the default exception handler.

    Raises:
        RuntimeError: Another loop that is not closed drives the network.
    """

    if TYPE_CHECKING:
        _ready: deque[asyncio.Handle]
        _stopping: bool

        def _check_closed(self) -> None: ...

    def __init__(
        self,
        network: Network | None = None,
        *,
        max_virtual_s: float = MAX_VIRTUAL_S,
        max_steps: int = MAX_STEPS,
    ) -> None:
        super().__init__()
        self.network = Network(0) if network is None else network
        self.max_virtual_s = max_virtual_s
        self.max_steps = max_steps
        self.steps = 0
        self.unhandled: list[BaseException] = []
        self._now_s = 0.0
        self._sequence = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._cancelled_timers = 0
        self._tasks: weakref.WeakKeyDictionary[asyncio.Task[Any], int] = weakref.WeakKeyDictionary()
        self._network_context = contextvars.copy_context()
        self._last_leaks: list[str] = []
        try:
            self.network.attach(self._deliver_at, self.time)
        except RuntimeError:
            super().close()
            raise

    # --- time --------------------------------------------------------------------------------

    def time(self) -> float:
        """Return the virtual time in seconds; a fresh loop's is 0.0."""
        return self._now_s

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call at a virtual time, after all that was scheduled for the same time before.

        Raises:
            RuntimeError: The loop is closed.
            TypeError: `when` is not a number.
            ValueError: `when` is not a number that can be compared (NaN).
        """
        self._check_closed()
        if math.isnan(when):
            raise ValueError("when must not be NaN")
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._sequence += 1
        heapq.heappush(self._timers, (when, self._sequence, handle))
        return handle

    def _deliver_at(self, when_s: float, callback: Callable[..., None], *args: Any) -> None:
        # The socket's own context is entered when it is known who hears the datagram.
        handle = _Delivery(when_s, callback, args, self, self._network_context)
        self._sequence += 1
        heapq.heappush(self._timers, (when_s, self._sequence, handle))

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        # asyncio calls this before it marks the handle, which therefore stays once more.
        self._cancelled_timers += 1
        if self._cancelled_timers > max(_MIN_CANCELLED, len(self._timers) // 2):
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled_timers = 1

    def _run_once(self) -> None:
        ready = self._ready
        if not ready and not self._stopping:
            self._advance()
        timers, now_s = self._timers, self._now_s
        while timers and timers[0][0] <= now_s:
            ready.append(heapq.heappop(timers)[2])
        count = len(ready)
        self.steps += count
        if self.steps > self.max_steps:
            raise SimLimitError(
                f"more than {self.max_steps} steps, at {now_s:.6f} s{self._list_tasks()}"
            )
        for _ in range(count):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _advance(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
            self._cancelled_timers -= 1
        if not timers:
            raise SimDeadlock(
                f"nothing is scheduled any more at {self._now_s:.6f} s{self._list_tasks()}"
            )
        when_s = timers[0][0]
        if when_s > self.max_virtual_s:
            raise SimLimitError(
                f"the next timer, at {when_s:.6f} s, is beyond the {self.max_virtual_s:.6f} s "
                f"allowed{self._list_tasks()}"
            )
        self._now_s = max(self._now_s, when_s)

    # --- tasks -------------------------------------------------------------------------------

    def create_task(self, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """Make a task, as `asyncio.loop.create_task` does."""
        task = super().create_task(coro, **kwargs)
        self._sequence += 1
        self._tasks[task] = self._sequence
        return task

    def pending_tasks(self) -> list[asyncio.Task[Any]]:
        """Return the tasks that are not done, oldest first."""
        pending = [task for task in list(self._tasks) if not task.done()]
        return sorted(pending, key=self._tasks.__getitem__)

    def report_failed_tasks(self) -> None:
        """Give the exceptions that no code has looked at to the exception handler, oldest first.

        asyncio does so when a task is collected as garbage, which is late, and in no order.
        """
        for task in sorted(self._tasks, key=self._tasks.__getitem__):
            if task.done() and not task.cancelled() and getattr(task, "_log_traceback", False):
                message = "task exception was never retrieved"
                context = {"message": message, "exception": task.exception(), "task": task}
                self.call_exception_handler(context)

    def _list_tasks(self) -> str:
        lines = [f"\n  {task.get_name()}: {_whereabouts(task)}" for task in self.pending_tasks()]
        return f"; {len(lines)} pending task(s):" + "".join(lines) if lines else ""

    async def shutdown_asyncgens(self) -> None:
        """Close the asynchronous generators, and let run what that made ready."""
        await super().shutdown_asyncgens()
        for _ in range(1000):
            if not self._ready:
                break
            await asyncio.sleep(0)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Log an unhandled error as asyncio does, and keep it in `unhandled`."""
        error = context.get("exception")
        if error is None:
            culprit = context.get("task") or context.get("future") or context.get("handle")
            error = RuntimeError(f"{context.get('message')}: {culprit!r}")
        # asyncio.streams reports a cancelled client_connected_cb so before Python 3.12.
        if not isinstance(error, asyncio.CancelledError):
            self.unhandled.append(error)
        super().default_exception_handler(context)

    def run_in_executor(self, *args: Any, **kwargs: Any) -> NoReturn:  # type: ignore[override]
        """Raise NotImplementedError: what a thread does is neither virtual nor repeatable."""
        raise NotImplementedError("a SimLoop has no threads: a run must depend on its seed alone")

    async def create_connection(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise NotImplementedError: use `rudp.open_connection` or `create_datagram_endpoint`."""
        raise NotImplementedError("the simulated network carries UDP only: open it with rudp")

    async def create_server(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise NotImplementedError: use `rudp.start_server` or `create_datagram_endpoint`."""
        raise NotImplementedError("the simulated network carries UDP only: serve with rudp")

    def _write_to_self(self) -> None:
        """Nothing to wake: the loop never blocks."""

    # --- closing -----------------------------------------------------------------------------

    def leaks(self) -> list[str]:
        """Describe the tasks, timers and sockets that are left; those at `close` once closed.

        Datagrams on their way are not counted.
        """
        if self.is_closed():
            return self._last_leaks
        timers = [handle for _, _, handle in sorted(self._timers) if not handle.cancelled()]
        return [
            *(f"task {task.get_name()}: {_whereabouts(task)}" for task in self.pending_tasks()),
            *(f"timer {handle!r}" for handle in timers if not isinstance(handle, _Delivery)),
            *(f"socket {socket!r}" for socket in self.network.open_sockets()),
        ]

    def close(self) -> None:
        """Close the loop and its sockets; the network may be used by another loop then.

        Raises:
            RuntimeError: The loop is running.
        """
        if self.is_closed():
            return
        if not self.is_running():
            self._last_leaks = self.leaks()
            self._timers.clear()
            self.network.detach()
        super().close()

    # --- network -----------------------------------------------------------------------------

    def datagram_origin(self) -> Hashable:
        """Return the host on which a socket without a local address would be made now.

        It stays the same, and different from every other host's, when the host changes its address.
        """
        return self.network.current_host

    async def create_datagram_endpoint(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], _ProtocolT],
        local_addr: tuple[str, int] | None = None,
        remote_addr: tuple[str, int] | None = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: socket.socket | None = None,
    ) -> tuple[SimDatagramTransport, _ProtocolT]:
        """Make a UDP socket on the network; arguments and errors as in asyncio.

        The socket is on the host that has `local_addr`; on the current host (`Network.host`) if
        that is missing, a wildcard or a loopback address. What the protocol's methods start runs
        with the socket's host as the current one.

        Raises:
            NotImplementedError: `sock` or `reuse_port` is given.
            OSError: An address cannot be resolved or bound.
            ValueError: Neither an address nor a family is given.
        """
        if sock is not None or reuse_port:
            raise NotImplementedError("a SimLoop has no system sockets and no reuse_port")
        if not (local_addr or remote_addr) and family not in FAMILIES.values():
            raise ValueError("unexpected address family")
        transport = None
        failure: OSError = os_error(errno.EADDRNOTAVAIL)
        for local, remote in address_pairs(self.network, local_addr, remote_addr, family, flags):
            try:
                transport = SimDatagramTransport(self, local, remote)
                break
            except OSError as error:
                failure = error
        if transport is None:
            raise failure
        try:
            protocol = protocol_factory()
            await transport.start(protocol)
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def getaddrinfo(  # type: ignore[override]
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - asyncio's name for it
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """Resolve names of the network's hosts, literals and "localhost"; nothing is asked outside.

        Raises:
            socket.gaierror: The name is unknown in that family, or `port` is not a number.
        """
        return address_infos(self.network, host, port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr: Address, flags: int = 0) -> tuple[str, str]:
        """Return the host's name, or the literal if it has none, and the port."""
        ip, port = sockaddr[:2]
        try:
            name = self.network.get_host(ip).name
        except ValueError:
            name = None
        return (name if name and not flags & socket.NI_NUMERICHOST else ip), str(port)


def _whereabouts(task: asyncio.Task[Any]) -> str:
    """Say where a task that is not running waits, outermost function first."""
    places = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is None:
            break
        code = frame.f_code
        file = code.co_filename.rpartition("/")[2]
        places.append(f"{code.co_qualname} ({file}:{frame.f_lineno})")
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return " > ".join(places) or repr(task)
