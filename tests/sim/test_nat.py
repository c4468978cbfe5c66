"""rudp.sim.nat: mapping, filtering, time-outs, ports (RFC 4787), without a network."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.sim import (
    FULL_CONE,
    PORT_RESTRICTED_CONE,
    RESTRICTED_CONE,
    SYMMETRIC,
    Dependence,
    LinkConfig,
    Nat,
    NatConfig,
    Network,
)

OUTSIDE = "203.0.113.1"
INNER = ("192.168.1.2", 5000)
OTHER = ("192.168.1.3", 5000)
SERVER, SAME_HOST, STRANGER = ("198.51.100.1", 80), ("198.51.100.1", 81), ("198.51.100.2", 80)


def make(config: NatConfig | None = None, seed: int = 1) -> Nat:
    return Network(seed).add_nat(OUTSIDE, config)


def out(nat: Nat, source: Any, destination: Any, now_s: float = 0.0) -> Any:
    """The outside address of a datagram, which there has to be."""
    mapped = nat.outbound(source, destination, now_s)
    assert mapped is not None
    assert mapped[0] == OUTSIDE
    return mapped


@pytest.mark.parametrize(
    ("mapping", "same"),
    [
        (Dependence.ENDPOINT_INDEPENDENT, (True, True)),
        (Dependence.ADDRESS_DEPENDENT, (True, False)),
        (Dependence.ADDRESS_AND_PORT_DEPENDENT, (False, False)),
    ],
)
@pytest.mark.parametrize("ports", ["preserved", "random"])
def test_mapping(mapping: Dependence, same: tuple[bool, bool], ports: Any) -> None:
    """RFC 4787 §4.1: whether two peers see one socket at one port."""
    nat = make(NatConfig(mapping=mapping, ports=ports))
    first = out(nat, INNER, SERVER)
    assert out(nat, INNER, SERVER) == first
    assert (out(nat, INNER, SAME_HOST) == first, out(nat, INNER, STRANGER) == first) == same


@pytest.mark.parametrize(
    ("filtering", "let_in"),
    [
        (Dependence.ENDPOINT_INDEPENDENT, (True, True)),
        (Dependence.ADDRESS_DEPENDENT, (True, False)),
        (Dependence.ADDRESS_AND_PORT_DEPENDENT, (False, False)),
    ],
)
def test_filtering(filtering: Dependence, let_in: tuple[bool, bool]) -> None:
    """RFC 4787 §5: who may send to a port that is in use."""
    nat = make(NatConfig(filtering=filtering))
    port = out(nat, INNER, SERVER)[1]
    assert nat.inbound(SERVER, port, 1.0) == INNER
    found = [nat.inbound(peer, port, 1.0) for peer in (SAME_HOST, STRANGER)]
    assert [inner == INNER for inner in found] == list(let_in)
    assert nat.stats.filtered == 2 - sum(let_in)
    assert nat.inbound(SERVER, port + 1, 1.0) is None
    assert nat.stats.unmapped == 1
    out(nat, INNER, STRANGER)
    assert nat.inbound(STRANGER, port, 1.0) == INNER


def test_the_filter_may_change_while_mappings_exist() -> None:
    nat = make(PORT_RESTRICTED_CONE)
    port = out(nat, INNER, SERVER)[1]
    assert nat.inbound(STRANGER, port, 0.0) is None
    nat.config = FULL_CONE
    assert nat.inbound(STRANGER, port, 0.0) == INNER


def test_the_four_kinds() -> None:
    """RFC 3489 §5 in the words of RFC 4787."""
    independent, address, port = Dependence
    kinds = [(kind.mapping, kind.filtering) for kind in (FULL_CONE, RESTRICTED_CONE)]
    kinds += [(kind.mapping, kind.filtering) for kind in (PORT_RESTRICTED_CONE, SYMMETRIC)]
    assert kinds == [
        (independent, independent),
        (independent, address),
        (independent, port),
        (port, port),
    ]


@pytest.mark.parametrize("ports", ["preserved", "random"])
def test_no_port_stands_for_two_sockets(ports: Any) -> None:
    """RFC 4787 §4.2.1, REQ-3: no port overloading; preserved where it can be."""
    nat = make(NatConfig(ports=ports))
    first, second = out(nat, INNER, SERVER), out(nat, OTHER, SERVER)
    assert first != second
    assert (first[1] == INNER[1]) == (ports == "preserved")
    assert nat.mappings == {first[1]: INNER, second[1]: OTHER}
    assert nat.stats.mapped == 2


def test_privileged_ports_are_not_preserved() -> None:
    assert out(make(), ("192.168.1.2", 53), SERVER)[1] >= 1024


def test_all_ports_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rudp.sim.nat._PORTS", range(2000, 2100))
    nat = make(SYMMETRIC.replace(timeout_s=10.0))
    used = {out(nat, INNER, ("198.51.100.1", port))[1] for port in range(100)}
    assert used == set(range(2000, 2100))
    assert nat.outbound(INNER, ("198.51.100.1", 100), 9.0) is None
    assert nat.stats.exhausted == 1
    assert nat.outbound(INNER, ("198.51.100.1", 100), 10.0) is not None


@pytest.mark.parametrize("refresh_inbound", [False, True])
def test_time_out_and_what_puts_it_off(refresh_inbound: bool) -> None:
    """RFC 4787 §4.3, REQ-5 and 6: what goes out refreshes; what comes in may."""
    nat = make(NatConfig(timeout_s=30.0, refresh_inbound=refresh_inbound))
    port = out(nat, INNER, SERVER, 0.0)[1]
    assert nat.inbound(SERVER, port, 29.0) == INNER
    assert (nat.inbound(SERVER, port, 31.0) == INNER) == refresh_inbound
    nat.rebind()
    port = out(nat, INNER, SERVER, 100.0)[1]
    out(nat, INNER, SERVER, 129.0)
    assert nat.inbound(SERVER, port, 158.0) == INNER
    assert nat.inbound(SERVER, port, 500.0) is None
    assert nat.stats.expired >= 1
    assert port not in nat.mappings


def test_what_was_filtered_does_not_refresh() -> None:
    """RFC 4787 §4.3, REQ-6b: else a stranger could hold a mapping open."""
    nat = make(NatConfig(timeout_s=30.0))
    port = out(nat, INNER, SERVER, 0.0)[1]
    assert nat.inbound(STRANGER, port, 29.0) is None
    assert nat.inbound(SERVER, port, 31.0) is None


@pytest.mark.parametrize("config", [PORT_RESTRICTED_CONE, SYMMETRIC])
def test_rebinding_changes_every_port(config: NatConfig) -> None:
    nat = make(config)
    before = [out(nat, inner, SERVER)[1] for inner in (INNER, OTHER)]
    nat.rebind()
    assert not nat.mappings
    assert all(nat.inbound(SERVER, port, 0.0) is None for port in before)
    after = [out(nat, inner, SERVER)[1] for inner in (INNER, OTHER)]
    assert not set(before) & set(after)


@given(
    st.integers(0, 1 << 32), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=60)
)
def test_mappings_are_one_to_one_and_what_is_answered_arrives(
    seed: int, sent: list[tuple[int, int]]
) -> None:
    """Whatever is sent out, the peer's answer to it comes back to who sent it, and nobody else."""
    rng = random.Random(seed)
    config = NatConfig(
        mapping=rng.choice(list(Dependence)),
        filtering=rng.choice(list(Dependence)),
        ports=rng.choice(("preserved", "random")),
    )
    nat = make(config, seed)
    seen: dict[int, Any] = {}
    for number, peer in sent:
        inner = ("192.168.1.2", 5000 + number)
        server = (f"198.51.100.{peer // 2}", 80 + peer % 2)
        port = out(nat, inner, server)[1]
        assert seen.setdefault(port, inner) == inner
        assert nat.inbound(server, port, 0.0) == inner
    assert nat.mappings == seen


def test_the_ports_depend_on_the_seed_alone() -> None:
    def ports(seed: int) -> list[Any]:
        nat = make(SYMMETRIC, seed)
        return [out(nat, INNER, ("198.51.100.1", port)) for port in range(20)]

    assert ports(7) == ports(7) != ports(8)


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("mapping", "endpoint", TypeError),
        ("filtering", None, TypeError),
        ("ports", "sequential", ValueError),
        ("timeout_s", 0, ValueError),
        ("timeout_s", float("nan"), ValueError),
        ("timeout_s", "30", TypeError),
        ("timeout_s", True, TypeError),
        ("hairpin", 1, TypeError),
        ("refuses", None, TypeError),
        ("refresh_inbound", "no", TypeError),
        ("lan", 0.1, TypeError),
    ],
)
def test_impossible_settings_are_named(field: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=field):
        NatConfig(**{field: value})
    with pytest.raises(error, match=field):
        SYMMETRIC.replace(**{field: value})


def test_settings_are_kept() -> None:
    lan = LinkConfig(delay_s=0.001)
    assert SYMMETRIC.replace(lan=lan, timeout_s=30).lan is lan
    assert repr(make()) == f"<Nat {OUTSIDE} {OUTSIDE} 0 mappings>"
