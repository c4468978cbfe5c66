"""Options that become a `rudp.Config`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from rudp.cli.parsing import DURATION, DURATION_OR_OFF, SIZE
from rudp.config import Config
from rudp.congestion import CONTROLLERS, resolve

_F = TypeVar("_F", bound=Callable[..., Any])


def config_options(**defaults: Any) -> Callable[[_F], _F]:
    """Add the options of `rudp.Config` to a command, which gets the result as `config`.

    Args:
        defaults: Fields of `rudp.Config` whose default is another for this command.
    """
    base = Config(**defaults)

    def decorate(command: _F) -> _F:
        own = _options(base)

        @functools.wraps(command)
        def with_config(*args: Any, **given: Any) -> Any:
            context = click.get_current_context()
            values = {name: given.pop(name) for name in own}
            config = _gather(context, base, values, given.pop("assignments"))
            return command(*args, config=config, **given)

        wrapped: Any = click.option(
            "--set", "assignments", multiple=True, metavar="FIELD=VALUE", help=_SET
        )(with_config)
        for name, settings in reversed(own.items()):
            flag = settings.pop("flag")
            wrapped = click.option(flag, name, **settings)(wrapped)
        return cast("_F", wrapped)

    return decorate


_SET = "Any other field of rudp.Config, such as receive_buffer=4M; repeatable."


def _options(base: Config) -> dict[str, dict[str, Any]]:
    """The fields that have an option of their own, by name."""

    def seconds(value_s: float | None) -> str:
        return "off" if value_s is None else f"{value_s:g}s"

    return {
        "congestion": {
            "flag": "--congestion",
            "type": click.Choice(sorted(CONTROLLERS)),
            "help": f"Congestion controller ({base.congestion}).",
        },
        "max_datagram_size": {
            "flag": "--datagram",
            "type": SIZE,
            "help": "Largest datagram in bytes of UDP payload; less where the path takes less.",
        },
        "io": {
            "flag": "--io",
            "type": click.Choice(("auto", "batched", "stock")),
            "help": f"How datagrams move ({base.io}).",
        },
        "keepalive": {
            "flag": "--keepalive",
            "type": DURATION_OR_OFF,
            "help": f"Silence before the peer is probed ({seconds(base.keepalive)}).",
        },
        "user_timeout": {
            "flag": "--user-timeout",
            "type": DURATION_OR_OFF,
            "help": "How long the peer may leave data unacknowledged "
            f"({seconds(base.user_timeout)}).",
        },
        "connect_timeout": {
            "flag": "--connect-timeout",
            "type": DURATION,
            "help": f"How long to wait for an answer ({seconds(base.connect_timeout)}).",
        },
    }


def _gather(
    context: click.Context, base: Config, values: dict[str, Any], assignments: tuple[str, ...]
) -> Config:
    """The configuration that the options amount to; what was not given keeps its default."""
    default = click.core.ParameterSource.DEFAULT
    changes = {
        name: value
        for name, value in values.items()
        if context.get_parameter_source(name) is not default
    }
    try:
        changes.update(_parse_assignment(base, text) for text in assignments)
        resolve(changes.get("congestion", base.congestion))
        return base.replace(**changes)
    except (ValueError, TypeError) as exc:
        raise click.UsageError(str(exc), context) from None


def _parse_assignment(base: Config, text: str) -> tuple[str, Any]:
    """FIELD=VALUE as the field's name and a value of its type. Raises `ValueError`."""
    name, equals, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or name not in Config.__dataclass_fields__:
        known = ", ".join(sorted(Config.__dataclass_fields__))
        raise ValueError(f"--set {text}: write FIELD=VALUE, where FIELD is one of {known}")
    default = getattr(base, name)
    try:
        return name, _convert(value.strip(), default)
    except ValueError as exc:
        raise ValueError(f"--set {name}: {exc}") from None


_SWITCHES = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


def _convert(value: str, default: Any) -> Any:
    if isinstance(default, bool):
        if value.lower() not in _SWITCHES:
            raise ValueError(f"{value!r} is neither on nor off")
        return _SWITCHES[value.lower()]
    if isinstance(default, str):
        return value
    parse: Callable[[str], Any]
    if isinstance(default, int):
        parse = SIZE.parse
    elif default is None or value == "off":
        parse = DURATION_OR_OFF.parse
    else:
        parse = DURATION.parse
    return parse(value)
