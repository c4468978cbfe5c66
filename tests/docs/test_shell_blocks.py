"""The commands on the pages exist, with their options: rudp's own by click's parser, the
examples' by their --help, make's targets by the Makefile. Nothing is run beyond that."""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator

import click
import pytest

import rudp
from rudp.cli.app import main

from .pages import ROOT, Block, all_blocks

# fmt: off
SYSTEM = {
    "cat", "curl", "kill", "mkfifo", "pytest", "rsync", "ssh", "sudo", "tar", "tshark", "uvicorn",
    "wireshark",
}
# fmt: on
"""Programs that are not ours: their options are their own business."""
_ASSIGNMENT = re.compile(r"[A-Z_]+=")
_BLOCKS = [block for block in all_blocks("sh") if "not run" not in block.notes]


def commands(source: str) -> Iterator[list[str]]:
    """The commands of a block as words: without comments, redirections and what is piped."""
    for line in source.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>")
        lexer.whitespace_split = True
        words: list[str] = []
        skip = False
        for word in [*lexer, ";"]:
            if skip:
                skip = False
            elif set(word) <= set("<>"):
                skip = True
            elif set(word) <= set("|;&"):
                if words:
                    yield words
                words = []
            else:
                words.append(word)


def check(words: list[str]) -> None:
    """Raise `AssertionError` or click's error for a command that does not exist."""
    while words and _ASSIGNMENT.match(words[0]):
        name = words[0].partition("=")[0]
        if name.startswith("RUDP_"):
            assert name in source_of_rudp(), f"{name} means nothing to rudp"
        words = words[1:]
    if not words:
        return
    program = words[0].removeprefix(".venv/bin/").removeprefix("$(BIN)/")
    if program in CHECKS:
        CHECKS[program](words[1:])
    else:
        assert program in SYSTEM, f"{program} is not known"


def check_rudp(arguments: list[str]) -> None:
    """Parse a command line of `rudp` without running it."""
    context = click.Context(main, info_name="rudp")
    name, command, rest = main.resolve_command(context, arguments)
    assert command is not None
    parsed = command.make_context(name, rest, context, resilient_parsing="--help" in rest)
    for assignment in parsed.params.get("assignments", ()):
        field = assignment.partition("=")[0].replace("-", "_")
        assert field in rudp.Config.__dataclass_fields__, f"--set {assignment}"


def check_python(arguments: list[str]) -> None:
    """A script of the examples, or a module."""
    if arguments[0] == "-m":
        if arguments[1] == "rudp":
            check_rudp(arguments[2:])
        else:
            subcommands = [word for word in arguments[2:3] if word.isalpha()]
            check_options(("-m", arguments[1], *subcommands), arguments[2:])
    elif arguments[0].startswith("examples/"):
        check_options((arguments[0],), arguments[1:])
    else:
        assert arguments[0] == "-c" or "/" not in arguments[0], arguments


def check_options(program: tuple[str, ...], arguments: list[str]) -> None:
    """Each option of a program is one that its --help tells, or that of its subcommand."""
    given = [word.partition("=")[0] for word in arguments if word.startswith("-")]
    if not given:
        help_text(program)
        return
    told = help_text(program)
    if arguments and arguments[0] in re.findall(r"\w+", told) and arguments[0].isalpha():
        told += help_text((*program, arguments[0]))
    for option in given:
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", told), f"{program}: {option}"


@functools.cache
def help_text(program: tuple[str, ...]) -> str:
    """What a program prints with --help."""
    return subprocess.run(
        [sys.executable, *program, "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout


def check_make(arguments: list[str]) -> None:
    """The targets are in the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in arguments:
        if "=" not in word:
            assert re.search(rf"^{re.escape(word)}:", makefile, re.MULTILINE), f"make {word}"


def check_pip(arguments: list[str]) -> None:
    """The extras are in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for word in arguments:
        if extras := re.search(r"\[(.*)\]", word):
            for extra in extras[1].split(","):
                assert extra in project["optional-dependencies"], f"pip install {word}"


@functools.cache
def source_of_rudp() -> str:
    """All of rudp's source."""
    return "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "rudp").rglob("*.py"))


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "rudp": check_rudp,
    "python": check_python,
    "make": check_make,
    "pip": check_pip,
}


@pytest.mark.parametrize("block", _BLOCKS, ids=[block.where for block in _BLOCKS])
def test_commands_exist(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    # The files that the pages name are the reader's.
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: value)
    for words in commands(block.source):
        check(words)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("rudp tunnle --listen tcp:1 --to rudp:h:2", click.UsageError),
        ("rudp tunnel --listen tcp:1 --too rudp:h:2", click.UsageError),
        ("tar c x | rudp tunnel --listen tcp:1 --to rudp:host", click.UsageError),
        ("rudp nc --set nonsense=1 host 7000", AssertionError),
        ("RUDP_TRAEC=x python server.py", AssertionError),
        ("python examples/echo_server.py --lissten 127.0.0.1:1", AssertionError),
        ("python examples/no_such.py", subprocess.CalledProcessError),
        ("python -m rudp.plot simulate --raet-mbit 2", AssertionError),
        ("make nonsense", AssertionError),
        ("pip install 'asyncio-rudp[nonsense]'", AssertionError),
        ("frobnicate", AssertionError),
    ],
)
def test_what_does_not_exist_is_found(line: str, fault: type[Exception]) -> None:
    with pytest.raises(fault):
        for words in commands(line):
            check(words)
