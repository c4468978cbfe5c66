"""`rudp trace`: what it shows of a file, and what it says when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rudp.cli.app import main
from rudp.sim import LinkConfig
from rudp.telemetry.capture import Capture
from rudp.telemetry.guard import Guarded
from rudp.telemetry.qlog import QlogFile
from rudp.telemetry.qlog_observer import QlogObserver
from rudp.telemetry.recording import Header, Recording, Sample

from .observed import Memory, ends, transfer

SIZE = 60_000
LOSSY = LinkConfig(delay_s=0.02, loss=0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One connection, and two, in each format."""
    made = tmp_path_factory.mktemp("traces")
    for name, count in (("one", 1), ("two", 2)):
        capture, qlog = Memory(), Memory()
        captures = Capture(capture, epoch_ns=0)
        qlogs = QlogFile(qlog, epoch_ns=0)
        for number in range(count):
            observers = (
                captures.observer(ends(number + 1)),
                QlogObserver(qlogs, ends(number + 1)),
            )
            transfer(Guarded(observers), SIZE, seed=number + 4, link=LOSSY)
        (made / f"{name}.pcapng").write_bytes(capture.data)
        (made / f"{name}.sqlog").write_bytes(qlog.data)
    samples = [Sample(0.1 * at, 1000 * at, 500 * at, 1000 * at, 0, 0, 0) for at in range(20)]
    Recording(Header(title="upload"), samples).save(made / "recording.jsonl")
    return made


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["trace", *map(str, arguments)])


def shown(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("suffix", [".pcapng", ".sqlog"])
def test_a_sequence_diagram(folder: Path, suffix: str) -> None:
    lines = shown(folder / f"one{suffix}", "--limit", "0").splitlines()
    assert "192.0.2.1:1111" in lines[0]
    assert lines[0].endswith("192.0.2.2:2222")
    assert "- SYN  seq 0  mss" in lines[1]
    assert lines[1].endswith(">|")
    assert "|<" in lines[2]
    assert "SYN,ACK  seq 0  ack 1" in lines[2]
    assert any("again" in line for line in lines)
    assert any("FIN" in line for line in lines)
    assert lines[-1].startswith("192.0.2.1:1111 192.0.2.2:2222")


def test_only_so_many_lines(folder: Path) -> None:
    few = shown(folder / "one.pcapng", "--limit", "5").splitlines()
    every = shown(folder / "one.pcapng", "--limit", "0").splitlines()
    assert len(few) == 1 + 5 + 2
    assert few[6] == f"… and {len(every) - 2 - 5} more lines: --limit 0 shows all."


@pytest.mark.parametrize("suffix", [".pcapng", ".sqlog"])
def test_several_streams_are_listed(folder: Path, suffix: str) -> None:
    lines = shown(folder / f"two{suffix}").splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "Choose"]
    assert all("60000 bytes" in line or "bytes" in line for line in lines[:2])
    diagram = shown(folder / f"two{suffix}", "--stream", "1")
    assert "SYN  seq 0" in diagram.splitlines()[1]


def test_numbers_in_the_terminal(folder: Path) -> None:
    lines = shown(folder / "one.sqlog", "--numbers").splitlines()
    assert lines[0].startswith("connection 00000001  ")
    names = [line[:13].strip() for line in lines[1:]]
    assert names[:2] == ["cwnd", "in flight"]
    assert "smoothed RTT" in names
    (acknowledged,) = (line for line in lines if "acknowledged" in line)
    assert acknowledged.endswith("0 … 60 kB")


def test_a_recording(folder: Path) -> None:
    lines = shown(folder / "recording.jsonl").splitlines()
    assert lines[0] == "upload  1.900 s"
    assert lines[1].endswith("0 … 19 kB")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("one.pcapng", []),
        ("two.pcapng", ["--stream", "1"]),
        ("one.sqlog", []),
        ("one.sqlog", ["--numbers"]),
        ("recording.jsonl", []),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_pictures(folder: Path, tmp_path: Path, name: str, options: list[str], suffix: str) -> None:
    pytest.importorskip("matplotlib", reason="the extra [plot] is not installed")
    output = tmp_path / f"drawn{suffix}"
    assert shown(folder / name, "-o", output, *options).strip() == str(output)
    begin = output.read_bytes()[:20]
    assert begin.startswith(b"\x89PNG" if suffix == ".png" else b"<?xml")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.pcapng"], 2, "does not exist"),
        (["one.pcapng", "-o", "x.gif"], 2, "must end in .png, .svg, .pdf"),
        (["one.pcapng", "--numbers"], 1, "does not have the sender's numbers"),
        (["one.pcapng", "--stream", "1"], 1, "--stream must be below 1"),
        (["two.pcapng", "-o", "x.png"], 1, "2 connections are in it: choose one"),
        (["recording.jsonl", "-o", "no/such/folder/x.png"], 1, "No such file"),
        (["bad.sqlog"], 1, "bad.sqlog: not a qlog file"),
        (["bad.pcapng"], 1, "bad.pcapng: byte 0"),
        (["bad.jsonl"], 1, "bad.jsonl: line 1"),
        (["empty.pcapng"], 1, "no connection is in it"),
    ],
)
def test_what_is_not_possible(
    folder: Path, arguments: list[str], code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for suffix in (".sqlog", ".pcapng", ".jsonl"):
        Path(f"bad{suffix}").write_text("nonsense, and more of it\n")
    memory = Memory()
    Capture(memory, epoch_ns=0)
    Path("empty.pcapng").write_bytes(memory.data)
    result = invoke(*arguments)
    assert result.exit_code == code
    assert message in result.output


@pytest.mark.parametrize("name", ["one.pcapng", "one.sqlog"])
def test_a_file_whose_end_is_missing_is_shown(folder: Path, tmp_path: Path, name: str) -> None:
    cut = tmp_path / name
    cut.write_bytes((folder / name).read_bytes()[:-7])
    result = invoke(cut)
    assert result.exit_code == 0
    assert "its end was cut off; shown up to there" in result.stderr
    assert "SYN  seq 0" in result.stdout


def test_help_has_examples() -> None:
    assert "rudp trace upload.pcapng -o upload.svg" in shown("--help")
