"""Child processes of the benchmarks: heard, and gone."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from benchmarks.machine import ROOT
from benchmarks.processes import Child, ChildFailed, descendants
from benchmarks.transports import find

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform == "win32", reason="the benchmarks are for Unix"),
]


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_lines_are_heard_one_by_one_and_the_rest_at_the_end() -> None:
    code = "print('one\\n{\"two\": 2}', flush=True); input_ = __import__('sys').stdin.read()"
    with Child(python(code + "; print('three')")) as child:
        assert child.hear(20) == "one"
        assert child.hear_json(20) == {"two": 2}
        assert child.finish() == ["three"]


def test_what_is_said_instead_of_json_is_told() -> None:
    with Child(python("print('not json'); print('[1]')")) as child:
        for said in ("not json", r"\[1\]"):
            with pytest.raises(ChildFailed, match=said):
                child.hear_json(20)


def test_a_child_that_ends_leaves_its_last_words() -> None:
    with (
        Child(python("raise SystemExit('the reason')")) as child,
        pytest.raises(ChildFailed, match="the reason"),
    ):
        child.hear(20)
    with (
        Child(python("raise SystemExit(7)")) as child,
        pytest.raises(ChildFailed, match="status 7"),
    ):
        child.hear(20)


def test_a_child_that_is_silent_is_given_up_and_killed() -> None:
    with Child(python("import time; time.sleep(100)")) as child:
        with pytest.raises(ChildFailed, match="nothing heard"):
            child.hear(0.01)
        assert psutil.pid_exists(child.pid)
    assert not psutil.pid_exists(child.pid)


def test_what_a_child_has_started_ends_with_it() -> None:
    code = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'input()'], "
    code += "stdin=subprocess.PIPE); print(p.pid, flush=True); p.wait()"
    with Child(python(code)) as child:
        grandchild = int(child.hear(20))
        assert descendants(child.pid) == [grandchild]
    if psutil.pid_exists(grandchild):  # whoever adopts it may take its time to bury it
        _, alive = psutil.wait_procs([psutil.Process(grandchild)], timeout=20)
        assert not alive or alive[0].status() == psutil.STATUS_ZOMBIE


def test_a_relay_ends_with_the_measurement_that_failed() -> None:
    if why := find("kcptun").why_not():
        pytest.skip(why)
    code = "import asyncio; from benchmarks.transports import find; k = find('kcptun'); "
    code += "asyncio.run(k.prepare('127.0.0.1', 9)); print(k.pids()[1], flush=True); 1 / 0"
    with Child(python(code)) as child:
        relay = int(child.hear(20))
        with pytest.raises(ChildFailed, match="ZeroDivisionError"):
            child.hear(20)
    if psutil.pid_exists(relay):
        _, alive = psutil.wait_procs([psutil.Process(relay)], timeout=20)
        assert not alive or alive[0].status() == psutil.STATUS_ZOMBIE


def test_children_end_when_the_benchmark_is_killed() -> None:
    """SIGKILL leaves no time to clean up: a child notices that its stdin has ended."""
    code = "import sys; from benchmarks.processes import Child; "
    code += "c = Child([sys.executable, '-c', 'from benchmarks.processes import "
    code += "end_with_parent; end_with_parent(); print(1, flush=True); import time; "
    code += "time.sleep(100)']); c.hear(20); print(c.pid, flush=True); input()"
    parent = subprocess.Popen(
        python(code), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    gone, alive = psutil.wait_procs([child], timeout=20)
    assert (len(gone), alive) == (1, [])
