"""A sender that tries everything: nothing is written outside the directory, nothing crashes."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rudp.cli.transfer.format import (
    EAGER_BYTES,
    MAX_OUTSTANDING,
    Abandon,
    Abort,
    Begin,
    Bye,
    Data,
    Done,
    End,
    Failed,
    FormatError,
    Frame,
    Have,
    Hello,
    Kind,
    Offer,
    Outcome,
    Proof,
    Want,
    encode,
)
from rudp.cli.transfer.names import part_name
from tests.cli.transfer.support import ROOTS, Hostile, tree
from tests.cli.transfer.test_format import frames
from tests.cli.transfer.test_names import EVERYWHERE

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
LARGE = EAGER_BYTES + 1


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def eager(index: int, path: bytes, data: bytes = b"evil", mode: int = 0o644) -> list[Frame]:
    """A small file as a sender sends it."""
    offer = Offer(index, Kind.EAGER_FILE, len(data), mode, 0, path)
    return [offer, *([Data(data)] if data else []), End(index, sha256(data))]


@pytest.fixture(params=sorted(ROOTS))
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Hostile]]:
    """A directory to receive into, inside another that must stay as it is."""
    into = tmp_path / "box/in"
    into.mkdir(parents=True)
    (tmp_path / "box/precious").write_bytes(b"precious")
    hostile = Hostile(into, overwrite=True, kind=request.param)
    yield into, hostile
    hostile.close()


def outside(into: Path) -> dict[str, tuple[int, int, str]]:
    """Everything around the directory."""
    around = tree(into.parent)
    return {name: (what[0], 0, what[2]) for name, what in around.items() if name[:2] != "in"}


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("path", [*EVERYWHERE, b"../precious", b"../../box/precious"])
def test_no_path_leads_out(box: tuple[Path, Hostile], path: bytes, kind: Kind) -> None:
    into, hostile = box
    before = outside(into)
    if len(path) > 4096:
        with pytest.raises(FormatError):
            hostile.say(Offer(0, kind, 4, 0o777, 0, path))
        return
    if kind is Kind.EAGER_FILE:
        (answer,) = hostile.say(*eager(0, path))
    else:
        (answer,) = hostile.say(Offer(0, kind, LARGE, 0o777, 0, path))
    assert isinstance(answer, Failed)
    assert (outside(into), list(into.iterdir())) == (before, [])


@pytest.mark.parametrize("size", [4, LARGE])
@pytest.mark.parametrize("target", ["..", "../precious", "../new", "/nonexistent/x", "."])
@pytest.mark.parametrize("path", [b"link", b"link/x", b"sub/link", b"sub/link/x", b"link/../x"])
def test_links_that_were_planted_are_not_followed(
    box: tuple[Path, Hostile], path: bytes, target: str, size: int
) -> None:
    into, hostile = box
    (into / "sub").mkdir()
    (into / "link").symlink_to(target)
    (into / "sub/link").symlink_to(Path("..", target) if target[0] == "." else target)
    before, within = outside(into), tree(into)
    data = b"e" * size
    if size == 4:
        answers = hostile.say(*eager(0, path, data))
    else:
        answers = hostile.say(Offer(0, Kind.FILE, size, 0o777, 0, path))
    (failed,) = answers
    assert isinstance(failed, Failed), answers
    assert outside(into) == before
    assert tree(into).keys() == within.keys()
    (failed,) = hostile.say(Offer(1, Kind.DIRECTORY, 0, 0o777, 0, path))
    assert isinstance(failed, Failed)
    assert outside(into) == before


@pytest.mark.parametrize("plant", ["link", "hard link", "fifo", "directory"])
def test_what_was_planted_under_the_temporary_name_is_not_written_to(
    box: tuple[Path, Hostile], plant: str
) -> None:
    into, hostile = box
    part = into / part_name("x")
    if plant == "link":
        part.symlink_to("../precious")
    elif plant == "hard link":
        os.link(into.parent / "precious", part)
    elif plant == "fifo":
        os.mkfifo(part)
    else:
        part.mkdir()
    data = b"e" * LARGE
    answers = hostile.say(Offer(0, Kind.FILE, LARGE, 0o644, 0, b"x"))
    if plant == "hard link":
        assert answers == [Have(0, 8)]
        answers = hostile.say(Proof(0, sha256(b"precious")))
        if isinstance(answers[0], Want):
            offset = answers[0].offset
            answers = hostile.say(Begin(0, offset), Data(data[offset:]), End(0, bytes(32)))
    else:
        answers = hostile.say(Begin(0, 0), Data(data), End(0, sha256(data)))
        assert isinstance(answers[0], Failed if plant == "directory" else Done)
    assert (into.parent / "precious").read_bytes() == b"precious"
    assert (into.parent / "precious").stat().st_mode & 0o777 == 0o644


def test_a_directory_that_becomes_a_link_between_offer_and_data(
    box: tuple[Path, Hostile],
) -> None:
    into, hostile = box
    assert hostile.say(Offer(0, Kind.FILE, LARGE, 0o644, 0, b"d/x")) == [Want(0, 0)]
    (into / "d").rename(into / "moved")
    (into / "d").symlink_to("..")
    before = outside(into)
    data = b"e" * LARGE
    hostile.say(Begin(0, 0), Data(data), End(0, sha256(data)))
    assert outside(into) == before


def test_special_files_that_have_the_name_are_left_alone(box: tuple[Path, Hostile]) -> None:
    into, hostile = box
    os.mkfifo(into / "fifo")
    (into / "dir").mkdir()
    for index, name in enumerate((b"fifo", b"dir", b"fifo", b"dir")):
        offer = Offer(index, Kind.FILE, LARGE, 0o644, 0, name)
        (answer,) = hostile.say(offer) if index < 2 else hostile.say(*eager(index, name))
        assert isinstance(answer, Failed)
    assert {path.name for path in into.iterdir()} == {"fifo", "dir"}


def test_modes_give_no_privilege(box: tuple[Path, Hostile]) -> None:
    into, hostile = box
    hostile.say(*eager(0, b"x", mode=0o177777))
    hostile.say(Offer(1, Kind.DIRECTORY, 0, 0o7777, 0, b"d"))
    assert (into / "x").stat().st_mode & 0o7777 == 0o777
    assert (into / "d").stat().st_mode & 0o7777 == 0o777


@pytest.mark.parametrize("size", [4, LARGE])
def test_attributes_of_a_file_that_has_a_name_outside_are_left_alone(
    box: tuple[Path, Hostile], size: int
) -> None:
    into, hostile = box
    precious, data = into.parent / "precious", b"p" * size
    precious.write_bytes(data)
    os.link(precious, into / "x")
    before = precious.stat()
    if size == 4:
        answers = hostile.say(*eager(0, b"x", data, mode=0o777))
    else:
        assert hostile.say(Offer(0, Kind.FILE, size, 0o777, 0, b"x")) == [Have(0, size)]
        answers = hostile.say(Proof(0, sha256(data)))
    assert answers == [Done(0, Outcome.UNCHANGED)]
    assert precious.stat().st_mode == before.st_mode
    assert precious.stat().st_mtime_ns == before.st_mtime_ns


def test_times_are_kept_where_an_open_files_cannot_be_set(
    box: tuple[Path, Hostile], monkeypatch: pytest.MonkeyPatch
) -> None:
    into, hostile = box
    monkeypatch.setattr(os, "supports_fd", os.supports_fd - {os.utime})
    offer, data, end = eager(0, b"x")
    assert isinstance(offer, Offer)
    hostile.say(dataclasses.replace(offer, mtime_ns=10**18), data, end)
    assert (into / "x").stat().st_mtime_ns == 10**18
    hostile.say(dataclasses.replace(offer, index=1, mtime_ns=5), data, End(1, sha256(b"evil")))
    assert (into / "x").stat().st_mtime_ns == 5


def test_one_sender_does_not_fill_a_disk_with_names(tmp_path: Path) -> None:
    hostile = Hostile(tmp_path)
    for index in range(2000):
        hostile.say(Offer(index, Kind.DIRECTORY, 0, 0o755, 0, b"%d" % index))
    with pytest.raises(FormatError, match="takes 2000 files"):
        hostile.say(Offer(2000, Kind.DIRECTORY, 0, 0o755, 0, b"2000"))
    hostile.close()


def test_a_wrong_digest_leaves_nothing(box: tuple[Path, Hostile]) -> None:
    into, hostile = box
    offer, data, _ = eager(0, b"small")
    (answer,) = hostile.say(offer, data, End(0, bytes(32)))
    assert isinstance(answer, Failed)
    hostile.say(Offer(1, Kind.FILE, LARGE, 0o644, 0, b"large"))
    (answer,) = hostile.say(Begin(1, 0), Data(bytes(LARGE)), End(1, bytes(32)))
    assert isinstance(answer, Failed)
    assert list(into.iterdir()) == []


@pytest.mark.parametrize(
    "said",
    [
        [Offer(1, Kind.FILE, 9, 0, 0, b"x")],
        [Offer(0, Kind.EAGER_FILE, EAGER_BYTES + 1, 0, 0, b"x")],
        [Data(b"x")],
        [End(0, bytes(32))],
        [Begin(0, 0)],
        [Proof(0, bytes(32))],
        [Abandon(0, "x")],
        [Hello()],
        [Have(0, 1)],
        [Done(0, Outcome.WRITTEN)],
        [Bye(), Bye()],
        [Offer(0, Kind.FILE, LARGE, 0, 0, b"x"), Bye()],
        [Offer(0, Kind.FILE, LARGE, 0, 0, b"x"), Begin(0, 1)],
        [Offer(0, Kind.FILE, LARGE, 0, 0, b"x"), Proof(0, bytes(32))],
        [Offer(0, Kind.FILE, LARGE, 0, 0, b"x"), Begin(0, 0), Begin(0, 0)],
        [Offer(0, Kind.FILE, LARGE, 0, 0, b"x"), Begin(0, 0), Data(bytes(LARGE)), Data(b"x")],
        [Offer(0, Kind.FILE, LARGE, 0, 0, b"x"), Begin(0, 0), End(0, bytes(32))],
        [Offer(0, Kind.EAGER_FILE, 2, 0, 0, b"x"), Data(b"abc")],
        [Offer(0, Kind.EAGER_FILE, 2, 0, 0, b"x"), Offer(1, Kind.EAGER_FILE, 2, 0, 0, b"y")],
        [Offer(n, Kind.FILE, LARGE, 0, 0, b"x%d" % n) for n in range(MAX_OUTSTANDING + 1)],
    ],
)
def test_what_breaks_the_protocol_ends_the_session(tmp_path: Path, said: list[Frame]) -> None:
    hostile = Hostile(tmp_path)
    with pytest.raises(FormatError):
        hostile.say(*said)
    hostile.close()


def test_a_peer_that_does_not_greet_or_gives_up(tmp_path: Path) -> None:
    for frame, error in (
        (Bye(), FormatError), (Hello(2), FormatError), (Abort("x"), FormatError),
    ):  # fmt: skip
        hostile = Hostile(tmp_path, greet=False)
        with pytest.raises(error):
            hostile.say(frame)
        hostile.close()
    hostile = Hostile(tmp_path)
    with pytest.raises(ConnectionAbortedError, match="gave up"):
        hostile.say(Abort("tired"))
    hostile.close()


def test_a_disk_that_is_not_there_is_not_promised(box: tuple[Path, Hostile]) -> None:
    into, hostile = box
    (answer,) = hostile.say(Offer(0, Kind.FILE, 2**63, 0o644, 0, b"huge"))
    assert isinstance(answer, Failed)
    assert list(into.iterdir()) == []


index = st.integers(0, 3)
names = st.sampled_from([b"a", b"b", b"d/a", b"../a", b"/a", b"link", b"link/a", b"d", b"A"])
sizes = st.sampled_from([0, 1, 5, LARGE])
digests = st.sampled_from([bytes(32), sha256(b""), sha256(b"x" * 5), sha256(b"x" * LARGE)])
likely = st.one_of(
    st.builds(Offer, index, st.sampled_from(Kind), sizes, st.integers(0, 0o7777), index, names),
    st.builds(Begin, index, sizes),
    st.builds(lambda size: Data(b"x" * size), sizes.filter(bool)),
    st.builds(End, index, digests),
    st.builds(Proof, index, digests),
    st.builds(Abandon, index, st.just("x")),
    frames,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(likely, max_size=30))
def test_nothing_that_is_said_in_any_order_gets_out(
    tmp_path_factory: pytest.TempPathFactory, said: list[Frame]
) -> None:
    into = tmp_path_factory.mktemp("fuzz") / "box/in"
    into.mkdir(parents=True)
    (into / "link").symlink_to("..")
    (into.parent / "a").write_bytes(b"precious")
    before = outside(into)
    hostile = Hostile(into, overwrite=True)
    data = b"".join(map(encode, said))
    for frame in said:
        try:
            hostile.say_bytes(encode(frame))
        except (FormatError, ConnectionAbortedError):
            break
    hostile.close()
    assert outside(into) == before, data
    for path in into.rglob("*"):
        if path.is_file() and not path.name.startswith(".rudp-part-"):
            content = path.read_bytes()
            assert sha256(content) in {sha256(b"x" * size) for size in (0, 1, 5, LARGE)} or any(
                isinstance(frame, Data) for frame in said
            )
