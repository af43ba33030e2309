"""A reference for differences between layers: the same layer of another seed.

Two networks that differ by seed alone have learned the same task from the same data. If neighbours
in one network differ less than its layers do from those of another seed, the step from layer to
layer is within what a new seed changes anyway. Both are measured on the same samples, those that
the two runs' last snapshots share, with the metrics that count as evidence of differences.
`runs.seed_baseline` is what is stored of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from cmp_core.analysis.evidence import evidence_metrics
from cmp_core.analysis.seeds import distinct_seeds
from cmp_core.errors import CmpError, UndefinedError, UsageError
from cmp_core.layers.layer import Layer
from cmp_core.measurement.arrays import measure_arrays
from cmp_core.measurement.metric import Metric, definition_of
from cmp_core.plugins.loader import load_plugins
from cmp_core.runs.directory import ACTIVATIONS
from cmp_core.runs.record import RunRecord
from cmp_core.runs.seed_baseline import SeedBaseline, SeedDifference
from cmp_core.snapshots.read import Snapshot, open_snapshot
from cmp_core.snapshots.replay import replay
from cmp_core.text import counted

FEWEST = 50
"""Shared samples below which nothing is compared."""


def seed_baseline(runs: Sequence[RunRecord]) -> SeedBaseline:
    """Return how far layers differ from those of another seed, or why that is not known."""
    try:
        return SeedBaseline(compare_seeds(runs))
    except CmpError as error:  # a metric that raises costs this comparison alone
        return SeedBaseline(reason=str(error))


def compare_seeds(runs: Sequence[RunRecord]) -> tuple[SeedDifference, ...]:
    """Compare each run with that of the next seed.

    Raises:
        UndefinedError: there is nothing to compare; the message is the reason.
        DataError: a snapshot is damaged.
    """
    replicates = sorted(distinct_seeds(runs, notes=[]), key=_seed)
    if len(replicates) < 2:
        raise UndefinedError("it takes two seeds")
    files = list(map(_last_snapshot, replicates))
    metrics = list(_metrics(replicates))
    if not metrics:
        raise UndefinedError("no installed metric of similarity was measured")
    found: dict[str, list[tuple[float, float]]] = {}
    sizes = []
    for place, (first, second) in enumerate(pairwise(files)):
        with open_snapshot(first) as one, open_snapshot(second) as other:
            if one.phase != other.phase:
                raise UndefinedError("the snapshots of the runs are of different splits")
            phase = one.phase
            ids, rows, other_rows = np.intersect1d(
                one.sample_ids[one.scored], other.sample_ids[other.scored], return_indices=True
            )
            if len(ids) < FEWEST:
                raise UndefinedError(
                    f"the last snapshots of two seeds share {counted(len(ids), 'sample')}, and "
                    f"{FEWEST} are "
                    "needed; all seeds store the same ones with --set 'snapshots={phase: test}'"
                )
            sizes.append(len(ids))
            here = _layers(one, rows, replicates[place].output)
            there = _layers(other, other_rows, replicates[place + 1].output)
        beside = [
            (a, b)
            for layers in (here, there)
            for a, b in pairwise(layers.values())
            if b.depth == a.depth + 1
        ]
        again = [(layer, there[layer.name]) for layer in here.values() if layer.name in there]
        neighbours, same_layer = (
            _mean_dissimilarities(metrics, ids, pairs) for pairs in (beside, again)
        )
        for metric in neighbours.keys() & same_layer.keys():
            found.setdefault(metric, []).append((neighbours[metric], same_layer[metric]))
    if not found:
        raise UndefinedError("no metric of similarity has a value both ways")
    differences = []
    for label in (metric.label for metric in metrics if metric.label in found):
        mean, again_mean = np.mean(found[label], axis=0).tolist()
        differences.append(SeedDifference(label, mean, again_mean, min(sizes), phase))
    return tuple(differences)


def _seed(run: RunRecord) -> tuple[int, str]:
    """Return what puts seeds in order, whatever they are: 2 before 10, as numbers are."""
    return len(str(run.seed)), str(run.seed)


def _metrics(runs: Sequence[RunRecord]) -> Iterator[Metric]:
    """Yield the runs' metrics of similarity, as far as they are installed."""
    registry = load_plugins(built_ins=("cmp_metrics",)).registry
    for info in evidence_metrics(runs, "different"):
        try:
            definition = definition_of(registry.get("metric", info.metric).factory)
            yield definition(info.label, **info.options)
        except UsageError:
            continue


def _last_snapshot(run: RunRecord) -> Path:
    found = (run.directory / ACTIVATIONS).glob("step_*.h5")
    files = sorted(found, key=lambda file: (len(file.name), file.name))
    if not files:
        raise UndefinedError(f"{run.name} has no snapshots")
    return files[-1]


def _layers(snapshot: Snapshot, rows: NDArray[np.intp], output: str | None) -> dict[str, Layer]:
    """Return the layers but the output, of some samples, in the order of `rows`."""
    chunks = [chunk.layers for chunk in replay(snapshot)]
    chosen = torch.from_numpy(rows)
    layers = {}
    for parts in zip(*chunks, strict=True):
        if parts[0].name != output:
            activations = torch.cat([part.activations for part in parts])[chosen]
            layers[parts[0].name] = attrs.evolve(
                parts[0], activations=activations, scores=None, anchors=None, anchor_kind=None
            )
    return layers


def _mean_dissimilarities(
    metrics: Sequence[Metric], ids: NDArray[np.int64], pairs: Sequence[tuple[Layer, Layer]]
) -> dict[str, float]:
    """Return the mean of 1 − value over pairs of layers, by label of the metric."""
    values: dict[str, list[float]] = {}
    for first, second in pairs:
        is_same = first.name == second.name
        other = f"{second.name} of another seed" if is_same else second.name
        layers = {first.name: first.activations, other: second.activations}
        for row in measure_arrays(layers, None, metrics, sample_ids=ids):
            if isinstance(row.value, float) and not row.pair and row.metric in _labels(metrics):
                values.setdefault(row.metric, []).append(1 - row.value)
    return {metric: float(np.mean(some)) for metric, some in values.items()}


def _labels(metrics: Sequence[Metric]) -> set[str]:
    return {metric.label for metric in metrics}
