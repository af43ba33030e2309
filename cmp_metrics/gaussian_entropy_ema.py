"""A running proxy of a layer's entropy, from the training batches as they come."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from cmp_core import (
    Array,
    LayerView,
    UndefinedError,
    UsageError,
    as_tensor,
    metric,
)

_FLOOR = 1e-6
_UNDEFINED = "no unit varies: the entropy is minus infinity"


def diagonal_entropy(variances: Array) -> float:
    """Return ½ Σ log(2πe σ²ⱼ) in nats, the entropy of independent Gaussian units.

    Args:
        variances: σ²ⱼ, (p,); those below 1e-6 of their mean count as that.

    Raises:
        UndefinedError: all variances are 0.

    >>> import numpy as np
    >>> diagonal_entropy(np.ones(2))
    2.8378...
    """
    numbers = as_tensor(variances)
    if numbers.ndim != 1 or not len(numbers):
        raise UsageError(f"expected variances (p,), got shape {tuple(numbers.shape)}")
    if not (numbers.isfinite() & (numbers >= 0)).all():
        raise UndefinedError("expected finite variances of at least 0")
    value = _entropy(numbers)
    if not value.isfinite():
        raise UndefinedError(_UNDEFINED)
    return float(value)


@metric(
    "gaussian_entropy_ema",
    split="running",
    unit="nats",
    invariances={"permute_samples", "permute_units"},
    needs=("statistics.mean", "statistics.unit_variances"),
    undefined=_UNDEFINED,
)
class GaussianEntropyEma:
    """Diagonal Gaussian entropy ½ Σ log(2πe σ²ⱼ) with exponentially averaged moments: live only.

    The moments follow the measured training batches, and σ²ⱼ is the exact variance of their
    weighted mixture. It lags behind the weights, ignores correlations, so it is never below the
    entropy of the full covariance, and has no value for a split or a snapshot.

    Args:
        decay: weight of the past at each measured batch, from 0 to below 1.
    """

    def __init__(self, *, decay: float = 0.9) -> None:
        if not 0 <= decay < 1:
            raise UsageError(f"decay: expected a number from 0 to below 1, got {decay}")
        self._decay = decay
        self._mean: Tensor | None = None
        self._variance: Tensor | None = None

    def update(self, view: LayerView) -> None:
        """Average a training batch in."""
        if view.n == 0:
            return
        mean, variance = view.statistics.mean(), view.statistics.unit_variances()
        if self._mean is not None and self._variance is not None:
            old, new = self._decay, 1 - self._decay
            between = old * new * (mean - self._mean).square()
            variance = old * self._variance + new * variance + between
            mean = old * self._mean + new * mean
        self._mean, self._variance = mean, variance

    def compute(self) -> Tensor:
        """Return the entropy in nats."""
        if self._variance is None:
            raise UndefinedError("there are no samples")
        return _entropy(self._variance)

    def state_dict(self) -> dict[str, Any]:
        """Return the moments."""
        return {"mean": self._mean, "variance": self._variance}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._mean, self._variance = state["mean"], state["variance"]


def _entropy(variances: Tensor) -> Tensor:
    mean = (variances / len(variances)).sum()  # whose sum may be out of range
    raised = torch.maximum(variances, _FLOOR * mean)
    return (raised.log() + math.log(2 * math.pi * math.e)).sum() / 2
