"""How a selected metric becomes readings: it listens to activations and answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from torch import Tensor

from cmp_core.errors import UndefinedError
from cmp_core.events.hookspecs import hookimpl
from cmp_core.events.payloads import LayerActivations, SplitFinished
from cmp_core.events.results import Mean, Reading, Samples
from cmp_core.events.view import LayerView
from cmp_core.measurement.grouping import Cell, Group, Lacking, grouped
from cmp_core.measurement.metric import Metric
from cmp_core.measurement.transfer import owned


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
            readings += self._computed(finished, event)
        elif definition.coverage == "sums":
            readings += self._at_once(event)
        elif subset is not None:
            readings += self._at_once(subset)
        if definition.scope == "pair" and subset is not None:
            readings += self._all_pairs(subset)
        return readings

    def state_dict(self) -> dict[str, Any]:
        """Return what outlives a batch: the state of a running metric at every layer."""
        return {layer: state.inner.state_dict() for layer, state in self._running.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        for layer, own in state.items():
            self._running[layer] = _State(self.metric)
            self._running[layer].inner.load_state_dict(own)

    # At once: a batch, a subset, or a finished split by its sums

    def _at_once(self, event: LayerActivations | SplitFinished) -> list[Reading]:
        """Measure every layer."""
        order = {layer.name: i for i, layer in enumerate(event.all_layers)}
        readings = self._measured(self._cells(event))
        return sorted(readings, key=lambda reading: order[reading.layer])

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
        return self._measured(cells)

    def _measured(self, cells: Iterable[Cell]) -> list[Reading]:
        """Measure cells, those of a vectorized metric together as far as they can be."""
        readings: list[Reading] = []
        for group in grouped(self.metric, cells):
            if isinstance(group, Lacking):
                readings += self._missing(group.cell, group.reason)
                continue
            try:
                _require_samples(group.cells[0].view.n)
                values = self._values(group)
            except UndefinedError as error:
                if len(group.cells) > 1:  # one layer's trouble must not cost another its value
                    for cell in group.cells:
                        readings += self._measured([cell])
                else:
                    readings += self._missing(group.cells[0], str(error))
            else:
                readings += self._readings(group.cells, group.cells[0].view.n, values)
        return readings

    def _values(self, group: Group) -> Mapping[str, Any]:
        """Return what the function or the class answers, by name."""
        definition = self.metric.definition
        if definition.is_stateful:
            state = _State(self.metric)
            for reading in definition.readings:
                state.update(group, reading)
            return state.compute()
        values = _by_name(self.metric.call(*group.views))
        if not definition.per_sample:
            return values
        return {name: _samples(self.metric, own, group) for name, own in values.items()}

    # Chunk after chunk: classes, and functions of single samples, with a state for each layer

    def _gather(self, states: _States, event: LayerActivations, reading: int) -> None:
        if reading not in self.metric.definition.readings:
            return
        for cell in self._cells(event):
            state = states.setdefault(cell.view.name, _State(self.metric))
            (group,) = grouped(self.metric, [cell])
            state.update(group, reading)

    def _computed(self, states: _States, event: LayerActivations | SplitFinished) -> list[Reading]:
        readings: list[Reading] = []
        for cell in self._cells(event):
            state = states.get(cell.view.name)
            if state is None:  # the metric has raised at a layer before it
                continue
            try:
                readings += self._readings([cell], state.n, state.compute())
            except UndefinedError as error:
                readings += self._missing(cell, str(error), state.n)
        return readings

    def _follow(self, event: LayerActivations) -> list[Reading]:
        """Update a running metric by a training batch, and read it."""
        if event.source != "live":
            reason = "it follows the training batches of a live run; this is a replay"
            return self._missing_everywhere(event, reason)
        for state in self._running.values():
            state.forget_samples()
        self._gather(self._running, event, 1)
        return self._computed(self._running, event)

    # Rows

    def _cells(self, event: LayerActivations | SplitFinished) -> Iterator[Cell]:
        definition = self.metric.definition
        for layer in event.layers if definition.scope == "pair" else event.all_layers:
            view = LayerView(event, layer)
            yield Cell(view, ((view.name, view.name_of(definition.neighbour), False),))

    def _readings(
        self, cells: Sequence[Cell], n: int, values: Mapping[str, Any]
    ) -> Iterator[Reading]:
        label, definition = self.metric.label, self.metric.definition
        if not values:
            raise ValueError(f"metric '{label}': it returned an empty mapping")
        for name, value in values.items():
            named = f"{label}_{name}" if name else label
            if isinstance(value, UndefinedError):
                for cell in cells:
                    yield from self._missing(cell, str(value), n, named)
                continue
            try:
                mine = owned(value, len(cells) if definition.vectorized else None)
            except TypeError as error:
                raise TypeError(f"metric '{label}': {error}") from error
            for i, cell in enumerate(cells):
                for layer, other, pair in cell.places:
                    yield Reading(layer, named, n, other, pair, None, mine, i, definition.undefined)

    def _missing(
        self, cell: Cell, reason: str, n: int | None = None, name: str | None = None
    ) -> Iterator[Reading]:
        n = cell.view.n if n is None else n
        for layer, other, pair in cell.places:
            yield Reading(layer, name or self.metric.label, n, other, pair, reason=reason)

    def _missing_everywhere(
        self, event: LayerActivations | SplitFinished, reason: str
    ) -> list[Reading]:
        label, n = self.metric.label, event.n
        return [Reading(layer.name, label, n, reason=reason) for layer in event.layers]


_SLOW = "it is slow, and measured over whole splits only"


class _State:
    """A metric's state at a layer (of a batch, at several), or the reason why there is none."""

    def __init__(self, metric: Metric) -> None:
        self.n = 0
        self.inner: Any = metric.new_state() if metric.definition.is_stateful else _Means(metric)
        self._metric = metric
        self._fitted = False
        self._reason: str | None = None

    def update(self, group: Group | Lacking, reading: int) -> None:
        """Take in a chunk."""
        if self._reason is not None:
            return
        cell = group.cell if isinstance(group, Lacking) else group.cells[0]
        if not cell.view.n:  # such a chunk adds nothing, and many functions raise on no samples
            return
        is_first = reading == self._metric.definition.readings[0]
        if is_first:
            self.n += cell.view.n
        if isinstance(group, Lacking):
            self._reason = group.reason
            return
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
        _require_samples(self.n)
        return _by_name(self.inner.compute())

    def forget_samples(self) -> None:
        """Count from 0, and give an undefined layer another chance."""
        self.n = 0
        self._reason = None


_States = dict[str, _State]
"""By layer."""


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
        if not self._means:  # the function has raised each time
            raise UndefinedError("there are no samples")
        return self._means


def _require_samples(n: int) -> None:
    if not n:
        raise UndefinedError("there are no samples")


def _samples(metric: Metric, values: Any, group: Group) -> Samples:
    n = group.cells[0].view.n
    expected = (len(group.cells), n) if metric.definition.vectorized else (n,)
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
