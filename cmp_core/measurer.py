"""Measuring a batch, or a split chunk by chunk, through the hooks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmp_core.dispatch import Dispatcher
from cmp_core.errors import UsageError
from cmp_core.events import Layer, LayerActivations, SplitFinished
from cmp_core.measuring import MetricListener, Reading, settle
from cmp_core.rows import Row
from cmp_core.sampling import choose

SUBSET_SIZE = 2048
"""Samples of a split that metrics see which must see theirs at once."""


class Measurer:
    """Emits activation events and gathers what the selected metrics answer."""

    def __init__(self, dispatcher: Dispatcher, listeners: Sequence[MetricListener]) -> None:
        self._dispatcher = dispatcher
        self._listeners = listeners
        definitions = [listener.metric.definition for listener in listeners]
        self._readings = max((definition.passes for definition in definitions), default=1)
        self._needs_subset = any(definition.sees_all_at_once for definition in definitions)

    @property
    def has_listeners(self) -> bool:
        """Whether anybody wants activations."""
        return self._dispatcher.has_listeners("cmp_layer_activations")

    def batch(self, event: LayerActivations) -> tuple[Row, ...]:
        """Measure a training batch by itself."""
        failures_before = self._dispatcher.failure_counts()
        peaks = {name: shared.peak.clone() for name, shared in event.statistics.items()}
        answers = self._dispatcher.emit("cmp_layer_activations", event)
        return self._rows(answers, peaks, event, failures_before)

    def split(
        self, ids: NDArray[np.int64], read: Callable[[int], Iterable[LayerActivations]]
    ) -> tuple[Row, ...]:
        """Measure a split.

        Args:
            ids: the sample ids of the whole split.
            read: given 1 or 2, yields the split's chunks for that reading.
        """
        failures_before = self._dispatcher.failure_counts()
        chosen = torch.from_numpy(ids[choose(ids, SUBSET_SIZE)])
        parts: list[LayerActivations] = []
        peaks: dict[str, Tensor] = {}
        chunk: LayerActivations | None = None
        for reading in range(1, self._readings + 1):
            for chunk in read(reading):
                if reading == 1:
                    for name, shared in chunk.statistics.items():
                        peak = shared.peak.clone()
                        peaks[name] = torch.maximum(peaks[name], peak) if name in peaks else peak
                    if self._needs_subset:
                        parts.append(_select(chunk, chosen))
                self._dispatcher.emit("cmp_layer_activations", chunk)
        if chunk is None:
            return ()
        finished = SplitFinished(
            source=chunk.source,
            phase=chunk.phase,
            epoch=chunk.epoch,
            step=chunk.step,
            n=len(ids),
            subset=_join(parts) if parts else None,
        )
        answers = self._dispatcher.emit("cmp_split_finished", finished)
        return self._rows(answers, peaks, chunk, failures_before)

    def _rows(
        self,
        answers: Mapping[str, list[Reading]],
        peaks: Mapping[str, Tensor],
        event: LayerActivations,
        failures_before: Counter[str],
    ) -> tuple[Row, ...]:
        """Settle the metrics' answers, in the order of their selection.

        A metric that failed on the way, or is switched off, has an error for every layer instead.
        """
        failed_now = self._dispatcher.failure_counts() - failures_before
        # The newest failure last, so that it is the one that is told.
        errors = {failure.plugin: failure.error for failure in self._dispatcher.failures}
        readings: list[Reading] = []
        for listener in self._listeners:
            if listener.name in failed_now or self._dispatcher.is_disabled(listener):
                reason = f"error: {errors[listener.name]}"
                lost = (Row(x.name, listener.metric.label, None, 0, reason) for x in event.layers)
                readings += map(Reading, lost)
            else:
                readings += answers[listener.name]
        _refuse_duplicates(readings)
        return settle(readings, peaks)


def _refuse_duplicates(readings: Sequence[Reading]) -> None:
    """Raise where one value would stand in another's place, as labels and sub-values can meet."""
    rows = [reading.row for reading in readings]
    counts = Counter((row.layer, row.metric, row.other) for row in rows)
    layer, metric, _ = max(counts, key=counts.__getitem__, default=("", "", None))
    if len(counts) < len(readings):
        raise UsageError(f"two metrics yield '{metric}' at {layer}: give one of them another label")


def _select(event: LayerActivations, ids: Tensor) -> LayerActivations:
    """Return the event's samples that have one of the ids."""
    where = torch.isin(event.sample_ids, ids.to(event.sample_ids.device))

    def rows(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[where]

    def select(layer: Layer) -> Layer:
        return attrs.evolve(
            layer,
            activations=layer.activations[where],
            scores=rows(layer.scores),
            anchors=None if layer.anchors is None else layer.anchors.clone(),
        )

    return attrs.evolve(
        event,
        part="subset",
        layers=tuple(map(select, event.layers)),
        reference=None if event.reference is None else select(event.reference),
        inputs=rows(event.inputs),
        labels=rows(event.labels),
        sample_ids=event.sample_ids[where],
    )


def _join(parts: Sequence[LayerActivations]) -> LayerActivations:
    """Return all samples of the parts as one event, in the order of their ids."""
    order = torch.argsort(torch.cat([part.sample_ids for part in parts]))

    def cat(tensors: Sequence[Tensor | None]) -> Tensor | None:
        there = [tensor for tensor in tensors if tensor is not None]
        return torch.cat(there)[order] if there else None

    def join(layers: Sequence[Layer]) -> Layer:
        activations = torch.cat([layer.activations for layer in layers])[order]
        return attrs.evolve(
            layers[0], activations=activations, scores=cat([layer.scores for layer in layers])
        )

    references = [part.reference for part in parts if part.reference is not None]
    return attrs.evolve(
        parts[0],
        layers=tuple(join(layers) for layers in zip(*(p.layers for p in parts), strict=True)),
        reference=join(references) if references else None,
        inputs=cat([part.inputs for part in parts]),
        labels=cat([part.labels for part in parts]),
        sample_ids=torch.cat([part.sample_ids for part in parts])[order],
    )
