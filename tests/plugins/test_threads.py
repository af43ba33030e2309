"""Tests of `cmp_core.plugins.threads`: a thread that never ends does not keep a program going."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from cmp_core.plugins.fence import Fence

LEFT_ON = {
    "thread": (
        "threading.Thread(target=threading.Event().wait, name='mine').start()",
        "thread 'mine' of plugin a is still running",
    ),
    "child": (
        "multiprocessing.get_context('fork').Process(target=time.sleep, args=(40,)).start()",
        "a child process is still running",
    ),
}
PROGRAM = """
import multiprocessing, threading, time
from cmp_core.plugins.fence import Fence
from cmp_core.plugins.threads import end_in_time
with Fence().around("a", "loading"):
    {act}
print("a result", end="")
end_in_time(3, patience=0.5)
raise SystemExit(3)
"""


def program(act: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(act=act)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("name", LEFT_ON)
def test_what_never_ends_is_named_and_ended_with_the_exit_code(name: str) -> None:
    act, told = LEFT_ON[name]
    done = program(act)
    assert (done.returncode, done.stdout) == (3, "a result")
    assert done.stderr == (
        f"warning: the work is done, and {told}; cmp ends without waiting for more\n"
    )


def test_what_ends_by_itself_is_waited_for() -> None:
    done = program("threading.Timer(0.1, print, ('later',)).start()")
    assert (done.returncode, done.stderr) == (3, "")
    assert "later" in done.stdout


def test_a_thread_of_before_is_nobodys() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    with Fence().around("a", "loading"):
        pass
    from cmp_core.plugins.threads import _running

    assert f"thread '{thread.name}'" in _running()
    assert f"thread '{thread.name}' of plugin" not in _running()
    stop.set()
    thread.join()
