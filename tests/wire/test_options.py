"""rudp.wire.options: kinds, lengths, padding (RFC 9293 §3.1, MUST-5 to MUST-7)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rudp.wire import options as opt
from rudp.wire.options import NONE, Options, encode, encode_sack, parse

from .strategies import OPTIONS

FULL = Options(
    mss=1460,
    window_scale=7,
    sack_permitted=True,
    sack=((1, 2), (0xFFFF_FFFF, 3)),
    version=1,
    connection_id=0xDEAD_BEEF,
    cookie=b"cookie",
    unknown_id=0x0102_0304,
    path_challenge=b"12345678",
    path_response=b"abcdefgh",
    ecn_counts=(0xFFFF_FFFF, 0, 0x0102_0304),
    rendezvous=b"where we meet",
)

# Kind, the lengths (kind and length bytes included) that it can have, and the field it sets.
KNOWN: list[tuple[int, set[int], str]] = [
    (opt.MSS, {4}, "mss"),
    (opt.WINDOW_SCALE, {3}, "window_scale"),
    (opt.SACK_PERMITTED, {2}, "sack_permitted"),
    (opt.SACK, {2 + 8 * blocks for blocks in range(1, 32)}, "sack"),
    (opt.VERSION, {3}, "version"),
    (opt.CONNECTION_ID, {6}, "connection_id"),
    (opt.COOKIE, set(range(3, 67)), "cookie"),
    (opt.UNKNOWN_ID, {6}, "unknown_id"),
    (opt.PATH_CHALLENGE, {10}, "path_challenge"),
    (opt.PATH_RESPONSE, {10}, "path_response"),
    (opt.ECN_COUNTS, {14}, "ecn_counts"),
    (opt.RENDEZVOUS, set(range(3, 19)), "rendezvous"),
]
KNOWN_KINDS = {kind for kind, _, _ in KNOWN}
UNKNOWN_KINDS = sorted(set(range(2, 256)) - KNOWN_KINDS)

BIGGEST_BLOCK = 1020 - 24
"""What a header length of 255 words leaves for options."""


def option(kind: int, length: int, filler: int = 0x5A) -> bytes:
    """An option of `length` bytes, kind and length included."""
    return bytes((kind, length)) + bytes((filler,)) * (length - 2)


# -- what is sent --------------------------------------------------------------------------------


def test_bytes_of_each_option() -> None:
    """RFC 9293 §3.2 (2), RFC 7323 §2.2 (3), RFC 2018 §2 and §3 (4, 5); 128 up are our own."""
    assert encode(Options(mss=1460)) == bytes((2, 4, 0x05, 0xB4))
    assert encode(Options(window_scale=7)) == bytes((3, 3, 7, 0))
    assert encode(Options(sack_permitted=True)) == bytes((4, 2, 0, 0))
    assert encode(Options(sack=((1, 0x100), (2, 3)))) == bytes.fromhex(
        "0512 00000001 00000100 00000002 00000003 0000"
    )
    assert encode(Options(version=1)) == bytes((128, 3, 1, 0))
    assert encode(Options(connection_id=0x01020304)) == bytes.fromhex("8106 01020304 0000")
    assert encode(Options(cookie=b"ab")) == bytes.fromhex("8204 6162")
    assert encode(Options(unknown_id=0x01020304)) == bytes.fromhex("8306 01020304 0000")
    assert encode(Options(path_challenge=b"12345678")) == b"\x84\x0a12345678\0\0"
    assert encode(Options(path_response=b"12345678")) == b"\x85\x0a12345678\0\0"
    assert encode(Options(rendezvous=b"ab")) == bytes.fromhex("8804 6162")
    assert encode(Options(ecn_counts=(1, 0x100, 0xFFFF_FFFF))) == bytes.fromhex(
        "870e 00000001 00000100 ffffffff 0000"
    )


def test_no_options_are_no_bytes() -> None:
    assert encode(NONE) == b""
    assert parse(b"") is NONE


@pytest.mark.parametrize("name", Options._fields)
def test_zero_is_a_value_and_not_an_absence(name: str) -> None:
    """A field that is 0 travels; only None (or False) is left out."""
    if name in ("mss", "window_scale", "version", "connection_id", "unknown_id"):
        options = NONE._replace(**{name: 0})
    elif name == "sack_permitted":
        options = NONE._replace(sack_permitted=True)
    elif name == "sack":
        options = NONE._replace(sack=((0, 0),))
    elif name == "ecn_counts":
        options = NONE._replace(ecn_counts=(0, 0, 0))
    else:
        options = NONE._replace(**{name: bytes(8)})
    assert encode(options) != b""
    assert parse(encode(options)) == options


@given(OPTIONS)
@settings(deadline=None)
def test_round_trip(options: Options) -> None:
    """RFC 9293 §3.1: what was encoded is parsed again, and padded to a multiple of 32 bits."""
    block = encode(options)
    assert len(block) % 4 == 0
    assert parse(block) == options


def test_the_padding_is_zeros() -> None:
    """RFC 9293 MUST-69: beyond the last option only zeros, which are END."""
    for cookie_bytes in range(1, 20):
        block = encode(Options(cookie=bytes([0xFF]) * cookie_bytes))
        assert set(block[2 + cookie_bytes :]) <= {opt.END}
        assert len(block) - 2 - cookie_bytes < 4


def test_encode_sack_is_the_option_alone() -> None:
    blocks = ((5, 6), (0xFFFF_FFF0, 4))
    assert encode_sack(blocks) == bytes((5, 18)) + bytes.fromhex(
        "00000005 00000006fffffff000000004"
    )
    assert encode(Options(sack=blocks)) == encode_sack(blocks) + bytes(2)


def test_most_sack_blocks_that_an_option_can_carry() -> None:
    """One byte of length: 31 blocks of 8 bytes, not 32."""
    blocks = tuple((number, number + 1) for number in range(opt.MAX_SACK_BLOCKS))
    assert parse(encode(Options(sack=blocks))) == Options(sack=blocks)
    with pytest.raises(ValueError, match="range"):
        encode(Options(sack=(*blocks, (90, 91))))


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        ("cookie", range(1, 65)),
        ("path_challenge", [8]),
        ("path_response", [8]),
        ("rendezvous", range(1, 17)),
    ],
)
def test_opaque_values_of_impossible_length_are_refused(name: str, lengths: list[int]) -> None:
    """What `parse` would condemn the whole segment for (MUST-7) is not sent in the first place."""
    for length in [*range(70), 255, 256]:
        options = NONE._replace(**{name: bytes(length)})
        if length in lengths:
            assert parse(encode(options)) == options
        else:
            with pytest.raises(ValueError, match=name):
                encode(options)


def test_padding_stays_skipped() -> None:
    """Kind 134 fills a segment up and means nothing, whatever is in it and however often."""
    padding = option(opt.PADDING, 200, filler=opt.MSS)
    assert parse(padding * 2 + encode(Options(mss=1000))) == Options(mss=1000)


# -- what is received ----------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "lengths", "name"), KNOWN, ids=lambda value: str(value)[:16])
def test_known_kinds_have_their_lengths_only(kind: int, lengths: set[int], name: str) -> None:
    """RFC 9293 MUST-7: an illegal option length is answered by dropping the segment."""
    for length in range(2, 256):
        parsed = parse(option(kind, length))
        if length in lengths:
            assert parsed is not None, length
            absent = NONE._asdict()
            changed = {key for key, value in parsed._asdict().items() if value != absent[key]}
            assert changed == {name}, length
        else:
            assert parsed is None, length


@pytest.mark.parametrize("length", [0, 1])
def test_length_zero_or_one_is_malformed_and_never_loops(length: int) -> None:
    """RFC 9293 MUST-7: a length that does not cover kind and length itself, known kind or not."""
    for kind in range(2, 256):
        assert parse(bytes((kind, length, 0, 0))) is None, kind
        assert parse(bytes((kind, length)) * 100) is None, kind


@pytest.mark.parametrize("length", [2, 3, 4, 6, 10, 18, 66, 254, 255])
def test_length_beyond_the_block_is_malformed(length: int) -> None:
    """RFC 9293 MUST-7: whatever the kind, a length must not run over the header."""
    for kind in range(2, 256):
        assert parse(option(kind, length)[:-1]) is None, kind
        assert parse(bytes((opt.NOP,)) + option(kind, length)[:-1]) is None, kind


def test_a_kind_without_a_length_is_malformed() -> None:
    for kind in range(2, 256):
        assert parse(bytes((kind,))) is None, kind
        assert parse(bytes((opt.NOP, opt.NOP, opt.NOP, kind))) is None, kind


@pytest.mark.parametrize("length", [2, 3, 17, 255])
def test_unknown_kinds_are_skipped(length: int) -> None:
    """RFC 9293 MUST-6: an option that is not implemented is ignored, if it has a length."""
    mss = encode(Options(mss=1000))
    for kind in UNKNOWN_KINDS:
        skipped = option(kind, length, filler=opt.MSS)
        assert parse(skipped) is NONE, kind
        assert parse(skipped + mss) == parse(mss + skipped) == Options(mss=1000), kind
        assert parse(skipped + skipped) is NONE, "an unknown kind may come twice"


@pytest.mark.parametrize(("kind", "lengths", "name"), KNOWN, ids=lambda value: str(value)[:16])
def test_a_known_kind_twice_is_malformed(kind: int, lengths: set[int], name: str) -> None:
    """Overlapping options: no honest sender repeats one, so none of the two is believed."""
    once = option(kind, min(lengths))
    assert parse(once) is not None, name
    assert parse(once + once) is None
    assert parse(once + option(kind, max(lengths))) is None
    assert parse(once + bytes((opt.NOP,)) + option(77, 5) + once) is None


def test_end_ends() -> None:
    """RFC 9293 §3.2, kind 0: what follows is padding, whatever it is."""
    mss = encode(Options(mss=1000))
    assert parse(mss + bytes((opt.END,)) + mss) == Options(mss=1000)
    assert parse(bytes((opt.END,)) + mss) is NONE
    assert parse(mss + bytes((opt.END, 3, 0, 0xFF))) == Options(mss=1000)
    assert parse(bytes(BIGGEST_BLOCK)) is NONE


def test_nop_stands_anywhere() -> None:
    """RFC 9293 §3.2, kind 1 (MUST-64: alignment by no-ops is not relied upon)."""
    nop = bytes((opt.NOP,))
    block = nop + option(opt.MSS, 4) + nop * 3 + option(opt.WINDOW_SCALE, 3) + nop
    assert parse(block) == Options(mss=0x5A5A, window_scale=0x5A)
    assert parse(nop * BIGGEST_BLOCK) is NONE


@given(OPTIONS, st.data())
@settings(deadline=None)
def test_every_truncation(options: Options, data: st.DataObject) -> None:
    """Cut anywhere: the options before the cut, or malformed; never a value that was not sent."""
    block = encode(options)
    sent = options._asdict()
    absent = NONE._asdict()
    cut = data.draw(st.integers(0, len(block)))
    parsed = parse(block[:cut])
    if parsed is not None:
        for name, value in parsed._asdict().items():
            assert value in (sent[name], absent[name])


def test_every_truncation_of_all_options_together() -> None:
    """A cut is accepted exactly between two options, and inside the padding."""
    parts = [NONE._replace(**{name: getattr(FULL, name)}) for name in FULL._fields]
    # The order of travelling: SACK last, because its length varies.
    parts.append(parts.pop(FULL._fields.index("sack")))
    lengths = [4, 3, 2, 3, 6, 8, 6, 10, 10, 14, 15, 18]
    ends = {sum(lengths[:count]) for count in range(len(lengths) + 1)}
    block = encode(FULL)
    assert sum(lengths) <= len(block) < sum(lengths) + 4
    accepted = {cut for cut in range(len(block) + 1) if parse(block[:cut]) is not None}
    assert accepted == ends | set(range(sum(lengths), len(block) + 1))
    seen = NONE
    for count, part in enumerate(parts, 1):
        name = next(name for name in part._fields if getattr(part, name) != getattr(NONE, name))
        seen = seen._replace(**{name: getattr(part, name)})
        assert parse(block[: sum(lengths[:count])]) == seen
    assert seen == FULL


@given(st.binary(max_size=1020))
@settings(deadline=None, max_examples=300)
def test_random_bytes_never_raise(block: bytes) -> None:
    parsed = parse(block)
    assert parsed is None or isinstance(parsed, Options)


@given(
    st.lists(
        st.sampled_from([0, 1, 2, 3, 4, 5, 6, 8, 10, 14, 128, 129, 130, 134, 135, 255]), max_size=64
    )
)
@settings(deadline=None, max_examples=300)
def test_random_kinds_and_lengths_never_raise(numbers: list[int]) -> None:
    """Bytes that look like options find more paths than random ones; what is accepted must
    come back the same from a second trip."""
    parsed = parse(bytes(numbers))
    if parsed is not None:
        assert parse(encode(parsed)) == parsed


@pytest.mark.parametrize("size", [BIGGEST_BLOCK, 1020])
def test_blocks_of_the_greatest_size(size: int) -> None:
    """A header length of 255 words: options of every kind fill it to the last byte."""
    unpadded = encode(FULL).rstrip(b"\0")  # END, the padding, would end the parsing here
    fill = size - len(unpadded) - 4
    block = unpadded
    for length in [255] * (fill // 255) + [fill % 255]:
        block += option(opt.PADDING, length)
    block += option(200, 4)
    assert len(block) == size
    assert parse(block) == FULL
    assert parse(block[:-1]) is None
    assert parse(block[:-4] + option(opt.MSS, 4)) is None, "the last option counts too"


def test_an_absurd_number_of_options_is_malformed() -> None:
    """Bounds: a segment must not cost what hundreds of them cost, whatever its header says."""
    some, mss = option(200, 2), encode(Options(mss=1000))
    assert parse(some * 30 + mss) == Options(mss=1000)
    assert parse(some * 30 + mss + bytes(4)) == Options(mss=1000)
    assert parse(some * 40) is NONE
    assert parse(some * 41) is None
    assert parse(some * 490 + mss) is None
    assert parse(bytes((opt.NOP,)) * 900 + mss) == Options(mss=1000), "no-ops cost nothing"
    scattered = bytes((opt.NOP, opt.NOP, opt.NOP))
    assert parse((scattered + some) * 30 + scattered + mss) == Options(mss=1000)
    assert parse((scattered + some) * 100) is None
