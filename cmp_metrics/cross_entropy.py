"""Cross-entropy of a layer's predictive distribution."""

from __future__ import annotations

from torch import Tensor, log_softmax

from cmp_core import (
    Array,
    LayerView,
    as_labels,
    as_matrix,
    average,
    metric,
    of_class,
)


def cross_entropy(scores: Array, labels: Array) -> float:
    """Return H(p, q) = -mean log q_y with q = softmax(scores), in nats.

    Args:
        scores: (n, C), the temperature already divided in.
        labels: (n,) whole numbers from 0 to C-1.

    >>> import numpy as np
    >>> round(cross_entropy(np.zeros((4, 10)), np.zeros(4, dtype=int)), 4)
    2.3026
    """
    rows = as_matrix(scores, "scores")
    own = as_labels(labels, rows, rows.shape[1])
    return average(-of_class(log_softmax(rows, dim=1), own))


@metric(
    "cross_entropy",
    split="mean",
    unit="nats",
    question="predictive",
    bounds=(0, float("inf")),
    needs=("scores", "labels"),
)
def cross_entropy_metric(view: LayerView) -> Tensor:
    """Mean of -log q_y in nats, where q = softmax(scores) with the temperature τ divided in.

    With cosine scores against C orthonormal anchors it cannot fall below
    log(1 + (C-1) exp(-√(C/(C-1))/τ)), so values at different τ are not comparable. It is not the
    layer's loss, which has the ACE term as well.
    """
    return -of_class(view.statistics.log_q, view.labels)
