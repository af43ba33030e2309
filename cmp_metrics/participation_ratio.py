"""Over how many directions the variance of a layer is spread."""

from __future__ import annotations

import torch
from torch import Tensor

from cmp_core import (
    Array,
    LayerStatistics,
    LayerView,
    UndefinedError,
    metric,
    statistics_of,
)

_UNDEFINED = (
    "the activations do not vary, there are too few samples to tell noise from variance, or one "
    "sample is so large that nothing of the others is left"
)


def participation_ratio(activations: Array, *, debiased: bool = True) -> float:
    """Return (tr Σ)² / ‖Σ‖²_F of the covariance Σ of activations (n, p), dimensionless.

    Args:
        activations: (n, p); more dimensions are flattened.
        debiased: replace (tr Σ)² and ‖Σ‖²_F by their U-statistics over distinct samples. The plain
            value of isotropic data in p directions is about 1 / (1/n + 1/p), so at n = 128 it
            cannot exceed 127.

    Raises:
        UndefinedError: fewer than 4 samples (2 if not debiased), or no variance.

    Recanatesi et al. 2022, doi:10.1016/j.patter.2022.100555; debiasing: Chen, Zhang & Zhong 2010,
    doi:10.1198/jasa.2010.tm09560.

    >>> import numpy as np
    >>> square = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> round(participation_ratio(square, debiased=False), 12)
    2.0
    """
    (statistics,) = statistics_of(activations, is_rescaled=True)
    value = _ratio(statistics, debiased)
    if value.isnan():
        raise UndefinedError(_UNDEFINED)
    return float(value)


@metric(
    "participation_ratio",
    split="moments",
    unit="directions",
    question="compressing",
    evidence="falls",
    bounds=(0, float("inf")),
    invariances={"orthogonal", "permute_samples", "permute_units", "scale"},
    needs=("statistics.squared_norm", "statistics.squared_trace"),
    undefined=_UNDEFINED,
)
def participation_ratio_metric(view: LayerView, *, debiased: bool = True) -> Tensor:
    """Effective number of directions with variance, (tr Σ)² / ‖Σ‖²_F, debiased.

    A soft count dominated by the largest variances: not the rank, and not the intrinsic dimension
    of a curved set.
    """
    return _ratio(view.statistics, debiased)


def _ratio(statistics: LayerStatistics, debiased: bool) -> Tensor:
    trace, norm = statistics.squared_trace(debiased), statistics.squared_norm(debiased)
    return torch.where((trace > 0) & (norm > 0), trace / norm, torch.nan)
