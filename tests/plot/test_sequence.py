"""Time-sequence graphs, and numbers as lines of text."""

from __future__ import annotations

import pytest

from rudp.plot.spark import sparklines
from rudp.telemetry.conversation import Conversation, Read
from rudp.telemetry.recording import Header, Recording, Sample
from rudp.wire.segment import ACK, SYN

HANDSHAKE = (
    Read(0.0, True, SYN, 100, 0, 0, 65_535),
    Read(0.1, False, SYN | ACK, 500, 101, 0, 65_535),
)


def talk(*reads: Read) -> Conversation:
    made = Conversation("left", "right")
    for one in (*HANDSHAKE, *reads):
        made.add(one)
    return made


def test_what_is_drawn() -> None:
    """Data, what was sent again, SACK blocks; both directions if both carried data."""
    pytest.importorskip("matplotlib", reason="the extra [plot] is not installed")
    from rudp.plot import sequence

    conversation = talk(
        Read(0.2, True, ACK, 101, 501, 4000, 1000),
        Read(0.2, True, ACK, 4101, 501, 4000, 1000),
        Read(0.3, False, ACK, 501, 101, 0, 9000, sack=((4101, 8101),)),
        Read(0.4, True, ACK, 101, 501, 4000, 1000),
        Read(0.5, False, ACK, 501, 8101, 10, 0),
    )
    figure = sequence.draw(conversation)
    there, back = figure.axes
    lines = {one.get_label(): one.get_segments() for one in there.collections}
    assert set(lines) == {"data", "again", "SACK"}
    assert [[list(point) for point in line] for line in lines["data"]] == [
        [[0.2, 0.001], [0.2, 4.001]],
        [[0.2, 4.001], [0.2, 8.001]],
    ]
    assert [list(point) for point in lines["again"][0]] == [[0.4, 0.001], [0.4, 4.001]]
    assert [list(point) for point in lines["SACK"][0]] == [[0.3, 4.001], [0.3, 8.001]]
    stairs = {str(one.get_label()): one for one in there.lines}
    assert list(stairs["acknowledged"].get_ydata()) == pytest.approx([0.001, 0.001, 8.001])
    assert list(stairs["window's edge"].get_ydata()) == pytest.approx([65.536, 9.001, 8.001])
    assert "kB" in there.get_ylabel()
    assert "bytes" in back.get_ylabel()
    assert there.get_title("left") == "left to right"
    assert back.get_title("left") == "right to left"


def test_one_direction_is_one_panel() -> None:
    pytest.importorskip("matplotlib", reason="the extra [plot] is not installed")
    from rudp.plot import sequence

    figure = sequence.draw(talk(Read(0.2, True, ACK, 101, 501, 40, 1000)), title="upload")
    assert len(figure.axes) == 1
    with pytest.raises(ValueError, match="no segment carries data"):
        sequence.draw(talk())


def recording(*cwnds: int) -> Recording:
    samples = [Sample(float(at), cwnd, 0, 0, 0, 0, 0) for at, cwnd in enumerate(cwnds)]
    return Recording(Header(title="upload"), samples)


def test_a_line_rises_with_its_number() -> None:
    lines = sparklines(recording(0, 1000, 2000, 4000, 8000), width=5).splitlines()
    assert lines[0] == "upload  4.000 s"
    assert lines[1] == "         cwnd  ▁▂▄█ 0 … 8 kB"


def test_a_part_without_a_row_goes_on() -> None:
    rows = recording(4000, 8000)
    rows.samples[1] = rows.samples[1]._replace(t_s=10.0)
    course = sparklines(rows, width=10).splitlines()[1].split()[1]
    assert course == "▄" * 9 + "█"


def test_what_is_not_known_has_no_line() -> None:
    names = [line[:13].strip() for line in sparklines(recording(1, 2)).splitlines()[1:]]
    assert "smoothed RTT" not in names
    assert names[0] == "cwnd"


def test_too_short() -> None:
    with pytest.raises(ValueError, match="less than two rows"):
        sparklines(recording(1))
