"""Entropy of a Gaussian with a layer's covariance."""

from __future__ import annotations

import math

from torch import Tensor

from cmp_core import (
    Array,
    LayerStatistics,
    LayerView,
    UndefinedError,
    metric,
    statistics_of,
)

_UNDEFINED = (
    "the entropy is minus infinity: no unit varies, or there are too few samples to shrink with"
)


def gaussian_entropy(activations: Array) -> float:
    """Return ½ log det(2πe Σ*) in nats, Σ* the shrunk covariance of activations (n, p).

    Σ* = (1-δ) S/n + δ μ I with the mean eigenvalue μ and the intensity δ of Ledoit & Wolf, which
    is estimated from the same samples; it keeps the entropy finite where units are constant or
    samples fewer than units. Negative values are right for small variances.

    Args:
        activations: (n, p); more dimensions are flattened.

    Raises:
        UndefinedError: fewer than 2 samples, no variance, or an intensity of 0 where units are
            constant or samples few (n = 2, say).

    Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(100_000, 2))
    >>> round(gaussian_entropy(x), 1)  # log 2πe = 2.838
    2.8
    """
    (statistics,) = statistics_of(activations)
    value = _entropy(statistics)
    if not value.isfinite():
        raise UndefinedError(_UNDEFINED)
    return float(value)


@metric(
    "gaussian_entropy",
    split="moments",
    unit="nats",
    question="compressing",
    invariances={"orthogonal", "permute_samples", "permute_units"},
    needs=("statistics.shrunk_log_det",),
    undefined=_UNDEFINED,
)
def gaussian_entropy_metric(view: LayerView) -> Tensor:
    """Differential entropy of a Gaussian with the layer's shrunk covariance, ½ log det(2πe Σ*).

    It follows scale: halving all activations of p units lowers it by p log 2. So compare layers of
    equal width and scale only, and call a layer compressed on other evidence. At few samples it
    tells more about the shrinkage than about the layer.
    """
    return _entropy(view.statistics)


def _entropy(statistics: LayerStatistics) -> Tensor:
    constant = statistics.width * math.log(2 * math.pi * math.e)
    return (statistics.shrunk_log_det() + constant) / 2
