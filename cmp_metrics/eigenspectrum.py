"""How the variance of a layer falls off over its principal directions."""

from __future__ import annotations

import torch
from torch import Tensor

from cmp_core import (
    Array,
    LayerView,
    PositiveInt,
    UndefinedError,
    metric,
    statistics_of,
)

_UNDEFINED = (
    "no unit varies, one sample is so large that nothing of the others is left, or the squares of "
    "activations are out of the range of float64"
)


def eigenspectrum(activations: Array) -> Tensor:
    """Return the eigenvalues of the covariance of activations (n, p), largest first.

    Args:
        activations: (n, p); more dimensions are flattened.

    Returns:
        (min(n-1, p),) float64, in squared units of the activations. The others are 0.

    Raises:
        UndefinedError: fewer than 2 samples, activations whose squares float64 does not hold, or
            one sample that leaves nothing of the others.

    >>> import numpy as np
    >>> eigenspectrum(np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    tensor([2.6667, 0.6667], dtype=torch.float64)
    """
    (statistics,) = statistics_of(activations)
    values = statistics.eigenvalues()
    if not values.isfinite().all():
        raise UndefinedError(_UNDEFINED)
    return values


@metric(
    "eigenspectrum",
    split="moments",
    unit="activation²",
    bounds=(0, float("inf")),
    invariances={"orthogonal", "permute_samples", "permute_units"},
    needs=("statistics.eigenvalues",),
    slow=True,
    undefined=_UNDEFINED,
)
def eigenspectrum_metric(view: LayerView, *, top: PositiveInt = 64) -> Tensor:
    """The `top` largest eigenvalues of the covariance S/(n-1), in descending order.

    The eigenvalues of a sample are more spread than those of its distribution: with p units and n
    samples the largest are too large and the smallest too small, by up to (1 ± √(p/n))².
    """
    values = view.statistics.eigenvalues()
    return torch.where(values[:1] > 0, values, torch.nan)[:top]
