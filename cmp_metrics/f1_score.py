"""Macro F1 of a linear probe."""

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

_UNDEFINED = "there is nothing to fit: no unit varies, or all labels are of one class"


def f1_score(
    activations: Array,
    labels: Array,
    *,
    fit: Sequence[Array] | None = None,
    penalty: float = 0.0,
) -> float:
    """Return the macro F1 of the linear probe of `probe_accuracy`, a fraction.

    The mean over classes of 2 TP / (2 TP + FP + FN); classes that are neither among the labels
    nor predicted are left out.

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

    >>> import numpy as np
    >>> y = np.arange(100) % 2
    >>> f1_score(np.stack([y, y**2 + 1.0], axis=1), y)
    1.0
    """
    (statistics,) = held_out_statistics_of(activations, labels=labels, fit=fit, penalty=penalty)
    if statistics.held_out_scores(penalty or PENALTY).isnan().any():
        raise UndefinedError(_UNDEFINED)
    return float(_macro_f1(_counts(statistics, penalty or PENALTY)))


@metric(
    "f1_score",
    split="state",
    unit="fraction",
    question="predictive",
    bounds=(0, 1),
    invariances={"affine", "orthogonal", "permute_samples", "permute_units", "scale"},
    needs=("labels", "statistics.held_out_scores"),
    undefined=_UNDEFINED,
)
class F1Score(TensorSum):
    """Macro F1 of the linear probe of `probe_accuracy`: every class counts the same.

    Below the accuracy where rare classes are missed. On a batch many classes have a few samples
    only, and the mean over classes is noisy.

    Args:
        penalty: of the ridge regression on a batch, relative to the mean eigenvalue of X̃ᵀX̃.
    """

    def __init__(self, *, penalty: Positive = PENALTY) -> None:
        self._penalty = penalty

    def update(self, view: LayerView) -> None:
        """Count labels and predictions in a chunk."""
        self.add(_counts(view.statistics, self._penalty))

    def compute(self) -> Tensor:
        """Return the macro F1."""
        return _macro_f1(self.total)


def _counts(statistics: LayerStatistics, penalty: float) -> Tensor:
    """Return for every class 2 TP, and 2 TP + FP + FN, (2, K); without scores nothing counts."""
    scores, labels = statistics.held_out_scores(penalty), statistics.columns()
    counted = scores[:, 0].isnan().logical_not().to(scores.dtype)
    predicted = scores.argmax(dim=1)
    zeros = scores.new_zeros(scores.shape[1])
    hits = zeros.index_add(0, labels, counted * (predicted == labels))
    both = zeros.index_add(0, labels, counted).index_add(0, predicted, counted)
    return torch.stack([2 * hits, both])


def _macro_f1(counts: Tensor) -> Tensor:
    hits, both = counts
    f1: Tensor = hits / both  # 0/0 where a class is absent
    return f1.nanmean()
