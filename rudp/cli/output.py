"""What a command says: to people on stderr, or as JSON lines, or nothing; and how it logs."""

from __future__ import annotations

import functools
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TextIO, TypeVar, cast

import click
import structlog
from rich.console import Console, RenderableType

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(slots=True, kw_only=True)
class Output:
    """How a command speaks. Each thing said has a text for people and fields for programs.

    Attributes:
        quiet: Say nothing but results and errors.
        json: Say everything as one JSON object a line: {"event": …, fields}.
        verbose: 1 says details too, 2 logs each connection's states, 3 each segment.
        data_on_stdout: stdout carries the user's bytes, so that all words go to stderr.
        console: For what is drawn, not said: tables, progress bars; on stderr.
    """

    quiet: bool = False
    json: bool = False
    verbose: int = 0
    data_on_stdout: bool = False
    console: Console = field(
        default_factory=lambda: Console(stderr=True, highlight=False, soft_wrap=True)
    )

    @property
    def wants_live(self) -> bool:
        """Whether a live display makes sense: somebody is watching, and wants to be told."""
        return not self.quiet and not self.json and sys.stderr.isatty()

    def say(self, event: str, text: str, **fields: Any) -> None:
        """Something worth knowing; not said when quiet."""
        if not self.quiet:
            self._put(event, text, fields)

    def detail(self, event: str, text: str, **fields: Any) -> None:
        """Something that only who asked for more (-v) wants to know."""
        if self.verbose and not self.quiet:
            self._put(event, text, fields)

    def result(self, event: str, shown: RenderableType, **fields: Any) -> None:
        """What the command was run for: on stdout, also when quiet; the fields alone as JSON."""
        if self.json:
            self._put(event, "", fields)
        elif self.data_on_stdout:
            self.console.print(shown)
        else:
            Console(highlight=False, soft_wrap=True).print(shown)

    def error(self, text: str, **fields: Any) -> None:
        """Why it did not work: one line, always."""
        if self.json:
            self._put("error", "", {"message": text, **fields})
        else:
            click.echo(f"rudp: {text}", err=True)

    def _put(self, event: str, text: str, fields: dict[str, Any]) -> None:
        if not self.json:
            click.echo(text, err=True)
            return
        line = json.dumps({"event": event, **fields}, default=str)
        click.echo(line, err=self.data_on_stdout)

    def configure_logging(self) -> None:
        """Let asyncio's and rudp's own logs appear on stderr, as far as was asked for."""
        level = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)[min(self.verbose, 3)]
        logging.basicConfig(level=level, format="%(name)s: %(message)s", stream=sys.stderr)
        if self.verbose >= 2:
            structlog.configure(
                processors=_renderers(sys.stderr, as_json=self.json),
                wrapper_class=structlog.make_filtering_bound_logger(level),
                logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            )


def _renderers(stream: TextIO, *, as_json: bool) -> list[Any]:
    last: Any = structlog.dev.ConsoleRenderer(colors=stream.isatty())
    if as_json:
        last = structlog.processors.JSONRenderer(default=str)
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    return [structlog.processors.add_log_level, stamp, last]


def output_options(*, data_on_stdout: bool = False) -> Callable[[_F], _F]:
    """Add --quiet, --json and --verbose to a command, which gets an `Output` as `out`."""

    def decorate(command: _F) -> _F:
        @functools.wraps(command)
        def with_output(
            *args: Any, json_lines: bool, verbose: int, quiet: bool, **given: Any
        ) -> Any:
            out = Output(
                quiet=quiet, json=json_lines, verbose=verbose, data_on_stdout=data_on_stdout
            )
            out.configure_logging()
            return command(*args, out=out, **given)

        where = "stderr, since stdout carries the data" if data_on_stdout else "stdout"
        wrapped: Any = with_output
        for add in (
            click.option("--json", "json_lines", is_flag=True, help=_JSON.format(where)),
            click.option("-v", "--verbose", count=True, help=_VERBOSE),
            click.option("-q", "--quiet", is_flag=True, help=_QUIET),
        ):
            wrapped = add(wrapped)
        return cast("_F", wrapped)

    return decorate


_QUIET = "Say nothing but results and errors."
_JSON = "Say everything as JSON, one object a line, on {}."
_VERBOSE = "Say more; -vv logs what each connection does, -vvv each segment."
