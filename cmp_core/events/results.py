"""What the listeners of metrics answer: values that may still be on the device."""

from __future__ import annotations

import attrs
from torch import Tensor


@attrs.frozen(eq=False)
class SampleMean:
    """A mean over samples, as their sum and their number, (2,)."""

    total_and_count: Tensor


@attrs.frozen(eq=False)
class SampleValues:
    """One value per sample (n,), of which the mean is wanted; NaN where there is none."""

    values: Tensor


DeviceValue = Tensor | SampleMean | SampleValues
"""A value, a 0-d tensor or a vector (p,), that may still be on the device."""


@attrs.define(eq=False)
class MetricResult:
    """What a metric says of a layer or a pair, before it becomes a `Row` on the host.

    Attributes:
        layer, metric, n, other, pair: as in the row.
        value: none where there is no value.
        reason: why there is none.
        undefined: the reason should the value turn out not to be finite.
        by_half_fits: whether it is the value by linear fits to half of the fitting samples.
        influence: how much each sample, or each group, moves the value, (u,) or for a vector
            (u, p), or none; see `jackknife`.
    """

    layer: str
    metric: str
    n: int
    other: str | None = None
    pair: bool = False
    value: DeviceValue | None = None
    reason: str | None = None
    undefined: str = "the value is not a finite number"
    by_half_fits: bool = False
    influence: Tensor | None = None
