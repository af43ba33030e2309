"""A whole run directory without training: every file that plots and reports read, of any depth."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmp_core.plugins.loader import load_plugins
from cmp_core.plugins.registry import definition_of
from cmp_core.runs.metric_info import dump_metric_info

EPOCHS, STEPS = 4, 12
"""Epochs of a run, and training steps in each; every fourth step is measured."""


def write_example_run(
    folder: Path,
    *,
    model: str = "greedy",
    depth: int = 4,
    seed: int = 0,
    classes: Sequence[str] = tuple("0123456789"),
    **config: Any,
) -> Path:
    """Write a finished run with all built-in metrics, made-up values, and return its directory.

    Args:
        folder: in which the run directory is made.
        model: `greedy`, or `mlp` with a head.
        depth: hidden layers.
        seed: of the values; runs that differ in nothing else are replicates.
        classes: names of the classes.
        config: more keys of `params.yaml`.
    """
    directory = folder / f"{model}_{depth}_{seed}"
    directory.mkdir(parents=True)
    draw = np.random.default_rng([seed, depth, model == "mlp"])
    layers = [f"layer_{i}" for i in range(depth)] + ["head"] * (model == "mlp")
    facts = _facts()
    params = {"model": model, "dataset": "digits", "layers": depth, "seed": seed} | config
    _write(directory / "params.yaml", params)
    (directory / "metrics.json").write_text(dump_metric_info(facts.values()))
    names = {"layers": layers, "class_names": list(classes), "python": "3.11", "device": "cpu"}
    _write(directory / "environment.json", names | {"command": ["cmp", "run", "-c", model]})
    lines = []
    for epoch in range(EPOCHS + 1):
        for i in range(STEPS if epoch else 0):
            step = (epoch - 1) * STEPS + i + 1
            line: dict[str, Any] = {"phase": "train", "epoch": epoch, "iter": i + 1, "step": step}
            line |= {"loss": 2 / math.sqrt(step), "acc": 1 - 1 / math.sqrt(step + 1)}
            if i % 4 == 3:
                line |= {"n": 32} | _measured("", layers, epoch, draw, 32, splits=False)
            lines.append(line)
        line = {"phase": "val", "epoch": epoch, "iter": 0, "acc": 1 - 0.9 / (1 + epoch)}
        line |= {"val_loss": 2 / (1 + epoch), "n": 150, "train_n": 150}
        lines.append(
            line | _measured("", layers, epoch, draw) | _measured("train_", layers, epoch, draw)
        )
    (directory / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    _write_test(directory, layers, len(classes), draw)
    return directory


def _facts() -> dict[str, Any]:
    registry = load_plugins(built_ins=("cmp_metrics",)).registry
    metrics = [
        definition_of(registry.get("metric", n).factory, "metric") for n in registry.names("metric")
    ]
    return {metric.name: metric().info() for metric in metrics}


def _measured(
    prefix: str,
    layers: Sequence[str],
    epoch: int,
    draw: np.random.Generator,
    n: int = 150,
    *,
    splits: bool = True,
) -> dict[str, Any]:
    """Return what a line or the test's results say of all layers at an epoch."""
    values = {
        layer: _values(place / len(layers), epoch, draw) for place, layer in enumerate(layers)
    }
    missing: dict[str, dict[str, str]] = {layers[0]: {"linear_cka": "it is the first layer"}}
    missing.setdefault(layers[-1], {})["ridge_r2"] = "it is the last layer"
    for layer, reasons in missing.items():
        for metric in reasons:
            del values[layer][metric]
    found: dict[str, Any] = {"metrics": values, "missing": missing}
    if splits:
        count = len(layers)
        cka = np.exp(-np.abs(np.subtract.outer(range(count), range(count))) / (2 + epoch))
        spectra = {
            layer: {"eigenspectrum": list(np.arange(1, 33.0) ** -(1 + place / count))}
            for place, layer in enumerate(layers)
        }
        found["reference"] = _values(0, 1, draw)
        found |= {"pairs": {"linear_cka": cka.tolist()}, "vectors": spectra}
    return {f"{prefix}{key}": value for key, value in found.items()}


def _values(depth: float, epoch: int, draw: np.random.Generator) -> dict[str, float]:
    """Return plausible values of every scale at a relative depth in [0, 1)."""
    learned = min(epoch, 3) / 3
    noise = draw.normal(0, 0.01)
    right = 0.1 + learned * (0.8 + 0.09 * depth) + noise / 3
    return {
        "accuracy": right,
        "cross_entropy": 2.3 * (1 - learned) + 0.01 + abs(noise),
        "alignment": 0.5 * learned + noise,
        "margin": 0.3 * learned * (1 - depth) - 0.1 + noise,
        "probe_accuracy": min(1.0, right + 0.02),
        "f1_score": right,
        "label_information": 2.0 * right,
        "ridge_r2": 1 - 0.1 * (1 - depth) ** 3 + noise / 10,
        "linear_cka": 0.95 + 0.04 * depth + noise / 10,
        "within_class_variance": 0.9 - 0.6 * depth * learned + noise / 10,
        "participation_ratio": 40 * math.exp(-3 * depth * learned) + 1 + noise,
        "gaussian_entropy": -1500 * depth + 40 * noise,
        "mutual_information": 3.5 - depth * learned + noise,
        "ace_regularizer": 0.5 + depth + noise,
    }


def _write_test(
    directory: Path, layers: Sequence[str], classes: int, draw: np.random.Generator
) -> None:
    labels = np.arange(200) % classes
    ids = np.arange(200)
    predictions: dict[str, NDArray[Any]] = {"sample_ids": ids, "labels": labels}
    for place, layer in enumerate(layers):
        wrong = draw.random(200) < 0.3 - 0.2 * place / len(layers)
        predictions[layer] = np.where(wrong, (labels + 1) % classes, labels)
    accuracies = {layer: float((predictions[layer] == labels).mean()) for layer in layers}
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, predictions[layers[-1]]), 1)
    np.savez(directory / "test_predictions.npz", **predictions)  # type: ignore[arg-type]
    np.save(directory / "confusion.npy", confusion)
    results: dict[str, Any] = {
        "acc": accuracies[layers[-1]],
        "acc_layers": accuracies,
        "epoch": 3,
        "n": 200,
    }
    results |= _measured("", layers, 3, draw, 200)
    for layer, accuracy in accuracies.items():
        results["metrics"][layer]["accuracy"] = accuracy
    before = {"n": 200, **_measured("", layers, 0, draw, 200)}
    arrays: dict[str, NDArray[Any]] = {"sample_ids": ids}
    for prefix, measured in (("", results), ("untrained/", before)):
        errors: dict[str, dict[str, float]] = {}
        for layer, values in measured["metrics"].items():
            for metric, value in values.items():
                # A hundredth of a value is what a sample may move it by, times √n.
                moved = draw.normal(0, 0.01 * abs(value) * math.sqrt(200), 200)
                arrays[f"{prefix}{layer}/{metric}"] = moved.astype(np.float32)
                errors.setdefault(layer, {})[metric] = float(moved.std() / math.sqrt(200))
        measured["errors"] = errors
    np.savez(directory / "test_influences.npz", **arrays)  # type: ignore[arg-type]
    _write(directory / "test_results.json", results | {"untrained": before})


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))
