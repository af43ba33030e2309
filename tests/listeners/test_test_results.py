"""Tests of `cmp_core.listeners.test_results`, against scikit-learn and by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import classification_report, confusion_matrix as sklearn_confusion

from cmp_core import evaluate, resume
from cmp_core.config.schema import Config
from cmp_core.errors import UsageError
from cmp_core.events.activations import LayerActivations
from cmp_core.events.payloads import Run, RunFinished
from cmp_core.layers.layer import Layer
from cmp_core.listeners.test_results import TestResultsWriter
from cmp_core.workflow import Outcome


@pytest.mark.parametrize("model", ["greedy", "mlp"])
def test_all_files_tell_of_the_same_predictions(
    tiny_run: Callable[..., Outcome], model: str
) -> None:
    folder = tiny_run(model).directory
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
    labels, predicted = saved["labels"], saved[names[-1]]
    confusion = np.load(folder / "confusion.npy")
    assert np.array_equal(confusion, sklearn_confusion(labels, predicted))
    report = json.loads((folder / "class_report.json").read_text())
    expected = classification_report(labels, predicted, output_dict=True, zero_division=np.nan)
    assert report["weighted avg"] == pytest.approx(expected["weighted avg"], nan_ok=True)
    assert report["accuracy"] == pytest.approx(expected["accuracy"])


def chunk(
    ids: list[int], labels: list[int], predicted: list[int], pass_index: int = 1
) -> LayerActivations:
    scores = torch.nn.functional.one_hot(torch.tensor(predicted), 3).float()
    layers = (Layer("layer_0", 0, "", scores), Layer("head", 1, "", scores, scores))
    return LayerActivations(
        source="live",
        phase="test",
        part="chunk",
        epoch=2,
        step=8,
        layers=layers,
        sample_ids=torch.tensor(ids),
        labels=torch.tensor(labels),
        inputs=None,
        num_classes=3,
        pass_index=pass_index,
    )


def test_chunks_are_gathered_once_and_a_class_without_samples_has_no_score(tmp_path: Path) -> None:
    writer = TestResultsWriter(tmp_path, "last")
    for pass_index in (1, 2):
        writer.cmp_layer_activations(chunk([7, 3], [0, 1], [0, 0], pass_index))
        writer.cmp_layer_activations(chunk([5], [1], [1], pass_index))
    run = Run(Config(), ("a", "b", "c"), ("layer_0", "head"))
    writer.cmp_run_finished(RunFinished(2, 8, acc=2 / 3, test_loss=float("nan"), n=3), run)
    results = json.loads((tmp_path / "test_results.json").read_text())
    assert (results["acc_layers"], results["loss"]) == ({"head": 2 / 3}, None)
    assert (results["checkpoint"], results["epoch"], results["n"]) == ("last", 2, 3)
    saved = np.load(tmp_path / "test_predictions.npz")
    assert {name: saved[name].tolist() for name in saved} == {
        "sample_ids": [7, 3, 5],
        "labels": [0, 1, 1],
        "head": [0, 0, 1],
    }
    assert np.load(tmp_path / "confusion.npy").tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    report = json.loads((tmp_path / "class_report.json").read_text())
    assert report["b"] == {"precision": 1, "recall": 0.5, "f1-score": 2 / 3, "support": 2}
    assert report["c"]["precision"] is None


def test_a_run_that_was_only_trained_leaves_none_of_them(tmp_path: Path) -> None:
    writer = TestResultsWriter(tmp_path)
    writer.cmp_run_finished(RunFinished(2, 8), Run(Config(), ("a",), ("head",)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["class_report.json", "confusion.npy", "test_influences.npz"])
@pytest.mark.parametrize("act", [evaluate, resume])
def test_a_folder_in_the_way_costs_no_results(
    tiny_copy: Outcome, name: str, act: Callable[[Path], object]
) -> None:
    directory = tiny_copy.directory
    (directory / name).unlink()
    (directory / name).mkdir()
    files = [path for path in directory.iterdir() if path.is_file() and path.suffix != ".lock"]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    with pytest.raises(UsageError, match=f"{name}' is a folder; move it away"):
        act(directory)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files} == before
