"""Values that runs have at layers, and how much each test sample moves them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import attrs
import numpy as np

from cmp_core.analysis.crossed import Estimate, Floats, estimate
from cmp_core.config.legacy import spelling
from cmp_core.runs.metric_info import MetricInfo
from cmp_core.runs.record import RunRecord
from cmp_core.runs.replicates import RunSet


@attrs.frozen(eq=False)
class Values:
    """Values of S seeds at L places, and what their errors come from.

    Attributes:
        values: (S, L).
        influences: how much each of U samples, or groups, moves them, (S, U, L), or none.
    """

    values: Floats
    influences: Floats | None = None


def values_of(
    runs: Sequence[RunRecord],
    metric: str,
    phase: str,
    layer: str,
    epoch: int | None = None,
    what: str = "values",
) -> Floats:
    """Return what runs have of a metric at an epoch, by default that of the tested weights, (S,).

    Args:
        runs: of S seeds.
        metric, phase, layer: of the series.
        epoch: 0 for the untrained network.
        what: a column of `Series`.
    """
    found = []
    for run in runs:
        series = run.log.series.get((phase, layer, metric))
        wanted = run.tested_epoch if epoch is None else epoch
        where = np.array([]) if series is None else np.flatnonzero(series.epochs == wanted)
        if phase == "test" and epoch is None and series is not None:
            where = np.array([len(series.epochs) - 1])  # its epoch need not be known
        is_there = series is not None and len(where) > 0
        found.append(float(getattr(series, what)[where[-1]]) if is_there else math.nan)
    return np.array(found)


def influences_of(
    runs: Sequence[RunRecord],
    metric: str,
    phase: str,
    layers: Sequence[str],
    weights: Literal["tested", "untrained"],
) -> Floats | None:
    """Return how much samples move the values, (S, U, L), if all runs know it of the same ones."""
    if phase != "test":
        return None
    found = [[run.influence(layer, metric, weights) for layer in layers] for run in runs]
    flat = [one for of_run in found for one in of_run]
    if any(one is None for one in flat) or len({len(one) for one in flat if one is not None}) > 1:
        return None
    if other_data(runs):
        return None
    ids = [run.influence_ids(metric) for run in runs]
    known = [own for own in ids if own is not None]
    if len(known) < len(runs) or any(not np.array_equal(own, known[0]) for own in known):
        return None
    return np.stack([np.stack([one for one in row if one is not None], axis=1) for row in found])


def estimate_at(
    runs: Sequence[RunRecord],
    metric: str,
    phase: str,
    layer: str,
    weights: Literal["tested", "untrained"] = "tested",
) -> Estimate | None:
    """Return the mean over seeds of a value at a layer with its error, none where runs lack it.

    The error is over seeds and test samples; on validation, whose samples are others in each seed,
    over seeds, or of one run over its samples.
    """
    epoch = 0 if weights == "untrained" else None
    values = values_of(runs, metric, phase, layer, epoch)
    runs = [run for run, value in zip(runs, values, strict=True) if math.isfinite(value)]
    values = values[np.isfinite(values)]
    if not runs:
        return None
    influences = influences_of(runs, metric, phase, [layer], weights)
    if influences is None and len(runs) == 1:
        error, n = (values_of(runs, metric, phase, layer, epoch, x)[0] for x in ("errors", "n"))
        return Estimate(float(values[0]), float(error), max(1.0, float(n) - 1))
    return estimate(values, None if influences is None else influences[:, :, 0])


def tested_layers(runs: RunSet) -> list[str]:
    """Return the layers that have a test accuracy, in order of depth."""
    layers = dict.fromkeys(layer for run in runs.runs for layer in run.test_accuracies)
    order = [*runs.layers, *layers]  # a test may tell of layers that the log does not
    return sorted(layers, key=order.index)


def accuracy_at(runs: Sequence[RunRecord], layer: str) -> Estimate | None:
    """Return the mean test accuracy at a layer with its error, over the runs that have it."""
    tested = [run for run in runs if layer in run.test_accuracies]
    if not tested:
        return None
    values = np.array([run.test_accuracies[layer] for run in tested])
    return estimate(values, hits_of(tested, [layer] * len(tested)))


def hits_of(runs: Sequence[RunRecord], layers: Sequence[str]) -> Floats | None:
    """Return whether a layer of each run is right about each test sample, less its mean, (S, n).

    None where not all runs have stored it of the same samples.
    """
    hits, samples = [], []
    for run, layer in zip(runs, layers, strict=True):
        file = run.predictions
        if file is None or not {"sample_ids", "labels", layer} <= file.keys():
            return None
        order = np.argsort(file["sample_ids"], kind="stable")
        right = (file[layer] == file["labels"])[order].astype(np.float64)
        hits.append(right - right.mean())
        samples.append(file["sample_ids"][order])
    is_shared = all(np.array_equal(own, samples[0]) for own in samples) and not other_data(runs)
    return np.stack(hits) if is_shared and len(samples[0]) > 1 else None


def other_data(runs: Sequence[RunRecord]) -> str | None:
    """Return in what the data of runs differ, none where nothing tells that they do."""
    if len({spelling(run.dataset) for run in runs}) > 1:
        return "the datasets"
    if len({run.class_names for run in runs if run.class_names}) > 1:
        return "the classes"
    files = [run.predictions for run in runs if run.predictions is not None]
    known = [file for file in files if {"sample_ids", "labels"} <= file.keys()]
    for file in known[1:]:
        first = known[0]
        is_same_sample = np.array_equal(file["sample_ids"], first["sample_ids"])
        if is_same_sample and not np.array_equal(file["labels"], first["labels"]):
            return "the labels of the test samples"
    return None


def is_tested(run: RunRecord, metric: str) -> bool:
    """Return whether the run has values of the metric on the test split."""
    return any(("test", layer, metric) in run.log.series for layer in run.hidden_layers)


def recomputed_from(runs: Sequence[RunRecord], metric: str) -> str | None:
    """Return which stored samples values were measured on after a run, in words, or none."""
    sizes = {
        int(n)
        for run in runs
        if run.is_recomputed(metric)
        for (_, _, name), series in run.log.series.items()
        if name == metric
        for n in series.n
    }
    if not sizes:
        return None
    n = " to ".join(f"{size:,}" for size in sorted({min(sizes), max(sizes)}))
    return f"recomputed from stored samples, n = {n}"


def is_same_metric(info: MetricInfo, other: MetricInfo | None) -> bool:
    """Return whether the other run's values of a label, if it has any, are of the same metric."""
    return other is None or (info.metric, info.options) == (other.metric, other.options)
