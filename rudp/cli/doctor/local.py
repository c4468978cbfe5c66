"""This machine: kernel, loop, socket buffers, what a UDP socket can do, rudp over loopback."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import platform
import random
import re
import socket
import sys
from pathlib import Path
from typing import Any

import rudp
from rudp.aio import capabilities, udp
from rudp.cli.doctor.check import Check, Verdict
from rudp.cli.text import describe_rate, describe_size

_LINUX = sys.platform == "linux"
_TRANSFER_BYTES = 4 << 20
_TRANSFER_TIMEOUT_S = 20.0
_SNMP = Path("/proc/net/snmp")


async def check_machine(config: rudp.Config) -> list[Check]:
    """Everything that can be told without another machine. Raises `OSError` if not even the
    loopback can be bound."""
    checks = [_check_kernel(), _check_loop()]
    async with (
        rudp.Endpoint.bind("127.0.0.1", config=config) as here,
        rudp.Endpoint.bind("127.0.0.1", config=config) as there,
    ):
        loopback = await _check_loopback(here, there)
        checks += _check_buffers(here.get_extra_info("socket"))
        checks += _check_features(here.get_extra_info("rudp_io"))
    return [*checks, *_check_drops(), loopback]


def _check_kernel() -> Check:
    release = platform.release()
    found = f"{platform.system()} {release}, Python {platform.python_version()}"
    values = {"system": platform.system(), "release": release, "python": platform.python_version()}
    if not _LINUX:
        text = "many datagrams a system call, ECN and path MTU discovery need Linux"
        return Check("system", Verdict.NOTE, found, text, values)
    if _version(release) < (5, 0):
        advice = "Linux 5.0 or newer has UDP_GRO: many datagrams a system call"
        return Check("system", Verdict.WARN, found, advice, values)
    return Check("system", Verdict.OK, found, "", values)


def _version(release: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match is not None else (0, 0)


def _check_loop() -> Check:
    try:
        version = importlib.metadata.version("uvloop")
    except importlib.metadata.PackageNotFoundError:
        advice = "pip install 'asyncio-rudp[uvloop]': shorter ways through the event loop"
        return Check("event loop", Verdict.WARN, "asyncio's own", advice, {"uvloop": None})
    return Check("event loop", Verdict.OK, f"uvloop {version}", "", {"uvloop": version})


def _check_buffers(sock: Any) -> list[Check]:
    """What the kernel grants of what rudp asks for."""
    return [
        _check_buffer("receive buffer", sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), "r"),
        _check_buffer("send buffer", sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF), "w"),
    ]


def _check_buffer(name: str, shown_bytes: int, letter: str) -> Check:
    asked = udp.SOCKET_BUFFER_BYTES
    granted = shown_bytes // 2 if _LINUX else shown_bytes  # Linux shows what it adds for itself
    found = f"{describe_size(granted)} granted of {describe_size(asked)} asked for"
    values = {"granted_bytes": granted, "asked_bytes": asked}
    if granted >= asked:
        return Check(name, Verdict.OK, found, "", values)
    advice = f"sysctl -w net.core.{letter}mem_max={asked}"
    if not _LINUX:
        advice = f"sysctl -w kern.ipc.maxsockbuf={2 * asked}"
    # What rudp asks for is ample; the kernels' usual 208 KiB overflow with one burst.
    verdict = Verdict.WARN if granted < asked // 4 else Verdict.NOTE
    return Check(name, verdict, found, f"{advice} lets bursts in", values)


_FEATURES = (
    ("gso", "send offload", "UDP_SEGMENT: many datagrams leave with one call (Linux 4.18)"),
    ("gro", "receive offload", "UDP_GRO: many datagrams arrive with one call (Linux 5.0)"),
    ("ecn", "ECN", "routers may mark instead of drop"),
    ("dont_fragment", "don't fragment", "the path MTU can be found"),
)


def _check_features(io: dict[str, bool] | None) -> list[Check]:
    """What the socket took, and what was left of it after it was used."""
    if io is None:
        found = "one datagram a system call, no ECN, no path MTU discovery"
        if capabilities.available():
            advice = "leave out --io stock"
            return [Check("batched socket", Verdict.WARN, found, advice, {"batched": False})]
        return [Check("batched socket", Verdict.NOTE, found, "", {"batched": False})]
    checks = []
    for key, name, meaning in _FEATURES:
        has = io[key]
        verdict = Verdict.OK if has else Verdict.WARN
        advice = "" if has else "the kernel, a container's policy or the device refuses it"
        found = meaning if has else f"missing: {meaning}"
        checks.append(Check(name, verdict, found, advice, {key: has}))
    return checks


def _check_drops() -> list[Check]:
    """Datagrams that the kernel dropped since it started, since nobody had read those before."""
    counts = _udp_counts()
    if counts is None:
        return []
    dropped, received = counts["RcvbufErrors"], counts["InDatagrams"]
    share = dropped / (received + dropped) if dropped else 0.0
    found = f"{dropped} of {received + dropped} datagrams since the start ({share:.2%})"
    values = {"receive_buffer_errors": dropped, "datagrams": received}
    verdict = Verdict.NOTE if dropped else Verdict.OK
    return [Check("dropped for full buffers", verdict, found, "", values)]


def _udp_counts() -> dict[str, int] | None:
    try:
        lines = [line.split() for line in _SNMP.read_text().splitlines() if line[:4] == "Udp:"]
    except OSError:
        return None
    if len(lines) != 2 or "RcvbufErrors" not in lines[0]:
        return None
    return dict(zip(lines[0][1:], map(int, lines[1][1:]), strict=True))


async def _check_loopback(here: rudp.Endpoint, there: rudp.Endpoint) -> Check:
    """Carry some megabytes from one socket to the other, as any program would."""
    data = random.Random(1).randbytes(_TRANSFER_BYTES)  # noqa: S311 - bytes to compare
    digest = hashlib.sha256()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1 << 18):
            digest.update(chunk)
        writer.write(digest.digest())
        writer.close()

    server = await there.start_server(serve)
    began_s = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(_TRANSFER_TIMEOUT_S):
            reader, writer = await here.open_connection(*there.get_extra_info("sockname"))
            writer.write(data)
            writer.write_eof()
            answer = await reader.read()
            writer.close()
    except OSError as exc:
        return Check("loopback", Verdict.FAIL, f"a transfer failed: {exc}", _NO_LOOPBACK)
    finally:
        server.close()
    if answer != hashlib.sha256(data).digest():
        return Check("loopback", Verdict.FAIL, "the bytes were changed on the way", _NO_LOOPBACK)
    rate = len(data) / max(1e-3, asyncio.get_running_loop().time() - began_s)
    found = f"{describe_size(len(data))} carried unchanged, {describe_rate(rate)}"
    return Check("loopback", Verdict.OK, found, "", {"bytes_per_s": round(rate)})


_NO_LOOPBACK = "a local firewall? Please report it if not"
