"""How a selected metric becomes values: it listens to activations and answers with readings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from numbers import Real
from typing import Any

import attrs
import torch
from torch import Tensor

from cmp_core.errors import UndefinedError
from cmp_core.events import LayerActivations, SplitFinished
from cmp_core.hookspecs import hookimpl
from cmp_core.metric_contract import LayerView, Metric
from cmp_core.rows import Row, Value


@attrs.frozen(eq=False)
class Mean:
    """A mean over samples, kept as a sum and a count (0-d each)."""

    total: Tensor
    count: Tensor

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.total + other.total, self.count + other.count)


@attrs.frozen(eq=False)
class Reading:
    """A row whose value may still be on the device; `settle` brings it home."""

    row: Row
    value: float | Tensor | Mean | None = None
    undefined: str = "the value is not a finite number"


class MetricListener:
    """The plugin that measures one selected metric."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.name = f"metric:{metric.label}"
        self._gathered = Measurement(metric)
        self._running = Measurement(metric)

    @hookimpl
    def cmp_layer_activations(self, event: LayerActivations) -> list[Reading] | None:
        """Measure a batch at once; take in a chunk."""
        coverage = self.metric.definition.coverage
        if coverage == "running":
            return self._follow(event) if event.part == "batch" else None
        if event.part == "batch":
            return self._at_once(event)
        if coverage == "gathered":
            self._gathered.update(event, event.reading)
        return None

    @hookimpl
    def cmp_split_finished(self, event: SplitFinished) -> list[Reading]:
        """Return the values of the split."""
        coverage = self.metric.definition.coverage
        if coverage == "running":
            reason = "it follows the training batches of a live run; a split has no value"
            return [self._missing(layer.name, event.n, reason) for layer in event.layers]
        readings: list[Reading] = []
        if coverage == "gathered":
            finished, self._gathered = self._gathered, Measurement(self.metric)
            readings += finished.readings()
        elif coverage == "sums":
            readings += self._at_once(event)
        elif event.subset is not None:
            readings += self._at_once(event.subset)
        if self.metric.definition.scope == "pair" and event.subset is not None:
            readings += self._at_once(event.subset, Pairs(self.metric))
        return readings

    def state_dict(self) -> dict[str, Any]:
        """Return what outlives a batch: the state of a running metric at every layer."""
        return self._running.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._running.load_state_dict(state)

    def _at_once(
        self, event: LayerActivations | SplitFinished, measurement: Measurement | None = None
    ) -> list[Reading]:
        measurement = measurement or Measurement(self.metric)
        for reading in (1, 2):
            measurement.update(event, reading)
        return measurement.readings()

    def _follow(self, event: LayerActivations) -> list[Reading]:
        if event.source != "live":
            return [
                self._missing(layer.name, event.n, "it follows a live run; this is a replay")
                for layer in event.layers
            ]
        self._running.update(event, 1)
        return self._running.readings(n=event.n)

    def _missing(self, layer: str, n: int, reason: str) -> Reading:
        return Reading(Row(layer, self.metric.label, None, n, reason))


class _PerSampleMeans:
    """The state of a function that returns one value per sample, NaN where there is none."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._means: dict[str, Mean] = {}

    def update(self, *views: LayerView) -> None:
        n = len(views[0].sample_ids)
        for name, values in _by_name(self._metric.call(*views)).items():
            if not isinstance(values, Tensor) or values.shape != (n,):
                got = tuple(values.shape) if isinstance(values, Tensor) else values
                raise ValueError(
                    f"metric '{self._metric.label}' declares per_sample: "
                    f"expected one value per sample, shape ({n},), got {got}"
                )
            # Sums over a split of any length keep float64's digits where the device has them.
            precise = torch.float32 if values.device.type == "mps" else torch.float64
            mean = Mean(values.nansum(dtype=precise), values.isnan().logical_not().sum())
            self._means[name] = self._means[name] + mean if name in self._means else mean

    def merge(self, other: _PerSampleMeans) -> _PerSampleMeans:
        merged = _PerSampleMeans(self._metric)
        both = self._means.keys() & other._means.keys()
        merged._means = self._means | other._means
        merged._means |= {name: self._means[name] + other._means[name] for name in both}
        return merged

    def compute(self) -> dict[str, Mean]:
        return self._means


class _AtOnce:
    """The state of a function that is called once: the views themselves."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._views: tuple[LayerView, ...] = ()

    def update(self, *views: LayerView) -> None:
        self._views = views

    def compute(self) -> Any:
        return self._metric.call(*self._views)


class _Cell:
    """One metric at one layer, or pair of layers: a state, or the reason why there is none."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self.state = self._new_state(metric)
        self._fitted = False
        self._reason: str | None = None
        self._n = 0

    def update(self, view: LayerView, reading: int, first: LayerView | None = None) -> None:
        """Take in a layer's samples; `first` makes it a pair of two given layers."""
        if self._reason is not None:
            return
        try:
            views = self._metric.views_of(view) if first is None else (first, view)
            if reading == self._metric.definition.readings[0]:
                self._n += view.n
                for each in views:
                    self._metric.check_needs(each)
                self.state.update(*views)
                return
            if not self._fitted:
                self.state.fit()
                self._fitted = True
            self.state.score(*views)
        except UndefinedError as error:
            self._reason = str(error)

    def readings(self, layer: str, other: str | None, pair: bool, n: int | None) -> list[Reading]:
        row = Row(
            layer,
            self._metric.label,
            None,
            self._n if n is None else n,
            self._reason,
            other,
            pair,
        )
        if self._reason is not None:
            return [Reading(row)]
        undefined = self._metric.definition.undefined
        try:
            values = _by_name(self.state.compute())
        except UndefinedError as error:
            return [Reading(attrs.evolve(row, reason=str(error)))]
        if not values:
            raise ValueError(f"metric '{self._metric.label}': it returned an empty mapping")
        for value in values.values():
            _check_value(self._metric, value)
        return [
            Reading(
                attrs.evolve(row, metric=f"{row.metric}_{name}" if name else row.metric),
                # A value may be a view of the event, which a later plugin may write into.
                value.clone() if isinstance(value, Tensor) else value,
                undefined,
            )
            for name, value in values.items()
        ]

    @staticmethod
    def _new_state(metric: Metric) -> Any:
        if metric.definition.is_stateful:
            return metric.new_state()
        return _PerSampleMeans(metric) if metric.definition.per_sample else _AtOnce(metric)


class Measurement:
    """One metric over one batch or split, at every layer."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._cells: dict[str, _Cell] = {}
        self._others: dict[str, str | None] = {}

    def update(self, event: LayerActivations | SplitFinished, reading: int) -> None:
        """Take in a batch, a chunk, or what a finished split has to offer."""
        definition = self._metric.definition
        if reading not in definition.readings:
            return
        layers = event.layers if definition.scope == "pair" else event.all_layers
        for layer in layers:
            view = LayerView(event, layer)
            if layer.name not in self._cells:
                self._cells[layer.name] = _Cell(self._metric)
                self._others[layer.name] = self._neighbour_of(view)
            self._cells[layer.name].update(view, reading)

    def readings(self, n: int | None = None) -> list[Reading]:
        """Return the values, of as many samples as were seen, or of `n`."""
        return [
            reading
            for layer, cell in self._cells.items()
            for reading in cell.readings(layer, self._others[layer], pair=False, n=n)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return the states by layer."""
        return {layer: cell.state.state_dict() for layer, cell in self._cells.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        for layer, own in state.items():
            self._cells[layer], self._others[layer] = _Cell(self._metric), None
            self._cells[layer].state.load_state_dict(own)

    def _neighbour_of(self, view: LayerView) -> str | None:
        which = self._metric.definition.neighbour
        try:
            return None if which is None else str(getattr(view, which).name)
        except UndefinedError:
            return None


class Pairs(Measurement):
    """One metric of pairs over a subset: the matrix of all pairs of layers."""

    def __init__(self, metric: Metric) -> None:
        super().__init__(metric)
        self._pairs: dict[tuple[str, str], _Cell] = {}

    def update(self, event: LayerActivations | SplitFinished, reading: int) -> None:
        """Take in the subset; of a symmetric metric, each pair once."""
        if reading not in self._metric.definition.readings:
            return
        views = [LayerView(event, layer) for layer in event.layers]
        for first, second in product(views, views):
            if not (self._is_symmetric and first.depth > second.depth):
                cell = self._pairs.setdefault((first.name, second.name), _Cell(self._metric))
                cell.update(second, reading, first)

    def readings(self, n: int | None = None) -> list[Reading]:
        """Return the matrix's entries, those of both halves."""
        return [
            attrs.evolve(reading, row=attrs.evolve(reading.row, layer=layer, other=other))
            for (first, second), cell in self._pairs.items()
            for reading in cell.readings(first, second, pair=True, n=n)
            for layer, other in self._places(first, second)
        ]

    @property
    def _is_symmetric(self) -> bool:
        return "symmetric" in self._metric.definition.invariances

    def _places(self, first: str, second: str) -> list[tuple[str, str]]:
        mirrored = self._is_symmetric and first != second
        return [(first, second), (second, first)] if mirrored else [(first, second)]


def settle(readings: Sequence[Reading], peaks: Mapping[str, Tensor]) -> tuple[Row, ...]:
    """Bring all values home in one transfer per device, and turn what is not finite into a reason.

    Args:
        readings: what the metrics answered.
        peaks: `statistics.peak` (0-d) of every layer.
    """
    wanted: list[Tensor] = list(peaks.values())
    for reading in readings:
        if isinstance(reading.value, Mean):
            wanted += [reading.value.total, reading.value.count]
        elif isinstance(reading.value, Tensor):
            wanted.append(reading.value)
    home = _transfer(wanted)
    heights = {layer: home[id(peak)][0] for layer, peak in peaks.items()}
    return tuple(_settled(reading, home, heights) for reading in readings)


def _settled(
    reading: Reading, home: Mapping[int, tuple[float, ...]], heights: Mapping[str, float]
) -> Row:
    row, value, n = reading.row, reading.value, reading.row.n
    if row.reason is not None:
        return row
    result: Value
    if isinstance(value, Mean):
        n = int(home[id(value.count)][0])
        result = home[id(value.total)][0] / n if n else math.nan
    elif isinstance(value, Tensor):
        result = home[id(value)] if value.ndim else home[id(value)][0]
    else:
        result = math.nan if value is None else float(value)
    layers = [row.layer] if row.other is None else [row.layer, row.other]
    reason = _reason(reading, result, {name: heights[name] for name in layers if name in heights})
    return attrs.evolve(row, value=None if reason else result, n=n, reason=reason)


def _reason(reading: Reading, value: Value, heights: Mapping[str, float]) -> str | None:
    """Return why a value is missing, or none where it is sound."""
    if reading.row.n == 0:
        return "there are no samples"
    for layer, height in heights.items():
        if not math.isfinite(height):
            return f"activations or scores of {layer} hold NaN or infinity"
    if all(map(math.isfinite, value if isinstance(value, tuple) else (value,))):
        return None
    for layer, height in heights.items():
        if height == 0:
            return f"{layer} is dead: all its activations are 0"
    return reading.undefined


def _transfer(tensors: Sequence[Tensor]) -> dict[int, tuple[float, ...]]:
    """Return the numbers of 0-d and 1-d tensors by the tensors' identity."""
    home: dict[int, tuple[float, ...]] = {}
    for device in {tensor.device for tensor in tensors}:
        group = [tensor for tensor in tensors if tensor.device == device]
        precise = torch.float32 if device.type == "mps" else torch.float64
        flat = iter(torch.cat([t.detach().reshape(-1).to(precise) for t in group]).tolist())
        home |= {id(t): tuple(next(flat) for _ in range(t.numel())) for t in group}
    return home


def _check_value(metric: Metric, value: Any) -> None:
    """Raise here, where the metric's listener answers for it, what could not be logged."""
    if isinstance(value, Tensor) and value.ndim > 1:
        got = f"a tensor of shape {tuple(value.shape)}"
    elif isinstance(value, (Real, Tensor, Mean)):
        return
    else:
        got = f"{type(value).__name__} {value!r:.40}"
    raise TypeError(
        f"metric '{metric.label}': expected a number, a 0-d tensor, a vector (p,) or a mapping of "
        f"names to such, got {got}"
    )


def _by_name(value: Any) -> Mapping[str, Any]:
    """Return a metric's value as sub-values by name; the headline's name is empty."""
    return value if isinstance(value, Mapping) else {"": value}
