"""The command line of the benchmarks: what it runs, in which order, and what it refuses."""

from __future__ import annotations

import argparse
import shutil
from typing import Any

import pytest

from benchmarks.figures import Key
from benchmarks.links import command as links
from benchmarks.links import netem
from benchmarks.links.emulator import arguments
from benchmarks.links.scenarios import SCENARIOS
from benchmarks.loopback import command as loopback
from benchmarks.loopback.cell import TESTS, Cell
from benchmarks.options import add_common
from benchmarks.report import Report
from benchmarks.transports import find


def parse(module: Any, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_common(parser)
    module.add_arguments(parser)
    return parser.parse_args(words)


def cells(*words: str) -> list[Cell]:
    args = parse(loopback, *words)
    return list(loopback.plan(args, loopback.FULL if args.full else loopback.SHORT))


def test_transports_take_turns_and_repeats_are_outermost() -> None:
    words = ("--only", "bulk,echo", "--transports", "tcp,rudp", "--loops", "asyncio")
    order = [(cell.test, cell.transport) for cell in cells(*words, "--repeat", "2")]
    once = [("bulk", "tcp"), ("bulk", "rudp"), ("echo", "tcp"), ("echo", "rudp")]
    assert order == once * 2


def test_every_test_can_be_asked_for_alone_in_either_form() -> None:
    for test in TESTS:
        for form in ((), ("--full",)):
            found = cells("--only", test, *form)
            assert found, test
            assert {cell.test for cell in found} == {test}


def test_slow_tests_and_peers_are_not_repeated_in_the_short_form_unless_asked_for() -> None:
    found = cells("--loops", "asyncio")
    assert sum(cell.key == Key("bulk", "asyncio", "rudp") for cell in found) == 3
    assert sum(cell.key == Key("idle", "asyncio", "rudp") for cell in found) == 1
    assert sum(cell.key == Key("bulk", "asyncio", "enet") for cell in found) == 1
    again = cells("--loops", "asyncio", "--repeat", "4")
    assert sum(cell.key == Key("idle", "asyncio", "rudp") for cell in again) == 4


def test_the_full_form_has_both_paths_and_three_sizes_and_ten_thousand_connections() -> None:
    found = cells("--full")
    sizes = {cell.transport for cell in found if cell.test == "bulk"}
    assert sizes >= {"rudp", "rudp-1200", "rudp-1452", "rudp-stock-1200", "rudp-stock-1452"}
    assert {cell.connections for cell in found if cell.test == "many"} == {10_000}


def test_a_cell_survives_the_command_line() -> None:
    cell = Cell("bulk", "rudp-1200", "uvloop", 0.5, 7, config={"ecn": False})
    assert Cell.load(cell.dump()) == cell


def test_what_cannot_run_is_skipped_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    report = Report("loopback", "tcp", {})
    wanted = [
        Cell("bulk", name, "asyncio", 1.0) for name in ("tcp", "kcptun", "tcp-nosuchcontroller")
    ] + [Cell("many", "enet", "asyncio", 1.0)]
    assert [cell.transport for cell in loopback.possible(wanted, report)] == ["tcp"]
    assert "kcptun-client" in report.skipped["kcptun"]
    assert "nosuchcontroller" in report.skipped["tcp-nosuchcontroller"]
    assert "enet" in " ".join(report.skipped)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("rudp", {}),
        ("rudp-1452", {"max_datagram_size": 1452, "base_datagram_size": 1452}),
        ("rudp-stock-cubic", {"io": "stock", "congestion": "cubic"}),
        ("rudp-batched", {"io": "batched"}),
    ],
)
def test_rudps_name_is_its_configuration(name: str, fields: dict[str, object]) -> None:
    config = find(name, {"ecn": False}).config  # type: ignore[attr-defined]
    assert not config.ecn
    for field, value in fields.items():
        assert getattr(config, field) == value


@pytest.mark.parametrize(
    "words",
    [
        ("--only", "bulk,nothing"),
        ("--transports", "rudp-99999999"),
        ("--transports", "rudp-fast"),
        ("--transports", "carrier-pigeon"),
        ("--repeat", "0"),
        ("--seconds", "inf"),
        ("--seconds", "nan"),
        ("--config", "[1]"),
        ("--config", '{"nosuchfield": 1}'),
    ],
)
def test_nonsense_is_refused_before_anything_runs(words: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(loopback, *words)
    assert caught.value.code == 2


def test_links_are_run_by_scenario_and_pairs_over_the_link_fair() -> None:
    args = parse(links, "--only", "loss5,fair", "--transports", "tcp-bbr,rudp,rudp+tcp-cubic")
    assert list(links.plan(args)) == [
        Key("transfer", "loss5", "tcp-bbr"),
        Key("transfer", "loss5", "rudp"),
        Key("fairness", "fair", "rudp+tcp-cubic"),
    ]
    with pytest.raises(SystemExit):
        parse(links, "--transports", "rudp+rudp+rudp")


def test_what_a_link_can_carry() -> None:
    assert SCENARIOS["clean"].possible_mbit == pytest.approx(100 * 1448 / 1500)
    assert SCENARIOS["loss10"].lost_share == pytest.approx(0.1)
    assert SCENARIOS["burst"].lost_share == pytest.approx(0.005 / 0.305)


def test_a_scenario_in_the_words_of_the_emulator() -> None:
    words = arguments(SCENARIOS["burst"], seed=7)
    given = dict(zip(words[::2], map(float, words[1::2]), strict=True))
    assert given["rate_bps"] == 50e6
    assert given["queue_bytes"] == 250_000
    assert given["delay_us"] == 20_000
    assert (given["burst_start"], given["burst_end"]) == (0.005, 0.3)
    assert given["seed"] == 7


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("loss1", "delay 20ms rate 100mbit loss random 1% limit 500"),
        ("jitter", "delay 25ms 5ms rate 50mbit limit 292"),
        ("burst", "delay 20ms rate 50mbit loss gemodel 0.5% 30% limit 250"),
        ("reorder", "delay 20ms rate 50mbit reorder 5% limit 250"),
        ("damage", "delay 20ms rate 50mbit duplicate 2% corrupt 1% limit 250"),
    ],
)
def test_a_scenario_in_the_words_of_netem(name: str, text: str) -> None:
    assert " ".join(netem.arguments(SCENARIOS[name])) == text
