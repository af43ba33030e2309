"""How similar the geometry of two layers is, whatever their units are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cmp_core import (
    Array,
    LayerView,
    UndefinedError,
    metric,
    statistics_of,
)

_UNDEFINED = (
    "a layer does not vary, there are too few samples to tell noise from variance, or one sample "
    "is so large that nothing of the others is left"
)


def linear_cka(x: Array, y: Array, *, debiased: bool = True) -> float:
    """Return the linear centred kernel alignment of two layers, ‖Σ_xy‖² / (‖Σ_xx‖ ‖Σ_yy‖).

    Args:
        x: (n, p); more dimensions are flattened.
        y: (n, q), the same samples in the same order.
        debiased: estimate each norm by the U-statistic HSIC₁, so that independent layers read
            about 0, at times below. The biased value of independent Gaussian layers of p units is
            about p / (p + n): high similarity for wide layers and small batches.

    Raises:
        UndefinedError: fewer than 4 samples (2 if not debiased), or a layer without variance.

    Kornblith et al. 2019, arXiv:1905.00414; HSIC₁: Song et al. 2012, JMLR 13; for CKA: Nguyen et
    al. 2021, arXiv:2010.15327.

    >>> import numpy as np
    >>> x = np.array([[1.0, 2.0], [3.0, 5.0], [4.0, -1.0], [0.0, 0.0], [2.0, 2.0]])
    >>> round(linear_cka(x, 3 * x[:, ::-1]), 12)
    1.0
    """
    value = linear_cka_matrix([x, y], debiased=debiased)[0, 1]
    if value.isnan():
        raise UndefinedError(_UNDEFINED)
    return float(value)


def linear_cka_matrix(layers: Sequence[Array], *, debiased: bool = True) -> Tensor:
    """Return the linear CKA of all pairs of L layers, (L, L) float64; NaN where undefined.

    Args:
        layers: activations (n, pᵢ) of the same samples.
        debiased: as in `linear_cka`.

    >>> import numpy as np
    >>> linear_cka_matrix([np.eye(5), 2 * np.eye(5)], debiased=False)
    tensor([[1., 1.],
            [1., 1.]], dtype=torch.float64)
    """
    statistics = statistics_of(*layers, is_rescaled=True)
    hsic = torch.stack([torch.stack([x.hsic(y, debiased) for y in statistics]) for x in statistics])
    return _normalised(hsic, hsic.diagonal()[:, None], hsic.diagonal()[None, :])


@metric(
    "linear_cka",
    split="moments",
    scope="pair",
    question="different",
    evidence="similarity",
    bounds=(-1, 1),
    invariances={"orthogonal", "permute_samples", "permute_units", "scale", "symmetric"},
    needs=("statistics.hsic",),
    undefined=_UNDEFINED,
)
def linear_cka_metric(first: LayerView, second: LayerView, *, debiased: bool = True) -> Tensor:
    """Linear CKA with the previous layer, and of all pairs of layers on the split's subset.

    1 for layers that differ by a rotation and a scale, about 0 for independent ones. It is led by
    the directions of largest variance, so layers can read 0.99 and differ in what they tell about
    the classes.
    """
    x, y = first.statistics, second.statistics
    return _normalised(x.hsic(y, debiased), x.hsic(x, debiased), y.hsic(y, debiased))


def _normalised(xy: Tensor, xx: Tensor, yy: Tensor) -> Tensor:
    return torch.where((xx > 0) & (yy > 0), xy / (xx.sqrt() * yy.sqrt()), torch.nan)
