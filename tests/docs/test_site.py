"""Pages name files that exist, the navigation all pages, the reference all commands and names."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

import rudp
import rudp.congestion
import rudp.sim
from rudp.cli.app import main

from .pages import PAGES, ROOT

pytest.importorskip("mkdocs")

DOCS = ROOT / "docs"
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def load_hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks = load_hooks()


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_to_files(page: Path) -> None:
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:|#", target):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    for page in DOCS.rglob("*.md"):
        assert f"- {page.relative_to(DOCS).as_posix()}\n" in navigation


def test_every_command_is_in_the_reference() -> None:
    text = (DOCS / "reference/commands.md").read_text(encoding="utf-8")
    named = [match["name"] for match in hooks.HELP.finditer(text)]
    assert sorted(named) == ["", *main.list_commands(click.Context(main))]
    for name in named:
        assert f"Usage: rudp {name}".rstrip() in hooks.help_of(name)


@pytest.mark.parametrize("package", [rudp, rudp.sim, rudp.congestion])
def test_every_public_name_is_in_the_reference(package: ModuleType) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    shown = set(re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE))
    assert {f"{package.__name__}.{name}" for name in package.__all__} <= shown


@pytest.mark.parametrize(
    ("source", "target", "name"),
    [
        ("performance.md", "../benchmarks/README.md", "benchmarks/README.md"),
        ("how-to/cores.md", "../../examples/x.py", "examples/x.py"),
        ("how-to/cores.md", "../nat.md", "docs/nat.md"),
        ("repository/benchmarks/README.md", "../docs/nat.md", "docs/nat.md"),
        ("repository/CHANGELOG.md", "README.md", "README.md"),
    ],
)
def test_where_links_lead(source: str, target: str, name: str) -> None:
    assert hooks.repository_name(source, target) == name
