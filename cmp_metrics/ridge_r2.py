"""How much of the next layer can be read off a layer linearly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cmp_core import (
    PENALTY,
    Array,
    LayerStatistics,
    LayerView,
    Positive,
    TensorSum,
    UndefinedError,
    held_out_statistics_of,
    metric,
)

_UNDEFINED = "one of the layers does not vary"


def ridge_r2(
    x: Array,
    y: Array,
    *,
    fit: Sequence[Array] | None = None,
    penalty: float = 0.0,
) -> float:
    """Return the R² of predicting Y from X linearly, with an intercept, on unseen samples.

    R² = 1 - Σ‖y - ŷ‖² / Σ‖y - ȳ‖² over samples and units, with ȳ the mean of the scored samples.
    By least squares the value is that of any invertible affine map of X, and of any rotation and
    scale of Y.

    Args:
        x: (n, p); more dimensions are flattened.
        y: (n, q), the same samples.
        fit: X (m, p) and Y (m, q) of the samples that the regression is fitted to, as over a split
            of a run. Without them every sample is predicted by the fit to the other four of five
            folds, which a hash of the row numbers makes.
        penalty: of a ridge regression in five folds, as on a batch, relative to the mean
            eigenvalue of X̃ᵀX̃; 0 for least squares.

    Raises:
        UndefinedError: one of the two does not vary, or no more samples in a fit than units of X.

    Ridge regression: Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(500, 3))
    >>> round(ridge_r2(x, x @ np.arange(6.0).reshape(3, 2)), 6)
    1.0
    """
    first, second = held_out_statistics_of(x, y, fit=fit, penalty=penalty)
    value = _r2(_sums(first, second, penalty or PENALTY))
    if not value.isfinite():
        raise UndefinedError(_UNDEFINED)
    return float(value)


@metric(
    "ridge_r2",
    split="state",
    scope="consecutive",
    unit="fraction of variance",
    question="different",
    evidence="similarity",
    bounds=(float("-inf"), 1),
    invariances={"orthogonal", "permute_samples", "permute_units", "scale"},
    needs=("next", "statistics.held_out_errors"),
    undefined=_UNDEFINED,
)
class RidgeR2(TensorSum):
    """Share of the next layer's variance that a linear regression on this layer predicts.

    On samples that it was not fitted to. Directed: the other way round reads another value.
    Unrelated layers read 0 or less. Over a split it is least squares, fitted to training samples
    where there are any and else to the other folds; with few fitting samples for the units it reads
    low, which the value by half of them shows. On a batch it is a ridge regression, which reads low
    for want of samples: with 128 of 1,024 isotropic units even an exact linear map about 0.1.

    Args:
        penalty: of the ridge regression on a batch, relative to the mean eigenvalue of X̃ᵀX̃.
    """

    def __init__(self, *, penalty: Positive = PENALTY) -> None:
        self._penalty = penalty

    def update(self, view: LayerView) -> None:
        """Add a chunk's errors and deviations."""
        self.add(_sums(view.statistics, view.next.statistics, self._penalty))

    def compute(self) -> Tensor:
        """Return R²."""
        return _r2(self.total)


def _sums(x: LayerStatistics, y: LayerStatistics, penalty: float) -> Tensor:
    """Return n, Σ‖y - ŷ‖², Σ‖d‖² and Σ d of the deviations d of y from a fixed point, (3+q,)."""
    errors, deviations = x.held_out_errors(y, penalty), y.deviations()
    sums = torch.stack([torch.ones_like(errors).sum(), errors.sum(), deviations.square().sum()])
    return torch.cat([sums, deviations.sum(dim=0)])


def _r2(sums: Tensor) -> Tensor:
    n, errors, squares = sums[:3]
    r2: Tensor = 1 - errors / (squares - sums[3:].square().sum() / n)
    return r2
