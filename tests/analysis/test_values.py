"""Tests of `cmp_core.analysis.values`: numbers and errors against the files that they are in."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cmp_core import RunRecord, load_run
from cmp_core.analysis.values import estimate_at, influences_of, values_of
from cmp_core.testing import write_example_run

PR = "participation_ratio"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunRecord]:
    folder = tmp_path_factory.mktemp("runs")
    return [load_run(write_example_run(folder, seed=seed)) for seed in range(3)]


def results(run: RunRecord) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.directory / "test_results.json").read_text())
    return found


def test_values_are_of_the_tested_weights_or_of_an_epoch(runs: list[RunRecord]) -> None:
    tested = [results(run)["metrics"]["layer_1"][PR] for run in runs]
    assert values_of(runs, PR, "test", "layer_1").tolist() == tested
    before = [results(run)["untrained"]["metrics"]["layer_1"][PR] for run in runs]
    assert values_of(runs, PR, "test", "layer_1", epoch=0).tolist() == before
    assert np.isnan(values_of(runs, "nothing", "test", "layer_1")).all()
    assert np.isnan(values_of(runs, PR, "val", "layer_1", epoch=99)).all()


def test_influences_are_known_of_the_test_alone_and_of_the_same_samples(
    runs: list[RunRecord], tmp_path: Path
) -> None:
    found = influences_of(runs, PR, "test", ["layer_0", "layer_1"], "tested")
    assert found is not None
    assert found.shape == (3, 200, 2)
    assert influences_of(runs, PR, "val", ["layer_0"], "tested") is None
    other = write_example_run(tmp_path, seed=3)
    with np.load(other / "test_influences.npz") as file:
        arrays = dict(file)
    np.savez(other / "test_influences.npz", **arrays | {"sample_ids": arrays["sample_ids"] + 1})  # type: ignore[arg-type]
    assert influences_of([*runs, load_run(other)], PR, "test", ["layer_0"], "tested") is None


def test_the_error_of_one_run_is_that_of_its_results(runs: list[RunRecord]) -> None:
    for weights in ("tested", "untrained"):
        found = estimate_at(runs[:1], PR, "test", "layer_2", weights)  # type: ignore[arg-type]
        told = results(runs[0]) if weights == "tested" else results(runs[0])["untrained"]
        assert found is not None
        assert found.effect == told["metrics"]["layer_2"][PR]
        assert found.error == pytest.approx(told["errors"]["layer_2"][PR], rel=0.01)  # n - 1
        assert found.freedom == 199


def test_validation_of_several_seeds_is_over_seeds(runs: list[RunRecord]) -> None:
    values = [run.value("val", "layer_1", PR, 3) for run in runs]
    found = estimate_at(runs, PR, "val", "layer_1")
    assert found is not None
    assert found.interval == pytest.approx(
        stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    )


def test_runs_that_lack_a_value_are_left_out(runs: list[RunRecord], tmp_path: Path) -> None:
    shallow = load_run(write_example_run(tmp_path, depth=2, seed=5))
    found = estimate_at([*runs, shallow], PR, "test", "layer_3")
    assert found is not None
    assert found.seeds == 3
    assert estimate_at(runs, "linear_cka", "test", "layer_0") is None
    one = estimate_at([shallow], PR, "val", "layer_1")
    assert one is not None
    assert math.isnan(one.error)
