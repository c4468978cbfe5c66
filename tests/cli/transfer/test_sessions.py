"""Sender and receiver against each other: trees that arrive, transfers that are cut and resumed."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rudp.cli.transfer import sending
from rudp.cli.transfer.format import (
    MAX_OUTSTANDING,
    Abort,
    Bye,
    Done,
    Failed,
    FormatError,
    Have,
    Hello,
    Outcome,
    Want,
)
from rudp.cli.transfer.names import PART_PREFIX
from rudp.cli.transfer.sending import SendingSession
from rudp.cli.transfer.summary import Summary
from rudp.cli.transfer.tree import Found, walk
from tests.cli.transfer.support import Transfer, descriptors, digest, tree

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes and links")
LARGE = 300_000
HUGE = 2_500_000  # several frames of data


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with something of everything."""
    rng = random.Random(1)
    root = tmp_path / "source"
    for name, size in {
        "empty": 0, "one": 1, "a/b/c/deep ✓": 700, "a/edge": 65_536, "a/over": 65_537,
        "a/large": LARGE, "z": 10, "a\nb\x1b": 5,
    }.items():  # fmt: skip
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(size))
        os.utime(path, ns=(0, rng.randrange(10**18)))
    (root / "nothing here").mkdir()
    (root / "a/edge").chmod(0o444)
    (root / "one").chmod(0o4751)
    for path in (root / "a/b", root / "nothing here", root):
        os.utime(path, ns=(0, rng.randrange(10**18)))
    (root / "a/b").chmod(0o555)
    return root


def test_a_tree_arrives_with_modes_and_times_and_is_not_sent_again(
    source: Path, tmp_path: Path
) -> None:
    into = tmp_path / "into"
    first = Transfer([source], into)
    assert first.run()
    expected = tree(source)
    mode, mtime_ns, content = expected["one"]
    expected["one"] = (mode & ~0o4000, mtime_ns, content)  # set-user-id is nobody's to give
    assert tree(into / "source") == expected
    assert (into / "source").stat().st_mtime_ns == source.stat().st_mtime_ns
    assert first.summary.verified == first.receiver.summary.verified == 8

    again = Transfer([source], into)
    assert again.run()
    assert again.summary.unchanged == again.receiver.summary.unchanged == 8
    assert again.bytes_sent < 68_000  # what is offered with its data, nothing of the large ones
    assert tree(into / "source") == expected


def test_several_paths_a_link_that_is_named_and_links_that_are_not(
    source: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (source / "out").symlink_to(outside)
    (source / "out too").symlink_to(outside / "secret")
    os.mkfifo(source / "fifo")
    (tmp_path / "named").symlink_to(outside / "secret")
    transfer = Transfer([source, tmp_path / "named"], tmp_path / "into")
    assert transfer.run()
    assert transfer.summary.skipped == 3
    assert (tmp_path / "into/named").read_bytes() == b"secret"
    names = {path.name for path in (tmp_path / "into").rglob("*")}
    assert not names & {"out", "out too", "fifo", "secret"}


def parts(root: Path) -> list[Path]:
    return list(root.rglob(PART_PREFIX + "*"))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 450_000), min_size=1, max_size=4), st.integers(1, 1 << 20))
def test_a_transfer_that_is_cut_anywhere_goes_on_where_it_was(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], budget: int
) -> None:
    root = tmp_path_factory.mktemp("cut")
    source = root / "source"
    source.mkdir()
    for number, size in enumerate((200, LARGE, 64_000, 100_000)):
        (source / str(number)).write_bytes(random.Random(number).randbytes(size))
    into = root / "into"
    for cut in cuts:
        Transfer([source], into, budget=budget).run(cut)
        for path in (into / "source").glob("[0-9]"):
            assert digest(path) == digest(source / path.name)  # never seen unfinished
    left = sum(path.stat().st_size for path in parts(into))
    last = Transfer([source], into, budget=budget)
    assert last.run()
    assert tree(into / "source") == tree(source)
    assert last.summary.bytes_resumed == last.receiver.summary.bytes_resumed == left
    assert parts(into) == []


def test_a_partial_file_whose_beginning_is_another_is_begun_anew(tmp_path: Path) -> None:
    source, into = tmp_path / "file", tmp_path / "into"
    source.write_bytes(random.Random(1).randbytes(LARGE))
    Transfer([source], into, budget=1000).run(200_000)
    (part,) = parts(into)
    assert part.stat().st_size > 100_000
    part.write_bytes(bytes(part.stat().st_size))
    transfer = Transfer([source], into)
    assert transfer.run()
    assert transfer.summary.bytes_resumed == 0
    assert digest(into / "file") == digest(source)


def test_a_partial_file_that_is_longer_than_the_file_is_begun_anew(tmp_path: Path) -> None:
    source, into = tmp_path / "file", tmp_path / "into"
    source.write_bytes(bytes(LARGE))
    Transfer([source], into, budget=1000).run(200_000)
    parts(into)[0].write_bytes(bytes(LARGE + 1))
    assert Transfer([source], into).run()
    assert digest(into / "file") == digest(source)


@pytest.mark.parametrize("size", [10, LARGE])
@pytest.mark.parametrize("other", [b"other", b"y" * 10, bytes(LARGE)])
def test_a_file_that_is_there_keeps_its_content_unless_told_otherwise(
    tmp_path: Path, size: int, other: bytes
) -> None:
    source, there = tmp_path / "file", tmp_path / "into/file"
    source.write_bytes(b"x" * size)
    there.parent.mkdir()
    there.write_bytes(other)
    refused = Transfer([source], there.parent)
    assert not refused.run()
    assert there.read_bytes() == other
    assert "another content" in refused.summary.failures[0][1]
    assert refused.receiver.summary.failures == refused.summary.failures
    assert Transfer([source], there.parent, overwrite=True).run()
    assert digest(there) == digest(source)
    assert parts(tmp_path) == []


def test_a_file_that_changes_meanwhile_fails_alone(tmp_path: Path) -> None:
    source, into = tmp_path / "source", tmp_path / "into"
    source.mkdir()
    for name in "abc":
        (source / name).write_bytes(random.Random(name).randbytes(HUGE))
    transfer = Transfer([source], into, budget=1)
    while transfer.receiver.summary.bytes_moved < HUGE + 1000:
        transfer.step()
    (source / "b").write_bytes(bytes(HUGE))
    (source / "c").unlink()
    assert not transfer.run()
    assert [path for path, _ in transfer.summary.failures] == ["source/b", "source/c"]
    assert "changed" in transfer.summary.failures[0][1]
    assert [path.name for path in (into / "source").iterdir()] == ["a"]


def test_what_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "good").write_bytes(b"good")
    deep = source.joinpath(*["d"] * 70)
    deep.mkdir(parents=True)
    (deep / "x").write_bytes(b"x")
    transfer = Transfer([source, tmp_path / "not there"], tmp_path / "into")
    assert not transfer.run()
    assert transfer.summary.verified == 1
    assert len(transfer.summary.failures) == 2


def test_the_senders_bound_is_kept(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in "abcd":
        (source / name).write_bytes(bytes(40_000))
    transfer = Transfer([source], tmp_path / "into", max_bytes=100_000)
    assert not transfer.run()
    assert (transfer.summary.verified, transfer.summary.failed) == (2, 2)


def test_many_small_files_need_few_turns_and_no_descriptor_stays_open(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(1100):
        path = source / str(number % 100) / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    before = descriptors()
    transfer = Transfer([source], tmp_path / "into", budget=1 << 22)
    turns = 0
    while not transfer.sender.finished:
        transfer.step()
        turns += 1
    assert descriptors() < before + 64
    transfer.close()
    assert descriptors() == before
    assert tree(tmp_path / "into/source") == tree(source)
    assert turns <= 1100 // MAX_OUTSTANDING + 5


def test_two_transfers_of_one_file_at_once_do_not_mix(tmp_path: Path) -> None:
    source, into = tmp_path / "file", tmp_path / "into"
    source.write_bytes(random.Random(1).randbytes(HUGE))
    one, two = (Transfer([source], into, budget=1) for _ in range(2))
    for _ in range(4):
        one.step()
    for _ in range(4):
        two.step()
    assert one.run()
    assert not two.run()
    assert "another transfer" in two.summary.failures[0][1]
    assert digest(into / "file") == digest(source)
    assert parts(into) == []


# -- a receiver that says strange things ---------------------------------------------------------


@pytest.fixture
def offering(tmp_path: Path) -> SendingSession:
    """A sender that has offered a large file as 0 and a small one as 1."""
    (tmp_path / "a").write_bytes(bytes(LARGE))
    (tmp_path / "b").write_bytes(b"b")
    found = Found(skipped=lambda path: None, failed=lambda path, reason: None)
    session = SendingSession(walk([tmp_path / "a", tmp_path / "b"], found), Summary())
    session.handle([Hello()])
    session.produce(1 << 20)
    return session


@pytest.mark.parametrize(
    "answer",
    [
        Done(7, Outcome.WRITTEN), Failed(2, "x"), Want(1, 0), Have(1, 1), Want(0, LARGE + 1),
        Have(0, LARGE + 1), Want(9, 0), Bye(), Hello(), sending.Offer(0, 0, 0, 0, 0, b"x"),
    ],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_refused(
    offering: SendingSession, answer: sending.Frame
) -> None:
    with pytest.raises(FormatError):
        offering.handle([answer])


@pytest.mark.parametrize("twice", [Want(0, 0), Have(0, 5), Done(1, Outcome.WRITTEN)])
def test_an_answer_does_not_come_twice(offering: SendingSession, twice: sending.Frame) -> None:
    offering.handle([twice])
    with pytest.raises(FormatError):
        offering.handle([twice])


def test_a_receiver_that_gives_up_or_is_a_stranger() -> None:
    for frame, error in ((Abort("busy"), ConnectionAbortedError), (Bye(), FormatError)):
        with pytest.raises(error):
            SendingSession(iter(()), Summary()).handle([frame])
    with pytest.raises(FormatError, match="version 9"):
        SendingSession(iter(()), Summary()).handle([Hello(9)])
