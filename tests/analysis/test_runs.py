"""Tests of `cmp_core.analysis.runs`: runs as they are given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmp_core import answers_of, compare, load_run, write_snapshot
from cmp_core.analysis.runs import as_run_set
from cmp_core.errors import UsageError
from cmp_core.runs.replicates import RunSet
from tests.synthetic_runs import write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: two seeds and another experiment, with names of their own."""
    folder = tmp_path_factory.mktemp("runs")
    for name, told in {"one": {"seed": 0}, "two": {"seed": 1}, "three": {"model": "mlp"}}.items():
        write_run(folder, **told).rename(folder / name)
    return folder


def test_runs_are_given_by_their_places_or_as_they_are(folder: Path) -> None:
    one, two = load_run(folder / "one"), folder / "two"
    found = as_run_set([one, two, str(two), os.path.relpath(two), folder / "one"])
    assert found.runs[0] is one
    assert [run.name for run in found.runs] == ["one", "two"]
    assert as_run_set(found) is found
    assert as_run_set(found, ["a", "b"]).labels == ("a", "b")
    assert [group.label for group in as_run_set([one, two], ["a", "b"]).groups] == ["a", "b"]


def test_snapshots_and_folders_of_them_are_measured(folder: Path, tmp_path: Path) -> None:
    x, labels = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 3
    for name in ("b", "a"):
        write_snapshot(tmp_path / f"{name}.h5", {"first": x, "second": x**2}, labels)
    found = as_run_set([tmp_path, tmp_path / "b.h5", folder / "one"])
    assert [run.name for run in found.runs] == ["a", "b", "one"]
    assert list(answers_of([tmp_path])) == ["a", "b"]
    (comparison,) = compare([tmp_path])
    assert (comparison.first, comparison.second) == ("a", "b")


def test_wrong_input_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "params.yaml").write_text("model: mlp")
    (tmp_path / "new" / "log.jsonl").touch()
    one = load_run(folder / "one")
    wrong: dict[str, Any] = {
        "at least one run": [],
        "expected a sequence of runs, got 'runs': write": "runs",
        "expected a sequence of runs, got run: write": one,
        "expected a run, a run directory or a snapshot file, got int": [3],
        "nope' does not exist": [folder / "nope"],
        "empty' is not a run directory": [tmp_path / "empty"],
        "there is nothing to show yet": [tmp_path / "new"],
    }
    for message, runs in wrong.items():
        for ask in (as_run_set, answers_of, compare):
            with pytest.raises(UsageError, match=message):
                ask(runs)
    with pytest.raises(UsageError, match="labels: expected a label for each of the 1 runs, got 2"):
        as_run_set([one], ["a", "b"])
    with pytest.raises(UsageError, match="labels: expected a sequence, got 'a'"):
        as_run_set([one], "a")


def test_a_comparison_takes_two_experiments(folder: Path) -> None:
    for names, what in ((["one"], "one run"), (["one", "two"], "runs that differ by seed alone")):
        runs = [folder / name for name in names]
        with pytest.raises(UsageError, match=f"two experiments or more, got {what}"):
            compare(runs)
        with pytest.raises(UsageError, match=what):
            compare(RunSet(tuple(map(load_run, runs))))
