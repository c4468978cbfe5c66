"""`rudp tunnel`: every connection that comes in here goes on to there, over either transport."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import rudp
from rudp.cli.address import StreamAddress, format_address
from rudp.cli.bridge import Bridge, StreamSide
from rudp.cli.output import Output
from rudp.cli.running import reason
from rudp.cli.streams import addresses, dial, listen, watch_peer
from rudp.cli.text import describe_rate, describe_size, describe_time
from rudp.core.stats import ConnectionInfo


@dataclass(slots=True)
class TunnelStats:
    """What a tunnel has done; bytes are payload.

    Attributes:
        accepted: Clients that were let in.
        turned_away: Clients that were reset because there were `max_connections` already.
        failed: Clients that were reset because the upstream could not be reached.
        finished: Connections that have ended in order.
        reset: Connections that have not.
        bytes_to: Carried from the clients to the upstream.
        bytes_back: Carried the other way.
        rudp_bytes_sent: First transmissions of the rudp connections of this end.
        rudp_bytes_retransmitted: And repetitions.
    """

    accepted: int = 0
    turned_away: int = 0
    failed: int = 0
    finished: int = 0
    reset: int = 0
    bytes_to: int = 0
    bytes_back: int = 0
    rudp_bytes_sent: int = 0
    rudp_bytes_retransmitted: int = 0

    def add(self, bridge: Bridge) -> None:
        """Add the bytes of a bridge, over or not, whose left side is the client."""
        self.bytes_to += bridge.left.bytes_received
        self.bytes_back += bridge.right.bytes_received
        for info in _infos(bridge):
            self.rudp_bytes_sent += info.bytes_sent
            self.rudp_bytes_retransmitted += info.bytes_retransmitted

    @property
    def retransmitted_share(self) -> float:
        """Repetitions as a share of what was sent."""
        total = self.rudp_bytes_sent + self.rudp_bytes_retransmitted
        return self.rudp_bytes_retransmitted / total if total else 0.0


class Tunnel:
    """Listens at one address and connects each client to another.

    Args:
        at: Where clients connect.
        to: Where they are connected to.
        config: Settings of the rudp connections; its keepalive holds for TCP, too.
        max_connections: Clients at a time; further ones are reset.
        out: How to speak.
    """

    def __init__(
        self,
        at: StreamAddress,
        to: StreamAddress,
        config: rudp.Config,
        max_connections: int,
        out: Output,
    ) -> None:
        self._at = at
        self._to = to
        self._config = config
        self._max_connections = max_connections
        self._out = out
        self._over = TunnelStats()
        """Without what the live connections have carried so far."""
        self._dialling: set[asyncio.Task[None]] = set()
        self._bridges: set[Bridge] = set()
        self._began_s = time.monotonic()

    async def serve(self) -> None:
        """Carry until cancelled; then every connection is reset, so that nobody takes the end of
        the tunnel for the end of a stream. Raises `OSError` if the address cannot be bound."""
        server = await listen(self._at, lambda: StreamSide(self._on_client), self._config)
        try:
            await server.start_serving()
            where = [f"{self._at.scheme}:{address}" for address in addresses(server)]
            self._out.say(
                "listening", f"{', '.join(where)} -> {self._to}", addresses=where, to=str(self._to)
            )
            with self._statistics_on_signal():
                await asyncio.get_running_loop().create_future()
        finally:
            server.close()
            await self._end()

    @contextlib.contextmanager
    def _statistics_on_signal(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        number = getattr(signal, "SIGUSR1", None)  # Windows has none
        if number is not None:
            with contextlib.suppress(NotImplementedError):  # nor have simulated loops
                loop.add_signal_handler(number, self._report)
        try:
            yield
        finally:
            if number is not None:
                with contextlib.suppress(NotImplementedError):
                    loop.remove_signal_handler(number)
            self._report(at_end=True)

    async def _end(self) -> None:
        dialling = list(self._dialling)
        for task in dialling:
            task.cancel()
        await asyncio.gather(*dialling, return_exceptions=True)
        for bridge in list(self._bridges):
            bridge.reset()
        await asyncio.sleep(0)  # transports end in the loop's next round

    # -- connections -------------------------------------------------------------------------------

    def _on_client(self, client: StreamSide) -> None:
        if len(self._dialling) + len(self._bridges) >= self._max_connections:
            self._over.turned_away += 1
            client.reset()
            return
        self._over.accepted += 1
        task = asyncio.get_running_loop().create_task(self._connect(client))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _connect(self, client: StreamSide) -> None:
        """Dial for a client, and tie the two together."""
        watch_peer(client.transport, self._config)
        peer = format_address(client.transport.get_extra_info("peername"))
        try:
            upstream = await dial(self._to, StreamSide, self._config)
        except OSError as exc:
            self._over.failed += 1
            self._out.say("failed", f"{peer}: {reason(exc)}", peer=peer, message=reason(exc))
            client.reset()
        except asyncio.CancelledError:
            client.reset()
            raise
        else:
            if self._out.verbose:
                self._out.detail("opened", f"{peer} opened", peer=peer)
            bridge = Bridge(client, upstream, self._on_ended)
            self._bridges.add(bridge)
            bridge.start()

    def _on_ended(self, bridge: Bridge) -> None:
        self._bridges.discard(bridge)
        self._over.add(bridge)
        if bridge.error is None and bridge.is_complete:
            self._over.finished += 1
        else:
            self._over.reset += 1
        if self._out.verbose:
            self._say_ended(bridge)

    def _say_ended(self, bridge: Bridge) -> None:
        there, back = bridge.left.bytes_received, bridge.right.bytes_received
        how = "ended" if bridge.error is None else reason(bridge.error)
        client = bridge.left
        peer = "?"
        if isinstance(client, StreamSide):
            peer = format_address(client.transport.get_extra_info("peername"))
        text = f"{peer} {how}: {describe_size(there)} there, {describe_size(back)} back"
        self._out.detail("ended", text, peer=peer, how=how, bytes_to=there, bytes_back=back)

    # -- statistics --------------------------------------------------------------------------------

    def _report(self, *, at_end: bool = False) -> None:
        """Tell the statistics: asked for by a signal, or since the tunnel ends."""
        stats = dataclasses.replace(self._over)
        for bridge in self._bridges:
            stats.add(bridge)
        rtts_s = sorted(
            info.srtt_s
            for bridge in self._bridges
            for info in _infos(bridge)
            if info.srtt_s is not None
        )
        srtt_s = rtts_s[len(rtts_s) // 2] if rtts_s else None
        seconds = time.monotonic() - self._began_s
        fields = {
            "active": len(self._bridges),
            "dialling": len(self._dialling),
            **dataclasses.asdict(stats),
            "retransmitted_share": stats.retransmitted_share,
            "median_srtt_s": srtt_s,
            "seconds": round(seconds, 3),
        }
        text = (
            f"{len(self._bridges)} connections now, {stats.accepted} so far: "
            f"{stats.finished} finished, {stats.reset} reset, {stats.failed} without upstream, "
            f"{stats.turned_away} turned away; "
            f"{describe_size(stats.bytes_to)} there, {describe_size(stats.bytes_back)} back, "
            f"{describe_rate((stats.bytes_to + stats.bytes_back) / max(seconds, 1e-3))}; "
            f"round trip {describe_time(srtt_s)}, retransmitted {stats.retransmitted_share:.2%}"
        )
        if at_end:
            self._out.say("statistics", text, **fields)
        else:
            self._out.result("statistics", text, **fields)


def _infos(bridge: Bridge) -> Iterator[ConnectionInfo]:
    """What the rudp connections of a bridge have counted."""
    for side in (bridge.left, bridge.right):
        if isinstance(side, StreamSide):
            info = side.info or side.transport.get_extra_info("rudp_info")
            if info is not None:
                yield info
