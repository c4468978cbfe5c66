"""Values on the command line: durations, sizes, and parameter types made of plain functions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import click


class Parsed(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """A parameter type made of a function that raises `ValueError`, whose text the user sees."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self.parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a text; a usage error if it is not possible. Defaults pass as they are."""
        if not isinstance(value, str):
            return value
        try:
            return self.parse(value)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|m|h)?", re.ASCII)
_DURATION_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]?)(i?b?)", re.ASCII | re.IGNORECASE)
_SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_duration_s(text: str) -> float:
    """Seconds of "1.5", "1.5s", "250ms", "2m" or "1h".

    Raises:
        ValueError: It is no duration.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 5, 250ms or 2m")
    duration_s = float(match[1]) * _DURATION_UNITS[match[2] or "s"]
    if not math.isfinite(duration_s):
        raise ValueError(f"{text!r} is too long")
    return duration_s


def parse_duration_or_off_s(text: str) -> float | None:
    """As `parse_duration_s`; None for "off"."""
    return None if text == "off" else parse_duration_s(text)


def parse_size_bytes(text: str) -> int:
    """Bytes of "65536", "64K", "16M" or "1.5GiB"; the units are powers of 1,024.

    Raises:
        ValueError: It is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3].lower().startswith("i") and not match[2]):
        raise ValueError(f"{text!r} is not a size such as 65536, 64K or 16M")
    size = float(match[1]) * _SIZE_UNITS[match[2].lower()]
    if size > 1 << 62:
        raise ValueError(f"{text!r} is too large")
    return int(match[1]) * _SIZE_UNITS[match[2].lower()] if match[1].isdigit() else int(size)


DURATION = Parsed("DURATION", parse_duration_s)
"""Seconds, as a float."""
DURATION_OR_OFF = Parsed("DURATION|off", parse_duration_or_off_s)
"""Seconds, or None for "off"."""
SIZE = Parsed("SIZE", parse_size_bytes)
"""Bytes, as an int."""
