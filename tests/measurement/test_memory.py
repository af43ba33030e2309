"""Tests of `cmp_core.measurement.memory`: layers that do not fit, and all others measured."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from cmp_core import measure_arrays, run
from cmp_core.config.schema import Config
from cmp_core.measurement.memory import Demand
from cmp_core.measurement.recompute import recompute
from cmp_core.plugins.loader import load_plugins

ALL = Demand(frozenset({"own", "next", "labels"}), frozenset({"next", "labels"}), subset=True)
WIDTHS = {"input": 150_528, "layer_0": 256, "layer_1": 25_600}


def test_of_few_samples_a_wide_layer_takes_its_samples_and_their_gram_matrices() -> None:
    needed = ALL.bytes_of(WIDTHS, n=100, num_classes=10)
    assert needed["layer_1"] == 100 * 25_600 * (16 + 4 + 16) + 4 * 8 * 100 * 100
    nothing = Demand(frozenset(), frozenset(), subset=False)
    assert nothing.bytes_of(WIDTHS, 100, 10) == dict.fromkeys(WIDTHS, 0)
    assert nothing.bytes_of_fits(WIDTHS, 100, 10, in_folds=True) == {}


def test_of_many_samples_it_takes_sums() -> None:
    sums = Demand(frozenset({"own"}), frozenset(), subset=False)
    needed = sums.bytes_of({"a": 1000, "b": 10}, 10**6, 0)
    assert needed == {"a": 3 * 8 * 1000**2, "b": 3 * 8 * 10**2}


def test_those_that_need_most_are_left_out_until_the_others_fit() -> None:
    reasons = ALL.left_out(WIDTHS, n=60_000, num_classes=10, available=10**9)
    assert list(reasons) == ["input", "layer_1"]
    assert "input has 150,528 units: its statistics over 60,000 samples take" in reasons["input"]
    assert "of 1.0 GB for all layers; pool or select units" in reasons["input"]
    assert ALL.left_out(WIDTHS, n=100, num_classes=10, available=10**10) == {}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rng, path = np.random.default_rng(0), tmp_path / "wide.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update(format="cmp-activations", format_version=1)
        file["labels"] = np.arange(40) % 4
        for depth, width in enumerate((12, 3000, 9)):
            file[f"layers/layer_{depth}/activations"] = rng.normal(size=(40, width))
            file[f"layers/layer_{depth}"].attrs["depth"] = depth
    return path


def test_a_layer_that_does_not_fit_costs_its_own_values_alone(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole,) = recompute([file], workers=1)
    monkeypatch.setattr("cmp_core.measurement.measurer.memory_of", lambda device: 2_000_000)
    (result,) = recompute([file], workers=1)
    wanted = {(r.metric, r.layer, r.other, r.pair): r for r in whole.rows}
    assert result.failures == ()
    for row in result.rows:
        before = wanted[row.metric, row.layer, row.other, row.pair]
        if "layer_1" in (row.layer, row.other) and before.value is not None:
            assert row.value is None
            assert str(row.reason).startswith("layer_1 has 3,000 units: its statistics over 40")
        else:
            assert row.reason == before.reason
            assert row.value is None or row.value == pytest.approx(before.value, rel=1e-9)


def test_metrics_of_single_samples_are_measured_of_a_layer_that_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cmp_core.measurement.measurer.memory_of", lambda device: 1000)
    x = np.random.default_rng(0).normal(size=(40, 300))
    dead_units = load_plugins(["cmp:dead_units"]).registry.get("metric", "dead_units").factory
    rows = measure_arrays([x, x], metrics=[dead_units, "participation_ratio"])
    assert {row.metric: row.value for row in rows if row.metric == "dead_units"} == {
        "dead_units": 0.0
    }
    assert all("has 300 units" in str(row.reason) for row in rows if row.metric != "dead_units")


def test_a_run_says_before_training_what_it_leaves_out(
    tiny: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cmp_core.measurement.measurer.memory_of", lambda device: 300_000)
    run(tiny)
    told = capsys.readouterr().err
    assert told.count("has 64 units") == 1
    assert "warning: input has 64 units: its statistics over" in told
