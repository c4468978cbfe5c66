"""Hosts behind NATs on a simulated network: who reaches whom, over which links, at what address."""

from __future__ import annotations

from typing import Any

import pytest

from rudp.sim import (
    FULL_CONE,
    PORT_RESTRICTED_CONE,
    SYMMETRIC,
    LinkConfig,
    Nat,
    NatConfig,
    Network,
    SimSocket,
)

from .test_network import Clock, Inbox

HOME, OFFICE = "203.0.113.1", "203.0.113.2"
SERVER = ("198.51.100.1", 80)


class Bench:
    """A server, two hosts behind one NAT, one behind another, and a clock."""

    def __init__(self, config: NatConfig | None = None, **options: Any) -> None:
        self.network = Network(1, LinkConfig(delay_s=0.1), **options)
        self.home = self.network.add_nat(HOME, config, name="home")
        self.office = self.network.add_nat(OFFICE, config, name="office")
        self.network.add_host("192.168.1.2", name="alice", behind=self.home)
        self.network.add_host("192.168.1.3", name="carol", behind=self.home)
        self.network.add_host("192.168.2.2", name="bob", behind=self.office)
        self.network.add_host("198.51.100.1", name="server")
        self.clock = Clock(self.network)
        self.server, self.heard = self.bind("198.51.100.1", 80)
        self.alice, self.to_alice = self.bind("192.168.1.2", 5000)

    def bind(self, ip: str, port: int) -> tuple[SimSocket, Inbox]:
        inbox = Inbox(self.clock)
        return self.network.bind(ip, port, inbox), inbox

    def seen(self, socket: SimSocket) -> Any:
        """Where the server sees a socket."""
        socket.send(b"who am I", SERVER)
        self.clock.run()
        return self.heard.got[-1][2]

    def open(self, one: SimSocket, other: Any) -> None:
        """Let a NAT see that a socket sends to an address."""
        one.send(b"open", other)
        self.clock.run()


def test_there_and_back() -> None:
    bench = Bench()
    assert bench.seen(bench.alice) == (HOME, 5000)
    bench.server.send(b"hello", (HOME, 5000))
    bench.clock.run()
    assert bench.to_alice.got == [(0.2, b"hello", SERVER)]
    assert (bench.home.stats.outbound, bench.home.stats.inbound) == (1, 1)
    assert bench.office.stats.outbound == 0


def test_nobody_outside_reaches_an_inside_address() -> None:
    bench = Bench()
    bench.server.send(b"hello", ("192.168.1.2", 5000))
    bob, _ = bench.bind("192.168.2.2", 6000)
    bob.send(b"hello", ("192.168.1.2", 5000))
    bench.clock.run()
    assert not bench.to_alice.got
    assert bench.network.stats.unreachable == 2


def test_neighbours_reach_each_other_without_their_nat() -> None:
    bench = Bench()
    carol, heard = bench.bind("192.168.1.3", 5000)
    bench.alice.send(b"hello", carol.address)
    bench.clock.run()
    assert heard.got == [(0.1, b"hello", ("192.168.1.2", 5000))]
    assert bench.home.stats.outbound == 0


@pytest.mark.parametrize("hairpin", [False, True])
def test_hairpinning(hairpin: bool) -> None:
    """RFC 4787 §6, REQ-9: "external source address and port"."""
    bench = Bench(FULL_CONE.replace(hairpin=hairpin))
    carol, heard = bench.bind("192.168.1.3", 6000)
    assert bench.seen(carol) == (HOME, 6000)
    bench.alice.send(b"hello", (HOME, 6000))
    bench.clock.run()
    assert [got[1:] for got in heard.got] == [(b"hello", (HOME, 5000))] * hairpin
    assert bench.home.stats.not_hairpinned == (not hairpin)


@pytest.mark.parametrize("kind", [FULL_CONE, PORT_RESTRICTED_CONE])
def test_two_nats(kind: NatConfig) -> None:
    """RFC 5128 §3.3: whether a hole has to be punched from both sides."""
    bench = Bench(kind)
    bob, heard = bench.bind("192.168.2.2", 5000)
    at_home, at_office = bench.seen(bench.alice), bench.seen(bob)
    bench.open(bench.alice, at_office)
    assert bool(heard.got) == (kind is FULL_CONE)
    bench.open(bob, at_home)
    assert bench.to_alice.got[-1][1:] == (b"open", at_office)
    bench.open(bench.alice, at_office)
    assert heard.got[-1][1:] == (b"open", at_home)


def test_a_nat_behind_a_nat() -> None:
    """RFC 5128 §3.3.4: two levels; each translates, and each link on the way has its delay."""
    bench = Bench()
    lan = LinkConfig(delay_s=0.01)
    inner = bench.network.add_nat(
        "192.168.1.9", NatConfig(lan=lan), name="inner", behind=bench.home
    )
    bench.network.add_host("10.0.0.2", name="dave", behind=inner)
    dave, heard = bench.bind("10.0.0.2", 7000)
    assert bench.seen(dave) == (HOME, 7000)
    assert bench.clock.now == pytest.approx(0.11)
    bench.server.send(b"hello", (HOME, 7000))
    bench.clock.run()
    assert [got[1:] for got in heard.got] == [(b"hello", SERVER)]
    assert heard.got[0][0] == pytest.approx(0.22)
    assert inner.mappings == {7000: ("10.0.0.2", 7000)}
    assert bench.home.mappings == {7000: ("192.168.1.9", 7000)}
    dave.send(b"up", ("192.168.1.2", 5000))
    bench.clock.run()
    assert bench.to_alice.got[-1][1:] == (b"up", ("192.168.1.9", 7000))


def test_ipv6_is_not_translated() -> None:
    network = Network(1)
    nat = network.add_nat(HOME)
    network.add_host("192.168.1.2", "fd00::1", behind=nat)
    network.add_host("198.51.100.1", "fd00::2")
    clock = Clock(network)
    inbox = Inbox(clock)
    network.bind("fd00::2", 80, inbox)
    network.bind("fd00::1", 5000, inbox).send(b"hello", ("fd00::2", 80))
    clock.run()
    assert inbox.got == [(0.0, b"hello", ("fd00::1", 5000, 0, 0))]


def test_an_ipv6_nat() -> None:
    network = Network(1)
    nat = network.add_nat("2001:db8::1", SYMMETRIC)
    network.add_host("fd00::1", "10.0.0.1", behind=nat)
    network.add_host("2001:db8::2")
    clock = Clock(network)
    inbox, back = Inbox(clock), Inbox(clock)
    server = network.bind("2001:db8::2", 80, inbox)
    network.bind("fd00::1", 5000, back).send(b"hello", ("2001:db8::2", 80))
    clock.run()
    seen: Any = inbox.got[0][2]
    assert seen[0] == "2001:db8::1"
    assert len(seen) == 4
    server.send(b"back", seen)
    clock.run()
    assert back.got[0][1:] == (b"back", ("2001:db8::2", 80, 0, 0))


# -- errors that come back ---------------------------------------------------------------------


def test_a_closed_port_is_reported_through_the_nat() -> None:
    bench = Bench()
    bench.alice.send(b"hello", ("198.51.100.1", 81))
    bench.clock.run()
    (at_s, error), *rest = bench.to_alice.errors
    assert not rest
    assert isinstance(error, ConnectionRefusedError)
    assert error.peer == ("198.51.100.1", 81)  # type: ignore[attr-defined]
    assert at_s == pytest.approx(0.2)


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("icmp", [False, True])
def test_a_nat_that_refuses(refuses: bool, icmp: bool) -> None:
    bench = Bench(NatConfig(refuses=refuses), icmp=icmp)
    bench.alice.send(b"hello", (OFFICE, 5000))
    bench.clock.run()
    told = [error.peer for _, error in bench.to_alice.errors]  # type: ignore[attr-defined]
    assert told == [(OFFICE, 5000)] * (refuses and icmp)
    assert bench.office.stats.unmapped == 1
    assert bench.network.stats.refused == refuses


# -- links, partitions, addresses --------------------------------------------------------------


def test_the_inside_link_is_that_of_the_nat() -> None:
    bench = Bench(NatConfig(lan=LinkConfig(delay_s=0.02)))
    bench.seen(bench.alice)
    assert bench.clock.now == pytest.approx(0.12)
    assert bench.network.link("alice", "home").config.delay_s == 0.02
    bench.network.set_link("alice", "home", LinkConfig(delay_s=0.5))
    bench.seen(bench.alice)
    assert bench.clock.now == pytest.approx(0.12 + 0.6)


def test_a_path_from_behind_a_nat_is_that_of_the_nat() -> None:
    bench = Bench()
    network = bench.network
    assert network.link("alice", "server") is network.link("home", "server")
    assert network.link("alice", "bob") is network.link("home", "office")
    assert network.link("server", "carol") is network.link("server", "home")
    assert network.link("alice", "carol") is not network.link("carol", "alice")
    network.set_link("alice", "server", LinkConfig(delay_s=0.3))
    bench.seen(bench.alice)
    assert bench.clock.now == pytest.approx(0.3)


def test_partition_and_heal() -> None:
    bench = Bench()
    bench.network.partition("alice", "home")
    bench.alice.send(b"lost", SERVER)
    carol, _ = bench.bind("192.168.1.3", 5001)
    assert bench.seen(carol) == (HOME, 5001)
    bench.network.heal("alice", "home")
    bench.network.partition("home", "server")
    bench.alice.send(b"lost", SERVER)
    bench.clock.run()
    assert len(bench.heard.got) == 1
    bench.network.heal("alice", "server")
    assert bench.seen(bench.alice) == (HOME, 5000)


def test_the_nat_gets_another_address() -> None:
    bench = Bench()
    bench.seen(bench.alice)
    bench.network.change_address("home", "203.0.113.77")
    assert bench.seen(bench.alice) == ("203.0.113.77", 5000)
    bench.server.send(b"new", ("203.0.113.77", 5000))
    bench.server.send(b"old", (HOME, 5000))
    bench.clock.run()
    assert [data for _, data, _ in bench.to_alice.got] == [b"new"]


def test_a_host_behind_a_nat_gets_another_address() -> None:
    bench = Bench(NatConfig(lan=LinkConfig(delay_s=0.02)))
    bench.seen(bench.alice)
    bench.alice.send(b"under way", SERVER)
    bench.network.change_address("alice", "192.168.1.200")
    bench.clock.run()
    assert bench.network.stats.unreachable == 1, "its source is nobody's any more"
    seen = bench.seen(bench.alice)
    assert seen[0] == HOME
    assert seen[1] != 5000
    assert bench.network.link("alice", "home").config.delay_s == 0.02


def test_a_neighbour_that_comes_later_is_found() -> None:
    """Routes that sockets remember must not outlive what they rest on."""
    bench = Bench()
    bench.alice.send(b"to nobody", ("192.168.1.50", 5000))
    bench.clock.run()
    assert bench.network.stats.unreachable == 1
    bench.network.add_host("192.168.1.50", behind=bench.home)
    _, heard = bench.bind("192.168.1.50", 5000)
    bench.alice.send(b"hello", ("192.168.1.50", 5000))
    bench.clock.run()
    assert heard.got[0][1:] == (b"hello", ("192.168.1.2", 5000))


def test_another_loop_finds_fresh_nats() -> None:
    bench = Bench()
    bench.seen(bench.alice)
    bench.network.detach()
    Clock(bench.network)
    assert not bench.home.mappings


# -- arguments ---------------------------------------------------------------------------------


def test_impossible_nats() -> None:
    network = Network(1)
    nat = network.add_nat(HOME, name="home")
    stranger = Network(2).add_nat(HOME)
    with pytest.raises(ValueError, match="taken"):
        network.add_nat(HOME)
    with pytest.raises(ValueError, match="name is taken"):
        network.add_nat(OFFICE, name="home")
    with pytest.raises(ValueError, match="another network"):
        network.add_nat(OFFICE, behind=stranger)
    with pytest.raises(ValueError, match="another family"):
        network.add_nat("fd00::1", name="six", behind=nat)
    with pytest.raises(TypeError, match="config"):
        network.add_nat(OFFICE, FULL_CONE.mapping)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="behind"):
        network.add_nat(OFFICE, behind="home")  # type: ignore[arg-type]
    assert network.nats == (nat,)
    network.add_nat("fd00::1", name="six")


def test_impossible_hosts() -> None:
    network = Network(1)
    nat = network.add_nat(HOME)
    with pytest.raises(TypeError, match="behind"):
        network.add_host("192.168.1.2", behind="home")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="another network"):
        network.add_host("192.168.1.2", behind=Network(2).add_nat(HOME))
    with pytest.raises(ValueError, match="family"):
        network.add_host("fd00::1", behind=nat)
    with pytest.raises(ValueError, match="taken"):
        network.add_host(HOME, behind=nat)
    assert network.hosts == ()
    host = network.add_host("192.168.1.2", behind=nat)
    assert network.hosts == (host,), "a NAT is no host to run on"


def test_no_socket_is_bound_on_a_nat() -> None:
    bench = Bench()
    with pytest.raises(OSError, match="assign"):
        bench.bind(HOME, 80)
    with bench.network.host("home"), pytest.raises(OSError, match="assign"):
        bench.bind("0.0.0.0", 80)


def test_nats_are_found_by_name() -> None:
    bench = Bench()
    assert isinstance(bench.home, Nat)
    assert bench.network.resolve("home") == [HOME]
    assert bench.network.get_host("home").nat is bench.home
