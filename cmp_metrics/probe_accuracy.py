"""How often a linear probe names the right class."""

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
    UndefinedError,
    held_out_statistics_of,
    metric,
)

_UNDEFINED = "there is nothing to fit: no unit varies, or all labels are of one class"


def probe_accuracy(
    activations: Array,
    labels: Array,
    *,
    fit: Sequence[Array] | None = None,
    penalty: float = 0.0,
) -> float:
    """Return the accuracy of a linear probe on samples that it was not fitted to, a fraction.

    One-hot labels are regressed on the activations with an intercept; a sample's class is the
    largest output. By least squares the value is that of any invertible affine map of the
    activations; units that are sums of others but for rounding are left out.

    Args:
        activations: (n, p); more dimensions are flattened.
        labels: (n,) whole numbers.
        fit: activations (m, p) and labels (m,) of the samples that the probe is fitted to, as over
            a split of a run. Without them every sample is scored by the fit to the other four of
            five folds, which are stratified by class and made by a hash of the row numbers.
        penalty: of a ridge regression in five folds, as on a batch, relative to the mean
            eigenvalue of X̃ᵀX̃; 0 for least squares.

    Raises:
        UndefinedError: no variance, one class only, or no more samples in a fit than units.

    Alain & Bengio 2016, arXiv:1610.01644, with least squares for their logistic regression.

    >>> import numpy as np
    >>> y = np.arange(100) % 2
    >>> probe_accuracy(np.stack([y, y**2 + 1.0], axis=1), y)
    1.0
    """
    (statistics,) = held_out_statistics_of(activations, labels=labels, fit=fit, penalty=penalty)
    hits = _hits(statistics, penalty or PENALTY)
    if hits.isnan().any():
        raise UndefinedError(_UNDEFINED)
    return float(hits.mean())


@metric(
    "probe_accuracy",
    split="mean",
    unit="fraction",
    question="predictive",
    evidence="rises",
    bounds=(0, 1),
    invariances={"affine", "orthogonal", "permute_samples", "permute_units", "scale"},
    needs=("labels", "statistics.held_out_scores"),
    undefined=_UNDEFINED,
)
def probe_accuracy_metric(view: LayerView, *, penalty: Positive = PENALTY) -> Tensor:
    """Share of samples that a linear probe, fitted to other samples, classifies rightly.

    What is linearly there, whether or not the network uses it. Over a split the probe is fitted by
    least squares, to training samples where there are any and else to the other folds. On a batch
    it is a ridge regression with `penalty`, which also measures how few samples a layer needs: for
    the timeline only, and not to be compared with values of a split.
    """
    return _hits(view.statistics, penalty)


def _hits(statistics: LayerStatistics, penalty: float) -> Tensor:
    scores = statistics.held_out_scores(penalty)
    hits = (scores.argmax(dim=1) == statistics.columns()).to(scores.dtype)
    return torch.where(scores[:, 0].isnan(), torch.nan, hits)
