"""Tests of `cmp run --seeds`: replicates trained, drawn and reported together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cmp_core import replication
from cmp_core.runs.directory import PLUGIN_ERRORS
from tests.cli.calls import QUICK, assert_refused, call


@pytest.fixture
def _stand_in(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of being trained, each seed gets the files of a run that is there."""

    class StandIn:
        def __init__(self, one: replication.Replicate, _: list[str]) -> None:
            self.one = one

        def poll(self) -> int:
            directory, seed = self.one.directory, self.one.config.seed
            if seed == 13:
                return 1
            shutil.copytree(here / "A", directory, dirs_exist_ok=True)
            params = json.loads((directory / "params.yaml").read_text())
            (directory / "params.yaml").write_text(json.dumps(params | {"seed": seed}))
            (directory / "status.json").write_text('{"state": "finished", "epoch": 1}')
            if seed == 3:
                (directory / PLUGIN_ERRORS).write_text("Traceback")
            return 3 if seed == 3 else 0

        def said(self) -> str:
            seed = self.one.config.seed
            return "warning: of all\n" + (f"error: of {seed}\n" if seed == 13 else "")

    monkeypatch.setattr(replication, "_Process", StandIn)
    monkeypatch.setattr(replication, "_POLL_SECONDS", 0)


SEEDS = ["run", *QUICK, "--metrics", "accuracy", "--plots", "training_curves", "--seeds"]


@pytest.mark.usefixtures("_stand_in")
def test_all_seeds_are_drawn_and_reported_together_at_the_end() -> None:
    result = call(*SEEDS, "0-1,5", "--jobs", 2)
    assert (result.exit_code, result.stderr) == (0, "warning: of all\n")  # once, not for each
    (folder,) = Path("runs/digits/greedy").iterdir()
    assert f"folder {folder.absolute()}\n3 seeds, 2 at once\n" in result.stdout
    for seed in (0, 1, 5):
        assert f"seed {seed}: finished, epoch" in result.stdout
    assert [path.name for path in (folder / "plots").iterdir()] == ["basic_training_curves.png"]
    assert json.loads((folder / "answers.json").read_text())
    assert "seeds 0, 1, 5" in (folder / "report.html").read_text()
    assert not list(folder.glob("seed_*/plots")) + list(folder.glob("seed_*/report.html"))
    assert f"files in {folder.absolute()}: report.html, 1 picture in plots\n" in result.stdout


@pytest.mark.usefixtures("_stand_in")
def test_a_seed_that_fails_costs_itself_and_is_tried_again() -> None:
    result = call(*SEEDS, "0,1,13")
    assert result.exit_code == 1
    (folder,) = Path("runs/digits/greedy").iterdir()
    assert "error: of 13\n" in result.stderr
    assert "error: seed 13 did not come to an end; try it again with: " in result.stderr
    assert f"cmp run --resume {folder.absolute()}\n" in result.stderr
    assert "seeds 0, 1" in (folder / "report.html").read_text()
    again = call("run", "--resume", folder)
    assert again.exit_code == 1
    assert "3 seeds, 2 of them finished already" in again.stdout
    assert "seed 0: finished" not in again.stdout


@pytest.mark.usefixtures("_stand_in")
def test_a_plugin_that_was_switched_off_in_a_seed_costs_exit_code_3() -> None:
    assert call(*SEEDS, "0,3").exit_code == 3
    (folder,) = Path("runs/digits/greedy").iterdir()
    again = call("run", "--resume", folder)
    assert again.exit_code == 3
    assert f"seed 3: a plugin raised (traceback: {folder.absolute()}" in again.stderr


@pytest.mark.usefixtures("_stand_in")
def test_where_none_comes_to_an_end_there_is_nothing_to_draw() -> None:
    result = call(*SEEDS, "13")
    assert result.exit_code == 1
    assert "error: seed 13 did not come to an end" in result.stderr
    assert not list(Path("runs").rglob("report.html"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run --seeds 0-x", "expected seeds such as 0-4 or 0,3,7, got '0-x'"),
        ("run --jobs 2", "--jobs is for --seeds"),
        ("run --seeds 0-1 --jobs 0", "0 is not in the range x>=1"),
        ("run --seeds 0-1 --set model=gredy", "unknown model 'gredy'"),
        ("run --seeds 0-1 --set seed=7", "--seeds gives the seeds: leave --set seed=… out"),
        ("run --seeds 0-1 --set epochs=0", "epochs: expected a whole number from 1"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_trained(line: str, message: str) -> None:
    assert_refused(line, message)


def test_under_torchrun_seeds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert_refused(
        "run --seeds 0-1", "--seeds starts processes of its own: call it without torchrun"
    )
