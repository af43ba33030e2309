"""Tests of `cmp_core.measurement.children`: calls that crash, hang or fill the memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cmp_core.errors import CmpError, DataError, UsageError
from cmp_core.measurement.children import Children, Outcome, limited
from tests.small_runs import posix

HERE = __name__


def nothing() -> None:
    """What there is to be done before all calls."""


def process_and(value: object) -> tuple[int, object]:
    return os.getpid(), value


def say(text: str) -> None:
    print(text)
    print(text, file=sys.stderr)


def fail(kind: type[Exception]) -> None:
    raise kind("no\nmore")


def die(number: int) -> None:
    os.kill(os.getpid(), number)


def leave(code: int) -> None:
    os._exit(code)


def fill(count: int) -> int:
    with limited():
        return len(bytearray(count))


def loop() -> None:
    with limited(0):
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.2)  # as if the time were nearly over
        sum(range(10**12))  # in C, where no signal handler of Python's is called


def wait() -> None:
    time.sleep(100)


def measure_limits() -> tuple[object, object]:
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    with limited(10**9):
        inside = signal.getitimer(signal.ITIMER_VIRTUAL)[0]
    after = signal.getitimer(signal.ITIMER_VIRTUAL)[0], resource.getrlimit(resource.RLIMIT_DATA)
    return inside, after == (0, before)


def children(count: int = 2) -> Children:
    return Children(count, f"{HERE}:nothing")


def test_results_come_in_order_from_processes_of_their_own() -> None:
    with children() as pool:
        calls = [(f"{HERE}:process_and", (value,)) for value in "abcde"]
        outcomes = list(pool.results(calls))
        assert [outcome.value[1] for outcome in outcomes] == list("abcde")
        assert len({os.getpid(), *(outcome.value[0] for outcome in outcomes)}) == 6
        assert pool.result((f"{HERE}:process_and", (3,)))[1] == 3  # and further ones


def test_what_several_say_is_said_once_and_prints_are_no_results(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with children() as pool:
        outcomes = list(pool.results([(f"{HERE}:say", (text,)) for text in ("a", "b", "a")]))
    assert [outcome.said for outcome in outcomes] == ["a\n", "b\n", "a\n"]
    out, err = capfd.readouterr()
    assert out == ""
    assert sorted(err.split()) == ["a", "a", "a", "b", "b"]  # three prints; two of what is said


@posix
@pytest.mark.parametrize(
    ("function", "argument", "problem"),
    [
        ("die", signal.SIGSEGV, "reading it has ended the process by SIGSEGV: it is damaged, or"),
        ("die", signal.SIGABRT, "by SIGABRT: it is damaged, or made to do so"),
        ("die", signal.SIGKILL, "by SIGKILL: the memory was short"),
        ("leave", 0, "the process that read it has ended itself with exit code 0"),
        ("leave", 3, "exit code 3"),
        ("fail", ValueError, "ValueError: no"),
        ("fail", MemoryError, "MemoryError: no"),
        ("fail", DataError, "no\nmore"),
    ],
)
def test_a_call_without_a_result_costs_itself(
    function: str, argument: object, problem: str
) -> None:
    calls = [(f"{HERE}:process_and", (value,)) for value in (1, 2)]
    calls.insert(1, (f"{HERE}:{function}", (argument,)))
    with children() as pool:
        first, bad, last = pool.results(calls)
        assert (first.value[1], last.value[1], bad.value) == (1, 2, None)
        assert bad.problem is not None
        assert problem in bad.problem
        with pytest.raises(UsageError, match=bad.problem.splitlines()[0]):
            pool.result(calls[1])


@pytest.mark.skipif(sys.platform != "linux", reason="others do not limit memory")
def test_a_call_that_fills_the_memory_costs_itself() -> None:
    with children() as pool:
        few, many = pool.results([(f"{HERE}:fill", (10**6,)), (f"{HERE}:fill", (10**10,))])
    assert (few, many) == (Outcome(10**6), Outcome(problem="MemoryError"))


@posix
def test_a_call_that_comes_to_no_end_costs_itself() -> None:
    with children() as pool:
        (outcome,) = pool.results([(f"{HERE}:loop", ())])
    assert outcome.problem is not None
    assert outcome.problem.startswith("HDF5 comes to no end in reading it")


@posix
def test_limits_grow_with_what_is_read_and_end_with_the_block() -> None:
    with children() as pool:
        inside, are_as_before = pool.result((f"{HERE}:measure_limits", ()))
    assert 220 < inside < 231
    assert are_as_before


def test_a_server_that_is_gone_is_told() -> None:
    with Children(1, f"{HERE}:fail") as pool, pytest.raises(CmpError, match="others is gone: EOF"):
        list(pool.results([(f"{HERE}:nothing", ())]))


WAITING = """
import sys
from cmp_core.measurement.children import Children
with Children(2, "tests.measurement.test_children:nothing") as pool:
    for outcome in pool.results([("tests.measurement.test_children:announce", (sys.argv[1],))] * 2):
        pass
"""


def announce(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    wait()


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_when_the_one_that_asks_ends(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C reaches all of them at once, others this one alone."""
    asking = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        start_new_session=True,
        stderr=subprocess.PIPE,
    )
    try:
        assert until(lambda: len(list(tmp_path.iterdir())) == 2)
        if number == signal.SIGINT:
            os.killpg(asking.pid, number)
        else:
            asking.send_signal(number)
        _, err = asking.communicate(timeout=20)
        assert err.count(b"Traceback") == (number == signal.SIGINT)  # that of who asks
        ids = [int(path.name) for path in tmp_path.iterdir()]
        assert until(lambda: not any(is_there(number) for number in ids))
    finally:
        asking.kill()


def until(holds: object, seconds: float = 20) -> bool:
    assert callable(holds)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.05)
    return False


def is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    if sys.platform == "linux":  # one that nobody waits for is none
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    return True


def leave_a_thread() -> str:
    threading.Thread(target=time.sleep, args=(1000,)).start()
    return "done"


def test_a_thread_that_is_left_on_is_not_waited_for() -> None:
    with Children(1) as children:
        assert children.result((f"{__name__}:leave_a_thread", ())) == "done"
