"""How a selected metric becomes readings: it listens to activations and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from torch import Tensor

from cmp_core.errors import UndefinedError
from cmp_core.events import LayerActivations, SplitFinished
from cmp_core.hookspecs import hookimpl
from cmp_core.layer import Layer
from cmp_core.metric_contract import LayerView, Metric
from cmp_core.rows import Row
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
            return self._missing_everywhere(event.layers, event.n, _SLOW)
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
            return self._missing_everywhere(event.layers, event.n, reason)
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
        """Return what outlives a batch: the state of a running metric at every layer."""
        return {layer: state.inner.state_dict() for layer, state in self._running.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        for layer, own in state.items():
            self._running[layer] = _State(self.metric)
            self._running[layer].inner.load_state_dict(own)

    # Functions are called once for each layer or pair of layers

    def _at_once(self, event: LayerActivations | SplitFinished) -> list[Reading]:
        """Measure every layer of a batch, of a subset, or of a finished split by its sums."""
        if self.metric.definition.is_stateful:
            states: _States = {}
            for reading in self.metric.definition.readings:
                self._gather(states, event, reading)
            return self._computed(states)
        return [
            reading
            for layer in self._layers(event)
            for view in [LayerView(event, layer)]
            for reading in self._called(view, None, _place(view, self.metric))
        ]

    def _all_pairs(self, subset: LayerActivations) -> list[Reading]:
        """Measure the matrix of all pairs of layers; of a symmetric metric, each pair once."""
        is_symmetric = "symmetric" in self.metric.definition.invariances
        views = [LayerView(subset, layer) for layer in subset.layers]
        readings = []
        for first, second in product(views, views):
            if is_symmetric and first.depth > second.depth:
                continue
            places = [(first.name, second.name, True)]
            if is_symmetric and first.depth < second.depth:
                places.append((second.name, first.name, True))
            readings += self._called(second, first, *places)
        return readings

    def _called(
        self, view: LayerView, first: LayerView | None, *places: tuple[str, str | None, bool]
    ) -> list[Reading]:
        """Call the function; `first` makes it a pair of two given layers."""
        metric = self.metric
        try:
            views = metric.views_of(view) if first is None else (first, view)
            for each in views:
                metric.check_needs(each)
            values = _by_name(metric.call(*views))
        except UndefinedError as error:
            return [self._missing(place, view.n, str(error)) for place in places]
        if metric.definition.per_sample:
            values = {name: _per_sample(metric, own, view.n) for name, own in values.items()}
        return [each for place in places for each in self._readings(place, view.n, values)]

    # Classes take in chunk after chunk, and so do functions of single samples

    def _gather(
        self, states: _States, event: LayerActivations | SplitFinished, reading: int
    ) -> None:
        if reading not in self.metric.definition.readings:
            return
        for layer in self._layers(event):
            view = LayerView(event, layer)
            if layer.name not in states:
                states[layer.name] = _State(self.metric)
            states[layer.name].place = _place(view, self.metric)
            states[layer.name].update(view, reading)

    def _computed(self, states: _States) -> list[Reading]:
        readings = []
        for state in states.values():
            try:
                readings += self._readings(state.place, state.n, state.compute())
            except UndefinedError as error:
                readings.append(self._missing(state.place, state.n, str(error)))
        return readings

    def _follow(self, event: LayerActivations) -> list[Reading]:
        """Update a running metric by a training batch, and read it."""
        if event.source != "live":
            reason = "it follows the training batches of a live run; this is a replay"
            return self._missing_everywhere(event.layers, event.n, reason)
        for state in self._running.values():
            state.forget_samples()
        self._gather(self._running, event, 1)
        return self._computed(self._running)

    # Rows

    def _layers(self, event: LayerActivations | SplitFinished) -> tuple[Layer, ...]:
        is_pair = self.metric.definition.scope == "pair"
        return event.layers if is_pair else event.all_layers

    def _readings(self, place: _Place, n: int, values: Mapping[str, Any]) -> list[Reading]:
        label, undefined = self.metric.label, self.metric.definition.undefined
        layer, other, pair = place
        if not values:
            raise ValueError(f"metric '{label}': it returned an empty mapping")
        try:
            mine = {f"{label}_{name}" if name else label: owned(v) for name, v in values.items()}
        except TypeError as error:
            raise TypeError(f"metric '{label}': {error}") from error
        return [
            Reading(Row(layer, name, None, n, None, other, pair), value, undefined)
            for name, value in mine.items()
        ]

    def _missing(self, place: _Place, n: int, reason: str) -> Reading:
        layer, other, pair = place
        return Reading(Row(layer, self.metric.label, None, n, reason, other, pair))

    def _missing_everywhere(self, layers: Sequence[Layer], n: int, reason: str) -> list[Reading]:
        return [self._missing((layer.name, None, False), n, reason) for layer in layers]


_SLOW = "it is slow, and measured over whole splits only"

_Place = tuple[str, str | None, bool]
"""Where a value belongs: the layer, the other one or none, and whether it is one of all pairs."""


def _place(view: LayerView, metric: Metric) -> _Place:
    return view.name, view.name_of(metric.definition.neighbour), False


class _State:
    """A metric's state at one layer, or the reason why there is none."""

    def __init__(self, metric: Metric) -> None:
        self.place: _Place = ("", None, False)
        self.n = 0
        self.inner: Any = metric.new_state() if metric.definition.is_stateful else _Means(metric)
        self._metric = metric
        self._fitted = False
        self._reason: str | None = None

    def update(self, view: LayerView, reading: int) -> None:
        """Take in a chunk."""
        if self._reason is not None:
            return
        try:
            views = self._metric.views_of(view)
            if reading == self._metric.definition.readings[0]:
                self.n += view.n
                for each in views:
                    self._metric.check_needs(each)
                self.inner.update(*views)
                return
            if not self._fitted:
                self.inner.fit()
                self._fitted = True
            self.inner.score(*views)
        except UndefinedError as error:
            self._reason = str(error)

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
        self.n = 0
        self._reason = None


_States = dict[str, _State]
"""By layer."""


class _Means:
    """The state of a function that returns one value per sample, NaN where there is none."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._means: dict[str, Mean] = {}

    def update(self, *views: LayerView) -> None:
        for name, values in _by_name(self._metric.call(*views)).items():
            mean = Mean.of(_per_sample(self._metric, values, views[0].n).values)
            self._means[name] = self._means[name] + mean if name in self._means else mean

    def compute(self) -> dict[str, Mean]:
        return self._means


def _per_sample(metric: Metric, values: Any, n: int) -> Samples:
    if not isinstance(values, Tensor) or values.shape != (n,):
        got = tuple(values.shape) if isinstance(values, Tensor) else values
        raise ValueError(
            f"metric '{metric.label}' declares per_sample: "
            f"expected one value per sample, shape ({n},), got {got}"
        )
    return Samples(values)


def _by_name(value: Any) -> Mapping[str, Any]:
    """Return a metric's value as sub-values by name; the headline's name is empty."""
    return value if isinstance(value, Mapping) else {"": value}
