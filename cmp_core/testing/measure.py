"""Measuring activations at hand as a run would, without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from cmp_core.config.schema import Config
from cmp_core.errors import UndefinedError
from cmp_core.events.activations import LayerActivations
from cmp_core.events.payloads import Run
from cmp_core.events.rows import Row, Value
from cmp_core.layers.arrays import as_tensor, class_indices
from cmp_core.layers.layer import Layer
from cmp_core.measurement.arrays import measure_arrays
from cmp_core.measurement.measurer import Measurer
from cmp_core.measurement.metric import Metric, definition_of
from cmp_core.plugins.loader import new_manager
from cmp_core.testing.events import select


def measure(
    factory: Any, *layers: ArrayLike, labels: ArrayLike | None = None, **options: Any
) -> dict[str, Value]:
    """Return what a metric says of activations at hand, as of a whole split, by name.

    Args:
        factory: the function or class under `@metric`.
        layers: activations (n, N) of each layer, in order of depth; values are those of the
            last one, for scope `pair` with the layer before.
        labels: (n,) whole numbers.
        options: of the metric.

    Raises:
        UndefinedError: there is no value; the message is the reason.

    >>> from cmp_metrics.participation_ratio import participation_ratio_metric
    >>> square = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    >>> values = measure(participation_ratio_metric, square, debiased=False)
    >>> {name: round(value, 12) for name, value in values.items()}
    {'participation_ratio': 2.0}
    """
    metric = definition_of(factory)(**options)
    tensors = [as_tensor(np.asarray(x)).double() for x in layers]
    known = None if labels is None else class_indices(np.asarray(labels))
    if metric.definition.split == "running":
        rows = measure_batch(metric, _batch(tensors, known))
    else:
        rows = list(measure_arrays(tensors, known, metric))
    last = f"layer_{len(layers) - 1}"
    rows = [row for row in rows if row.layer == last and not row.pair]
    values = {row.metric: row.value for row in rows if row.value is not None}
    if not values:
        raise UndefinedError("; ".join(str(row.reason) for row in rows) or "nothing was measured")
    return values


def _batch(tensors: Sequence[Tensor], labels: Tensor | None) -> LayerActivations:
    return LayerActivations(
        source="live",
        phase="train",
        part="batch",
        epoch=1,
        step=1,
        layers=tuple(Layer(f"layer_{i}", i, "", x) for i, x in enumerate(tensors)),
        sample_ids=torch.arange(len(tensors[0])),
        labels=labels,
        inputs=None,
        num_classes=0 if labels is None else int(labels.max()) + 1,
    )


def measure_batch(
    metric: Metric, event: LayerActivations, measurer: Measurer | None = None
) -> list[Row]:
    """Measure an event as a training batch, by a measurer of the metric if it is given."""
    measurer = measurer or measurer_of(metric)
    return list(measurer.batch(attrs.evolve(event, part="batch", reference=None)))


def measure_split(
    metric: Metric,
    event: LayerActivations,
    size: int = 1000,
    order: Tensor | None = None,
    measurer: Measurer | None = None,
) -> list[Row]:
    """Measure an event's samples as a split, in chunks of a size and in any order of positions."""
    order = torch.arange(event.n) if order is None else order

    def read(pass_index: int) -> Iterator[LayerActivations]:
        return (select(event, where, pass_index) for where in torch.split(order, size))

    ids, labels = event.sample_ids.cpu().numpy(), event.labels
    known = None if labels is None else labels.cpu().numpy()
    return list((measurer or measurer_of(metric)).split(ids, known, read))


def measurer_of(metric: Metric, *plugins: object, policy: str = "raise") -> Measurer:
    """Return a measurer of one metric; the plugins are called before it."""
    manager = new_manager()
    measurer = Measurer([metric], Run(Config(), (), ()), manager, policy)
    for plugin in plugins:
        manager.register(plugin)
    return measurer


def unfenced(metric: Metric) -> Measurer:
    """Return a measurer in which the metric is handed the event itself, and nothing is restored."""
    measurer = measurer_of(metric)
    for listener in measurer.listeners:
        measurer.dispatcher.add_essential(listener)
    return measurer
