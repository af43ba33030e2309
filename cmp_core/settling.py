"""Bringing values home: one transfer from the device for all of an event, and a reason for each
value that is missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from numbers import Real
from typing import Any

import attrs
import torch
from torch import Tensor

from cmp_core.rows import Row, Value
from cmp_core.second_moments import precise


@attrs.frozen(eq=False)
class Mean:
    """A mean over samples, kept as a sum and a count (0-d each, or one for each of many means)."""

    total: Tensor
    count: Tensor

    @classmethod
    def of(cls, values: Tensor) -> Mean:
        """Return the means of values (…, n) over samples, NaN where there is none."""
        # Sums over a split of any length keep float64's digits where the device has them.
        total = values.nansum(dim=-1, dtype=precise(values.device))
        return cls(total, values.isnan().logical_not().sum(dim=-1))

    def pair(self) -> Tensor:
        """Return total and count side by side, (…, 2)."""
        return torch.stack([self.total, self.count.to(self.total.dtype)], dim=-1)

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.total + other.total, self.count + other.count)


@attrs.frozen(eq=False)
class Samples:
    """One value per sample (n,), of which the mean is wanted; NaN where there is none."""

    values: Tensor


Unsettled = float | Tensor | Mean | Samples | None


@attrs.frozen(eq=False)
class Reading:
    """A row whose value may still be on the device; `settle` brings it home.

    Attributes:
        row: without a value.
        value: what will be its value.
        undefined: why it is missing, should it turn out not to be finite.
    """

    row: Row
    value: Unsettled = None
    undefined: str = "the value is not a finite number"


def settle(readings: Sequence[Reading], peaks: Mapping[str, Tensor]) -> tuple[Row, ...]:
    """Bring all values home in one transfer per device, and turn what is not finite into a reason.

    Args:
        readings: what the metrics answered.
        peaks: `statistics.peak` (0-d) of every layer.
    """
    values = _with_means([reading.value for reading in readings])
    home = iter(_transfer([*peaks.values(), *values]))
    heights = {layer: next(home)[0] for layer in peaks}
    return tuple(
        _settled(reading, numbers, heights) for reading, numbers in zip(readings, home, strict=True)
    )


def _with_means(values: Sequence[Unsettled]) -> list[Tensor]:
    """Return the values as tensors, a mean as (total, count), those of samples taken together."""
    samples: dict[tuple[Any, ...], list[Tensor]] = {}
    for value in values:
        if isinstance(value, Samples):
            key = value.values.shape, value.values.dtype, value.values.device
            samples.setdefault(key, []).append(value.values)
    means: dict[int, Tensor] = {}
    for group in samples.values():
        pairs = Mean.of(torch.stack(group)).pair()
        means |= {id(tensor): pair for tensor, pair in zip(group, pairs, strict=True)}
    return [_as_tensor(value, means) for value in values]


def _as_tensor(value: Unsettled, means: Mapping[int, Tensor]) -> Tensor:
    if isinstance(value, Samples):
        return means[id(value.values)]
    if isinstance(value, Mean):
        return value.pair()
    if isinstance(value, Tensor):
        return value
    return torch.tensor(math.nan if value is None else value, dtype=torch.float64)


def _settled(reading: Reading, numbers: tuple[float, ...], heights: Mapping[str, float]) -> Row:
    row, value, n = reading.row, reading.value, reading.row.n
    if row.reason is not None:
        return row
    result: Value = numbers
    if isinstance(value, (Mean, Samples)):
        total, count = numbers
        n = int(count)
        result = total / n if n else math.nan
    elif not (isinstance(value, Tensor) and value.ndim):
        (result,) = numbers
    reason = _reason(reading, result, heights)
    return Row(row.layer, row.metric, None if reason else result, n, reason, row.other, row.pair)


def _reason(reading: Reading, value: Value, heights: Mapping[str, float]) -> str | None:
    """Return why a value is missing, or none where it is sound."""
    row = reading.row
    if row.n == 0:
        return "there are no samples"
    layers = [layer for layer in (row.layer, row.other or row.layer) if layer in heights]
    for layer in layers:
        if not math.isfinite(heights[layer]):
            return f"activations or scores of {layer} hold NaN or infinity"
    if all(map(math.isfinite, value)) if isinstance(value, tuple) else math.isfinite(value):
        return None
    for layer in layers:
        if heights[layer] == 0:
            return f"{layer} is dead: all its activations are 0"
    return reading.undefined


def _transfer(tensors: Sequence[Tensor]) -> list[tuple[float, ...]]:
    """Return the numbers of 0-d and 1-d tensors, in one transfer per device."""
    home: list[tuple[float, ...]] = [()] * len(tensors)
    for device in {tensor.device for tensor in tensors}:
        alike: dict[torch.dtype, list[int]] = {}
        for i, tensor in enumerate(tensors):
            if tensor.device == device:
                alike.setdefault(tensor.dtype, []).append(i)
        rows = [torch.hstack([tensors[i] for i in group]) for group in alike.values()]
        flat = iter(torch.cat([row.to(precise(device)) for row in rows]).tolist())
        for i in chain.from_iterable(alike.values()):
            home[i] = tuple(islice(flat, tensors[i].numel()))
    return home


def owned(value: Any) -> Unsettled:
    """Return a value that no plugin can change any more.

    Raises:
        TypeError: it is nothing that could be logged.
    """
    if isinstance(value, Tensor) and value.ndim <= 1:
        return value.clone()  # it may be a view of the event
    if isinstance(value, Samples):
        return Samples(value.values.clone())
    if isinstance(value, Mean):
        return value
    if isinstance(value, Real):
        return float(value)
    is_tensor = isinstance(value, Tensor)
    got = f"a tensor of shape {tuple(value.shape)}" if is_tensor else f"{value!r:.40}"
    raise TypeError(
        f"expected a number, a 0-d tensor, a vector (p,) or a mapping of "
        f"names to such, got {got if is_tensor else f'{type(value).__name__} {got}'}"
    )


def owned_each(value: Any, layers: int) -> list[Unsettled]:
    """Return what a vectorized metric answered, for each layer, as `owned` returns it.

    Raises:
        TypeError: its first dimension is not that of the layers.
    """
    if isinstance(value, Samples):
        return [Samples(values) for values in value.values.clone().unbind()]
    if isinstance(value, Mean):
        return list(map(Mean, value.total.unbind(), value.count.unbind()))
    if isinstance(value, Tensor) and value.ndim in (1, 2) and len(value) == layers:
        return list(value.clone().unbind())
    got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    raise TypeError(
        f"it is vectorized: expected a tensor whose first dimension is that of "
        f"{layers} layers, got {got}"
    )
