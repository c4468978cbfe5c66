"""What a socket can do is asked of the socket."""

from __future__ import annotations

import dataclasses
import errno
import socket
import sys
from typing import Any

import pytest

from rudp.aio import capabilities, cmsg
from rudp.aio.capabilities import Capabilities

from .batched_support import LINUX_ONLY


class Refusing(socket.socket):
    """A socket without some options."""

    refused: tuple[tuple[int, int], ...] = ()

    def setsockopt(self, level: int, option: int, *rest: Any) -> None:  # type: ignore[override]
        if (level, option) in self.refused:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        super().setsockopt(level, option, *rest)


_OPTIONS = {
    "gso": [(cmsg.SOL_UDP, cmsg.UDP_SEGMENT)],
    "gro": [(cmsg.SOL_UDP, cmsg.UDP_GRO)],
    "ecn": [(cmsg.IPPROTO_IP, cmsg.IP_RECVTOS), (cmsg.IPPROTO_IPV6, cmsg.IPV6_RECVTCLASS)],
    "dont_fragment": [
        (cmsg.IPPROTO_IP, cmsg.IP_MTU_DISCOVER),
        (cmsg.IPPROTO_IPV6, cmsg.IPV6_MTU_DISCOVER),
    ],
}
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])


@LINUX_ONLY
@FAMILIES
@pytest.mark.parametrize("feature", _OPTIONS)
def test_a_refused_option_turns_its_feature_off_alone(feature: str, family: int) -> None:
    with Refusing(family, socket.SOCK_DGRAM) as sock:
        able = capabilities.enable(sock)
    with Refusing(family, socket.SOCK_DGRAM) as sock:
        sock.refused = tuple(_OPTIONS[feature])
        assert capabilities.enable(sock) == dataclasses.replace(able, **{feature: False})


@LINUX_ONLY
@FAMILIES
def test_what_is_reported_is_set(family: int) -> None:
    level = cmsg.IPPROTO_IPV6 if family == socket.AF_INET6 else cmsg.IPPROTO_IP
    probe, tos = (
        (cmsg.IPV6_MTU_DISCOVER, cmsg.IPV6_RECVTCLASS)
        if family == socket.AF_INET6
        else (cmsg.IP_MTU_DISCOVER, cmsg.IP_RECVTOS)
    )
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        can = capabilities.enable(sock)
        assert can.ecn == bool(sock.getsockopt(level, tos))
        assert can.dont_fragment == (sock.getsockopt(level, probe) == cmsg.IP_PMTUDISC_PROBE)
        if can.gro:
            assert sock.getsockopt(cmsg.SOL_UDP, cmsg.UDP_GRO)
        if can.gso:
            assert sock.getsockopt(cmsg.SOL_UDP, cmsg.UDP_SEGMENT) == 0


@LINUX_ONLY
def test_a_segment_size_that_was_set_on_the_socket_does_not_stay() -> None:
    """It would cut single datagrams."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if not capabilities.enable(sock).gso:
            pytest.skip("no UDP_SEGMENT")
        sock.setsockopt(cmsg.SOL_UDP, cmsg.UDP_SEGMENT, 500)
        capabilities.enable(sock)
        assert sock.getsockopt(cmsg.SOL_UDP, cmsg.UDP_SEGMENT) == 0


@LINUX_ONLY
def test_udp_sockets_are_usable_and_others_are_not() -> None:
    for family in (socket.AF_INET, socket.AF_INET6):
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            assert capabilities.usable(sock)
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            assert not capabilities.usable(sock)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        assert not capabilities.usable(sock)


def test_other_platforms_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for platform in ("darwin", "win32"):
            monkeypatch.setattr(sys, "platform", platform)
            assert not capabilities.available()
            assert not capabilities.usable(sock)


@LINUX_ONLY
def test_which_sockets_reach_ipv4() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert capabilities.reaches_ipv4(sock)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        for only in (0, 1):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
            assert capabilities.reaches_ipv4(sock) is not bool(only)


def test_nothing_is_assumed() -> None:
    assert Capabilities() == Capabilities(gso=False, gro=False, ecn=False, dont_fragment=False)
