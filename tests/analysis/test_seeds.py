"""Tests of `cmp_core.analysis.seeds`: which runs count, and what is said of the others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cmp_core import RunRecord, load_run
from cmp_core.analysis.seeds import distinct_networks, distinct_seeds
from cmp_core.testing import write_example_run


@pytest.fixture
def run(tmp_path: Path) -> RunRecord:
    return load_run(write_example_run(tmp_path))


def copy(run: RunRecord, name: str, seed: int | None) -> RunRecord:
    """A copy of the run under another seed."""
    folder = run.directory.parent / name
    shutil.copytree(run.directory, folder)
    params = json.loads((folder / "params.yaml").read_text()) | {"seed": seed}
    (folder / "params.yaml").write_text(json.dumps(params))
    return load_run(folder)


def test_a_second_run_of_a_seed_is_left_out_and_named(run: RunRecord) -> None:
    notes: list[str] = []
    again = copy(run, "again", 0)
    assert distinct_seeds([run, again], notes) == [run]
    assert notes == [f"again is left out: it has the seed of {run.name}"]


def test_runs_without_a_seed_are_each_their_own(run: RunRecord) -> None:
    notes: list[str] = []
    runs = [copy(run, name, None) for name in ("one", "two")]
    assert distinct_seeds(runs, notes) == runs
    assert not notes


def test_a_copy_under_another_seed_is_one_network(run: RunRecord, tmp_path: Path) -> None:
    notes: list[str] = []
    other = load_run(write_example_run(tmp_path, seed=1))
    assert distinct_networks([run, copy(run, "copy", 7), other], notes) == [run, other]
    assert notes == [f"copy is left out: it has all the values of {run.name}"]


def test_runs_that_another_test_accuracy_tells_apart_are_two(run: RunRecord) -> None:
    other = copy(run, "other", 7)
    path = other.directory / "test_results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"acc": 0.123}))
    assert len(distinct_networks([run, load_run(other.directory)], [])) == 2


def test_other_layers_are_told(run: RunRecord, tmp_path: Path) -> None:
    notes: list[str] = []
    distinct_networks([run, load_run(write_example_run(tmp_path, depth=3, seed=2))], notes)
    assert notes == ["the runs have different layers: those that all of them have are compared"]
