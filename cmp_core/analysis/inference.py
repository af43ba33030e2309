"""Tests and measures of agreement on plain arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[int, int, float]:
    """Return the samples that only the first, and only the second gets right, and the exact p.

    >>> mcnemar(np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 1], bool))
    (1, 1, 1.0)
    """
    from scipy import stats

    lost, won = int((first & ~second).sum()), int((second & ~first).sum())
    p = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
    return lost, won, float(p)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979), in the same order.

    >>> [round(x, 6) for x in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p)
    scaled = np.asarray(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
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
