"""The pages and the fenced blocks in them, with what a comment before a block says of it.

Comments, each on a line of its own right before the fence; readers do not see them:

    <!-- given: echo, writer -->    names, or things, that `stage.py` has ready
    <!-- continued -->              goes on where the page's last Python block stopped
    <!-- in: an event loop -->      though it awaits nothing
    <!-- on: loopback -->           on a real event loop; otherwise on `rudp.sim`'s
    <!-- file: chat.py -->          saved under that name for the tests on the pages to import
    <!-- visited: hello > HELLO --> a server that goes on for ever: a client says hello, gets HELLO
    <!-- prints -->                 of a text block: what the Python block before it prints
    <!-- not run: WHY -->           compiled (Python) or passed over (shell), for that reason
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w-]*)\s*$")
NOTES = {"continued", "file", "given", "in", "not run", "on", "prints", "visited"}
_COMMENT = re.compile(r"^ *<!-- (?P<key>[a-z ]+?)(: (?P<value>.*))? -->$")


@dataclass(slots=True)
class Block:
    """A fenced block."""

    page: Path
    line: int
    """Of its first line of code, from 1."""
    language: str
    source: str
    notes: dict[str, str] = field(default_factory=dict)
    """What the comments before it say."""

    @property
    def where(self) -> str:
        """Page and line, for a reader."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def given(self) -> list[str]:
        """What it is given."""
        return [name.strip() for name in self.notes.get("given", "").split(",") if name.strip()]


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    notes: dict[str, str] = {}
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
    for number, line in lines:
        comment = _COMMENT.match(line)
        if comment and comment["key"] in NOTES:
            notes[comment["key"]] = comment["value"] or ""
        elif fence := _FENCE.match(line):
            indent, code = len(fence["indent"]), []
            for _, inner in lines:
                if inner.strip() == fence["ticks"]:
                    break
                code.append(inner[indent:])
            else:
                raise ValueError(f"{page}:{number}: the block has no end")
            source = "\n".join(code) + "\n"
            yield Block(page, number + 1, fence["language"], source, notes)
            notes = {}
        elif line.strip() and notes:
            raise ValueError(f"{page}:{number}: {notes} is said of no block")


def all_blocks(*languages: str) -> list[Block]:
    """The blocks of all pages in these languages."""
    return [block for page in PAGES for block in blocks_of(page) if block.language in languages]


def chains() -> list[list[Block]]:
    """The Python blocks of all pages, those that continue each other together, with what they
    print."""
    found: list[list[Block]] = []
    for page in PAGES:
        chain: list[Block] | None = None
        for block in blocks_of(page):
            follows = "continued" in block.notes or "prints" in block.notes
            if follows and chain is None:
                raise ValueError(f"{block.where} continues nothing")
            if block.language == "python" and not follows:
                chain = []
                found.append(chain)
            if chain is not None and (block.language == "python" or "prints" in block.notes):
                chain.append(block)
    return found
