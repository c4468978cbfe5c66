"""Addresses, durations and sizes as people write them."""

from __future__ import annotations

import pytest

from rudp.cli.address import (
    HostPort,
    StreamAddress,
    format_address,
    parse_host_port,
    parse_port,
    parse_stream_address,
)
from rudp.cli.parsing import parse_duration_or_off_s, parse_duration_s, parse_size_bytes


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("7000", None, 7000),
        (":7000", None, 7000),
        ("*:7000", None, 7000),
        ("example.org:7000", "example.org", 7000),
        ("10.0.0.1:0", "10.0.0.1", 0),
        ("[::1]:65535", "::1", 65_535),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
    ],
)
def test_an_address(text: str, host: str | None, port: int) -> None:
    assert parse_host_port(text) == HostPort(host, port)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "has no port"),
        ("example.org", "has no port"),
        ("::1:7000", r"\[ADDRESS\]:PORT"),
        ("[]:7000", "between its brackets"),
        ("[::1]", "as .ADDRESS.:PORT|has no port"),
        ("host:", "is not a port"),
        ("host:65536", "is not a port"),
        ("host:-1", "is not a port"),
        ("host:7 000", "is not a port"),
        ("host:٣", "is not a port"),
    ],
)
def test_no_address(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_host_port(text)


def test_a_port_to_dial_is_not_zero() -> None:
    assert parse_port("0") == 0
    with pytest.raises(ValueError, match="1 to 65535"):
        parse_host_port("host:0", lowest_port=1)
    with pytest.raises(ValueError, match="1 to 65535"):
        parse_stream_address("tcp:host:0", lowest_port=1)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("tcp:127.0.0.1:80", StreamAddress("tcp", HostPort("127.0.0.1", 80))),
        ("rudp:[::1]:7000", StreamAddress("rudp", HostPort("::1", 7000))),
        ("rudp:7000", StreamAddress("rudp", HostPort(None, 7000))),
        ("tcp://host:1", StreamAddress("tcp", HostPort("host", 1))),
    ],
)
def test_a_stream_address(text: str, wanted: StreamAddress) -> None:
    assert parse_stream_address(text) == wanted


@pytest.mark.parametrize("text", ["host:80", "udp:host:80", "80", "", "TCP"])
def test_no_stream_address(text: str) -> None:
    with pytest.raises(ValueError, match="tcp: or rudp:"):
        parse_stream_address(text)


def test_addresses_are_shown_as_they_are_written() -> None:
    for text in ("rudp:[::1]:7000", "tcp:10.0.0.1:80", "rudp:*:7000"):
        assert str(parse_stream_address(text)) == text
    assert format_address(("::1", 7000, 0, 0)) == "[::1]:7000"
    assert HostPort(None, 7000).to_dial == ("127.0.0.1", 7000)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5.0), ("1.5s", 1.5), ("250ms", 0.25), ("2m", 120.0), (".5h", 1800.0), ("0", 0.0)],
)
def test_a_duration(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds
    assert parse_duration_or_off_s("off") is None


@pytest.mark.parametrize("text", ["", "-1", "soon", "1d", "inf", "nan", "1e9", "9" * 400])
def test_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|long"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("65536", 65_536),
        ("64K", 65_536),
        ("16mb", 16 << 20),
        ("1.5GiB", 3 << 29),
        ("10b", 10),
        (str((1 << 61) + 1), (1 << 61) + 1),
    ],
)
def test_a_size(text: str, size: int) -> None:
    assert parse_size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1x", "K", "1ib", "1e6", "9" * 30])
def test_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|large"):
        parse_size_bytes(text)
