"""Tests and measures of agreement on plain arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979), in the same order.

    NaN is no test, and stays NaN.

    >>> [round(x, 6) for x in holm([0.01, 0.04, math.nan, 0.03])]
    [0.03, 0.06, nan, 0.06]
    """
    adjusted = np.array(p, dtype=np.float64)
    (known,) = np.nonzero(np.isfinite(adjusted))
    order = known[np.argsort(adjusted[known])]
    scaled = adjusted[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(x) for x in adjusted]


def kappa(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return Cohen's κ of two layers' errors: 1 if they err on the same samples, 0 by chance.

    NaN where one of them is right about all samples, or wrong about all.

    >>> kappa(np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool))
    0.0
    """
    from sklearn.metrics import cohen_kappa_score

    if first.all() or second.all() or not first.any() or not second.any():
        return math.nan
    return float(cohen_kappa_score(first, second))
