"""Macro F1 of a linear probe."""

from __future__ import annotations

import torch
from torch import Tensor

from cmp_core import (
    PENALTY,
    Array,
    LayerView,
    Positive,
    Register,
    TensorSum,
    UndefinedError,
    class_indices,
    hookimpl,
    metric,
    statistics_of,
)

_UNDEFINED = "there is nothing to fit: no unit varies, or all labels are of one class"


def f1_score(activations: Array, labels: Array, *, penalty: float = PENALTY) -> float:
    """Return the macro F1 of the held-out linear probe of `probe_accuracy`, a fraction.

    The mean over classes of 2 TP / (2 TP + FP + FN); classes that are neither among the labels
    nor predicted are left out.

    Args:
        activations: (n, p).
        labels: (n,) whole numbers.
        penalty: λ relative to the mean eigenvalue of X̃ᵀX̃.

    Raises:
        UndefinedError: fewer than 5 samples, no variance, or one class only.

    >>> import numpy as np
    >>> y = np.arange(100) % 2
    >>> f1_score(np.stack([y, y**2 + 1.0], axis=1), y)
    1.0
    """
    own = class_indices(labels)
    (statistics,) = statistics_of(activations, labels=own)
    scores = statistics.held_out_scores(penalty)
    if scores.isnan().any():
        raise UndefinedError(_UNDEFINED)
    return float(_macro_f1(_counts(scores, own.to(scores.device))))


@metric(
    "f1_score",
    split="state",
    unit="fraction",
    question="predictive",
    bounds=(0, 1),
    invariances={"orthogonal", "permute_samples", "permute_units", "scale"},
    needs=("labels", "statistics.held_out_scores"),
    undefined=_UNDEFINED,
)
class F1Score(TensorSum):
    """Macro F1 of the linear probe of `probe_accuracy`: every class counts the same.

    Below the accuracy where rare classes are missed. On a batch many classes have a few samples
    only, and the mean over classes is noisy.

    Args:
        penalty: λ relative to the mean eigenvalue of X̃ᵀX̃.
    """

    def __init__(self, *, penalty: Positive = PENALTY) -> None:
        self._penalty = penalty

    def update(self, view: LayerView) -> None:
        """Count labels and predictions in a chunk."""
        statistics = view.statistics
        self.add(_counts(statistics.held_out_scores(self._penalty), statistics.columns()))

    def compute(self) -> Tensor:
        """Return the macro F1."""
        return _macro_f1(self.total)


def _counts(scores: Tensor, labels: Tensor) -> Tensor:
    """Return for every class 2 TP, and 2 TP + FP + FN, (2, C); without scores nothing counts."""
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


@hookimpl
def cmp_register_metrics(register: Register) -> None:
    """Register the metric."""
    register(F1Score)
