"""What the site is built with beyond Markdown: help texts of commands, and files outside docs/.

`mkdocs.yml` names this module as a hook; https://www.mkdocs.org/user-guide/configuration/#hooks.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from mkdocs.structure.files import File, Files

from rudp.cli.app import main

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = "repository"
"""Folder of the site for what lies outside docs/."""
ALWAYS = ("CHANGELOG.md",)
"""Files outside docs/ that have a page whether they are linked to or not."""
HELP = re.compile(r"^<!-- help: rudp ?(?P<name>[\w-]*) -->$", re.MULTILINE)
HELP_WIDTH = 88
_LINK = re.compile(r"(?P<open>\]\()(?P<target>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)")
_LANGUAGES = {".py": "python", ".toml": "toml", ".c": "c", ".yml": "yaml"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every file outside docs/ that a page links to."""
    known: set[str] = set()
    waiting = [file.src_uri for file in files.documentation_pages()]
    for name in ALWAYS:
        known.add(name)
        waiting.append(site_uri(name))
    while waiting:
        for name in outside_links(waiting.pop()):
            if name not in known:
                known.add(name)
                waiting.append(site_uri(name))
    for name in sorted(known):
        files.append(File.generated(config, site_uri(name), content=_page_of(name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put help texts in, and send links out of docs/ to the pages made for them."""
    source = page.file.src_uri

    def to_page(match: re.Match[str]) -> str:
        name = repository_name(source, match["target"])
        if not (ROOT / name).is_file():
            return match[0]
        target = posixpath.relpath(site_uri(name), posixpath.dirname(source) or ".")
        return f"{match['open']}{target}{match['anchor'] or ''})"

    if not source.endswith(".py.md"):
        markdown = _LINK.sub(to_page, markdown)
    return HELP.sub(lambda match: f"```text\n{help_of(match['name'])}\n```", markdown)


def help_of(name: str) -> str:
    """What `rudp NAME --help` prints; of the whole command if `name` is empty."""
    context = click.Context(
        main, info_name="rudp", terminal_width=HELP_WIDTH, **main.context_settings
    )
    if not name:
        return main.get_help(context)
    command = main.get_command(context, name)
    if command is None:
        raise ValueError(f"there is no rudp {name}")
    return command.get_help(click.Context(command, context, info_name=name))


def site_uri(name: str) -> str:
    """Where a file of the repository is among the site's sources."""
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    return f"{OUTSIDE}/{name}" if name.endswith(".md") else f"{OUTSIDE}/{name}.md"


def repository_name(source: str, target: str) -> str:
    """What a link of the page `source` points to, as a path from the repository's root."""
    if source.startswith(f"{OUTSIDE}/"):
        folder = posixpath.dirname(source.removeprefix(f"{OUTSIDE}/"))
    else:
        folder = posixpath.join("docs", posixpath.dirname(source))
    return posixpath.normpath(posixpath.join(folder, target))


def outside_links(source: str) -> Iterator[str]:
    """The files outside docs/ that a page links to."""
    path = ROOT / (
        source.removeprefix(f"{OUTSIDE}/") if source.startswith(f"{OUTSIDE}/") else f"docs/{source}"
    )
    if not path.is_file():  # a page that shows a program: programs have no links
        return
    for match in _LINK.finditer(path.read_text(encoding="utf-8")):
        name = repository_name(source, match["target"])
        if not name.startswith(("docs/", "..")) and (ROOT / name).is_file():
            yield name


def _page_of(name: str) -> str:
    text = (ROOT / name).read_text(encoding="utf-8")
    if name.endswith(".md"):
        return text
    return f"# {name}\n\n````{_LANGUAGES.get(Path(name).suffix, 'text')}\n{text}\n````\n"
