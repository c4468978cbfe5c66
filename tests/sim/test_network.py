"""rudp.sim.network, driven by a heap of its own: no event loop anywhere."""

from __future__ import annotations

import dataclasses
import errno
import heapq
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.sim import LinkConfig, Network, SimSocket

Datagram = tuple[float, bytes, object]


class Clock:
    """The least that can drive a network."""

    def __init__(self, network: Network) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self.order = itertools.count()
        network.attach(self.call_at, lambda: self.now)

    def call_at(self, when_s: float, callback: Callable[..., None], *args: object) -> None:
        heapq.heappush(self.calls, (when_s, next(self.order), callback, args))

    def run(self, until: float = float("inf")) -> None:
        while self.calls and self.calls[0][0] <= until:
            self.now, _, callback, args = heapq.heappop(self.calls)
            callback(*args)


class Inbox:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.got: list[Datagram] = []
        self.errors: list[tuple[float, OSError]] = []

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.got.append((self.clock.now, data, addr))

    def error_received(self, exc: OSError) -> None:
        self.errors.append((self.clock.now, exc))


class Bench:
    """Two named hosts and a clock."""

    def __init__(self, default: LinkConfig = LinkConfig(), **options: object) -> None:  # noqa: B008
        self.network = Network(1, default, **options)
        self.client = self.network.add_host("10.0.0.1", "fd00::1", name="client")
        self.server = self.network.add_host("10.0.0.2", "fd00::2", name="server")
        self.clock = Clock(self.network)

    def bind(self, ip: str, port: int = 0, **options: object) -> tuple[SimSocket, Inbox]:
        inbox = Inbox(self.clock)
        return self.network.bind(ip, port, inbox, **options), inbox


def test_delivery_with_delay_and_source() -> None:
    bench = Bench(LinkConfig(delay_s=0.5))
    sender, _ = bench.bind("10.0.0.1", 1000)
    _, inbox = bench.bind("10.0.0.2", 7)
    sender.send(b"hello", ("10.0.0.2", 7))
    bench.clock.run()
    assert inbox.got == [(0.5, b"hello", ("10.0.0.1", 1000))]
    assert bench.network.stats.arrived == 1


def test_ipv6_addresses_are_four_tuples_and_canonical() -> None:
    bench = Bench()
    sender, _ = bench.bind("fd00::1", 1000)
    _, inbox = bench.bind("FD00:0::2", 7)
    sender.send(b"hello", ("fd00:0:0::2", 7))
    bench.clock.run()
    assert inbox.got == [(0.0, b"hello", ("fd00::1", 1000, 0, 0))]


def test_wildcard_hears_every_address_and_answers_from_the_right_one() -> None:
    bench = Bench()
    sender, back = bench.bind("10.0.0.1", 1000)
    listener, inbox = bench.bind("0.0.0.0", 7, host="server")
    assert listener.address == ("0.0.0.0", 7)
    sender.send(b"in", ("10.0.0.2", 7))
    bench.clock.run()
    assert inbox.got[0][2] == ("10.0.0.1", 1000)
    listener.send(b"out", ("10.0.0.1", 1000))
    bench.clock.run()
    assert back.got[0][1:] == (b"out", ("10.0.0.2", 7))


def test_ports_clash() -> None:
    bench = Bench()
    first, _ = bench.bind("10.0.0.2", 7)
    for ip in ("10.0.0.2", "0.0.0.0"):
        with pytest.raises(OSError, match="in use") as caught:
            bench.bind(ip, 7, host="server")
        assert caught.value.errno == errno.EADDRINUSE
    bench.bind("fd00::2", 7)
    bench.bind("10.0.0.2", 8)
    bench.bind("0.0.0.0", 7, host="client")
    with pytest.raises(OSError, match="in use"):
        bench.bind("10.0.0.1", 7)
    first.close()
    first.close()
    bench.bind("10.0.0.2", 7)


def test_ephemeral_ports_are_free_and_seeded() -> None:
    def ports() -> list[int]:
        bench = Bench()
        return [bench.bind("10.0.0.1")[0].port for _ in range(50)]

    assert ports() == ports()
    assert len(set(ports())) == 50
    assert all(32768 <= port < 61000 for port in ports())


def test_ephemeral_ports_run_out() -> None:
    bench = Bench()
    inbox = Inbox(bench.clock)
    for _ in range(32768, 61000):
        bench.network.bind("10.0.0.1", 0, inbox)
    with pytest.raises(OSError, match="in use"):
        bench.bind("10.0.0.1")


def test_bind_errors() -> None:
    bench = Bench()
    with pytest.raises(OSError, match="assign") as caught:
        bench.bind("10.9.9.9", 7)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    with pytest.raises(ValueError, match="port must be"):
        bench.bind("10.0.0.1", 65536)
    with pytest.raises(ValueError, match=r"server\.example"):
        bench.bind("server.example", 7)


def test_icmp_for_a_closed_port_after_both_delays() -> None:
    bench = Bench(LinkConfig(delay_s=0.5))
    bench.network.set_link("server", "client", LinkConfig(delay_s=0.25), both=False)
    sender, inbox = bench.bind("10.0.0.1", 1000)
    sender.send(b"hello", ("10.0.0.2", 7))
    bench.clock.run()
    ((when, error),) = inbox.errors
    assert when == 0.75
    assert isinstance(error, ConnectionRefusedError)
    assert error.errno == errno.ECONNREFUSED
    assert bench.network.stats.refused == 1


def test_icmp_can_be_off() -> None:
    bench = Bench(icmp=False)
    sender, inbox = bench.bind("10.0.0.1", 1000)
    sender.send(b"hello", ("10.0.0.2", 7))
    bench.clock.run()
    assert not inbox.errors
    assert bench.network.stats.refused == 1


def test_icmp_is_lost_with_the_way_back_or_its_socket() -> None:
    bench = Bench(LinkConfig(delay_s=0.5))
    sender, inbox = bench.bind("10.0.0.1", 1000)
    bench.network.partition("server", "client", both=False)
    sender.send(b"one", ("10.0.0.2", 7))
    bench.clock.run()
    bench.network.heal("server", "client", both=False)
    sender.send(b"two", ("10.0.0.2", 7))
    bench.clock.run(until=1.2)
    sender.close()
    bench.clock.run()
    assert bench.network.stats.refused == 2
    assert not inbox.errors


def test_no_host_no_answer() -> None:
    bench = Bench()
    sender, inbox = bench.bind("10.0.0.1", 1000)
    sender.send(b"hello", ("10.0.0.99", 7))
    bench.clock.run()
    assert not inbox.errors
    assert bench.network.stats.unreachable == 1


def test_connected_socket_hears_its_peer_only() -> None:
    bench = Bench()
    friend, _ = bench.bind("10.0.0.2", 7)
    stranger, refused = bench.bind("10.0.0.2", 8)
    _, inbox = bench.bind("10.0.0.1", 1000, peer=("10.0.0.2", 7))
    friend.send(b"yes", ("10.0.0.1", 1000))
    stranger.send(b"no", ("10.0.0.1", 1000))
    bench.clock.run()
    assert [data for _, data, _ in inbox.got] == [b"yes"]
    assert len(refused.errors) == 1


def test_send_errors() -> None:
    bench = Bench()
    sender, _ = bench.bind("10.0.0.1", 1000)
    local, _ = bench.bind("127.0.0.1", 1000, host="client")
    bench.network.add_host("10.0.0.4", name="old")
    six, _ = bench.bind("::", 0, host="old")
    cases = [
        (sender, b"", "fd00::2", errno.EAFNOSUPPORT),
        (sender, bytes(65508), "10.0.0.2", errno.EMSGSIZE),
        (sender, b"", "server", errno.EINVAL),
        (local, b"", "10.0.0.2", errno.EINVAL),
        (six, b"", "fd00::2", errno.ENETUNREACH),
    ]
    for socket, data, ip, number in cases:
        with pytest.raises(OSError) as caught:
            socket.send(data, (ip, 7))
        assert caught.value.errno == number
    sender.send(bytes(65507), ("10.0.0.2", 7))
    sender.close()
    with pytest.raises(OSError) as caught:
        sender.send(b"", ("10.0.0.2", 7))
    assert caught.value.errno == errno.EBADF


def test_partition_and_heal() -> None:
    bench = Bench()
    one, at_one = bench.bind("10.0.0.1", 1)
    two, at_two = bench.bind("10.0.0.2", 2)

    def exchange() -> tuple[int, int]:
        at_one.got.clear()
        at_two.got.clear()
        one.send(b"ping", two.address)
        two.send(b"pong", one.address)
        bench.clock.run()
        return len(at_two.got), len(at_one.got)

    assert exchange() == (1, 1)
    bench.network.partition("client", "10.0.0.2")
    assert exchange() == (0, 0)
    bench.network.heal("client", "server", both=False)
    assert exchange() == (1, 0)
    bench.network.heal("10.0.0.1", "10.0.0.2")
    assert exchange() == (1, 1)
    assert bench.network.link("client", "server").stats.lost == 1


def test_links_are_per_direction_and_per_family() -> None:
    bench = Bench(LinkConfig(delay_s=1.0))
    network = bench.network
    network.set_link("10.0.0.1", "10.0.0.2", LinkConfig(delay_s=2.0), both=False)
    assert network.link("10.0.0.1", "10.0.0.2").config.delay_s == 2.0
    assert network.link("10.0.0.2", "10.0.0.1").config.delay_s == 1.0
    assert network.link("fd00::1", "fd00::2").config.delay_s == 1.0
    network.set_link(bench.client, "server", LinkConfig(delay_s=3.0))
    for source, destination in itertools.permutations(["10.0.0.1", "10.0.0.2"]):
        assert network.link(source, destination).config.delay_s == 3.0
    assert network.link("fd00::2", "fd00::1").config.delay_s == 3.0
    with pytest.raises(ValueError, match="no address family in common"):
        network.set_link("10.0.0.1", "fd00::2", LinkConfig())


def test_default_applies_where_nothing_else_was_set() -> None:
    bench = Bench()
    network = bench.network
    network.set_link("10.0.0.1", "10.0.0.2", LinkConfig(mtu=500), both=False)
    back = network.link("server", "client")
    network.default = LinkConfig(mtu=1200)
    assert network.default.mtu == 1200
    assert back.config.mtu == 1200
    assert network.link("client", "server").config.mtu == 500
    assert network.link("fd00::1", "fd00::2").config.mtu == 1200


def test_loopback_stays_on_its_host() -> None:
    bench = Bench(LinkConfig(delay_s=1.0), loopback=LinkConfig())
    with bench.network.host("server"):
        _, at_server = bench.bind("127.0.0.1", 7)
    with bench.network.host("client"):
        sender, _ = bench.bind("0.0.0.0", 1000)
        _, at_client = bench.bind("127.0.0.1", 7)
    sender.send(b"hello", ("127.0.0.1", 7))
    bench.clock.run()
    assert at_client.got == [(0.0, b"hello", ("127.0.0.1", 1000))]
    assert not at_server.got


def test_loopback_links_are_the_hosts_own() -> None:
    bench = Bench(LinkConfig(delay_s=1.0))
    with bench.network.host("server"):
        theirs = bench.network.link("127.0.0.1", "127.0.0.1")
    with bench.network.host("client"):
        ours = bench.network.link("127.0.0.1", "127.0.0.1")
    assert ours is not theirs
    assert ours.config.delay_s == 1.0, "the default is for loopback too"
    bench.network.set_link("127.0.0.1", "127.0.0.1", LinkConfig(delay_s=2.0))
    assert ours.config.delay_s == theirs.config.delay_s == 2.0


def test_refused_over_loopback() -> None:
    bench = Bench()
    sender, inbox = bench.bind("127.0.0.1", 1000, host="client")
    sender.send(b"hello", ("127.0.0.1", 7))
    bench.clock.run()
    assert len(inbox.errors) == 1


def test_a_host_reaches_itself() -> None:
    bench = Bench()
    local, _ = bench.bind("127.0.0.1", 1000, host="client")
    _, inbox = bench.bind("10.0.0.1", 7)
    local.send(b"hello", ("10.0.0.1", 7))
    bench.clock.run()
    assert inbox.got == [(0.0, b"hello", ("127.0.0.1", 1000))]


def test_change_address() -> None:
    bench = Bench(LinkConfig(delay_s=0.5))
    bench.network.set_link("client", "server", LinkConfig(delay_s=0.25))
    phone, at_phone = bench.bind("10.0.0.1", 1000)
    server, at_server = bench.bind("10.0.0.2", 7)
    wild, _ = bench.bind("0.0.0.0", 1001, host="client")
    for socket in (phone, wild):
        socket.send(b"home", server.address)
    server.send(b"too late", ("10.0.0.1", 1000))
    bench.network.change_address("10.0.0.1", "10.7.0.1")
    assert phone.address == ("10.7.0.1", 1000)
    assert wild.address == ("0.0.0.0", 1001)
    assert bench.client.addresses == ("10.7.0.1", "fd00::1")
    for socket in (phone, wild):
        socket.send(b"away", server.address)
    bench.clock.run()
    assert at_server.got == [
        (0.25, b"home", ("10.0.0.1", 1000)),
        (0.25, b"home", ("10.0.0.1", 1001)),
        (0.25, b"away", ("10.7.0.1", 1000)),
        (0.25, b"away", ("10.7.0.1", 1001)),
    ]
    assert not at_phone.got
    assert bench.network.stats.unreachable == 1
    server.send(b"found you", ("10.7.0.1", 1000))
    bench.clock.run()
    assert at_phone.got[0][1:] == (b"found you", ("10.0.0.2", 7))
    with pytest.raises(OSError, match="assign"):
        bench.bind("10.0.0.1", 7)


def test_change_address_of_a_named_host_takes_the_family() -> None:
    bench = Bench()
    bench.network.change_address("client", "fd00::9")
    bench.network.change_address(bench.server, "10.7.0.2")
    assert bench.client.addresses == ("10.0.0.1", "fd00::9")
    assert bench.server.addresses == ("10.7.0.2", "fd00::2")


def test_links_set_for_the_new_address_win() -> None:
    bench = Bench()
    network = bench.network
    network.set_link("10.0.0.1", "10.0.0.2", LinkConfig(delay_s=0.1))
    network.set_link("10.7.0.1", "10.0.0.2", LinkConfig(delay_s=0.7), both=False)
    network.partition("client", "server")
    network.change_address("client", "10.7.0.1")
    assert network.link("client", "server").config.delay_s == 0.7
    assert network.link("client", "server").up
    assert network.link("server", "client").config.delay_s == 0.1
    assert not network.link("server", "client").up, "a partition moves with its host"


def test_change_address_errors() -> None:
    network = Bench().network
    with pytest.raises(ValueError, match="taken"):
        network.change_address("10.0.0.1", "10.0.0.2")
    with pytest.raises(ValueError, match="family"):
        network.change_address("10.0.0.1", "fd00::9")
    with pytest.raises(ValueError, match="not in the network"):
        network.change_address("10.0.0.77", "10.0.0.78")


def test_host_errors() -> None:
    network = Bench().network
    for addresses in ((), ("10.1.0.1", "10.1.0.1"), ("10.0.0.1",), ("127.0.0.1",), ("::",)):
        with pytest.raises(ValueError, match="address"):
            network.add_host(*addresses)
    with pytest.raises(ValueError, match="nonsense"):
        network.add_host("nonsense")
    for name in ("client", "localhost", "10.1.0.1", ""):
        with pytest.raises(ValueError, match=r"^name"):
            network.add_host("10.1.0.1", name=name)
    with pytest.raises(ValueError, match="not in the network"):
        network.get_host("nobody")
    with pytest.raises(ValueError, match="of another network"):
        network.get_host(Network(1).add_host("10.0.0.1"))
    with pytest.raises(TypeError, match=r"^seed must be an integer"):
        Network("1")


def test_current_host() -> None:
    network = Network(1)
    assert network.current_host.addresses == ("10.0.0.1",), "made on demand"
    other = network.add_host("10.0.0.2", name="other")
    with network.host("other") as host:
        assert host is other
        assert network.current_host is other
        assert Network(2).current_host is not other
        with network.host("10.0.0.1"):
            assert network.current_host is not other
        assert network.current_host is other
    assert network.current_host is network.hosts[0]


def test_resolve() -> None:
    network = Bench().network
    assert network.resolve("server") == ["10.0.0.2", "fd00::2"]
    assert network.resolve("FD00:0::2") == ["fd00::2"]
    assert network.resolve("localhost") == network.resolve(None) == ["127.0.0.1", "::1"]
    assert network.resolve("nobody") == []
    assert network.resolve(None, passive=True) == ["0.0.0.0", "::"]
    assert Network(1).resolve("", passive=True) == ["0.0.0.0"]


def test_tap_sees_what_is_sent_and_what_is_lost() -> None:
    seen: list[object] = []
    bench = Bench(LinkConfig(loss=1.0), tap=lambda *event: seen.append(event))
    sender, _ = bench.bind("0.0.0.0", 1000, host="client")
    bench.clock.now = 2.5
    sender.send(b"hello", ("10.0.0.2", 7))
    assert seen == [(2.5, ("10.0.0.1", 1000), ("10.0.0.2", 7), b"hello")]


def test_one_scheduler_at_a_time_and_time_begins_anew() -> None:
    bench = Bench(LinkConfig(rate_bytes_per_s=10.0))
    with pytest.raises(RuntimeError, match="attached already"):
        Clock(bench.network)
    sender, _ = bench.bind("10.0.0.1", 1000)
    bench.clock.now = 100.0
    sender.send(bytes(100), ("10.0.0.2", 7))
    bench.network.detach()
    assert sender.closed
    assert not bench.network.open_sockets()
    unattached = bench.network.bind("10.0.0.1", 1000, Inbox(bench.clock))
    with pytest.raises(RuntimeError, match="not attached"):
        unattached.send(b"", ("10.0.0.2", 7))
    bench.clock = Clock(bench.network)
    _, inbox = bench.bind("10.0.0.2", 7)
    unattached.send(bytes(10), ("10.0.0.2", 7))
    bench.clock.run()
    assert inbox.got[0][0] == 1.0


def test_reprs_name_things() -> None:
    bench = Bench()
    socket, _ = bench.bind("10.0.0.1", 1000, peer=("10.0.0.2", 7))
    assert "client" in repr(bench.network)
    assert "fd00::1" in repr(bench.client)
    assert "10.0.0.2" in repr(socket)
    socket.close()
    assert "closed" in repr(socket)


BAD = LinkConfig(
    delay_s=0.05,
    jitter_s=0.02,
    loss=0.1,
    burst_enter=0.02,
    burst_exit=0.3,
    reorder=0.1,
    duplicate=0.1,
    corrupt=0.1,
    corrupt_is_dropped=False,
)


def trace(seed: int, *, bystander: bool = False) -> list[Datagram]:
    network = Network(seed, BAD)
    network.add_host("10.0.0.1")
    network.add_host("10.0.0.2")
    network.add_host("10.0.0.3")
    clock = Clock(network)
    inbox = Inbox(clock)
    network.bind("10.0.0.2", 7, inbox)
    sender = network.bind("10.0.0.1", 1000, inbox)
    other = network.bind("10.0.0.3", 1000, Inbox(clock))
    for number in range(200):
        if bystander:
            other.send(bytes(100), ("10.0.0.1", 1001))
        sender.send(number.to_bytes(2, "big"), ("10.0.0.2", 7))
    clock.run()
    return inbox.got


@given(st.integers(0, 2**64))
def test_same_seed_same_trace(seed: int) -> None:
    assert trace(seed) == trace(seed)


def test_different_seeds_differ() -> None:
    assert len({tuple(trace(seed)) for seed in range(20)}) == 20


def test_traffic_of_others_does_not_disturb_a_link() -> None:
    assert trace(5) == trace(5, bystander=True)


def test_seed_does_not_depend_on_when_a_link_is_made() -> None:
    networks = [Network(3, dataclasses.replace(BAD, loss=0.5)) for _ in range(2)]
    for network in networks:
        network.add_host("10.0.0.1")
        network.add_host("10.0.0.2")
    networks[1].link("10.0.0.2", "10.0.0.1")
    first, second = (network.link("10.0.0.1", "10.0.0.2") for network in networks)
    assert [first.transmit(b"x", 0.0) for _ in range(100)] == [
        second.transmit(b"x", 0.0) for _ in range(100)
    ]
