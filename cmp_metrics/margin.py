"""By how much activations point to the anchor of their class rather than to the next best."""

from __future__ import annotations

from torch import Tensor

from cmp_core import (
    Array,
    LayerView,
    UndefinedError,
    as_labels,
    as_matrix,
    average,
    defined_cosine,
    metric,
    of_class,
)


def margin(activations: Array, anchors: Array, labels: Array) -> float:
    """Return the mean of cos(h, e_y) - max_{c≠y} cos(h, e_c), dimensionless.

    Args:
        activations: (n, N); more dimensions are flattened.
        anchors: (C, N), C ≥ 2.
        labels: (n,) whole numbers from 0 to C-1.

    Raises:
        UndefinedError: every activation vector is zero, or there is one class only.

    >>> import numpy as np
    >>> margin(np.array([[3.0, 4.0]]), np.eye(2), np.array([0]))
    -0.2000...
    """
    cosines = defined_cosine(as_matrix(activations), as_matrix(anchors, "anchors"))
    return average(_lead(cosines, as_labels(labels, cosines, cosines.shape[1])))


@metric(
    "margin",
    split="mean",
    question="predictive",
    bounds=(-2, 2),
    invariances={"permute_samples", "permute_units", "scale"},
    needs=("anchors", "labels"),
    undefined="all activations, or an anchor, are zero and have no direction",
)
def margin_metric(view: LayerView) -> Tensor:
    """Mean lead in cosine of the right class's anchor over the best wrong one.

    Positive for a sample exactly where cosine scores classify it rightly; the mean can be
    positive at an accuracy below one half. Samples whose activations are all zero are left out.
    """
    return _lead(view.statistics.cosines, view.labels)


def _lead(cosines: Tensor, labels: Tensor) -> Tensor:
    if cosines.shape[1] < 2:
        raise UndefinedError("a margin needs two classes")
    others = cosines.scatter(1, labels[:, None], float("-inf"))
    return of_class(cosines, labels) - others.amax(dim=1)
