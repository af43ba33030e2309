"""Measuring activations that are at hand as arrays, without a run or a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch

from cmp_core.config.schema import Config
from cmp_core.events.activations import LayerActivations
from cmp_core.events.payloads import Run
from cmp_core.events.rows import Row
from cmp_core.layers.arrays import Array, as_tensor
from cmp_core.layers.layer import Layer
from cmp_core.measurement.measurer import Measurer
from cmp_core.measurement.metric import Metric, definition_of
from cmp_core.plugins.loader import load_plugins, new_manager


@torch.no_grad()
def measure_arrays(
    layers: Sequence[Array] | Mapping[str, Array],
    metrics: Sequence[Any],
    labels: Array | None = None,
    *,
    sample_ids: Array | None = None,
) -> tuple[Row, ...]:
    """Return what metrics say of the activations of layers, as of a whole split.

    Args:
        layers: activations (n, N) of each layer in order of depth, NumPy or torch; with names, or
            named `layer_0`, `layer_1`, …
        metrics: names of built-in metrics, functions or classes under `@metric`, or metrics with
            options, such as `definition_of(my_metric)(snr=8)`.
        labels: (n,) whole numbers.
        sample_ids: (n,) whole numbers; 0 to n-1 if none are given.

    Raises:
        UsageError: there is no metric of a name.
        PluginError: a metric raised.

    >>> import numpy as np
    >>> square = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> rows = measure_arrays([square, 2 * square], ["linear_cka"])
    >>> [(row.layer, row.other, round(row.value, 6)) for row in rows if row.value and not row.pair]
    [('layer_1', 'layer_0', 1.0)]
    """
    named = layers if isinstance(layers, Mapping) else dict(_named(layers))
    tensors = [as_tensor(activations) for activations in named.values()]
    n = len(tensors[0])
    classes = None if labels is None else as_tensor(labels).long()
    ids = torch.arange(n) if sample_ids is None else as_tensor(sample_ids).long()
    chunk = LayerActivations(
        source="replay",
        phase="val",
        part="chunk",
        epoch=0,
        step=0,
        layers=tuple(
            Layer(name, depth, "", tensor)
            for depth, (name, tensor) in enumerate(zip(named, tensors, strict=True))
        ),
        sample_ids=ids.to(tensors[0].device),
        labels=classes,
        inputs=None,
        num_classes=0 if classes is None or not n else int(classes.max()) + 1,
    )
    run = Run(Config(), (), tuple(named))
    measurer = Measurer(_selected(metrics), run, new_manager(), "raise")
    known = None if classes is None else classes.cpu().numpy()
    return measurer.split(
        ids.cpu().numpy(),
        known,
        lambda pass_index: [attrs.evolve(chunk, pass_index=pass_index)],
    )


def _named(layers: Sequence[Array]) -> list[tuple[str, Array]]:
    return [(f"layer_{i}", activations) for i, activations in enumerate(layers)]


def _selected(metrics: Sequence[Any]) -> list[Metric]:
    selected: list[Metric] = []
    for metric in metrics:
        if isinstance(metric, str):
            registry = load_plugins(built_ins=("cmp_metrics",)).registry
            metric = registry.get("metric", metric).factory
        selected.append(metric if isinstance(metric, Metric) else definition_of(metric)())
    return selected
