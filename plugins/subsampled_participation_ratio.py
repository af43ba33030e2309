"""Participation ratio of a layer from some of its units, for layers that are too wide.

A metric that keeps samples, in one file. Use it with
`cmp run -p cmp:subsampled_participation_ratio`, or copy it and change it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cmp_core import (
    Array,
    LayerView,
    PositiveInt,
    UndefinedError,
    UsageError,
    as_matrix,
    centred,
    metric,
    rescaled,
)

_UNDEFINED = (
    "the activations do not vary, there are too few samples or units, or one sample is so large "
    "that nothing of the others is left"
)
_RESOLVED = 2.0**20
"""Roundings that a difference of sums must exceed."""


def subsampled_participation_ratio(activations: Array, width: int) -> float:
    """Return (tr Σ)² / ‖Σ‖²_F of a layer of which some units were measured, dimensionless.

    Both are sums over pairs of units, σ_αα σ_ββ and σ_αβ². Of q units, drawn without replacement
    from p, the sum over pairs of different units times p(p-1)/(q(q-1)), and that over single units
    times p/q, are unbiased for the sums over all units; each is debiased for the samples too, as
    in `participation_ratio`. Without the correction q units can read no more than q.

    Args:
        activations: (n, q), of units chosen at random.
        width: p, number of units of the layer.

    Raises:
        UndefinedError: fewer than 4 samples or 2 units, or no variance.

    Chun, Canatar, Chung & Lee 2026, arXiv:2509.26560.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(2000, 64))  # 64 of 1,000 independent units
    >>> round(subsampled_participation_ratio(x, 1000), -2)
    1000.0
    """
    rows = as_matrix(activations)
    if width < rows.shape[1]:
        raise UsageError(f"width: expected at least the {rows.shape[1]} units, got {width}")
    value = _ratio(rows, width)
    if value.isnan():
        raise UndefinedError(_UNDEFINED)
    return float(value)


@metric(
    "subsampled_participation_ratio",
    split="state",
    unit="directions",
    question="compressing",
    bounds=(0, float("inf")),
    invariances={"permute_samples", "scale"},
    undefined=_UNDEFINED,
)
class SubsampledParticipationRatio:
    """Effective number of directions of the whole layer, estimated from some of its units.

    Where a layer fits, `participation_ratio` takes all units and is more exact. The units are
    chosen once by a fixed seed, so all splits and epochs measure the same ones.

    Args:
        units: how many.
    """

    def __init__(self, *, units: PositiveInt = 256) -> None:
        self._units = units
        self._width = 0
        self._rows: list[Tensor] = []

    def update(self, view: LayerView) -> None:
        """Keep the chosen units of a chunk."""
        seeded = torch.Generator().manual_seed(0)
        chosen = torch.randperm(view.width, generator=seeded)[: self._units].sort().values
        self._width = view.width
        self._rows.append(view.activations[:, chosen.to(view.activations.device)])

    def merge(self, other: SubsampledParticipationRatio) -> SubsampledParticipationRatio:
        """Return the state of both sets of samples."""
        merged = SubsampledParticipationRatio(units=self._units)
        merged._width = max(self._width, other._width)
        merged._rows = [*self._rows, *other._rows]
        return merged

    def compute(self) -> Tensor:
        """Return the ratio."""
        if not self._rows:
            raise UndefinedError("there are no samples")
        return _ratio(torch.cat(self._rows), self._width)

    def state_dict(self) -> dict[str, Any]:
        """Return the samples that were kept, and the width of the layer."""
        return {"rows": self._rows, "width": self._width}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._rows, self._width = list(state["rows"]), state["width"]


def _ratio(activations: Tensor, p: int) -> Tensor:
    trace, norm = _estimates(activations, p)
    return torch.where((trace > 0) & (norm > 0), trace / norm, torch.nan)


def _estimates(activations: Tensor, p: int) -> Tensor:
    """Return unbiased estimates of (tr Σ)² and ‖Σ‖²_F of a layer of p units, (2,)."""
    rows = centred(rescaled(activations))
    n, q = rows.shape
    if n < 4:
        raise UndefinedError(f"at least 4 samples are needed, there are {n}")
    if q < min(2, p):
        raise UndefinedError(f"at least 2 units are needed, there are {q}")
    lengths = rows.square().sum(dim=1)
    matrix = rows.T @ rows if q <= n else rows @ rows.T
    norm = matrix.square().sum()
    together = _moments(n, norm, lengths.square().sum(), lengths.sum())
    # One sample that is very large leaves too few digits of the others.
    least = _RESOLVED * torch.finfo(norm.dtype).eps * norm / (n * (n - 3))
    together = torch.where(together[1].abs() < least, torch.nan, together)
    squares = rows.square()
    totals = squares.sum(dim=0)
    alone = _moments(n, totals.square(), squares.square().sum(dim=0), totals).sum(dim=1)
    pairs = p * (p - 1) / (q * (q - 1)) if q > 1 else 0.0
    return (together - alone) * pairs + alone * (p / q)


def _moments(n: int, squares: Tensor, lengths: Tensor, total: Tensor) -> Tensor:
    """Return unbiased estimates of (tr Σ)² and ‖Σ‖²_F over distinct samples, (2, …).

    Args:
        n: samples.
        squares: ‖X̃ᵀX̃‖²_F.
        lengths: Σ ‖x̃ᵢ‖⁴.
        total: Σ ‖x̃ᵢ‖².
    """
    # Chen, Zhang & Zhong 2010, doi:10.1198/jasa.2010.tm09560; HSIC₁ of Song et al. 2012.
    trace = (n * n - 3 * n + 1) * total.square() - n * (n - 1) * lengths + 2 * squares
    norm = squares - lengths * (n / (n - 2)) + total.square() / ((n - 1) * (n - 2))
    return torch.stack([trace / (n * (n - 1) * (n - 2) * (n - 3)), norm / (n * (n - 3))])
