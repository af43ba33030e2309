"""Runs for the commands, whole and damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cmp_core.plotting import processes
from tests.cli.calls import PLOT
from tests.synthetic_runs import write_old_run, write_run


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No window, no colours that someone has asked for, and matplotlib's choice is put back."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr(processes, "cpu_count", lambda: 1)  # which saves the start of others


@pytest.fixture(scope="session")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, whole and damaged, and of other things; tests do not change it."""
    here = tmp_path_factory.mktemp("here")
    greedy = write_run(here).rename(here / "A")
    write_run(here, model="mlp", depth=6).rename(here / "B")
    write_run(here, seed=1).rename(here / "C")
    write_old_run(here).rename(here / "old")
    for name in ("empty", "unlogged", "confused", "unpredicted", "unparsed", "unmeasured"):
        shutil.copytree(greedy, here / name)
    for name in ("empty", "unlogged"):
        for file in ("test_results.json", "test_predictions.npz", "confusion.npy"):
            (here / name / file).unlink()
    (here / "empty" / "log.jsonl").write_text("")
    (here / "unlogged" / "log.jsonl").unlink()
    (here / "confused" / "confusion.npy").write_bytes(b"\x93NUMPY\x01\x00")
    (here / "unpredicted" / "test_predictions.npz").write_bytes(b"PK\x03\x04 half of it")
    (here / "unparsed" / "params.yaml").write_text("model: [greedy\n")
    (here / "unmeasured" / "metrics.json").write_text('{"accuracy": ')
    (here / "link").symlink_to(greedy)
    (here / "loop").symlink_to("loop")
    (here / "folder").mkdir()
    (here / "file").write_text("")
    (here / "broken.yaml").write_text("a: [1\n")
    (here / "broken.py").write_text("def half(:\n")
    (here / "idle.py").write_text("import cmp_core\n")
    (here / "braces.py").write_text(PLOT.format(answers=False, first="").replace("{m", "{x"))
    return here


@pytest.fixture
def _inside(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call from the folder of runs, for what writes nothing."""
    monkeypatch.chdir(here)


@pytest.fixture
def copy(here: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that copies a run, so that it can be changed."""

    def copied(name: str, to: str = "copy") -> Path:
        return Path(shutil.copytree(here / name, tmp_path / to))

    return copied


@pytest.fixture
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let comparisons draw nothing, which takes most of their time."""
    monkeypatch.setattr("cmp_core.plotting.plot.load_plots", lambda *_: [])
