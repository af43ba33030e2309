"""Linear regressions of centred targets on centred activations, from their second moments."""

from __future__ import annotations

from functools import cache

import attrs
import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from cmp_core.errors import UndefinedError, UsageError
from cmp_core.statistics.moments import padded

_TIE = 1e-6
"""By how much each unit counts less than the one before it, in shares of its deviation: which of
two units that agree on the fitting samples is taken is not left to rounding, and so not to the
order in which sums were made."""

TOLERANCE = 1e-12
"""Share of a unit's variance that the units before it must leave for it to count as another one."""


@attrs.frozen(eq=False)
class LeastSquares:
    """Least squares on the activations of a layer: the value is that of any affine map of them.

    Of the scatter S = X̃ᵀX̃ the units are scaled to variance 1, and a Cholesky decomposition with
    pivoting takes, one after the other, the unit of which those taken so far explain least. It
    stops where that leaves no unit more than a share of `TOLERANCE` (or 10 p roundings) of its
    variance; the units that remain are, but for rounding, sums of the others, and get no weight.

    Attributes:
        kept: the units that count, (r,).
        factor: lower Cholesky factor of their correlations, (r, r).
        deviations: by which they are scaled, square roots of their diagonal entries of S but for
            `_TIE`, (r,).
    """

    kept: Tensor
    factor: Tensor
    deviations: Tensor

    @classmethod
    def of(cls, scatter: Tensor, squares: Tensor | None = None) -> LeastSquares:
        """Decompose a scatter (p, p).

        Args:
            scatter: S.
            squares: sums (p,) of squares over these samples and more, in whose sums rounding is as
                large: a unit of which S has no larger share does not vary.

        >>> x = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [-1.0, -1.0, -2.0]]).double()
        >>> LeastSquares.of(x.T @ x).kept  # the third unit is twice the first
        tensor([0, 1])
        """
        from scipy.linalg.lapack import dpstrf, spstrf

        variances = scatter.diagonal()
        tolerance = max(TOLERANCE, 10 * len(scatter) * torch.finfo(scatter.dtype).eps)
        least = 0.0 if squares is None else tolerance * squares
        varying = (variances > least).nonzero()[:, 0]
        deviations = variances[varying].sqrt() * (1 + _TIE * varying)
        correlations = scatter[varying][:, varying] / deviations / deviations[:, None]
        matrix = padded(correlations).cpu().numpy()  # what varies not at all is never a pivot
        decompose = spstrf if matrix.dtype == np.float32 else dpstrf
        if not np.isfinite(matrix).all():
            raise UndefinedError("the activations that the fit takes hold NaN or infinity")
        factor, pivots, rank = np.zeros((0, 0), matrix.dtype), np.zeros(0, np.int64), 0
        if len(varying):  # LAPACK takes no empty matrix
            with _blas().limit(limits=torch.get_num_threads(), user_api="blas"):
                factor, pivots, rank, _ = decompose(matrix, tol=tolerance, lower=1)
        chosen = torch.from_numpy(pivots[:rank].astype(np.int64) - 1).to(scatter.device)
        lower = torch.from_numpy(np.tril(factor[:rank, :rank])).to(scatter.device)
        return cls(varying[chosen], lower, deviations[chosen])

    @property
    def rank(self) -> int:
        """How many units count."""
        return len(self.kept)

    def weights(self, cross: Tensor) -> Tensor:
        """Return the weights W (p, q) of X̃W ≈ Ỹ, given X̃ᵀỸ (p, q); NaN where no unit varies."""
        if not self.rank:
            return torch.full_like(cross, torch.nan)
        scaled = cross[self.kept] / self.deviations[:, None]
        solved = torch.cholesky_solve(scaled, self.factor)
        weights = torch.zeros_like(cross)
        weights[self.kept] = solved / self.deviations[:, None]
        return weights


@cache
def _blas() -> ThreadpoolController:
    """Return what limits the threads of SciPy's LAPACK, once that is imported."""
    return ThreadpoolController()


@attrs.frozen(eq=False)
class Ridge:
    """Ridge regression: the factors of S + λI."""

    factors: Tensor
    pivots: Tensor

    @classmethod
    def of(cls, scatter: Tensor, lambda_: Tensor) -> Ridge:
        """Decompose a scatter (p, p), in its memory."""
        scatter.diagonal().add_(lambda_)
        factors, pivots, _ = torch.linalg.lu_factor_ex(scatter)
        return cls(factors, pivots)

    def weights(self, cross: Tensor) -> Tensor:
        """Return the weights W (p, q), given X̃ᵀỸ (p, q)."""
        weights: Tensor = torch.linalg.lu_solve(self.factors, self.pivots, cross)
        return weights


PENALTY = 0.01
"""The default penalty of ridge regressions, relative to the mean eigenvalue of the scatter."""


def ridge_lambda(total: Tensor, width: int | Tensor, penalty: float) -> Tensor:
    """Return λ for a scatter of trace `total`; NaN where nothing varies, as there is no fit.

    Raises:
        UsageError: the penalty is not above 0.
    """
    if not penalty > 0:
        raise UsageError(f"penalty: expected a number above 0, got {penalty}")
    return torch.where(total > 0, total * penalty / width, torch.nan)
