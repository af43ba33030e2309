"""How a selected metric becomes readings: it listens to activations and answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, product
from typing import Any

from torch import Tensor

from cmp_core.errors import UndefinedError
from cmp_core.events import LayerActivations, SplitFinished
from cmp_core.grouping import Cell, Group, Place, grouped
from cmp_core.hookspecs import hookimpl
from cmp_core.layer_view import LayerView
from cmp_core.metric_contract import Metric
from cmp_core.settling import Mean, Reading, Samples, owned


class MetricListener:
    """The plugin that measures one selected metric."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.name = f"metric:{metric.label}"
        self._gathered: _States = {}
        self._running: _States = {}

    @hookimpl
    def cmp_layer_activations(self, event: LayerActivations) -> list[Reading] | None:
        """Measure a batch at once; take in a chunk."""
        coverage = self.metric.definition.coverage
        if coverage == "running":
            return self._follow(event) if event.part == "batch" else None
        if event.part == "batch" and self.metric.definition.slow:
            return self._missing_everywhere(event, _SLOW)
        if event.part == "batch":
            return self._at_once(event)
        if coverage == "gathered":
            self._gather(self._gathered, event, event.reading)
        return None

    @hookimpl
    def cmp_split_finished(self, event: SplitFinished) -> list[Reading]:
        """Return the values of the split."""
        definition, subset = self.metric.definition, event.subset
        if definition.coverage == "running":
            reason = "it follows the training batches of a live run; a split has no value"
            return self._missing_everywhere(event, reason)
        readings: list[Reading] = []
        if definition.coverage == "gathered":
            finished, self._gathered = self._gathered, {}
            readings += self._computed(finished)
        elif definition.coverage == "sums":
            readings += self._at_once(event)
        elif subset is not None:
            readings += self._at_once(subset)
        if definition.scope == "pair" and subset is not None:
            readings += self._all_pairs(subset)
        return readings

    def state_dict(self) -> dict[str, Any]:
        """Return what outlives a batch: the states of a running metric, by their layers."""
        return {layers: state.inner.state_dict() for layers, state in self._running.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        for layers, own in state.items():
            self._running[layers] = _State(self.metric)
            self._running[layers].inner.load_state_dict(own)

    # Functions are called once for each layer or pair of layers, or for several together

    def _at_once(self, event: LayerActivations | SplitFinished) -> list[Reading]:
        """Measure every layer of a batch, of a subset, or of a finished split by its sums."""
        if self.metric.definition.is_stateful:
            states: _States = {}
            for reading in self.metric.definition.readings:
                self._gather(states, event, reading)
            return self._computed(states)
        return self._called(self._cells(event))

    def _all_pairs(self, subset: LayerActivations) -> list[Reading]:
        """Measure the matrix of all pairs of layers; of a symmetric metric, each pair once."""
        is_symmetric = "symmetric" in self.metric.definition.invariances
        views = [LayerView(subset, layer) for layer in subset.layers]
        cells = []
        for first, second in product(views, views):
            if is_symmetric and first.depth > second.depth:
                continue
            places = [(first.name, second.name, True)]
            if is_symmetric and first.depth < second.depth:
                places.append((second.name, first.name, True))
            cells.append(Cell(second, tuple(places), first))
        return self._called(cells)

    def _called(self, cells: Iterable[Cell]) -> list[Reading]:
        """Call the function on every cell, or on several together."""
        readings: list[Reading] = []
        for group in grouped(self.metric, cells):
            try:
                values = _by_name(self.metric.call(*group.views))
            except UndefinedError as error:
                readings += self._missing(group.places, group.n, str(error))
                continue
            if self.metric.definition.per_sample:
                values = {name: _samples(self.metric, own, group) for name, own in values.items()}
            readings += self._readings(group.places, group.n, values)
        return readings

    # Classes take in chunk after chunk, and so do functions of single samples

    def _gather(
        self, states: _States, event: LayerActivations | SplitFinished, reading: int
    ) -> None:
        if reading not in self.metric.definition.readings:
            return
        for group in grouped(self.metric, self._cells(event)):
            if group.name not in states:
                states[group.name] = _State(self.metric)
            states[group.name].update(group, reading)

    def _computed(self, states: _States) -> list[Reading]:
        readings: list[Reading] = []
        for state in states.values():
            try:
                readings += self._readings(state.places, state.n, state.compute())
            except UndefinedError as error:
                readings += self._missing(state.places, state.n, str(error))
        return readings

    def _follow(self, event: LayerActivations) -> list[Reading]:
        """Update a running metric by a training batch, and read it."""
        if event.source != "live":
            reason = "it follows the training batches of a live run; this is a replay"
            return self._missing_everywhere(event, reason)
        for state in self._running.values():
            state.forget_samples()
        self._gather(self._running, event, 1)
        return self._computed({name: s for name, s in self._running.items() if s.places})

    # Rows

    def _cells(self, event: LayerActivations | SplitFinished) -> Iterator[Cell]:
        definition = self.metric.definition
        for layer in event.layers if definition.scope == "pair" else event.all_layers:
            view = LayerView(event, layer)
            yield Cell(view, ((view.name, view.name_of(definition.neighbour), False),))

    def _readings(
        self, places: Sequence[tuple[Place, ...]], n: int, values: Mapping[str, Any]
    ) -> Iterator[Reading]:
        label, definition = self.metric.label, self.metric.definition
        if not values:
            raise ValueError(f"metric '{label}': it returned an empty mapping")
        for name, value in values.items():
            named = f"{label}_{name}" if name else label
            try:
                mine = owned(value, len(places) if definition.vectorized else None)
            except TypeError as error:
                raise TypeError(f"metric '{label}': {error}") from error
            for i, shared in enumerate(places):
                for layer, other, pair in shared:
                    yield Reading(layer, named, n, other, pair, None, mine, i, definition.undefined)

    def _missing(
        self, places: Iterable[tuple[Place, ...]], n: int, reason: str
    ) -> Iterator[Reading]:
        for layer, other, pair in chain.from_iterable(places):
            yield Reading(layer, self.metric.label, n, other, pair, reason=reason)

    def _missing_everywhere(
        self, event: LayerActivations | SplitFinished, reason: str
    ) -> list[Reading]:
        places = [((layer.name, None, False),) for layer in event.layers]
        return list(self._missing(places, event.n, reason))


_SLOW = "it is slow, and measured over whole splits only"


class _State:
    """A metric's state at a group of layers, or the reason why there is none."""

    def __init__(self, metric: Metric) -> None:
        self.places: Sequence[tuple[Place, ...]] = ()
        self.n = 0
        self.inner: Any = metric.new_state() if metric.definition.is_stateful else _Means(metric)
        self._metric = metric
        self._fitted = False
        self._reason: str | None = None

    def update(self, group: Group, reading: int) -> None:
        """Take in a chunk."""
        self.places = group.places
        if self._reason is not None:
            return
        is_first = reading == self._metric.definition.readings[0]
        if is_first:
            self.n += group.n
        try:
            if isinstance(self.inner, _Means):
                self.inner.update(group)
            elif is_first:
                self.inner.update(*group.views)
            else:
                self._fit_once()
                self.inner.score(*group.views)
        except UndefinedError as error:
            self._reason = str(error)

    def _fit_once(self) -> None:
        if not self._fitted:
            self.inner.fit()
            self._fitted = True

    def compute(self) -> Mapping[str, Any]:
        """Return the values by name.

        Raises:
            UndefinedError: there are none.
        """
        if self._reason is not None:
            raise UndefinedError(self._reason)
        return _by_name(self.inner.compute())

    def forget_samples(self) -> None:
        """Count from 0, and give an undefined layer another chance."""
        self.places, self.n = (), 0
        self._reason = None


_States = dict[str, _State]
"""By the names of the layers."""


class _Means:
    """The state of a function that returns one value per sample, NaN where there is none."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._means: dict[str, Mean] = {}

    def update(self, group: Group) -> None:
        for name, values in _by_name(self._metric.call(*group.views)).items():
            mean = Mean.of(_samples(self._metric, values, group).values)
            self._means[name] = self._means[name] + mean if name in self._means else mean

    def compute(self) -> dict[str, Mean]:
        return self._means


def _samples(metric: Metric, values: Any, group: Group) -> Samples:
    expected = (len(group.places), group.n) if metric.definition.vectorized else (group.n,)
    if not isinstance(values, Tensor) or values.shape != expected:
        got = tuple(values.shape) if isinstance(values, Tensor) else values
        raise ValueError(
            f"metric '{metric.label}' declares per_sample: "
            f"expected one value per sample, shape {expected}, got {got}"
        )
    return Samples(values)


def _by_name(value: Any) -> Mapping[str, Any]:
    """Return a metric's value as sub-values by name; the headline's name is empty."""
    return value if isinstance(value, Mapping) else {"": value}
