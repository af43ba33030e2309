"""The command line in environments that a scheduler, a container or an old system gives it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from cmp_core import run
from cmp_core.config.schema import Selection
from tests.cli.calls import call as in_process
from tests.small_runs import posix, small

TINY = [
    *("train", "--set", "N=12", "--set", "layers=2", "--set", "epochs=1"),
    *("--set", "batch_size=512", "--metrics", "accuracy,linear_cka", "--set", "device=cpu"),
]


def call(
    *arguments: str,
    python: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    redirect: str = "",
    umask: int = -1,
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own; `redirect` is of the shell."""
    root = Path(__file__).parents[2]
    command = [sys.executable, *python, "-m", "cmp_core", *arguments]
    if redirect:
        command = ["sh", "-c", f'exec "$@" {redirect}', "sh", *command]
    return subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(root)} | (env or {}),
        cwd=cwd,
        umask=umask,
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = ("accuracy", "probe_accuracy", "linear_cka", "participation_ratio")
    metrics = tuple(Selection(name, name) for name in names)
    return run(small(tmp_path_factory.mktemp("finished"), epochs=2, metrics=metrics)).directory


OLD = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    "env",
    [OLD, pytest.param({"PYTHONIOENCODING": "latin-1"}, marks=pytest.mark.slow)],
    ids=["the locale C without UTF-8", "latin-1"],
)
def test_an_encoding_that_lacks_characters_shows_their_codes(
    finished: Path, env: Mapping[str, str]
) -> None:
    trained = call(*TINY, env=env)
    assert trained.returncode == 0, trained.stderr
    assert "Traceback" not in trained.stderr
    for command in (["report"], ["recompute"]):
        done = call(*command, str(finished), env=env)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        assert done.stdout.strip()
    run_directory = sorted(Path("runs").glob("*/*/*"))[-1]
    assert (run_directory / "params.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("columns", ["0", pytest.param("100000", marks=pytest.mark.slow)])
def test_any_number_of_columns_shows_everything(finished: Path, columns: str) -> None:
    done = call("info", str(finished), env={"COLUMNS": columns})
    assert (done.returncode, done.stderr) == (0, "")
    assert "step_00000000.h5" in "".join(done.stdout.split())
    told = call("recompute", str(finished), "--metrics", "accuracy", env={"COLUMNS": columns})
    assert told.returncode == 0
    assert "accuracy" in "".join(told.stdout.split())


@posix
@pytest.mark.parametrize("redirect", [pytest.param(">&-", marks=pytest.mark.slow), "<&- >&- 2>&-"])
def test_streams_that_are_closed_end_no_run(redirect: str) -> None:
    done = call(*TINY, redirect=redirect)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (directory,) = Path("runs").glob("*/*/*")
    assert '"state": "finished"' in (directory / "status.json").read_text()
    assert (directory / "log.jsonl").read_text().count("\n") > 1


def test_options_of_python_change_nothing() -> None:
    done = call(*TINY, python=["-O", "-W", "error"])
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (directory,) = Path("runs").glob("*/*/*")
    assert len(list((directory / "activations").glob("*.h5"))) == 2


@posix
def test_files_are_the_users_own_where_the_umask_says_so() -> None:
    assert call(*TINY, umask=0o077).returncode == 0
    (directory,) = Path("runs").glob("*/*/*")
    modes = {path: path.stat().st_mode & 0o777 for path in directory.rglob("*")}
    assert {mode & 0o077 for mode in modes.values()} == {0}
    assert all(mode & 0o600 == 0o600 for mode in modes.values())


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_is_read_only_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o555)
    done = call(*TINY, cwd=folder)
    assert done.returncode == 2
    assert "cannot write to 'runs" in done.stderr
    assert call(*TINY, "--set", f"out={tmp_path / 'out'}", cwd=folder).returncode == 0


@posix
@pytest.mark.parametrize("name", ["-a 'b' \"c\" [red] %d{x}\nünï – 漢字"])
def test_any_folder_holds_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    for command in (TINY, ["info"], ["eval"], ["report"], ["recompute"], ["train", "--resume"]):
        (*_, place) = "", *(str(path.parent) for path in folder.glob("**/params.yaml"))
        done = in_process(*command, *filter(None, [place]))
        assert (done.exit_code, done.stderr) == (0, ""), done.output
