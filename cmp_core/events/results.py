"""What the listeners of metrics answer: values that may still be on the device."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from cmp_core.statistics.moments import precise


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
    """One value per sample (…, n), of which the mean is wanted; NaN where there is none."""

    values: Tensor


Unsettled = Tensor | Mean | Samples
"""Values of L layers that may still be on the device; the first dimension is that of the layers."""


@attrs.frozen(eq=False)
class Reading:
    """A value that may still be on the device, or why there is none; `settle` brings it home.

    Attributes:
        layer, metric, n, other, pair: as in the row that it will be.
        reason: why there is no value.
        values: that of this layer and of those measured together with it; none without a value.
        position: of this layer among them.
        undefined: the reason should the value turn out not to be finite.
    """

    layer: str
    metric: str
    n: int
    other: str | None = None
    pair: bool = False
    reason: str | None = None
    values: Unsettled | None = None
    position: int = 0
    undefined: str = "the value is not a finite number"
