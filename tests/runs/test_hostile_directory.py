"""Run directories of a stranger: links are not written through, and pipes are not waited for."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cmp_core import answers_of, evaluate, load_run, report, resume
from cmp_core.config.schema import Config
from cmp_core.errors import CmpError, UsageError
from cmp_core.workflow import Outcome
from tests.cli.calls import call
from tests.interruption import interrupt
from tests.small_runs import posix

pytestmark = posix


def _report(directory: Path) -> None:
    report([directory])


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_text("mine")
    return folder


def assert_untouched(outside: Path) -> None:
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert (outside / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    "name",
    [
        ".snapshot.h5",
        "log.unreadable",
        "log.jsonl",
        "status.json",
        "metrics.json",
        "environment.json",
        "best.pt",
        "test_results.json",
        "confusion.npy",
        ".training.json",
    ],
)
def test_a_file_that_is_a_link_is_replaced_or_refused(
    tiny: Config, outside: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    directory = interrupt(tiny, 14, monkeypatch)
    before = (directory / name).read_bytes() if (directory / name).exists() else b""
    (outside / "precious").write_bytes(before)
    (directory / name).unlink(missing_ok=True)
    (directory / name).symlink_to(outside / "precious")
    with (directory / "log.jsonl").open("a") as log:
        log.write("{}\n" if name == "log.unreadable" else "")
    # What stands in the way of a line that cannot be read is refused before it would be lost.
    try:
        resume(directory)
        is_refused = False
    except OSError as error:
        is_refused = error.filename == str(directory / name)
        assert is_refused
    assert is_refused == (name == "log.unreadable")
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert (outside / "precious").read_bytes() == before


@pytest.mark.parametrize("name", [".training.lock", ".report.lock"])
def test_a_lock_that_is_a_link_is_refused(tiny_copy: Outcome, outside: Path, name: str) -> None:
    (tiny_copy.directory / name).unlink(missing_ok=True)
    (tiny_copy.directory / name).symlink_to(outside / "precious")
    act: Callable[[Path], object] = resume if name == ".training.lock" else _report
    with pytest.raises(OSError, match="symbolic links"):
        act(tiny_copy.directory)
    assert_untouched(outside)


@pytest.mark.parametrize(
    ("name", "act"),
    [
        ("activations", resume),
        ("eval_last", lambda directory: evaluate(directory, "last")),
    ],
)
def test_a_folder_that_is_a_link_is_refused(
    tiny_copy: Outcome, outside: Path, name: str, act: Callable[[Path], object]
) -> None:
    directory = tiny_copy.directory
    with (directory / "log.jsonl").open("a") as log:
        log.write('{"phase": ')  # which a resumed run cuts off
    before = (directory / "log.jsonl").read_bytes()
    if (directory / name).exists():
        (directory / name).rename(directory / "moved")
    (directory / name).symlink_to(outside)
    with pytest.raises(UsageError, match="is a link, and cmp writes through none"):
        act(directory)
    assert_untouched(outside)
    assert (directory / "log.jsonl").read_bytes() == before


def test_pictures_are_not_drawn_through_a_link(tiny_copy: Outcome, outside: Path) -> None:
    (tiny_copy.directory / "plots").symlink_to(outside)
    result = call("plot", "training_curves", str(tiny_copy.directory))
    assert result.exit_code == 2
    assert "is a link" in result.stderr
    assert_untouched(outside)


@pytest.fixture
def _alarm() -> Iterator[None]:
    """Fail a test that waits for ever."""

    def fail(*_: object) -> None:
        raise AssertionError("it waits for a pipe")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("_alarm")
@pytest.mark.parametrize(
    "name",
    [
        "params.yaml",
        "log.jsonl",
        "metrics.json",
        "environment.json",
        "status.json",
        "test_results.json",
        "test_predictions.npz",
        "test_influences.npz",
        "confusion.npy",
        "recomputed.jsonl",
    ],
)
@pytest.mark.parametrize("act", [load_run, _report, lambda path: answers_of([path])])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(
    tiny_copy: Outcome, name: str, act: Callable[[Path], object]
) -> None:
    (tiny_copy.directory / name).unlink(missing_ok=True)
    os.mkfifo(tiny_copy.directory / name)
    with suppress(CmpError):  # or it is left out, which is told
        act(tiny_copy.directory)


@pytest.mark.usefixtures("_alarm")
def test_a_pipe_in_place_of_the_lines_set_aside_is_not_waited_for(tiny_copy: Outcome) -> None:
    os.mkfifo(tiny_copy.directory / "log.unreadable")
    log = tiny_copy.directory / "log.jsonl"
    log.write_text("{}\n" + log.read_text())
    with pytest.raises(OSError, match="expected a regular file"):
        resume(tiny_copy.directory)
    assert log.read_text().startswith("{}\n")  # nothing of it is lost


@pytest.mark.parametrize(
    "name", ["../..", "/abs", "a/b", ".", "", ".hidden", "a\0b", "a\nb", "a\\b"]
)
@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_no_plugin_puts_a_run_outside_its_folder(kind: str, name: str, tmp_path: Path) -> None:
    plugin = tmp_path / "hostile.py"
    plugin.write_text(
        "from cmp_core import hookimpl\n@hookimpl\n"
        f"def cmp_register_{kind}s(register):\n    register(lambda *_: None, name={name!r})\n"
    )
    result = call(*shlex.split(f"train -p {plugin} --set out=runs"), "--set", f"{kind}={name!r}")
    assert result.exit_code == 2
    assert f"the name of a {kind}" in result.stderr
    assert not Path("runs").exists()
