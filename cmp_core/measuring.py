"""How a selected metric becomes values: it listens to activations and answers with readings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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


class MetricListener:
    """The plugin that measures one selected metric."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.name = f"metric:{metric.label}"
        self._split = _Measurement(metric)

    @hookimpl
    def cmp_layer_activations(self, event: LayerActivations) -> list[Reading] | None:
        """Measure a batch at once; take in a chunk."""
        if event.part == "batch":
            return self._measure_at_once(event)
        if not self.metric.definition.sees_all_at_once:
            self._split.update(event, event.reading)
        return None

    @hookimpl
    def cmp_split_finished(self, event: SplitFinished) -> list[Reading]:
        """Return the values of the split."""
        if event.subset is not None and self.metric.definition.sees_all_at_once:
            return self._measure_at_once(event.subset)
        finished, self._split = self._split, _Measurement(self.metric)
        return finished.readings()

    def _measure_at_once(self, event: LayerActivations) -> list[Reading]:
        measurement = _Measurement(self.metric)
        for reading in range(1, self.metric.definition.passes + 1):
            measurement.update(event, reading)
        return measurement.readings()


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

    def compute(self) -> dict[str, Mean]:
        return self._means


class _AtOnce:
    """The state of a function that sees its samples at once: the views themselves."""

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
        self._state = self._new_state(metric)
        self._fitted = False
        self._reason: str | None = None
        self._n = 0

    def update(self, views: Sequence[LayerView], reading: int) -> None:
        if self._reason is not None:
            return
        try:
            if reading == 1:
                self._n += len(views[0].sample_ids)
                for view in views:
                    self._metric.check_needs(view)
                self._state.update(*views)
                return
            if not self._fitted:
                self._state.fit()
                self._fitted = True
            self._state.score(*views)
        except UndefinedError as error:
            self._reason = str(error)

    def readings(self, layer: str, other: str | None) -> list[Reading]:
        pair = self._metric.definition.scope == "pair"
        row = Row(layer, self._metric.label, None, self._n, self._reason, other, pair)
        if self._reason is not None:
            return [Reading(row)]
        try:
            values = _by_name(self._state.compute())
        except UndefinedError as error:
            return [Reading(attrs.evolve(row, reason=str(error)))]
        if not values:
            raise ValueError(f"metric '{self._metric.label}': it returned an empty mapping")
        for value in values.values():
            _check_value(self._metric, value)
        return [
            Reading(attrs.evolve(row, metric=f"{row.metric}_{name}" if name else row.metric), own)
            for name, value in values.items()
            # A value may be a view of the event, which a later plugin may write into.
            for own in [value.clone() if isinstance(value, Tensor) else value]
        ]

    @staticmethod
    def _new_state(metric: Metric) -> Any:
        if metric.definition.is_stateful:
            return metric.new_state()
        return _PerSampleMeans(metric) if metric.definition.per_sample else _AtOnce(metric)


class _Measurement:
    """One metric over one batch or split, at every layer or pair of layers."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._cells: dict[tuple[str, str | None], _Cell] = {}

    def update(self, event: LayerActivations, reading: int) -> None:
        if reading > self._metric.definition.passes:
            return
        for layer, other, views in self._targets(event):
            if (layer, other) not in self._cells:
                self._cells[layer, other] = _Cell(self._metric)
            self._cells[layer, other].update(views, reading)

    def readings(self) -> list[Reading]:
        return [
            reading
            for (layer, other), cell in self._cells.items()
            for reading in cell.readings(layer, other)
        ]

    def _targets(
        self, event: LayerActivations
    ) -> Iterator[tuple[str, str | None, tuple[LayerView, ...]]]:
        if self._metric.definition.scope == "pair":
            views = [LayerView(event, layer) for layer in event.layers]
            for first, second in product(views, views):
                yield first.name, second.name, (first, second)
            return
        for layer in event.all_layers:
            view = LayerView(event, layer)
            yield view.name, self._neighbour_of(view), (view,)

    def _neighbour_of(self, view: LayerView) -> str | None:
        which = self._metric.definition.neighbour
        try:
            return None if which is None else str(getattr(view, which).name)
        except UndefinedError:
            return None


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
    reason = _reason(result, row.n, {name: heights[name] for name in layers if name in heights})
    return attrs.evolve(row, value=None if reason else result, n=n, reason=reason)


def _reason(value: Value, n: int, heights: Mapping[str, float]) -> str | None:
    """Return why a value is missing, or none where it is sound."""
    if n == 0:
        return "there are no samples"
    for layer, height in heights.items():
        if not math.isfinite(height):
            return f"activations or scores of {layer} hold NaN or infinity"
    if all(map(math.isfinite, value if isinstance(value, tuple) else (value,))):
        return None
    for layer, height in heights.items():
        if height == 0:
            return f"{layer} is dead: all its activations are 0"
    return "the value is not a finite number"


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
