"""examples/peer.py and examples/rendezvous.py: strangers behind simulated NATs find each other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aio.support import Simulate, end

import rudp
from rudp.sim import PORT_RESTRICTED_CONE, LinkConfig, Network

from .support import ALICE, BOB, DELAY_S, KINDS, SERVER, build

VIA = (SERVER, 7090)
ROOM = "a room"
CAROL = "192.168.1.3"


@pytest.fixture
def examples() -> Iterator[tuple[ModuleType, ModuleType]]:
    """The modules `peer` and `rendezvous`, imported as when they are run."""
    folder = str(Path(__file__).parents[2] / "examples")
    sys.path.insert(0, folder)
    before = set(sys.modules)
    try:
        import peer
        import rendezvous

        yield peer, rendezvous
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(folder):
                del sys.modules[name]


@contextlib.asynccontextmanager
async def serving(network: Network, rendezvous: ModuleType) -> AsyncIterator[Any]:
    """The rendezvous server on its host."""
    rooms = rendezvous.Rooms()
    handler = rendezvous.Handler(rooms.serve)
    with network.host("server"):
        server = await rudp.start_server(handler, *VIA, config=rendezvous.CONFIG)
    try:
        yield rooms
    finally:
        server.close()
        await handler.stop()


async def typed(*lines: str, wait_s: float = 1.0) -> AsyncIterator[str]:
    for line in lines:
        await asyncio.sleep(wait_s)
        yield line
    await asyncio.sleep(wait_s)


async def visit(
    peer: ModuleType, host: str, into: Path, lines: AsyncIterator[str], file: Path | None = None
) -> Any:
    """What `main` of peer.py does; where the peer was."""
    async with rudp.Endpoint.bind(host, 0, config=peer.CONFIG) as endpoint:
        reader, writer = await peer.meet(endpoint, VIA, ROOM)
        await peer.Talk(reader, writer, into).run(lines, file)
        return writer.get_extra_info("peername")


@pytest.mark.parametrize(
    ("alice", "bob"),
    [("port restricted cone",) * 2, ("symmetric", "restricted cone"), ("full cone", "symmetric")],
)
def test_two_talk_and_send_files_at_once(
    rudp_network: Network,
    rudp_sim: Simulate,
    examples: tuple[ModuleType, ModuleType],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    alice: str,
    bob: str,
) -> None:
    peer, rendezvous = examples
    homes = build(rudp_network, KINDS[alice], KINDS[bob])
    files = {}
    for name, size in (("from_alice", 300_000), ("from_bob", 0)):
        (tmp_path / name).mkdir()
        files[name] = tmp_path / name / f"{name}.bin"
        files[name].write_bytes(random.Random(name).randbytes(size))

    async def main() -> list[Any]:
        async with serving(rudp_network, rendezvous) as rooms:
            went = await asyncio.gather(
                visit(peer, ALICE, tmp_path, typed("hi bob"), files["from_alice"]),
                visit(peer, BOB, tmp_path, typed("hi\x1b[2J alice", "bye"), files["from_bob"]),
            )
            assert not rooms._waiting
            return went

    at_bobs, at_alices = rudp_sim(main)
    assert (at_bobs[0], at_alices[0]) == (homes.bob.address, homes.alice.address)
    for name, file in files.items():
        assert (tmp_path / f"{name}.bin").read_bytes() == file.read_bytes()
    assert sorted(one.name for one in tmp_path.iterdir() if one.is_file()) == [
        "from_alice.bin",
        "from_bob.bin",
    ]
    told = capsys.readouterr().out
    assert "peer: hi bob\n" in told
    assert "peer: hi[2J alice\n" in told
    assert "300000 bytes received" in told


def test_two_symmetric_nats_are_told_what_helps(
    rudp_network: Network,
    rudp_sim: Simulate,
    examples: tuple[ModuleType, ModuleType],
    tmp_path: Path,
) -> None:
    peer, rendezvous = examples
    build(rudp_network, KINDS["symmetric"])

    async def main() -> list[Any]:
        async with serving(rudp_network, rendezvous):
            return await asyncio.gather(
                *(visit(peer, host, tmp_path, typed()) for host in (ALICE, BOB)),
                return_exceptions=True,
            )

    for result in rudp_sim(main):
        assert isinstance(result, peer.Failure)
        assert "symmetric" in str(result)
        assert "forward a UDP port" in str(result)


def test_two_behind_one_nat_that_does_not_hairpin(
    rudp_network: Network,
    rudp_sim: Simulate,
    examples: tuple[ModuleType, ModuleType],
    tmp_path: Path,
) -> None:
    peer, rendezvous = examples
    homes = build(rudp_network, PORT_RESTRICTED_CONE.replace(hairpin=False))
    rudp_network.add_host(CAROL, name="carol", behind=homes.alice)

    async def main() -> list[Any]:
        async with serving(rudp_network, rendezvous):
            return await asyncio.gather(
                *(visit(peer, host, tmp_path, typed("hello")) for host in (ALICE, CAROL))
            )

    at_carols, at_alices = rudp_sim(main)
    assert (at_carols[0], at_alices[0]) == (CAROL, ALICE)


def test_two_behind_one_nat_on_networks_of_their_own(
    rudp_network: Network,
    rudp_sim: Simulate,
    examples: tuple[ModuleType, ModuleType],
    tmp_path: Path,
) -> None:
    """The inside addresses do not lead anywhere: after a while the outside ones are tried."""
    peer, rendezvous = examples
    network = rudp_network
    network.default = LinkConfig(delay_s=DELAY_S)
    network.add_host(SERVER, name="server")
    provider = network.add_nat("203.0.113.1", PORT_RESTRICTED_CONE)
    for inside, outside in ((ALICE, "100.64.0.1"), (BOB, "100.64.0.2")):
        home = network.add_nat(outside, PORT_RESTRICTED_CONE, behind=provider)
        network.add_host(inside, behind=home)

    async def main() -> list[Any]:
        async with serving(network, rendezvous):
            return await asyncio.gather(
                *(visit(peer, host, tmp_path, typed("hello")) for host in (ALICE, BOB))
            )

    assert {where[0] for where in rudp_sim(main)} == {provider.address}


def test_a_file_that_is_there_already_is_kept(
    rudp_network: Network,
    rudp_sim: Simulate,
    examples: tuple[ModuleType, ModuleType],
    tmp_path: Path,
) -> None:
    """The sender is told, the receiver goes on reading what follows the file."""
    peer, rendezvous = examples
    build(rudp_network, PORT_RESTRICTED_CONE)
    (tmp_path / "mine").mkdir()
    file = tmp_path / "mine" / "file"
    file.write_bytes(bytes(200_000))
    (tmp_path / "file").write_bytes(b"old")

    async def main() -> list[Any]:
        async with serving(rudp_network, rendezvous):
            return await asyncio.gather(
                visit(peer, ALICE, tmp_path, typed(), file),
                visit(peer, BOB, tmp_path, typed(wait_s=60.0)),
                return_exceptions=True,
            )

    sender, _ = rudp_sim(main)
    assert isinstance(sender, peer.Failure)
    assert "exists already" in str(sender)
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("size", [-1, True, "1", None, 1 << 50])
def test_an_impossible_size_ends_the_conversation(
    rudp_network: Network,
    rudp_sim: Simulate,
    examples: tuple[ModuleType, ModuleType],
    tmp_path: Path,
    size: object,
) -> None:
    peer, _ = examples
    build(rudp_network, PORT_RESTRICTED_CONE)

    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps({"name": "file", "size": size}).encode() + b"\n")
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    async def main() -> None:
        with rudp_network.host("server"):
            server = await rudp.start_server(lie, *VIA)
        async with rudp.Endpoint.bind(ALICE) as endpoint:
            streams = await endpoint.open_connection(*VIA)
            with pytest.raises(peer.Failure, match="not a size"):
                await peer.Talk(*streams, tmp_path).run(typed(wait_s=60.0))
        server.close()

    rudp_sim(main)
    assert not list(tmp_path.iterdir())


# -- the rendezvous server ---------------------------------------------------------------------


async def ask(endpoint: rudp.Endpoint, question: bytes) -> Any:
    reader, writer = await endpoint.open_connection(*VIA)
    writer.write(question + b"\n")
    answer = await reader.readline()
    await end(writer)
    return json.loads(answer) if answer else None


def test_a_room_is_free_again_after_two_and_after_one_who_left(
    rudp_network: Network, rudp_sim: Simulate, examples: tuple[ModuleType, ModuleType]
) -> None:
    peer, rendezvous = examples
    build(rudp_network, PORT_RESTRICTED_CONE)

    async def main() -> None:
        async with (
            serving(rudp_network, rendezvous) as rooms,
            rudp.Endpoint.bind(ALICE, config=peer.CONFIG) as a,
            rudp.Endpoint.bind(BOB, config=peer.CONFIG) as b,
        ):
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(5.0):
                        await peer.find(a, VIA, ROOM)
                await asyncio.sleep(10.0)
                assert not rooms._waiting, "who left does not wait"
            for _ in range(3):
                one, other = await asyncio.gather(peer.find(a, VIA, ROOM), peer.find(b, VIA, ROOM))
                assert one["token"] == other["token"]
                assert (one["you"], one["peer"]) == (other["peer"], other["you"])
                assert (one["inside"][0], other["inside"][0]) == (BOB, ALICE)
            assert not rooms._waiting

    rudp_sim(main)


def test_pairs_in_different_rooms_do_not_mix(
    rudp_network: Network, rudp_sim: Simulate, examples: tuple[ModuleType, ModuleType]
) -> None:
    peer, rendezvous = examples
    build(rudp_network, PORT_RESTRICTED_CONE)

    async def main() -> None:
        async with (
            serving(rudp_network, rendezvous),
            rudp.Endpoint.bind(ALICE, config=peer.CONFIG) as a,
            rudp.Endpoint.bind(BOB, config=peer.CONFIG) as b,
        ):
            rooms = [f"room {number}" for number in range(20)]
            found = await asyncio.gather(
                *(peer.find(a, VIA, room) for room in rooms),
                *(peer.find(b, VIA, room) for room in reversed(rooms)),
            )
            tokens = [answer["token"] for answer in found]
            assert tokens[:20] == tokens[:19:-1]
            assert len(set(tokens)) == 20

    rudp_sim(main)


@pytest.mark.parametrize(
    ("question", "error"),
    [
        (b"nonsense", "not a line of JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "a room has a name"),
        (b'{"room": ""}', "a room has a name"),
        (b'{"room": "\\ud800"}', "an address is a list"),
        (b'{"room": "%s"}' % (b"x" * 201), "a room has a name"),
        (b'{"room": "r", "inside": ["h", 0]}', "an address is a list"),
        (b'{"room": "r", "inside": ["h", 1, 2]}', "an address is a list"),
        (b'{"room": "r", "inside": 7}', "an address is a list"),
    ],
)
def test_what_is_no_question_is_answered_with_an_error(
    rudp_network: Network,
    rudp_sim: Simulate,
    examples: tuple[ModuleType, ModuleType],
    question: bytes,
    error: str,
) -> None:
    _, rendezvous = examples
    build(rudp_network, PORT_RESTRICTED_CONE)

    async def main() -> None:
        async with serving(rudp_network, rendezvous), rudp.Endpoint.bind(ALICE) as endpoint:
            assert error in (await ask(endpoint, question))["error"]

    rudp_sim(main)
