"""Tests of `cmp_core.runs.lock`: programs that would write to one run."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cmp_core import evaluate, report, resume, run
from cmp_core.errors import UsageError
from cmp_core.runs.lock import REPORTING, SAVING, TRAINING, is_held, locked
from cmp_core.workflow import Outcome
from tests.cli.calls import call
from tests.small_runs import posix, small

HOLD = """
import sys
from pathlib import Path
from cmp_core.runs.lock import locked
with locked(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(directory: Path, what: str) -> Iterator[subprocess.Popen[str]]:
    """Have another program hold a lock."""
    call = [sys.executable, "-c", HOLD, str(directory), what]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other
        other.kill()


def test_a_lock_is_held_by_one_program_which_the_other_names(tmp_path: Path) -> None:
    with held(tmp_path, TRAINING) as other:
        message = f"is in use by process {other.pid} on .*; wait until that has ended"
        with pytest.raises(UsageError, match=message), locked(tmp_path, TRAINING):
            pass
        with locked(tmp_path, SAVING):  # of something else
            pass


def test_a_folder_in_place_of_the_owner_s_name_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / f".{TRAINING}.json").mkdir()
    for _ in range(2):  # it is released again
        with locked(tmp_path, TRAINING):
            pass


@posix
def test_a_program_that_is_killed_leaves_no_lock_behind(tmp_path: Path) -> None:
    with held(tmp_path, TRAINING) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        with locked(tmp_path, TRAINING):
            pass


def test_whether_a_lock_is_held_is_told_by_its_state(tmp_path: Path) -> None:
    assert not is_held(tmp_path, TRAINING)
    with held(tmp_path, TRAINING):
        assert is_held(tmp_path, TRAINING)
    assert not is_held(tmp_path, TRAINING)
    with locked(tmp_path, TRAINING):
        pass


def test_a_disk_without_room_for_the_owners_name_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cmp_core.runs.lock.write_whole", full)
    with locked(tmp_path, TRAINING):
        assert is_held(tmp_path, TRAINING)


def test_a_report_waits_for_another_one_of_the_run(
    tiny_copy: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tiny_copy.directory
    with held(directory, REPORTING) as other:
        monkeypatch.setattr("cmp_core.reporting.write._WAIT_SECONDS", 0.2)
        with pytest.raises(UsageError, match=f"is in use by process {other.pid}"):
            report([directory])
        assert not (directory / "report.html").exists()
        result = call("run", "--resume", directory, "--research-only")
        assert result.exit_code == 1
        assert "The training and its test are saved; draw and report with: " in result.stderr
        monkeypatch.setattr("cmp_core.reporting.write._WAIT_SECONDS", 60)
        assert other.stdin is not None
        other.stdin.close()  # upon which it ends
        report([directory])
    assert (directory / "report.html").exists()


def test_one_may_wait_for_a_lock(tmp_path: Path) -> None:
    with held(tmp_path, SAVING) as other:
        assert other.stdin is not None
        other.stdin.close()  # it ends soon
        with locked(tmp_path, SAVING, seconds=30):
            pass


def test_a_lock_goes_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path, TRAINING):
        raise ZeroDivisionError
    with locked(tmp_path, TRAINING):
        pass


def test_a_run_in_use_is_neither_resumed_nor_tested(tmp_path: Path) -> None:
    directory = run(small(tmp_path)).directory
    before = {path.name: path.read_bytes() for path in directory.glob("[!.]*.*")}
    with held(directory, TRAINING):
        for again in (resume, evaluate):
            with pytest.raises(UsageError, match="is in use"):
                again(directory)
    assert {path.name: path.read_bytes() for path in directory.glob("[!.]*.*")} == before
    assert evaluate(directory).results["acc"] > 0
