"""A reference for differences between layers: the same layer of another seed.

Two networks that differ by seed alone have learned the same task from the same data. If neighbours
in one network differ less than its layers do from those of another seed, the step from layer to
layer is within what a new seed changes anyway. Both are measured on the same samples, those that
the two runs' last snapshots share, with the metrics that count as evidence of differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from cmp_core.analysis.questions import distinct_seeds, evidence_metrics
from cmp_core.config.schema import Config
from cmp_core.errors import UndefinedError, UsageError
from cmp_core.events.payloads import LayerActivations, Run
from cmp_core.layers.layer import Layer
from cmp_core.measurement.listener import MetricListener
from cmp_core.measurement.measurer import Measurer
from cmp_core.plugins.dispatch import Dispatcher
from cmp_core.plugins.loader import load_plugins, new_manager
from cmp_core.plugins.registry import definition_of
from cmp_core.runs.record import HEAD, RunRecord
from cmp_core.snapshots.format import FOLDER
from cmp_core.snapshots.read import Snapshot, open_snapshot
from cmp_core.snapshots.replay import replay

FEWEST = 50
"""Shared samples below which nothing is compared."""


@attrs.frozen
class Reseeded:
    """How far layers differ, as means of 1 − value over layers and over pairs of seeds.

    Attributes:
        metric: label of the metric.
        neighbours: between neighbouring layers of one network.
        same_layer: between a layer and the same one of another seed.
        n: the fewest samples that a pair of seeds shares.
        phase: the split that they are from.
    """

    metric: str
    neighbours: float
    same_layer: float
    n: int
    phase: str


def compare_seeds(runs: Sequence[RunRecord]) -> tuple[Reseeded, ...]:
    """Compare each run with the next one of another seed.

    Raises:
        UndefinedError: there is nothing to compare; the message is the reason.
        DataError: a snapshot is damaged.
    """
    replicates = distinct_seeds(runs, notes=[])
    if len(replicates) < 2:
        raise UndefinedError("it takes two seeds")
    listeners = list(_listeners(replicates))
    if not listeners:
        raise UndefinedError("no installed metric of similarity was measured")
    found: dict[str, list[tuple[float, float]]] = {}
    sizes = []
    for first, second in pairwise(map(_last_snapshot, replicates)):
        with open_snapshot(first) as one, open_snapshot(second) as other:
            if one.phase != other.phase:
                raise UndefinedError("the snapshots of the runs are of different splits")
            phase = one.phase
            ids, rows, other_rows = np.intersect1d(
                one.sample_ids, other.sample_ids, return_indices=True
            )
            if len(ids) < FEWEST:
                raise UndefinedError(
                    f"the last snapshots of two seeds share {len(ids)} samples, and {FEWEST} are "
                    "needed; all seeds store the same ones with --set 'snapshots={phase: test}'"
                )
            sizes.append(len(ids))
            here, there = _layers(one, rows), _layers(other, other_rows)
        neighbours = _dissimilarities(listeners, ids, here)
        shared = [(layer, there[layer.name]) for layer in here.values() if layer.name in there]
        again = [
            _dissimilarities(listeners, ids, {"a": a, "b": attrs.evolve(b, name="b", depth=1)})
            for a, b in ((attrs.evolve(a, name="a", depth=0), b) for a, b in shared)
        ]
        for metric, value in neighbours.items():
            others = [values[metric] for values in again if metric in values]
            if others:
                found.setdefault(metric, []).append((value, float(np.mean(others))))
    if not found:
        raise UndefinedError("no metric of similarity has a value both ways")
    reseeded = []
    for metric, values in found.items():
        neighbours_mean, same_layer_mean = np.mean(values, axis=0).tolist()
        reseeded.append(Reseeded(metric, neighbours_mean, same_layer_mean, min(sizes), phase))
    return tuple(reseeded)


def _listeners(runs: Sequence[RunRecord]) -> Iterator[MetricListener]:
    """Yield the runs' metrics of similarity, as far as they are installed."""
    registry = load_plugins(built_ins=("cmp_metrics",)).registry
    for facts in evidence_metrics(runs, "different"):
        try:
            definition = definition_of(registry.get("metric", facts.metric).factory, "metric")
            metric = definition(facts.label, **facts.options)
        except UsageError:
            continue
        yield MetricListener(metric)


def _last_snapshot(run: RunRecord) -> Path:
    found = (run.directory / FOLDER).glob("step_*.h5")
    files = sorted(found, key=lambda file: (len(file.name), file.name))
    if not files:
        raise UndefinedError(f"{run.name} has no snapshots")
    return files[-1]


def _layers(snapshot: Snapshot, rows: NDArray[np.intp]) -> dict[str, Layer]:
    """Return the hidden layers of some samples, in the order of `rows`."""
    chunks = [chunk.layers for chunk in replay(snapshot)]
    chosen = torch.from_numpy(rows)
    layers = {}
    for parts in zip(*chunks, strict=True):
        if parts[0].name != HEAD:
            activations = torch.cat([part.activations for part in parts])[chosen]
            layers[parts[0].name] = attrs.evolve(
                parts[0], activations=activations, scores=None, anchors=None, anchor_kind=None
            )
    return layers


def _dissimilarities(
    listeners: Sequence[MetricListener], ids: NDArray[np.int64], layers: dict[str, Layer]
) -> dict[str, float]:
    """Return the mean of 1 − value over neighbours, by label of the metric."""
    event = LayerActivations(
        source="replay",
        phase="val",
        part="chunk",
        epoch=0,
        step=0,
        layers=tuple(layers.values()),
        sample_ids=torch.from_numpy(ids),
        labels=None,
        inputs=None,
        num_classes=0,
    )
    manager = new_manager()
    dispatcher = Dispatcher(manager, Run(Config(), (), tuple(layers)), "raise")
    for listener in listeners:
        manager.register(listener, listener.name)
    rows = Measurer(dispatcher, listeners).split(ids, None, lambda _: [event])
    values: dict[str, list[float]] = {}
    labels = {listener.metric.label for listener in listeners}
    for row in rows:
        if isinstance(row.value, float) and not row.pair and row.metric in labels:
            values.setdefault(row.metric, []).append(1 - row.value)
    return {metric: float(np.mean(some)) for metric, some in values.items()}
