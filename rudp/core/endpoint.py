"""Many connections behind one socket: telling them apart, accepting, refusing, TIME-WAIT.

Still without I/O: datagrams and times go in, trains come out. Work for a datagram or a timer
does not grow with the number of connections.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict, deque
from collections.abc import Callable

from rudp.config import HEADER_BYTES, Config
from rudp.congestion import resolve
from rudp.core import paths
from rudp.core.answers import StatelessAnswers
from rudp.core.connection import Address, Connection, Identity
from rudp.core.ecn import EcnSender
from rudp.core.rendezvous import Meetings, check_rendezvous, may_cross
from rudp.core.states import SYNCHRONIZED, State
from rudp.core.stats import EndpointStats
from rudp.errors import Reason
from rudp.telemetry.observer import Observer, StrayObserver
from rudp.wire.options import WIRE_VERSION
from rudp.wire.segment import ACK, RST, SYN, Malformed, Segment, decode
from rudp.wire.train import Buffer, decode_train

_EVICT_AFTER_S = 3.5


class Endpoint:
    """Connections by id, a listener at most, and the stateless answers.

    Args:
        config: Settings of the endpoint and its connections.
        random_bits: A CSPRNG: `random_bits(n)` gives n random bits.
        observe: Called with each new connection's id, peer and settings; gives its observer, or
            None.
    """

    __slots__ = (
        "_answers",
        "_by_peer",
        "_half_open",
        "_heap",
        "_meetings",
        "_observe",
        "_opening",
        "_random_bits",
        "_serial",
        "accepted",
        "backlog",
        "can_mark",
        "can_probe_mtu",
        "config",
        "connections",
        "outbox",
        "stats",
        "strays",
        "time_wait",
    )

    def __init__(
        self,
        config: Config,
        random_bits: Callable[[int], int],
        observe: Callable[[int, Address, Config], Observer | None] | None = None,
    ) -> None:
        resolve(config.congestion)  # an unknown controller is told here, not by a connection
        self.config = config
        self.connections: dict[int, Connection] = {}
        self.backlog: int | None = None
        """Half-open connections that the listener admits; None while nobody listens."""
        self._half_open: OrderedDict[int, Connection] = OrderedDict()
        """Connections that peers opened and that are not established, oldest first."""
        self.accepted: deque[Connection] = deque()
        """Passively opened connections that have just been established."""
        self.stats = EndpointStats()
        self._answers = StatelessAnswers(config, self.stats)
        self.time_wait = self._answers.time_wait
        """Records of TIME-WAIT by connection id, the one that expires first first."""
        self.outbox = self._answers.outbox
        """Answers that belong to no connection."""
        self._random_bits = random_bits
        self._observe = observe
        self._by_peer: dict[tuple[Address, int], Connection] = {}
        self._opening: dict[Address, list[Connection]] = {}
        self._meetings = Meetings()
        self._heap: list[tuple[float, int, Connection]] = []
        self._serial = 0
        self.strays: StrayObserver | None = None
        """Told of what belongs to no connection. Of answers whoever sends the outbox tells it."""
        self.can_probe_mtu = True
        """Datagrams that are too large for the path vanish instead of being fragmented."""
        self.can_mark = False
        """The socket sends ECN marks, and tells those of what arrives."""

    @property
    def half_open(self) -> int:
        """How many connections peers have opened that are not established."""
        return len(self._half_open)

    # -- opening ---------------------------------------------------------------------------

    def connect(
        self,
        peer: Address,
        now_s: float,
        config: Config | None = None,
        rendezvous: bytes | None = None,
    ) -> Connection:
        """Active OPEN; with `rendezvous` one that the peer's with the same bytes is to meet.

        Raises `OSError` if the endpoint has all the connections it may have, or dials with that
        rendezvous already; `TypeError` or `ValueError` for one that is not 1 to 16 bytes.
        """
        if rendezvous is not None and check_rendezvous(rendezvous) in self._meetings:
            raise OSError("this endpoint dials with this rendezvous already")
        if len(self.connections) >= self.config.max_connections:
            raise OSError("max_connections of this endpoint are open")
        conn = self._new(config or self.config, peer, now_s)
        if rendezvous is not None:
            self._meetings.add(conn, rendezvous)
        conn.open()
        self._opening.setdefault(peer, []).append(conn)
        self.stats.opened += 1
        return conn

    def listen(self, backlog: int) -> None:
        """Accept SYNs from now on, `backlog` of them half-open at a time.

        Raises `OSError` if there is a listener already.
        """
        if self.backlog is not None:
            raise OSError("this endpoint is listening already")
        self.backlog = max(1, min(backlog, self.config.max_half_open))

    def stop_listening(self) -> None:
        """Refuse SYNs from now on; connections that exist go on."""
        self.backlog = None

    # -- datagrams -------------------------------------------------------------------------

    def receive(
        self, data: Buffer, stride: int, peer: Address, now_s: float, ecn: int = 0
    ) -> list[Connection]:
        """Take a buffer of datagrams of `stride` bytes each from `peer`. Never raises.

        `ecn` is the ECN field that they all arrived with (RFC 3168 §5).

        Returns the connections that it concerned, which want to be flushed.
        """
        if len(data) <= stride:
            conn = self._take(decode(data), peer, now_s, ecn)
            return [conn] if conn is not None else []
        touched: dict[Connection, None] = {}
        for segment in decode_train(data, stride):
            conn = self._take(segment, peer, now_s, ecn, stride - HEADER_BYTES)
            if conn is not None:
                touched[conn] = None
        return list(touched)

    def _take(
        self, segment: Segment | Malformed, peer: Address, now_s: float, ecn: int, size: int = 0
    ) -> Connection | None:
        """One segment, or a run of them with `size` bytes of payload each but the last; the
        connection that it concerned, if any."""
        if isinstance(segment, Malformed):
            self.stats.datagrams_received += 1
            self.stats.malformed[segment] += 1
            return None
        self.stats.datagrams_received += segment.segments
        conn = self.connections.get(segment.cid)
        if conn is None:
            conn = self._strange(segment, peer, now_s)
        elif conn.peer != peer:
            conn = self._elsewhere(conn, segment, peer, now_s)
        if conn is None:
            if self.strays is not None:
                self.strays.stray_received(segment, size, ecn, peer, now_s)
            return None
        before = conn.state
        if before > State.SYN_RECEIVED:
            conn.arrive(segment, now_s, ecn, size)
            return conn
        peer_cid = conn.peer_cid
        conn.arrive(segment, now_s, ecn, size)
        if conn.state is not before:
            self._handshake_moved(conn, before)
        elif conn.peer_cid != peer_cid:
            self._unname(conn, peer_cid)
            self._by_peer[conn.peer, conn.peer_cid] = conn
        return conn

    def unreachable(self, peer: Address) -> list[Connection]:
        """The network reported `peer` as unreachable: a hard error for connections that are
        opening, a soft one for the rest (RFC 9293 §3.9.2.2, MUST-56). A NAT refuses what is
        not awaited yet: for a dial with a rendezvous it is soft, too."""
        failed = [conn for conn in self._opening.get(peer, ()) if conn.rendezvous is None]
        for conn in failed:
            conn.fail(Reason.UNREACHABLE)
            self._handshake_moved(conn, State.SYN_SENT)
        return failed

    # -- sending and timers ------------------------------------------------------------------

    def settle(self, conn: Connection, now_s: float) -> None:
        """Note what became of a connection that was touched; call when `poll()` gave None."""
        state = conn.state
        if state is State.TIME_WAIT:
            self._enter_time_wait(conn, now_s)
        elif state is State.CLOSED:
            self._forget(conn)
        elif conn.next_s < conn.armed_s:
            self._serial += 1
            conn.armed_s = conn.next_s
            heapq.heappush(self._heap, (conn.next_s, self._serial, conn))
            if len(self._heap) > 2 * len(self.connections) + 64:
                self._compact()

    @property
    def next_s(self) -> float:
        """When `due()` wants to be called; `math.inf` for never."""
        soonest = self._heap[0][0] if self._heap else math.inf
        return min(soonest, self._answers.next_s)

    def due(self, now_s: float, *, acks_only: bool = False) -> list[Connection]:
        """Handle the timers that are due; returns the connections that want to be flushed.

        With `acks_only` acknowledgements that are overdue are sent and nothing is judged yet:
        for a caller who could not run and whose socket may hold what would change the verdict.
        """
        self._answers.expire(now_s)
        heap = self._heap
        touched = []
        while heap and heap[0][0] <= now_s:
            deadline_s, _, conn = heapq.heappop(heap)
            if deadline_s != conn.armed_s:
                continue  # an earlier deadline has replaced this one
            conn.armed_s = math.inf
            if conn.next_s <= now_s:
                before = conn.state
                conn.on_timer(now_s, acks_only=acks_only)
                if before <= State.SYN_RECEIVED and conn.state is not before:
                    self._handshake_moved(conn, before)
                touched.append(conn)
            else:
                self.settle(conn, now_s)
        return touched

    def _compact(self) -> None:
        """Drop what has been replaced: it would hold connections and their data until it is due."""
        live, seen = [], set()
        for entry in self._heap:
            conn = entry[2]
            if (
                entry[0] == conn.armed_s
                and conn.state is not State.CLOSED
                and conn.local_cid not in seen
            ):
                seen.add(conn.local_cid)
                live.append(entry)
        heapq.heapify(live)
        self._heap[:] = live  # in place: due() holds the list

    # -- inside ----------------------------------------------------------------------------

    def _new(self, config: Config, peer: Address, now_s: float) -> Connection:
        cid = 0
        while cid == 0 or cid in self.connections or cid in self.time_wait:
            cid = self._random_bits(32)
        identity = Identity(cid, self._random_bits(32), self._random_bits(32))
        observer = self._observe(cid, peer, config) if self._observe is not None else None
        if not self.can_probe_mtu and config.mtu_discovery:
            config = config.replace(mtu_discovery=False)
        conn = Connection(config, identity, peer, now_s, observer)
        if self.can_mark and config.ecn:
            conn.sender.ecn = EcnSender()
        self.connections[cid] = conn
        return conn

    def _strange(self, segment: Segment, peer: Address, now_s: float) -> Connection | None:
        """A segment whose id names no connection of this peer's."""
        if segment.cid == 0:
            if segment.flags & RST:
                return self._stranger_reset(segment, peer)
            if segment.flags & SYN and not segment.flags & ACK:
                return self._syn(segment, peer, now_s)
            self.stats.unknown_connection += 1
            return None
        waiting = self.time_wait.get(segment.cid)
        if waiting is not None and waiting.peer == peer:
            self._answers.in_time_wait(waiting, segment, now_s)
            return None
        self.stats.unknown_connection += 1
        self._answers.reset(segment, peer, now_s)
        return None

    def _elsewhere(
        self, conn: Connection, segment: Segment, peer: Address, now_s: float
    ) -> Connection | None:
        """A segment that names a connection but does not come from its peer's address."""
        if not paths.may_come_from_elsewhere(conn, segment):
            self.stats.wrong_address += 1
            return None
        if conn.state not in SYNCHRONIZED:
            self._follow(conn, peer)
        elif paths.answers_probe(conn, segment, peer):
            known = self._by_peer.pop((conn.peer, conn.peer_cid), None)
            paths.move(conn, peer, now_s)
            if known is conn:
                self._by_peer[peer, conn.peer_cid] = conn
        else:
            probe = paths.challenge(conn, segment, peer, now_s, self._random_bits)
            if probe is not None:
                self._answers.emit(probe, peer)
        return conn

    def _follow(self, conn: Connection, peer: Address) -> None:
        """Whom a connection is dialling has shown itself at another address than the dialled."""
        self._no_longer_opening(conn)
        self._unname(conn, conn.peer_cid)
        conn.peer = peer
        if conn.state is State.SYN_RECEIVED:
            self._by_peer[peer, conn.peer_cid] = conn

    def _meet(self, dial: Connection, peer: Address) -> Connection:
        """The counterpart of a dial with a rendezvous has come, from wherever."""
        if dial.peer != peer:
            self._follow(dial, peer)
        if dial.state is State.SYN_RECEIVED:
            dial.repeat_syn_ack()
        return dial

    def _unname(self, conn: Connection, peer_cid: int) -> None:
        """The peer's id for the connection, where it is, is no longer this one."""
        if self._by_peer.get((conn.peer, peer_cid)) is conn:
            del self._by_peer[conn.peer, peer_cid]

    def _syn(self, segment: Segment, peer: Address, now_s: float) -> Connection | None:
        options = segment.options
        if not options.connection_id or options.version != WIRE_VERSION:
            self.stats.bad_syn += 1
            return None
        known = self._by_peer.get((peer, options.connection_id))
        if known is not None:
            if known.state is State.SYN_RECEIVED:
                known.repeat_syn_ack()
            return known
        dial = self._meetings.find(segment)
        if dial is not None:
            return self._meet(dial, peer)
        opening = self._opening.get(peer) if self.backlog is None else None
        if opening and len(opening) == 1 and may_cross(opening[0], segment):
            # Simultaneous open (RFC 9293 MUST-10). Of several dials nobody could tell which one
            # it crosses: the two sides would have to pair them alike. Nor could who listens tell
            # it from a dial of the listener, which it mostly is.
            return opening[0]
        if options.rendezvous is not None:
            # It comes again. A listener must not take what a dial of ours is about to wait for.
            self.stats.early_rendezvous += 1
            return None
        if self.backlog is None:
            self.stats.refused += 1
            self._answers.refuse(segment, peer, now_s)
            return None
        if len(self._half_open) >= self.backlog and not self._evict_half_open(now_s):
            self.stats.backlog_drops += 1
            return None
        if len(self.connections) >= self.config.max_connections:
            self.stats.limit_drops += 1
            return None
        conn = self._new(self.config, peer, now_s)
        self._half_open[conn.local_cid] = conn
        self._by_peer[peer, options.connection_id] = conn
        conn.open_passively(segment, now_s)
        return conn

    def _stranger_reset(self, segment: Segment, peer: Address) -> Connection | None:
        """A peer that does not know our segment's id resets; it can only name that id."""
        unknown = segment.options.unknown_id
        conn = self._by_peer.get((peer, unknown)) if unknown else None
        if conn is None or conn.state is State.SYN_SENT:
            self.stats.resets_ignored += 1
            return None
        return conn

    def _handshake_moved(self, conn: Connection, before: State) -> None:
        """A connection left SYN-SENT or SYN-RECEIVED."""
        if conn.state is not State.SYN_RECEIVED:
            self._meetings.remove(conn)
        if before is State.SYN_SENT:
            self._no_longer_opening(conn)
            if conn.state is not State.CLOSED:
                self._by_peer[conn.peer, conn.peer_cid] = conn
        elif conn.passive:
            self._half_open.pop(conn.local_cid, None)
            if conn.state is not State.CLOSED:
                self.accepted.append(conn)
                self.stats.accepted += 1

    def _evict_half_open(self, now_s: float) -> bool:
        """Make room for a SYN by giving up the oldest half-open connection, if its SYN-ACK has
        been repeated in vain: forged SYNs must not close a listener for as long as they like."""
        oldest = next(iter(self._half_open.values()))
        if now_s - oldest.opened_s < _EVICT_AFTER_S:
            return False
        oldest.fail(Reason.CONNECT_TIMEOUT)
        self._forget(oldest)
        self.stats.half_open_evicted += 1
        return True

    def _no_longer_opening(self, conn: Connection) -> None:
        opening = self._opening.get(conn.peer)
        if opening and conn in opening:
            opening.remove(conn)
            if not opening:
                del self._opening[conn.peer]

    def _forget(self, conn: Connection) -> None:
        if self.connections.get(conn.local_cid) is not conn:
            return
        del self.connections[conn.local_cid]
        self._half_open.pop(conn.local_cid, None)
        self._meetings.remove(conn)
        self.stats.closed += 1
        self.stats.connection_ended(conn.stats)
        self._no_longer_opening(conn)
        self._unname(conn, conn.peer_cid)
        if conn.observer is not None:
            conn.observer.closed(conn.reason)

    def _enter_time_wait(self, conn: Connection, now_s: float) -> None:
        remembered = conn.pass_to_time_wait()
        self._forget(conn)
        self._answers.remember(conn.local_cid, conn.peer, remembered, now_s)
