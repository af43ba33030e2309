"""How much of a layer's variance lies within the classes."""

from __future__ import annotations

from torch import Tensor

from cmp_core import (
    Array,
    LayerStatistics,
    LayerView,
    UndefinedError,
    metric,
    statistics_of,
)

_UNDEFINED = "no unit varies, there is one class only, or there are no more samples than classes"


def within_class_variance(activations: Array, labels: Array) -> float:
    """Return tr Σ_W / tr Σ, the share of the variance that lies within classes.

    Both are unbiased: tr Σ_W = Σᵢ ‖xᵢ - x̄_class‖² / (n - C) for the C classes there are, and
    tr Σ = Σᵢ ‖xᵢ - x̄‖² / (n - 1). So labels that have nothing to do with the layer read about 1, at
    times a little more; 0 is collapse of each class to a point.

    Args:
        activations: (n, p); more dimensions are flattened.
        labels: (n,) whole numbers.

    Raises:
        UndefinedError: no variance, one class only, or no more samples than classes.

    Within-class variability as in Papyan, Han & Donoho 2020, arXiv:2008.08186, by traces.

    >>> import numpy as np
    >>> x = np.array([[0.0], [2.0], [10.0], [12.0]])
    >>> within_class_variance(x, np.array([0, 0, 1, 1]))  # (4 / 2) / (104 / 3)
    0.0576923...
    """
    (statistics,) = statistics_of(activations, labels=labels, is_rescaled=True)
    value = _share(statistics)
    if not value.isfinite():
        raise UndefinedError(_UNDEFINED)
    return float(value)


@metric(
    "within_class_variance",
    split="moments",
    unit="fraction of variance",
    question="compressing",
    evidence="falls",
    bounds=(0, float("inf")),
    invariances={"orthogonal", "permute_samples", "permute_units", "scale"},
    needs=("statistics.within_class_variance",),
    undefined=_UNDEFINED,
)
def within_class_variance_metric(view: LayerView) -> Tensor:
    """Share of the variance that lies within classes: it falls where classes collapse to points.

    About classes, where `participation_ratio` is about directions: a layer can lose directions and
    keep its classes apart no better. Not the share that hinders a classifier: directions that it
    ignores count as well.
    """
    return _share(view.statistics)


def _share(statistics: LayerStatistics) -> Tensor:
    n = statistics.n
    return statistics.within_class_variance() / (statistics.variance() * n / (n - 1))
