"""Measuring a batch, or a split chunk by chunk, through the hooks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmp_core.errors import UsageError
from cmp_core.events.payloads import LayerActivations, SplitFinished
from cmp_core.events.results import Reading
from cmp_core.events.rows import Row
from cmp_core.layers.layer import Layer
from cmp_core.layers.sampling import choose
from cmp_core.measurement.listener import MetricListener
from cmp_core.measurement.transfer import settle
from cmp_core.plugins.dispatch import Dispatcher
from cmp_core.statistics.split import SplitStatistics
from cmp_core.statistics.split_sums import SplitSums

SUBSET_SIZE = 2048
"""Samples of a split that metrics see which must see theirs at once."""


class Measurer:
    """Emits activation events and gathers what the selected metrics answer."""

    def __init__(self, dispatcher: Dispatcher, listeners: Sequence[MetricListener]) -> None:
        self._dispatcher = dispatcher
        self._listeners = listeners
        definitions = [listener.metric.definition for listener in listeners]
        self._readings = max((d.readings[-1] for d in definitions), default=1)
        self._needs_subset = any(d.coverage == "subset" or d.scope == "pair" for d in definitions)
        self._wanted = frozenset[str]().union(*(d.sums for d in definitions))

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return the states of the metrics that run on from batch to batch, by label."""
        states = {listener.metric.label: listener.state_dict() for listener in self._listeners}
        return {label: state for label, state in states.items() if state}

    def load_state_dict(self, states: dict[str, dict[str, Any]]) -> None:
        """Take over what `state_dict` returned."""
        for listener in self._listeners:
            listener.load_state_dict(states.get(listener.metric.label, {}))

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
        self,
        ids: NDArray[np.int64],
        labels: NDArray[np.int64] | None,
        read: Callable[[int], Iterable[LayerActivations]],
    ) -> tuple[Row, ...]:
        """Measure a split.

        Args:
            ids: the sample ids of the whole split.
            labels: their labels, or none.
            read: given 1 or 2, yields the split's chunks for that reading.
        """
        failures_before = self._dispatcher.failure_counts()
        split = _Split(self._wanted, self._needs_subset, ids, labels)
        for chunk in read(1):
            split.update(chunk)
            self._dispatcher.emit("cmp_layer_activations", chunk)
        if split.last is None:
            return ()
        statistics = SplitStatistics(split.sums)
        for chunk in read(2) if self._readings == 2 else ():
            again = attrs.evolve(chunk, fitted=statistics)
            self._dispatcher.emit("cmp_layer_activations", again)
        answers = self._dispatcher.emit("cmp_split_finished", split.finished(statistics))
        return self._rows(answers, split.peaks, split.last, failures_before)

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
                label = listener.metric.label
                readings += [Reading(x.name, label, 0, reason=reason) for x in event.layers]
            else:
                readings += answers[listener.name]
        _refuse_duplicates(readings)
        return settle(readings, peaks)


class _Split:
    """What is gathered from a split's chunks for all metrics together."""

    def __init__(
        self,
        wanted: frozenset[str],
        needs_subset: bool,
        ids: NDArray[np.int64],
        labels: NDArray[np.int64] | None,
    ) -> None:
        self._wanted = wanted
        self._ids = torch.from_numpy(ids)
        self._labels = None if labels is None else torch.from_numpy(labels)
        self._chosen = torch.from_numpy(ids[choose(ids, SUBSET_SIZE)]) if needs_subset else None
        self._parts: list[LayerActivations] = []
        self.peaks: dict[str, Tensor] = {}
        self.last: LayerActivations | None = None

    def update(self, chunk: LayerActivations) -> None:
        if self.last is None:
            device = chunk.sample_ids.device
            labels = None if self._labels is None else self._labels.to(device)
            self._chosen = None if self._chosen is None else self._chosen.to(device)
            self.sums = SplitSums(self._wanted, self._ids.to(device), labels, chunk.num_classes)
        self.last = chunk
        for name, shared in chunk.statistics.items():
            peak = shared.peak.clone()
            self.peaks[name] = torch.maximum(self.peaks[name], peak) if name in self.peaks else peak
        if self._chosen is not None:
            self._parts.append(_select(chunk, self._chosen))
        if self._wanted:
            self.sums.update(chunk.all_layers, chunk.sample_ids, chunk.labels)

    def finished(self, statistics: SplitStatistics) -> SplitFinished:
        chunk = self.last
        assert chunk is not None  # a split without chunks has nothing to finish
        return SplitFinished(
            source=chunk.source,
            phase=chunk.phase,
            epoch=chunk.epoch,
            step=chunk.step,
            n=len(self._ids),
            layers=tuple(_without_samples(layer) for layer in chunk.layers),
            reference=None if chunk.reference is None else _without_samples(chunk.reference),
            num_classes=chunk.num_classes,
            statistics=statistics,
            subset=_join(self._parts) if self._parts else None,
        )


def _without_samples(layer: Layer) -> Layer:
    return attrs.evolve(layer, activations=layer.activations[:0], scores=None, anchors=None)


def _refuse_duplicates(readings: Sequence[Reading]) -> None:
    """Raise where one value would stand in another's place, as labels and sub-values can meet."""
    counts = Counter((r.layer, r.metric, r.pair and r.other) for r in readings)
    layer, metric, _ = max(counts, key=counts.__getitem__, default=("", "", None))
    if len(counts) < len(readings):
        raise UsageError(f"two metrics yield '{metric}' at {layer}: give one of them another label")


def _select(event: LayerActivations, ids: Tensor) -> LayerActivations:
    """Return the event's samples that have one of the ids."""
    where = torch.isin(event.sample_ids, ids).nonzero().squeeze(1)

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
