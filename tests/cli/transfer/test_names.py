"""Which paths are taken from a sender."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rudp.cli.transfer.names import (
    MAX_DEPTH,
    PART_PREFIX,
    UnsafePath,
    parse_path,
    part_name,
    printable,
)

EVERYWHERE = [
    b"", b"/", b"/etc/passwd", b"..", b"../x", b"a/../../x", b"a/..", b".", b"./x", b"a/./b",
    b"a//b", b"a/", b"//host/share", b"a\0b", b"\0", b"x" * 256, b"a/" + b"x" * 300,
    b"/".join([b"d"] * (MAX_DEPTH + 1)), b"y/" * 3000,
    PART_PREFIX.encode() + b"0", b".RUDP-part-0", b"d/.Rudp-Part-x/y",
    ".rudp-\u200cpart-0".encode(), ".ｒudp-part-0".encode(),
]  # fmt: skip
ON_WINDOWS = [
    b"C:", b"C:x", b"c:\\x", b"a\\b", b"..\\x", b"a/..\\..\\x", b"\\\\host\\share", b"x:stream",
    b"x::$DATA", b"NUL", b"nul.txt", b"con", b"COM1", b"com1.log", "COM¹".encode(), b"lpt9 .x",
    b"CONIN$", b"aux/x", b"x.", b"x ", b"d./x", b"x\x01", b"a<b", b"a>b", b'a"b', b"a|b", b"a?",
    b"a*", b"\xff",
]  # fmt: skip


@pytest.mark.parametrize("raw", EVERYWHERE)
@pytest.mark.parametrize("windows", [False, True])
def test_paths_that_nobody_takes(raw: bytes, windows: bool) -> None:
    with pytest.raises(UnsafePath):
        parse_path(raw, windows=windows)


@pytest.mark.parametrize("raw", ON_WINDOWS)
def test_paths_that_are_harmless_but_on_windows(raw: bytes) -> None:
    with pytest.raises(UnsafePath):
        parse_path(raw, windows=True)


@pytest.mark.parametrize("raw", [b"C:x", b"12:30.log", b"a\\b", b"NUL", b"x.", b"\xff\xfe"])
def test_names_that_are_ordinary_elsewhere_are_taken_as_they_are(raw: bytes) -> None:
    (name,) = parse_path(raw, windows=False)
    assert name.encode(errors="surrogateescape") == raw


@given(st.binary(max_size=80), st.booleans())
def test_whatever_is_taken_is_plain_names(raw: bytes, windows: bool) -> None:
    try:
        names = parse_path(raw, windows=windows)
    except UnsafePath:
        return
    assert "/".join(names).encode(errors="surrogateescape") == raw
    for name in names:
        assert name not in ("", ".", "..")
        assert not set(name) & ({"/", "\0", "\\", ":"} if windows else {"/", "\0"})


def test_partial_names_are_short_stable_and_different() -> None:
    assert part_name("x" * 255) == part_name("x" * 255) != part_name("x" * 254)
    assert len(part_name("x" * 255)) < 40
    assert part_name("\udcff").startswith(PART_PREFIX)


def test_nothing_in_a_path_is_obeyed_by_a_terminal() -> None:
    assert printable(b"a\x1b[2Jb\n\xff\xe2\x80\xae") == "a\\x1b[2Jb\\n\\xff\\u202e"
