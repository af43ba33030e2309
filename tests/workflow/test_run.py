"""Whole runs: what they write, and that they repeat."""

from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from sklearn.metrics import classification_report, confusion_matrix as sklearn_confusion

from cmp_core import run
from cmp_core.config.load import build_config, read_yaml
from cmp_core.config.schema import Config
from cmp_core.errors import UsageError
from cmp_core.runs.directory import make_run_directory
from tests.run_files import lines

FILES = {
    "params.yaml",
    "metrics.json",
    "environment.json",
    "log.jsonl",
    "best.pt",
    "last.pt",
    "test_results.json",
    "test_predictions.npz",
    "confusion.npy",
    "class_report.json",
    "status.json",
    "activations",
}


@pytest.mark.parametrize("model", ["greedy", "mlp"])
def test_a_run_leaves_its_directory(tiny: Config, model: str) -> None:
    outcome = run(attrs.evolve(tiny, model=model))
    folder = outcome.directory
    assert folder.parent == Path(tiny.out) / "digits" / model
    assert folder.name.startswith("0001_")
    assert {path.name for path in folder.iterdir()} == FILES
    names = ["layer_0", "layer_1", "layer_2", *(["head"] if model == "mlp" else [])]

    saved = np.load(folder / "test_predictions.npz")
    results = json.loads((folder / "test_results.json").read_text())
    assert set(saved) == {"sample_ids", "labels", *names}
    for name in names:
        hits = float(np.mean(saved[name] == saved["labels"]))
        assert results["acc_layers"][name] == hits
        assert results["metrics"][name]["accuracy"] == pytest.approx(hits, abs=1e-9)
    assert results["acc"] == results["acc_layers"][names[-1]]
    assert len(set(saved["sample_ids"].tolist())) == results["n"] == 359

    predicted = saved[names[-1]]
    confusion = np.load(folder / "confusion.npy")
    assert np.array_equal(confusion, sklearn_confusion(saved["labels"], predicted))
    report = json.loads((folder / "class_report.json").read_text())
    expected = classification_report(saved["labels"], predicted, output_dict=True, zero_division=0)
    assert report["macro avg"]["support"] == expected["macro avg"]["support"]
    assert report["accuracy"] == pytest.approx(expected["accuracy"])

    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["epoch"], status["plugin_errors"]) == ("finished", 2, [])
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["class_names"] == [str(i) for i in range(10)]
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0]
    for name in ("best.pt", "last.pt"):
        torch.load(folder / name, weights_only=True)
    assert len(run(attrs.evolve(tiny, model=model)).directory.name) == len(folder.name)
    assert sorted(p.name[:4] for p in folder.parent.iterdir()) == ["0001", "0002"]


@pytest.mark.parametrize("model", ["greedy", "mlp"])
def test_the_log_has_the_promised_lines(tiny: Config, model: str) -> None:
    config = attrs.evolve(tiny, model=model, metrics_log_frequency=4)
    entries = lines(run(config).directory)
    train = [entry for entry in entries if entry["phase"] == "train"]
    val = [entry for entry in entries if entry["phase"] == "val"]
    per_epoch = math.ceil((1797 - 359 - 144) / 128)
    assert [entry["step"] for entry in train] == list(range(1, 2 * per_epoch + 1))
    assert [entry["iter"] for entry in train] == 2 * list(range(1, per_epoch + 1))
    assert [entry["epoch"] for entry in train] == [1] * per_epoch + [2] * per_epoch
    assert [entry["step"] for entry in train if "metrics" in entry] == [4, 8, 12, 16, 20]
    assert [(entry["epoch"], entry["iter"]) for entry in val] == [(0, 0), (1, 0), (2, 0)]
    assert entries[0]["phase"] == "val"
    base = {"phase", "epoch", "iter"}
    for entry in train:
        assert base | {"step", "loss", "acc"} <= entry.keys()
        if "metrics" in entry:
            assert entry["n"] in (128, (1797 - 359 - 144) % 128)
    for entry in val:
        assert base | {"acc", "val_loss", "metrics", "train_metrics", "reference"} <= entry.keys()
        assert not {"loss", "step"} & entry.keys()
        last = "head" if model == "mlp" else "layer_2"
        assert entry["metrics"][last]["accuracy"] == pytest.approx(entry["acc"], abs=1e-9)
        assert entry["n"] == entry["train_n"] == 144
        if model == "mlp":
            assert entry["missing"]["head"]["alignment"] == "head has no anchors"
            assert "ace_regularizer" in entry["metrics"]["layer_2"]
        else:
            assert entry["missing"]["layer_2"]["ace_regularizer"] == "layer_2 is the last layer"
            assert "ace_regularizer" in entry["metrics"]["layer_1"]
        assert {"accuracy", "margin"} <= entry["reference"].keys()


def test_one_seed_gives_one_log(tiny: Config) -> None:
    first, second = (lines(run(tiny).directory) for _ in range(2))
    assert first == second
    assert lines(run(attrs.evolve(tiny, seed=1)).directory) != first


def test_measuring_does_not_change_training(tiny: Config) -> None:
    measured = lines(run(tiny).directory)
    bare = lines(run(attrs.evolve(tiny, metrics=())).directory)
    keys = ("phase", "epoch", "loss", "acc", "val_loss")
    for a, b in zip(measured, bare, strict=True):
        assert [a.get(key) for key in keys] == [b.get(key) for key in keys]
    assert not any("missing" in entry for entry in bare)


def test_epoch_frequency_measures_no_batches(tiny: Config) -> None:
    entries = lines(run(attrs.evolve(tiny, metrics_frequency="epoch")).directory)
    assert {entry["phase"] for entry in entries if "metrics" in entry} == {"val"}


def test_params_give_the_same_run_from_any_folder(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = run(attrs.evolve(tiny, out="here", plugins=("cmp:sparsity",))).directory
    params = build_config(read_yaml(directory / "params.yaml"))
    assert Path(params.out).is_absolute()
    assert Path(params.data_dir).is_absolute()
    assert "sparsity" in {selection.name for selection in params.metrics}
    monkeypatch.chdir(tmp_path)
    assert lines(run(params).directory) == lines(directory)


def test_a_rule_that_does_not_fit_the_model_is_told_before_a_directory_is_made(
    tiny: Config,
) -> None:
    with pytest.raises(UsageError, match="needs scores at every layer"):
        run(attrs.evolve(tiny, model="mlp", learning_rule="layerwise"))
    assert not Path(tiny.out).exists()


def test_runs_in_one_folder_have_different_names(tiny: Config) -> None:
    now = datetime(2026, 11, 23, 10, 15)
    made = [make_run_directory(tiny, now).name for _ in range(3)]
    assert made == [f"000{i}_2026-11-23_10-15-00" for i in (1, 2, 3)]
