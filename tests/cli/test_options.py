"""What every subcommand has in common: settings, how it speaks, how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from rudp.cli.app import main
from rudp.cli.options import config_options
from rudp.cli.output import Output, output_options
from rudp.cli.running import run
from rudp.config import Config


def configured(*words: str, **defaults: Any) -> tuple[Config, Result]:
    """The configuration that the words amount to, and how the command went."""
    seen: list[Config] = []

    @click.command()
    @config_options(**defaults)
    def command(config: Config) -> None:
        seen.append(config)

    result = CliRunner().invoke(command, words)
    return seen[0] if seen else Config(), result


def test_without_options_the_defaults_hold() -> None:
    assert configured()[0] == Config()
    assert configured(keepalive=20.0)[0] == Config(keepalive=20.0)


def test_options_become_the_configuration() -> None:
    config, _ = configured(
        *("--congestion", "cubic", "--datagram", "1400", "--io", "stock"),
        *("--keepalive", "off", "--user-timeout", "1m", "--connect-timeout", "500ms"),
        *("--set", "receive_buffer=4M", "--set", "ecn=off", "--set", "linger=1.5"),
        keepalive=20.0,
    )
    assert config == Config(
        congestion="cubic",
        max_datagram_size=1400,
        io="stock",
        user_timeout=60.0,
        connect_timeout=0.5,
        receive_buffer=4 << 20,
        ecn=False,
        linger=1.5,
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--congestion", "magic"), "'magic' is not one of"),
        (("--datagram", "70000"), "max_datagram_size must be from"),
        (("--keepalive", "soon"), "'soon' is not a duration"),
        (("--set", "colour=blue"), "FIELD is one of base_datagram_size"),
        (("--set", "linger"), "write FIELD=VALUE"),
        (("--set", "ecn=perhaps"), "--set ecn: 'perhaps' is neither on nor off"),
        (("--set", "max_holes=x"), "--set max_holes: 'x' is not a size"),
        (("--set", "congestion=magic"), "congestion 'magic' is not one of"),
        (("--set", "linger=off"), "linger must be a number of seconds"),
    ],
)
def test_a_wrong_setting_is_a_usage_error(words: tuple[str, ...], complaint: str) -> None:
    _, result = configured(*words)
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.split())


def speaking(use: Callable[[Output], None], *words: str, data_on_stdout: bool = False) -> Result:
    """What a command says that does `use` with its output."""

    @click.command()
    @output_options(data_on_stdout=data_on_stdout)
    def command(out: Output) -> None:
        use(out)

    return CliRunner().invoke(command, words)


def everything(out: Output) -> None:
    """Say one thing of each kind."""
    out.say("opened", "opened 1", port=1)
    out.detail("tuned", "tuned 2", value=2)
    out.result("done", "done 3", total=3)
    out.error("broken")


@pytest.mark.parametrize(
    ("words", "stdout", "stderr"),
    [
        ((), "done 3\n", "opened 1\nrudp: broken\n"),
        (("-v",), "done 3\n", "opened 1\ntuned 2\nrudp: broken\n"),
        (("--quiet",), "done 3\n", "rudp: broken\n"),
    ],
)
def test_words_for_people(words: tuple[str, ...], stdout: str, stderr: str) -> None:
    result = speaking(everything, *words)
    assert (result.stdout, result.stderr) == (stdout, stderr)
    result = speaking(everything, *words, data_on_stdout=True)
    assert result.stdout == ""
    assert "done 3" in result.stderr


def test_json_is_an_object_a_line() -> None:
    for data_on_stdout in (False, True):
        result = speaking(everything, "--json", "-v", data_on_stdout=data_on_stdout)
        silent, spoken = result.stderr, result.stdout
        if data_on_stdout:
            silent, spoken = spoken, silent
        assert silent == ""
        assert [json.loads(line) for line in spoken.splitlines()] == [
            {"event": "opened", "port": 1},
            {"event": "tuned", "value": 2},
            {"event": "done", "total": 3},
            {"event": "error", "message": "broken"},
        ]


def ended(main: Coroutine[Any, Any, int | None], **options: Any) -> int | str | None:
    """The exit code of a run."""
    with pytest.raises(SystemExit) as exit_info:
        run(main, **options)
    return exit_info.value.code


async def returning(code: int | None) -> int | None:
    return code


async def failing(error: BaseException) -> None:
    raise error


async def signalled(number: int) -> None:
    os.kill(os.getpid(), number)
    await asyncio.get_running_loop().create_future()


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(returning(None)) == 0
    assert ended(returning(3)) == 3
    assert ended(failing(ConnectionRefusedError(111, "Connection refused"))) == 1
    assert ended(failing(FileNotFoundError(2, "No such file", "x"))) == 1
    assert ended(failing(ExceptionGroup("several", [OSError("first"), OSError("second")]))) == 1
    assert capsys.readouterr().err.splitlines() == [
        "rudp: Connection refused",
        "rudp: No such file: x",
        "rudp: first",
    ]
    with pytest.raises(ZeroDivisionError):
        run(failing(ZeroDivisionError()))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_command_in_order(number: int, code: int) -> None:
    assert ended(signalled(number)) == code
    assert ended(signalled(number), until_stopped=True) == 0


def test_every_subcommand_explains_itself() -> None:
    runner = CliRunner()
    listed = main.list_commands(click.Context(main))  # type: ignore[attr-defined]
    for words in ([], *([name] for name in listed)):
        result = runner.invoke(main, [*words, "--help"])
        assert result.exit_code == 0, (words, result.output)
        assert result.stdout.startswith("Usage:")
        if words:
            assert "Exit codes" in result.stdout, words
            assert f"rudp {words[0]} " in result.stdout, words
    assert runner.invoke(main, ["nonsense"]).exit_code == 2
