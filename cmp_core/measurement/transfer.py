"""Bringing values home: one transfer from the device for all of an event, and a reason for each
value that is missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain, islice
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from cmp_core.events.results import Mean, Reading, Samples, Unsettled
from cmp_core.events.rows import Row, Value
from cmp_core.statistics.moments import precise


def settle(readings: Sequence[Reading], peaks: Mapping[str, Tensor]) -> tuple[Row, ...]:
    """Bring all values home in one transfer per device, and turn what is not finite into a reason.

    Args:
        readings: what the metrics answered.
        peaks: `statistics.peak` (0-d) of every layer.
    """
    unsettled = {id(r.values): r.values for r in readings if r.values is not None}
    home = _transfer([*peaks.values(), *_as_tensors(list(unsettled.values()))])
    heights = dict(zip(peaks, home, strict=False))
    values = dict(zip(unsettled, home[len(peaks) :], strict=True))
    return tuple(_settled(reading, values, heights) for reading in readings)


def _as_tensors(values: Sequence[Unsettled]) -> list[Tensor]:
    """Return the values as tensors, a mean as (total, count), those of samples taken together."""
    blocks: dict[Any, list[Tensor]] = {}
    for value in values:
        if isinstance(value, Samples):
            key = value.values.shape[1], value.values.dtype, value.values.device
            blocks.setdefault(key, []).append(value.values)
    means: dict[int, Tensor] = {}
    for alike in blocks.values():
        pairs = Mean.of(torch.cat(alike)).pair()
        for block, stop in zip(alike, accumulate(map(len, alike)), strict=True):
            means[id(block)] = pairs[stop - len(block) : stop]
    return [_as_tensor(value, means) for value in values]


def _as_tensor(value: Unsettled, means: Mapping[int, Tensor]) -> Tensor:
    if isinstance(value, Samples):
        return means[id(value.values)]
    return value.pair() if isinstance(value, Mean) else value


def _settled(reading: Reading, values: Mapping[int, Any], heights: Mapping[str, float]) -> Row:
    n, reason, value = reading.n, reading.reason, None
    if reading.values is not None:
        value = values[id(reading.values)][reading.position]
        if not isinstance(reading.values, Tensor):
            total, count = value
            n = int(count)
            value = total / n if n else math.nan
        reason = _reason(reading, n, value, heights)
    return Row(
        reading.layer,
        reading.metric,
        None if reason else value,
        n,
        reason,
        reading.other,
        reading.pair,
    )


def _reason(reading: Reading, n: int, value: Value, heights: Mapping[str, float]) -> str | None:
    """Return why a value is missing, or none where it is sound."""
    if reading.n == 0:
        return "there are no samples"
    layers = [x for x in (reading.layer, reading.other or reading.layer) if x in heights]
    for layer in layers:
        if not math.isfinite(heights[layer]):
            return f"activations or scores of {layer} hold NaN or infinity"
    if all(map(math.isfinite, value)) if isinstance(value, tuple) else math.isfinite(value):
        return None
    for layer in layers:
        if heights[layer] == 0:
            return f"{layer} is dead: all its activations are 0"
    return reading.undefined


def _transfer(tensors: Sequence[Tensor]) -> list[Any]:
    """Return tensors as numbers, vectors and matrices of numbers, in one transfer per device."""
    home: list[Any] = [None] * len(tensors)
    for device in {tensor.device for tensor in tensors}:
        alike: dict[torch.dtype, list[int]] = {}
        for i, tensor in enumerate(tensors):
            if tensor.device == device:
                alike.setdefault(tensor.dtype, []).append(i)
        parts = [torch.cat([tensors[i].reshape(-1) for i in group]) for group in alike.values()]
        flat = iter(torch.cat([part.to(precise(device)) for part in parts]).tolist())
        for i in chain.from_iterable(alike.values()):
            home[i] = _shaped(flat, tensors[i].shape)
    return home


def _shaped(numbers: Iterator[float], shape: torch.Size) -> Any:
    """Take as many numbers as a tensor of some shape has, nested in tuples."""
    if not shape:
        return next(numbers)
    if len(shape) == 1:
        return tuple(islice(numbers, shape[0]))
    return tuple(_shaped(numbers, shape[1:]) for _ in range(shape[0]))


def owned(value: Any, layers: int | None) -> Unsettled:
    """Return values that no plugin can change any more, with a first dimension of layers.

    Args:
        value: what a metric answered.
        layers: for how many layers at once; none for one layer without such a dimension.

    Raises:
        TypeError: it is nothing that could be logged.
    """
    if layers is None:
        if isinstance(value, Mean):
            return Mean(value.total[None], value.count[None])
        if isinstance(value, Samples):
            return Samples(value.values[None].clone())
        if isinstance(value, Tensor) and value.ndim <= 1:
            return value[None].clone()  # it may be a view of the event
        if isinstance(value, Real):
            return torch.tensor([float(value)], dtype=torch.float64)
        wanted = "a number, a 0-d tensor, a vector (p,)"
    else:
        if isinstance(value, Mean):
            return value
        if isinstance(value, Samples):
            return Samples(value.values.clone())
        if isinstance(value, Tensor) and value.ndim in (1, 2) and len(value) == layers:
            return value.clone()
        wanted = f"for {layers} layers at once a tensor ({layers},) or ({layers}, p)"
    got = f"{type(value).__name__} {value!r:.40}"
    if isinstance(value, Tensor):
        got = f"a tensor of shape {tuple(value.shape)}"
    raise TypeError(f"expected {wanted} or a mapping of names to such, got {got}")
