"""How closely activations point to the anchor of their class."""

from __future__ import annotations

from torch import Tensor

from cmp_core import (
    Array,
    LayerView,
    as_labels,
    as_matrix,
    average,
    defined_cosine,
    metric,
    of_class,
)


def alignment(activations: Array, anchors: Array, labels: Array) -> float:
    """Return the mean of cos(h, e_y), dimensionless.

    Args:
        activations: (n, N); more dimensions are flattened.
        anchors: (C, N).
        labels: (n,) whole numbers from 0 to C-1.

    Raises:
        UndefinedError: every activation vector is zero.

    >>> import numpy as np
    >>> alignment(np.array([[1.0, 1.0]]), np.eye(2), np.array([0]))
    0.7071...
    """
    cosines = defined_cosine(as_matrix(activations), as_matrix(anchors, "anchors"))
    return average(of_class(cosines, as_labels(labels, cosines, cosines.shape[1])))


@metric(
    "alignment",
    split="mean",
    question="predictive",
    bounds=(-1, 1),
    invariances={"permute_samples", "permute_units", "scale"},
    needs=("anchors", "labels"),
    undefined="all activations, or an anchor, are zero and have no direction",
)
def alignment_metric(view: LayerView) -> Tensor:
    """Mean cosine between an activation vector and the anchor of its class.

    Samples whose activations are all zero have no direction and are left out; `n` says how many
    remain. Non-negative (ReLU) features reach about 0.71 at most against signed anchors, so
    compare layers of one kind of anchor only.
    """
    return of_class(view.statistics.cosines, view.labels)
