"""The format: every frame comes back as it was, and nothing else gets through."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.cli.transfer import format as wire
from rudp.cli.transfer.format import (
    Abandon,
    Abort,
    Begin,
    Bye,
    Data,
    Decoder,
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
    data_header,
    encode,
)

index = st.integers(0, 2**32 - 1)
size = st.integers(0, 2**64 - 1)
digest = st.binary(min_size=32, max_size=32)
reason = st.text(max_size=200)
frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Hello, st.integers(0, 65535)),
    st.builds(
        Offer,
        index,
        st.sampled_from(Kind),
        size,
        st.integers(0, 2**32 - 1),
        st.integers(-(2**63), 2**63 - 1),
        st.binary(max_size=wire.MAX_PATH_BYTES),
    ),
    st.builds(Have, index, size),
    st.builds(Proof, index, digest),
    st.builds(Want, index, size),
    st.builds(Begin, index, size),
    st.builds(Data, st.binary(min_size=1, max_size=3000)),
    st.builds(End, index, digest),
    st.builds(Abandon, index, reason),
    st.builds(Done, index, st.sampled_from(Outcome)),
    st.builds(Failed, index, reason),
    st.just(Bye()),
    st.builds(Abort, reason),
)


def joined(found: list[Frame]) -> list[Frame]:
    """Frames with the pieces of file data that belong together put together."""
    result: list[Frame] = []
    for frame in found:
        if isinstance(frame, Data) and result and isinstance(result[-1], Data):
            result[-1] = Data(bytes(result[-1].data) + bytes(frame.data))
        else:
            result.append(Data(bytes(frame.data)) if isinstance(frame, Data) else frame)
    return result


def sensible(frame: Frame) -> Frame:
    """Text as it arrives: surrogates cannot be sent, and nothing is obeyed by a terminal."""
    if not isinstance(frame, (Abandon, Failed, Abort)):
        return frame
    sent = frame.reason.encode(errors="replace").decode()
    shown = "".join(char if char.isprintable() else "\ufffd" for char in sent)
    return Abort(shown) if isinstance(frame, Abort) else type(frame)(frame.index, shown)


@given(st.lists(frames, max_size=12), st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_what_is_encoded_comes_out_however_it_is_cut(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(map(encode, sent))
    decoder, found, position, turn = Decoder(), [], 0, 0
    while position < len(stream):
        length = cuts[turn % len(cuts)]
        found += decoder.feed(stream[position : position + length])
        position += length
        turn += 1
    assert joined(found) == joined([sensible(frame) for frame in sent])


@given(st.lists(st.binary(max_size=5000), max_size=8))
def test_no_bytes_do_more_than_raise_a_format_error(pieces: list[bytes]) -> None:
    decoder = Decoder()
    try:
        for piece in pieces:
            decoder.feed(piece)
    except FormatError:
        pass


@given(st.binary(max_size=300), st.integers(0, 15))
def test_any_body_of_any_type_is_a_frame_or_a_format_error(body: bytes, number: int) -> None:
    try:
        found = Decoder().feed(struct.pack("!BI", number, len(body)) + body)
    except FormatError:
        return
    assert len(found) == (1 if body or number == 12 or number == 13 else 0)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13])
def test_a_control_frame_that_is_too_long_is_refused_at_its_header(number: int) -> None:
    with pytest.raises(FormatError, match="too long"):
        Decoder().feed(struct.pack("!BI", number, wire.MAX_CONTROL_BYTES + 1))


def test_data_are_bounded_and_handed_on_without_waiting_for_the_rest() -> None:
    with pytest.raises(FormatError, match="too long"):
        Decoder().feed(data_header(wire.MAX_DATA_BYTES + 1))
    decoder = Decoder()
    (first,) = decoder.feed(data_header(1000) + b"ab")
    assert isinstance(first, Data)
    assert bytes(first.data) == b"ab"


@pytest.mark.parametrize(
    "frame",
    [encode(Hello())[:5] + b"something!\0\1", b"\0\0\0\0\0", b"\xff\0\0\0\0", b"GET / HTTP"],
)
def test_a_stranger_is_told_apart(frame: bytes) -> None:
    with pytest.raises(FormatError):
        Decoder().feed(frame)
