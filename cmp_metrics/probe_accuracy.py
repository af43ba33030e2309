"""How often a linear probe names the right class."""

from __future__ import annotations

import torch
from torch import Tensor

from cmp_core import (
    PENALTY,
    Array,
    LayerView,
    Positive,
    Register,
    UndefinedError,
    class_indices,
    hookimpl,
    metric,
    statistics_of,
)

_UNDEFINED = "there is nothing to fit: no unit varies, or all labels are of one class"


def probe_accuracy(activations: Array, labels: Array, *, penalty: float = PENALTY) -> float:
    """Return the held-out accuracy of a linear ridge classifier, a fraction.

    One-hot labels are regressed on the activations with an intercept; a sample's class is the
    largest output of the fit to the other four of five folds. The folds are stratified by class
    and made by a hash of the row numbers. Random labels read 1/C within their interval.

    Args:
        activations: (n, p).
        labels: (n,) whole numbers.
        penalty: λ relative to the mean eigenvalue of X̃ᵀX̃.

    Raises:
        UndefinedError: fewer than 5 samples, no variance, or one class only.

    Alain & Bengio 2016, arXiv:1610.01644, with ridge regression for their logistic one.

    >>> import numpy as np
    >>> y = np.arange(100) % 2
    >>> probe_accuracy(np.stack([y, y**2 + 1.0], axis=1), y)
    1.0
    """
    own = class_indices(labels)
    (statistics,) = statistics_of(activations, labels=own)
    scores = statistics.held_out_scores(penalty)
    hits = _hits(scores, own.to(scores.device))
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
    invariances={"orthogonal", "permute_samples", "permute_units", "scale"},
    needs=("labels", "statistics.held_out_scores"),
    undefined=_UNDEFINED,
)
def probe_accuracy_metric(view: LayerView, *, penalty: Positive = PENALTY) -> Tensor:
    """Share of samples that a linear probe, fitted to the other folds, classifies rightly.

    What is linearly there, whether or not the network uses it. It grows with the number of samples
    the probe can learn from, so compare values of equal n only, and batches with batches.
    """
    return _hits(view.statistics.held_out_scores(penalty), view.statistics.columns())


def _hits(scores: Tensor, labels: Tensor) -> Tensor:
    hits = (scores.argmax(dim=1) == labels).to(scores.dtype)
    return torch.where(scores[:, 0].isnan(), torch.nan, hits)


@hookimpl
def cmp_register_metrics(register: Register) -> None:
    """Register the metric."""
    register(probe_accuracy_metric)
