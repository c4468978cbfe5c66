"""Command line arguments that the benchmarks share."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.transports import find


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add what every benchmark takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--full", action="store_true", help="everything, longer and more often")
    parser.add_argument("--repeat", type=positive_int, metavar="N", help="runs of each cell")
    parser.add_argument("--seconds", type=positive_float, metavar="S", help="of each run")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results there")
    parser.add_argument("--chart", type=Path, metavar="PATH", help="draw them too (.svg or .png)")


def positive_int(text: str) -> int:
    """A whole number above zero; an argparse type."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def positive_float(text: str) -> float:
    """A number above zero, and not without end; an argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return value


def names_of(known: Collection[str]) -> Callable[[str], list[str]]:
    """An argparse type: names out of `known`, with commas between them."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return names

    return parse


def transport_names(text: str) -> list[str]:
    """Names of transports, with commas between them; an argparse type."""
    names = text.split(",")
    for name in names:
        check_transport(name)
    return names


def check_transport(name: str) -> None:
    """Raises `argparse.ArgumentTypeError` if there is no such transport."""
    try:
        find(name)
    except (TypeError, ValueError) as exc:
        raise argparse.ArgumentTypeError(f"{name!r}: {exc}") from None


def config(text: str) -> dict[str, Any]:
    """Fields of `rudp.Config` as a JSON object; an argparse type."""
    try:
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise TypeError("not a JSON object")
        find("rudp", fields)
    except (TypeError, ValueError) as exc:
        raise argparse.ArgumentTypeError(f"{text!r}: {exc}") from None
    return fields


def progress_console() -> Console:
    """Where progress is shown: the results alone go to standard output."""
    return Console(stderr=True)
