"""rudp.config: every field's bounds, and errors that name the field."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from rudp.config import HEADER_BYTES, MAX_DATAGRAM_BYTES, MIN_DATAGRAM_BYTES, Config
from rudp.congestion import NewReno
from rudp.wire.options import Options
from rudp.wire.segment import SYN, Segment, encode

INTEGERS = {
    "max_datagram_size": (128, 65_507),
    "base_datagram_size": (128, 65_507),
    "send_buffer": (4096, 1 << 30),
    "receive_buffer": (4096, 1 << 30),
    "max_holes": (1, 1 << 16),
    "keepalive_probes": (1, 1000),
    "max_connections": (1, 1 << 31),
    "max_half_open": (1, 1 << 31),
}
AT_LEAST_A_MILLISECOND = (
    "initial_rto",
    "punch_interval",
    "min_rto",
    "max_rto",
    "connect_timeout",
    "retransmit_timeout",
    "keepalive_interval",
    "user_timeout",
    "keepalive",
)
FROM_ZERO = ("delayed_ack", "fin_wait_2_timeout", "time_wait", "linger")
SECONDS = AT_LEAST_A_MILLISECOND + FROM_ZERO
SWITCHES = ("mtu_discovery", "ecn", "sack", "tail_loss_probe", "pacing")
OTHERS = ("congestion", "io", "trace")


def make(**fields: Any) -> Config:
    """A config in which the two RTO bounds do not collide with the field under test."""
    if "max_rto" in fields:
        fields.setdefault("min_rto", 0.001)
    if "min_rto" in fields:
        fields.setdefault("max_rto", math.inf)
    return Config(**fields)


def test_these_are_all_the_fields() -> None:
    """A new field belongs into one of the tables above."""
    names = {field.name for field in dataclasses.fields(Config)}
    assert names == {*INTEGERS, *SECONDS, *SWITCHES, *OTHERS}


def test_the_defaults() -> None:
    """What is documented, in its units."""
    config = Config()
    assert config.max_datagram_size == 65_507, "what UDP carries; the path's limit is searched"
    assert config.base_datagram_size == 1200, "RFC 9000 §14"
    assert config.congestion == "resilient"
    assert config.send_buffer == config.receive_buffer == 16 << 20
    assert config.max_holes == 4096
    assert config.initial_rto == 1.0, "RFC 6298 §2.1"
    assert config.max_rto >= 60, "RFC 6298 §2.5"
    assert config.connect_timeout >= 180, "RFC 9293 MUST-23"
    assert config.retransmit_timeout >= 100, "RFC 9293 MUST-20"
    assert config.delayed_ack <= 0.5, "RFC 9293 §3.8.6.3"
    assert config.min_rto > 2 * config.delayed_ack
    assert config.keepalive is None, "RFC 9293 MUST-25: off by default"
    assert config.user_timeout is None
    for name in SWITCHES:
        assert getattr(config, name) is True, name
    assert config.io == "auto"


def test_every_field_is_documented() -> None:
    doc = Config.__doc__ or ""
    for field in dataclasses.fields(Config):
        assert f"\n        {field.name}: " in doc, field.name


@pytest.mark.parametrize(("name", "bounds"), INTEGERS.items())
def test_integers(name: str, bounds: tuple[int, int]) -> None:
    low, high = bounds
    for value in (low, low + 1, high - 1, high):
        assert getattr(make(**{name: value}), name) == value
    for value in (low - 1, high + 1, -1, 0, -(1 << 70), 1 << 70):
        if not low <= value <= high:
            with pytest.raises(ValueError, match=f"{name} must be from {low} to {high}"):
                make(**{name: value})


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", [8192.0, "8192", None, True, b"", [8192]])
def test_integers_of_another_type(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"{name} must be an int"):
        make(**{name: value})


@pytest.mark.parametrize("name", SECONDS)
def test_seconds(name: str) -> None:
    low = 0.0 if name in FROM_ZERO else 0.001
    high = 0.499 if name == "delayed_ack" else 1e6
    for value in (low, low + 0.001, high / 2, high):
        assert getattr(make(**{name: value}), name) == value
    for value in (-1, -0.001, low - 0.000_1, -math.inf, math.nan):
        with pytest.raises(ValueError, match=f"{name} must be from"):
            make(**{name: value})
    assert getattr(make(**{name: int(high)}), name) == int(high), "whole seconds are seconds"


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", ["1", None, True, b"", [1.0], 1j])
def test_seconds_of_another_type(name: str, value: object) -> None:
    if value is None and name in ("user_timeout", "keepalive"):
        assert getattr(make(**{name: None}), name) is None
        return
    with pytest.raises(TypeError, match=f"{name} must be a number of seconds"):
        make(**{name: value})


def test_delayed_ack_is_less_than_half_a_second() -> None:
    """RFC 9293 §3.8.6.3 (MUST-40): the delay MUST be less than 0.5 seconds, and may be none."""
    assert Config(delayed_ack=0.0).delayed_ack == 0.0
    with pytest.raises(ValueError, match="delayed_ack"):
        Config(delayed_ack=0.5)
    with pytest.raises(ValueError, match="delayed_ack"):
        Config(delayed_ack=math.inf)


def test_the_rto_bounds_do_not_cross() -> None:
    """RFC 6298 §2.4 and §2.5."""
    assert Config(min_rto=1.0, max_rto=1.0).max_rto == 1.0
    with pytest.raises(ValueError, match=r"min_rto \(2\.0\) is greater than max_rto \(1\.0\)"):
        Config(min_rto=2.0, max_rto=1.0)


@pytest.mark.parametrize("io", ["auto", "batched", "stock"])
def test_io(io: Any) -> None:
    assert Config(io=io).io == io


@pytest.mark.parametrize("io", ["", "AUTO", "fast", None, 1, ["auto"], {}])
def test_io_of_another_kind(io: Any) -> None:
    with pytest.raises(
        (TypeError, ValueError), match="io must be 'auto', 'batched' or 'stock', not"
    ):
        Config(io=io)


@pytest.mark.parametrize("congestion", ["newreno", NewReno])
def test_congestion(congestion: Any) -> None:
    assert Config(congestion=congestion).congestion is congestion


@pytest.mark.parametrize("congestion", [None, 1, b"newreno", NewReno(1000), ["newreno"]])
def test_congestion_of_another_kind(congestion: Any) -> None:
    with pytest.raises(TypeError, match="congestion must be a name or a class"):
        Config(congestion=congestion)


@pytest.mark.parametrize("name", SWITCHES)
def test_switches(name: str) -> None:
    for value in (False, True):
        assert getattr(Config(**{name: value}), name) is value


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("value", [0, 1, None, "yes"])
def test_switches_of_another_type(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{name} must be a bool"):
        Config(**{name: value})


def test_mss() -> None:
    """What is announced: the datagram less the header (RFC 9293 §3.7.1)."""
    assert Config(max_datagram_size=1200).mss == 1176
    assert Config(max_datagram_size=MIN_DATAGRAM_BYTES).mss == MIN_DATAGRAM_BYTES - HEADER_BYTES
    assert Config(max_datagram_size=MAX_DATAGRAM_BYTES).mss == 65_483


def test_the_smallest_datagram_holds_a_syn_with_all_options() -> None:
    """RFC 9293 §3.7.1: a SYN must not be larger than what the path was said to carry."""
    options = Options(
        mss=1176,
        window_scale=14,
        sack_permitted=True,
        version=1,
        connection_id=0xFFFF_FFFF,
        cookie=bytes(64),
        rendezvous=bytes(16),
    )
    syn = encode(Segment(0, 0, 0, SYN, 0xFFFF, 0, 0, options))
    assert len(syn) <= MIN_DATAGRAM_BYTES


def test_replace_changes_and_keeps() -> None:
    config = Config(min_rto=0.3, sack=False)
    other = config.replace(max_datagram_size=9000, sack=True)
    assert other == Config(min_rto=0.3, max_datagram_size=9000)
    assert config == Config(min_rto=0.3, sack=False), "the original stays"
    assert config.replace() == config


def test_replace_validates() -> None:
    config = Config()
    with pytest.raises(ValueError, match="max_holes"):
        config.replace(max_holes=0)
    with pytest.raises(TypeError, match="send_buffer"):
        config.replace(send_buffer="large")
    with pytest.raises(ValueError, match="min_rto"):
        config.replace(max_rto=0.1)
    with pytest.raises(TypeError, match="window"):
        config.replace(window=5)


def test_it_is_immutable_and_comparable() -> None:
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.sack = False  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        config.other = 1  # type: ignore[attr-defined]
    assert config == Config()
    assert hash(config) == hash(Config())
    assert config != Config(sack=False)


def test_fields_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        Config(1200)  # type: ignore[misc]
    with pytest.raises(TypeError, match="windw"):
        Config(windw=1)  # type: ignore[call-arg]
