"""Bringing values from the device to the host, and saying why some are missing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import attrs
import torch
from torch import Tensor

from cmp_core.events.results import DeviceValue, MetricResult, SampleMean, SampleValues
from cmp_core.events.rows import Row, Value
from cmp_core.layers.arrays import precise, wide
from cmp_core.layers.layer import Layer
from cmp_core.measurement.jackknife import standard_error
from cmp_core.measurement.listener import total_and_count

_MaxAbs = Mapping[str, tuple[float, ...]]
"""By layer, the sizes of its extremes on the host."""


@attrs.frozen(eq=False)
class Extremes:
    """Smallest and largest activation of a layer, then those of its scores, 0-d each."""

    values: tuple[Tensor, ...]

    @classmethod
    def of(cls, layer: Layer) -> Extremes:
        """Return those of a layer."""
        values: list[Tensor] = []
        for tensor in (layer.activations, layer.scores):
            if tensor is None:
                continue
            numbers = wide(tensor)
            zero = numbers.new_zeros(())
            values += torch.aminmax(numbers) if numbers.numel() else (zero, zero)
        return cls(tuple(values))

    def merge(self, other: Extremes) -> Extremes:
        """Return the extremes of both sets of samples."""
        ways = (torch.minimum, torch.maximum) * 2
        return Extremes(
            tuple(way(a, b) for way, a, b in zip(ways, self.values, other.values, strict=False))
        )


def on_host(results: Sequence[MetricResult], extremes: Mapping[str, Extremes]) -> tuple[Row, ...]:
    """Bring all values to the host, and give a reason for each that is missing or not finite.

    Args:
        results: what the metrics answered.
        extremes: of every layer.
    """
    # A value of a symmetric pair stands at two places.
    distinct = {id(r.value): r.value for r in results if r.value is not None}
    influences = {id(r.influence): r.influence for r in results if r.influence is not None}
    flat = [value for layer in extremes.values() for value in layer.values]
    errors_of = [standard_error(influence) for influence in influences.values()]
    numbers = host_values([*flat, *errors_of, *_as_tensors(list(distinct.values()))])
    errors = dict(zip(influences, numbers[len(flat) :], strict=False))
    values = dict(zip(distinct, numbers[len(flat) + len(errors) :], strict=True))
    rest = iter(numbers)
    max_abs = {
        name: tuple(map(abs, islice(rest, len(layer.values)))) for name, layer in extremes.items()
    }
    return tuple(_with_error(_row(r, values, max_abs), r.influence, errors) for r in results)


def _with_error(row: Row, influence: Tensor | None, errors: Mapping[int, Value]) -> Row:
    """Return a row with the standard error that influences (u,) give, if it is finite."""
    error = errors.get(id(influence))
    if row.value is None or influence is None or not isinstance(error, float):
        return row
    if not math.isfinite(error):
        return row
    return attrs.evolve(row, error=error, influence=influence.double().cpu().numpy())


def _as_tensors(values: Sequence[DeviceValue]) -> list[Tensor]:
    """Return the values as tensors, means as total and count, stacked where they are alike."""
    alike: dict[Any, list[SampleValues]] = {}
    for value in values:
        if isinstance(value, SampleValues):
            kind = value.values.shape, value.values.dtype, value.values.device
            alike.setdefault(kind, []).append(value)
    totals: dict[int, Tensor] = {}
    for group in alike.values():
        stacked = total_and_count(torch.stack([value.values for value in group]))
        totals |= {id(value): total for value, total in zip(group, stacked, strict=True)}
    return [
        value.total_and_count
        if isinstance(value, SampleMean)
        else totals[id(value)]
        if isinstance(value, SampleValues)
        else value
        for value in values
    ]


def host_values(tensors: Sequence[Tensor]) -> list[Any]:
    """Return 0-d tensors and vectors as numbers and tuples of numbers, one transfer per device."""
    values: list[Any] = [None] * len(tensors)
    for device in {tensor.device for tensor in tensors}:
        groups: dict[tuple[torch.dtype, int], list[int]] = {}
        for i, tensor in enumerate(tensors):
            if tensor.device == device:
                groups.setdefault((tensor.dtype, tensor.ndim), []).append(i)
        parts = [
            (torch.cat if ndim else torch.stack)([tensors[i] for i in group]).to(precise(device))
            for (_, ndim), group in groups.items()
        ]
        flat: Iterator[float] = iter(torch.cat(parts).tolist())
        for i in chain.from_iterable(groups.values()):
            shape = tensors[i].shape
            values[i] = tuple(islice(flat, shape[0])) if shape else next(flat)
    return values


def _row(result: MetricResult, values: Mapping[int, Any], max_abs: _MaxAbs) -> Row:
    n, reason, value = result.n, result.reason, None
    if result.value is not None:
        value = values[id(result.value)]
        if not isinstance(result.value, Tensor):
            total, count = value
            n = int(count)
            value = total / n if n else math.nan
        reason = _reason(result, value, max_abs)
        value = None if reason else value
    return Row(result.layer, result.metric, value, n, reason, result.other, result.pair)


def _reason(result: MetricResult, value: Value, max_abs: _MaxAbs) -> str | None:
    """Return why a value is missing, or none where it is sound."""
    if result.n == 0:
        return "there are no samples"
    layers = [x for x in (result.layer, result.other or result.layer) if x in max_abs]
    for layer in layers:
        if not all(map(math.isfinite, max_abs[layer])):
            return f"activations or scores of {layer} hold NaN or infinity"
    if all(map(math.isfinite, value)) if isinstance(value, tuple) else math.isfinite(value):
        return None
    for layer in layers:
        if not any(max_abs[layer][:2]):
            return f"{layer} is dead: all its activations are 0"
    return result.undefined
