"""Recordings: what is written is read again, and what is no recording is refused."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import random
from pathlib import Path

import pytest

from rudp.core.stats import ConnectionInfo
from rudp.telemetry.recording import UNITS, Header, Recording, RecordingFile, Sample, sample_of

HEADER = Header(title="a run", congestion="cubic", link_rate=1.25e6, link_rtt_s=0.04)


def a_sample(t_s: float, **changes: object) -> Sample:
    """A row with a value in every column that has no default, and `changes`."""
    row = Sample(t_s, 12_000, 6_000, 100, 0, 0, 0)
    return row._replace(**changes)  # type: ignore[arg-type]


def a_recording() -> Recording:
    return Recording(
        HEADER,
        [
            a_sample(0.0),
            a_sample(0.01, srtt_s=0.0401234, ssthresh=9000, pacing_rate=1.5e6),
            a_sample(0.02, limited_by={"cwnd": 0.015, "application": 0.005}, timeouts=1),
        ],
    )


def lines_of(recording: Recording, tmp_path: Path) -> list[str]:
    path = tmp_path / "lines.jsonl"
    recording.save(path)
    return path.read_text(encoding="ascii").splitlines(keepends=True)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    recording = a_recording()
    recording.save(tmp_path / "run.jsonl")
    assert Recording.load(tmp_path / "run.jsonl") == recording


def test_the_header_names_the_columns_and_their_units(tmp_path: Path) -> None:
    first = json.loads(lines_of(a_recording(), tmp_path)[0])
    assert first["rudp_recording"] == 1
    assert first["names"] == list(Sample._fields)
    assert dict(zip(first["names"], first["units"], strict=True)) == UNITS
    assert (UNITS["cwnd"], UNITS["srtt_s"], UNITS["pacing_rate"]) == ("B", "s", "B/s")
    assert set(UNITS) == set(Sample._fields)


def test_every_column_is_a_field_of_the_connections_info() -> None:
    fields = {field.name for field in dataclasses.fields(ConnectionInfo)}
    assert set(Sample._fields) - {"t_s"} <= fields


def test_a_row_takes_what_the_info_tells() -> None:
    given = {name: i for i, name in enumerate(Sample._fields)}
    given |= {"srtt_s": math.inf, "min_rtt_s": 0.123456789, "limited_by": {"cwnd": 0.1 + 0.2}}
    info = type("Info", (), given)()
    sample = sample_of(info, 1.00000000001)
    assert sample.t_s == 1.0
    assert sample.cwnd == given["cwnd"]
    assert sample.timeouts == given["timeouts"]
    assert sample.srtt_s is None
    assert sample.min_rtt_s == 0.1234568
    assert sample.limited_by == {"cwnd": 0.3}


def test_rows_are_alike_whatever_the_time_says() -> None:
    first = a_sample(0.0, limited_by={"application": 0.0})
    assert first.is_like(a_sample(5.0, limited_by={"application": 5.0}))
    assert not first.is_like(a_sample(0.0, cwnd=12_001))
    assert not first.is_like(a_sample(0.0, tail_probes=1))


def test_columns() -> None:
    recording = a_recording()
    assert recording.column("t_s") == [0.0, 0.01, 0.02]
    assert recording.column("ssthresh") == [None, 9000, None]
    assert recording.has("ssthresh")
    assert not recording.has("min_rtt_s")
    assert recording.duration_s == 0.02
    assert Recording().duration_s == 0.0
    with pytest.raises(ValueError, match="'window'"):
        recording.column("window")


def test_the_bandwidth_delay_product() -> None:
    assert HEADER.bdp == 50_000
    assert Header(link_rate=1.0).bdp is None
    assert Header(link_rtt_s=1.0).bdp is None


def test_a_file_that_is_cut_anywhere_is_read_up_to_there(tmp_path: Path) -> None:
    recording = a_recording()
    lines = lines_of(recording, tmp_path)
    text = "".join(lines)
    rows_begin = len(lines[0])
    for cut in range(rows_begin, len(text)):
        read = Recording.parse(io.StringIO(text[:cut]))
        # A row is whole with its bracket; it may lack its end of line.
        assert read.samples == recording.samples[: text.count("]", rows_begin, cut)]
        assert read.truncated == (not text[:cut].endswith(("\n", "]")))


def test_a_cut_header_is_no_recording(tmp_path: Path) -> None:
    first = lines_of(a_recording(), tmp_path)[0]
    for cut in range(len(first) - 1):
        with pytest.raises(ValueError, match="line 1: not the header"):
            Recording.parse([first[:cut]])


def test_a_broken_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    lines = lines_of(a_recording(), tmp_path)
    with pytest.raises(ValueError, match="line 3"):
        Recording.parse([*lines[:2], lines[2][:-5] + "\n", lines[3]])
    with pytest.raises(ValueError, match="line 3"):
        Recording.parse([*lines[:2], lines[2][:-5], lines[3]])  # lines without their ends


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"t_s": "0"}, "t_s must be a number"),
        ({"cwnd": None}, "cwnd must be a number"),
        ({"cwnd": True}, "cwnd must be a number"),
        ({"cwnd": math.nan}, "cwnd must be a number"),
        ({"ssthresh": []}, "ssthresh must be a number"),
        ({"limited_by": 7}, "limited_by must be an object"),
        ({"limited_by": {"cwnd": "long"}}, "limited_by must be an object"),
    ],
)
def test_a_value_of_the_wrong_kind_is_an_error(
    tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    first = lines_of(a_recording(), tmp_path)[0]
    with pytest.raises(ValueError, match=f"line 2: {complaint}"):
        Recording.parse([first, json.dumps(a_sample(0.0)._replace(**change)) + "\n"])


@pytest.mark.parametrize("row", ["[1, 2]", "{}", "null", '"row"'])
def test_a_row_of_another_length_is_an_error(tmp_path: Path, row: str) -> None:
    first = lines_of(a_recording(), tmp_path)[0]
    with pytest.raises(ValueError, match=f"line 2: not a row of {len(Sample._fields)} values"):
        Recording.parse([first, row + "\n"])


@pytest.mark.parametrize(
    "line", ["", "\n", "[]", "1", '"rudp_recording"', "{}", '{"rudp_recording": 1}', "\x89PNG"]
)
def test_other_files_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match="line 1: not the header of a recording"):
        Recording.parse([line])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"rudp_recording": 2}, "version 2, but"),
        ({"names": ["t_s"]}, "no column 'cwnd'"),
        ({"link_rate": 0}, "link_rate must be a number above 0"),
        ({"link_rtt_s": "fast"}, "link_rtt_s must be a number above 0"),
    ],
)
def test_headers_of_the_wrong_kind_are_refused(
    tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    first = json.loads(lines_of(a_recording(), tmp_path)[0])
    with pytest.raises(ValueError, match=f"line 1: {complaint}"):
        Recording.parse([json.dumps(first | change)])


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "noise.jsonl"
    path.write_bytes(random.Random(1).randbytes(1000))
    with pytest.raises(ValueError, match="line 1"):
        Recording.load(path)


def test_columns_in_another_order_and_unknown_ones() -> None:
    """A later minor version may add columns, or leave out those that may be missing."""
    names = ["novelty", *reversed(Sample._fields[:7])]
    first = json.dumps({"rudp_recording": 1, "names": names})
    read = Recording.parse([first, "\n", '["?", 7, 6, 5, 4, 3, 2, 1]\n'])
    assert read.samples == [Sample(1, 2, 3, 4, 5, 6, 7)]
    assert read.header == Header()


def test_a_recording_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    Recording(HEADER).save(path)
    assert Recording.load(path) == Recording(HEADER)


def test_a_file_refuses_what_json_does_not_know(tmp_path: Path) -> None:
    file = RecordingFile(tmp_path / "run.jsonl", HEADER)
    with pytest.raises(ValueError, match="JSON"):
        file.append(a_sample(math.nan))
    file.append(a_sample(1.0))
    file.close()
    file.close()
    assert Recording.load(tmp_path / "run.jsonl").samples == [a_sample(1.0)]
