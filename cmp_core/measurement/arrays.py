"""Measuring activations that are at hand as arrays, without a run or a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from cmp_core.config.schema import Config
from cmp_core.errors import UsageError
from cmp_core.events.activations import LayerActivations, chunk_size
from cmp_core.events.payloads import Run
from cmp_core.events.rows import Row
from cmp_core.layers.arrays import (
    Array,
    as_activations,
    as_whole_numbers,
    check_samples,
    class_indices,
)
from cmp_core.layers.layer import Layer
from cmp_core.measurement.measurer import Measurer
from cmp_core.measurement.metric import Metric
from cmp_core.measurement.selection import as_metrics
from cmp_core.plugins.loader import load_plugins, new_manager


@torch.no_grad()
def measure_arrays(
    layers: Mapping[str, Array] | Sequence[Array],
    labels: Array | None = None,
    metrics: Any = "all",
    *,
    sample_ids: Array | None = None,
) -> tuple[Row, ...]:
    """Return what metrics say of the activations of layers, as of a whole split.

    Samples are read in chunks as in a run, so the values are those of a run to the last bit.
    Metrics of training batches alone (`split="running"`) say nothing of a split.

    Args:
        layers: activations (n, …) of each layer in order of depth, NumPy or torch, with names, or
            named `layer_0`, `layer_1`, …
        labels: (n,) whole numbers; metrics see them as 0 to K-1, for the K classes there are.
        metrics: `all` that are built in; names of these, in one text with commas or several;
            functions or classes under `@metric`; or metrics with options, such as
            `definition_of(my_metric)(snr=8)`.
        sample_ids: (n,) whole numbers; 0 to n-1 if none are given.

    Raises:
        UsageError: a layer is not (n, …), labels or ids are not (n,) whole numbers, there is no
            metric of a name, or two have one label.
        PluginError: a metric raised.

    >>> import numpy as np
    >>> square = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> rows = measure_arrays([square, 2 * square], metrics="linear_cka")
    >>> [(row.layer, row.other, round(row.value, 6)) for row in rows if row.value and not row.pair]
    [('layer_1', 'layer_0', 1.0)]
    """
    _check_arguments(layers, labels)
    plugins = load_plugins(built_ins=("cmp_metrics",))
    chosen = as_metrics(metrics, plugins, Config())
    named = _tensors(layers if isinstance(layers, Mapping) else dict(_named(layers)))
    tensors = list(named.values())
    n, device = len(tensors[0]), tensors[0].device
    known = None if labels is None else class_indices(labels, tensors[0])
    ids = torch.arange(n) if sample_ids is None else as_whole_numbers(sample_ids, "sample_ids")
    if not n == len(ids) == len(set(ids.tolist())):
        raise UsageError(f"expected {n} different sample_ids, got {len(set(ids.tolist()))}")
    chunk = LayerActivations(
        source="replay",
        phase="val",
        part="chunk",
        epoch=0,
        step=0,
        layers=tuple(
            Layer(name, depth, "", tensor) for depth, (name, tensor) in enumerate(named.items())
        ),
        sample_ids=ids.to(device),
        labels=known,
        inputs=None,
        num_classes=0 if known is None or not n else int(known.max()) + 1,
    )

    def read(pass_index: int) -> Iterator[LayerActivations]:
        size = chunk_size(sum(tensor.shape[1] for tensor in tensors))
        for where in torch.split(torch.arange(n, device=device), size):
            yield attrs.evolve(chunk.select(where, "chunk"), pass_index=pass_index)

    run = Run(Config(), (), tuple(named))
    measurer = Measurer(chosen, run, new_manager(), "raise")
    return measurer.split(ids.cpu().numpy(), None if known is None else known.cpu().numpy(), read)


def _check_arguments(layers: object, labels: object) -> None:
    """Raise where one layer stands for several, or metrics stand in the place of labels."""
    if isinstance(layers, Tensor | np.ndarray):
        shape = tuple(layers.shape)
        raise UsageError(f"expected layers in a list or by name, got one array {shape}: write [x]")
    first = labels[0] if isinstance(labels, (list, tuple)) and labels else labels
    if isinstance(first, (str, Metric)) or callable(first):
        found = f"'{first}'" if isinstance(first, str) else getattr(first, "__name__", "a metric")
        raise UsageError(
            f"labels: expected whole numbers (n,), got {found}; "
            "the order is measure_arrays(layers, labels, metrics)"
        )


def _tensors(named: Mapping[str, Array]) -> dict[str, Tensor]:
    """Return activations as tensors; NaN in them is left to the rows, which say so."""
    tensors = {name: as_activations(activations, name) for name, activations in named.items()}
    check_samples(list(tensors.values()))
    return tensors


def _named(layers: Sequence[Array]) -> list[tuple[str, Array]]:
    return [(f"layer_{i}", activations) for i, activations in enumerate(layers)]
