"""How often a layer's largest score is the label's."""

from __future__ import annotations

from torch import Tensor

from cmp_core import (
    Array,
    LayerView,
    as_labels,
    as_matrix,
    average,
    metric,
)


def accuracy(scores: Array, labels: Array) -> float:
    """Return the share of samples with argmax_c score_c = label, a fraction.

    Args:
        scores: (n, C); of equal scores the first class counts as chosen.
        labels: (n,) whole numbers from 0 to C-1.

    >>> import numpy as np
    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    """
    rows = as_matrix(scores, "scores")
    return average(_hits(rows, as_labels(labels, rows, rows.shape[1])))


@metric(
    "accuracy",
    split="mean",
    unit="fraction",
    question="predictive",
    evidence="rises",
    bounds=(0, 1),
    needs=("scores", "labels"),
)
def accuracy_metric(view: LayerView) -> Tensor:
    """Share of samples whose highest-scored class is the label.

    A greedy layer is scored against its fixed anchors; an MLP's hidden layer, and the input,
    against class means (a nearest-class-mean classifier); the head by its logits. Not to be
    confused with a probe: nothing is fitted, so a layer can read low here and still hold the
    classes linearly.
    """
    return _hits(view.scores, view.labels)


def _hits(scores: Tensor, labels: Tensor) -> Tensor:
    return (scores.argmax(dim=1) == labels).float()
