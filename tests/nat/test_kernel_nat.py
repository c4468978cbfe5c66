"""Through the kernel's own NAT: real processes in network namespaces (root, Linux)."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .namespaces import INSIDE, OUTSIDE, SERVER, Homes, Unavailable, missing

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(missing() is not None, reason=missing() or "never"),
]

EXAMPLES = Path(__file__).parents[2] / "examples"
END_S = 40.0
FILE_BYTES = 2_000_000


@pytest.fixture
def homes(request: pytest.FixtureRequest) -> Iterator[Homes]:
    """The namespaces; afterwards there is nothing left of them."""
    made = Homes(**getattr(request, "param", {}))
    try:
        made.__enter__()
    except Unavailable as reason:
        assert not made.left_behind()
        pytest.skip(f"cannot make network namespaces with NATs here: {reason}")
    try:
        yield made
    finally:
        made.__exit__()
    assert not made.left_behind()


def rendezvous(homes: Homes) -> str:
    """Start the rendezvous server in the public namespace; its address."""
    server = homes.start(
        "internet", sys.executable, str(EXAMPLES / "rendezvous.py"), "--listen", f"{SERVER}:0"
    )
    return listening(server)


def listening(server: subprocess.Popen[str]) -> str:
    """The address that a server says it has."""
    assert server.stdout is not None
    return server.stdout.readline().removeprefix("listening on ").strip()


def peer(homes: Homes, who: str, via: str, *options: str) -> subprocess.Popen[str]:
    """Start examples/peer.py at somebody's home."""
    script = str(EXAMPLES / "peer.py")
    return homes.start(who, sys.executable, script, "the room", "--via", via, *options)


def test_two_peers_behind_masquerading_nats(homes: Homes, tmp_path: Path) -> None:
    """RFC 5128 §3.3 with netfilter: a file and some lines, not through the server."""
    file = tmp_path / "file.bin"
    file.write_bytes(random.Random(1).randbytes(FILE_BYTES))
    into = tmp_path / "into"
    into.mkdir()
    via = rendezvous(homes)
    alice = peer(homes, "alice", via, "--send", str(file))
    bob = peer(homes, "bob", via, "--into", str(into))
    told_by_alice, _ = alice.communicate("hello from alice\n", timeout=END_S)
    told_by_bob, _ = bob.communicate(timeout=END_S)
    assert (alice.returncode, bob.returncode) == (0, 0), told_by_alice + told_by_bob
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert hashlib.sha256((into / "file.bin").read_bytes()).hexdigest() == digest
    assert f"connected to {OUTSIDE['bob']}:" in told_by_alice
    assert f"connected to {OUTSIDE['alice']}:" in told_by_bob
    assert f"{INSIDE['bob']}:" in told_by_bob, "where it waits, inside"
    assert "peer: hello from alice" in told_by_bob


def test_a_home_gets_another_address(homes: Homes) -> None:
    """The server validates where its client is now, and the connection goes on there."""
    listen = ("--listen", f"{SERVER}:0")
    server = homes.start("internet", sys.executable, str(EXAMPLES / "echo_server.py"), *listen)
    where = listening(server)
    script = str(EXAMPLES / "echo_client.py")
    client = homes.start("alice", sys.executable, script, "--server", where)
    assert client.stdin is not None
    assert client.stdout is not None
    for line in ("before\n", "after\n", "and on\n"):
        if line == "after\n":
            homes.move("alice", "203.0.113.77")
        client.stdin.write(line)
        client.stdin.flush()
        assert client.stdout.readline() == line
    rest, _ = client.communicate(timeout=END_S)
    assert (client.returncode, rest) == (0, "")
    assert server.stdout is not None
    done = server.stdout.readline()
    assert done.startswith(f"{OUTSIDE['alice']}:"), "where it came from at first"
    assert done.endswith(": 20 bytes, done\n")


@pytest.mark.parametrize("homes", [{"random_ports": True}], indirect=True)
def test_two_peers_behind_nats_with_random_ports(homes: Homes) -> None:
    """RFC 5128 §3.3.5: netfilter as a symmetric NAT; both are told, and end with status 1."""
    via = rendezvous(homes)
    both = [peer(homes, who, via, "--patience", "2") for who in OUTSIDE]
    for process in both:
        told, _ = process.communicate(timeout=END_S)
        assert process.returncode == 1, told
        assert "symmetric" in told
        assert "connected" not in told
