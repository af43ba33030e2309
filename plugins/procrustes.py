"""Procrustes distance: how far two layers are apart once one is turned onto the other.

A metric in one file. Use it with `cmp run -p cmp:procrustes`, or copy it and change it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cmp_core import (
    Array,
    LayerView,
    UndefinedError,
    as_matrices,
    centred,
    metric,
    rescaled,
)

_UNDEFINED = "one of the layers does not vary"


def procrustes(x: Array, y: Array) -> float:
    """Return the orthogonal Procrustes distance of two layers, min_Q ‖X - YQ‖²_F.

    X and Y are centred and divided by their Frobenius norms, and the narrower one is padded with
    zeros, so the distance is 2 - 2 ‖XᵀY‖_*, with the sum of singular values ‖·‖_*: from 0 for
    layers that differ by an offset, a scale and a rotation, to 2 for uncorrelated ones. It is a
    *squared* distance; its root is a metric on shapes.

    Args:
        x: (n, p).
        y: (n, q), the same samples in the same order.

    Raises:
        UndefinedError: fewer than 2 samples, or a layer without variance.

    Ding, Denain & Steinhardt 2021, arXiv:2108.01661; the root: Williams et al. 2021,
    arXiv:2110.14739.

    >>> import numpy as np
    >>> x = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> y = 5 + 3 * x[:, :1]  # the first axis, which holds half of the variance
    >>> round(procrustes(x, y), 6)  # 2 - √2·√2·√2/2
    0.585786
    """
    value = _distance(*as_matrices(x, y))
    if value.isnan():
        raise UndefinedError(_UNDEFINED)
    return float(value)


@metric(
    "procrustes",
    split="subset",
    scope="pair",
    question="different",
    bounds=(0, 2),
    invariances={"orthogonal", "permute_samples", "permute_units", "scale", "symmetric"},
    slow=True,
    undefined=_UNDEFINED,
)
def procrustes_metric(first: LayerView, second: LayerView) -> Tensor:
    """Distance from the previous layer after the best rotation, 0 to 2.

    Over a split on the fixed subset. Directions of small variance count for more than in
    `linear_cka`: ‖XᵀY‖_* sums the singular values of which CKA sums the squares. Like biased CKA it
    calls independent layers alike where units are many and samples few: of n samples of p
    isotropic units each, with p far above n, it is near 0.
    """
    return _distance(first.activations, second.activations)


def _distance(x: Tensor, y: Tensor) -> Tensor:
    if len(x) < 2:
        raise UndefinedError(f"at least 2 samples are needed, there are {len(x)}")
    cross = _shape(x).T @ _shape(y)
    is_finite = cross.isfinite().all()  # or LAPACK would raise
    similarity = torch.linalg.svdvals(torch.where(is_finite, cross, 0.0)).sum()
    distance: Tensor = (2 - 2 * similarity).clamp(0, 2)  # it is within but for rounding
    return torch.where(is_finite, distance, torch.nan)


def _shape(activations: Tensor) -> Tensor:
    """Return activations (n, p) centred, of norm 1, and turned to at most n columns."""
    rows = centred(rescaled(activations))
    rows = rows.div(torch.linalg.matrix_norm(rows))
    n, p = rows.shape
    return rows if p <= n else torch.linalg.qr(rows.T, mode="r").R.T
