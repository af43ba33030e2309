"""Ridge regression held out by folds, from Gram matrices or from sums over a split.

Both forms give the same predictions: for every sample those of the fit to the other folds, with an
intercept, and with the penalty λ ‖W‖² where λ = penalty * (mean eigenvalue of the scatter X̃ᵀX̃ of
all measured samples). No label enters λ, so nothing leaks.
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor
from torch.nn.functional import pad

from cmp_core.errors import UsageError
from cmp_core.layers.sampling import FOLDS
from cmp_core.statistics.moments import Grams, Products

PENALTY = 0.01
"""The default penalty, relative to the mean eigenvalue of the scatter."""


def strength(total: Tensor, width: int | Tensor, penalty: float) -> Tensor:
    """Return λ for a scatter of trace `total`; NaN where nothing varies, as there is no fit.

    Raises:
        UsageError: the penalty is not above 0.
    """
    if not penalty > 0:
        raise UsageError(f"penalty: expected a number above 0, got {penalty}")
    return torch.where(total > 0, total * penalty / width, torch.nan)


@attrs.frozen(eq=False)
class HeldOut:
    """Ridge regression on L layers over the same n samples, in Gram form.

    With the hat matrix H = 11ᵀ/n + K(K + λI)⁻¹, the held-out residuals of a fold S are
    (I - H_SS)⁻¹ ((I - H) Y)_S, exactly those of a fit to the other folds. Samples stand fold by
    fold here, so that all folds are blocks of one size m: where they differ, the smaller ones are
    filled up with samples that have nothing to do with the others and residual 0.

    Attributes:
        grams: the layers' Gram matrices, (L, folds m, folds m).
        complement: I - H, of the same shape.
        inverses: (I - H_SS)⁻¹, (L, folds, m, m).
        members: the sample in each place, n for one that fills up, (folds m,).
    """

    grams: Tensor
    complement: Tensor
    inverses: Tensor
    members: Tensor

    @classmethod
    def of(cls, grams: Grams, widths: Tensor, order: Tensor, penalty: float) -> HeldOut:
        """Prepare the layers of Gram matrices.

        Args:
            grams: of L layers.
            widths: number of units of each layer, (L,).
            order: the order in which samples are dealt to the folds, from `deal`.
            penalty: relative to the mean eigenvalue.
        """
        n = order.shape[0]
        lambdas = strength(grams.lengths.sum(dim=1), widths, penalty)
        members = torch.cat([order, order.new_full((-n % FOLDS,), n)]).view(-1, FOLDS).T.flatten()
        by_fold = pad(grams.matrices, (0, 1, 0, 1))[:, members].mT[:, members]  # symmetric
        regularised = by_fold.clone()
        regularised.diagonal(dim1=1, dim2=2).add_(lambdas[:, None])
        real = (members < n).to(by_fold.dtype)
        complement = torch.linalg.inv_ex(regularised)[0].mT  # symmetric; LAPACK wrote columns
        complement.mul_(lambdas[:, None, None]).sub_(torch.outer(real, real / n))
        m = len(members) // FOLDS
        blocks = complement.view(-1, FOLDS, m, FOLDS, m).diagonal(dim1=1, dim2=3)
        inverses = torch.linalg.inv_ex(blocks.permute(0, 3, 1, 2))[0]
        return cls(by_fold, complement, inverses, members)

    def predictions(self, targets: Tensor) -> Tensor:
        """Return ŷ (L, n, q) for targets (n, q)."""
        n = targets.shape[0]
        residuals = self.complement @ pad(targets, (0, 0, 0, 1))[self.members]
        held_out = self.inverses @ self._by_fold(residuals)
        return targets - held_out.flatten(1, 2)[:, self.members.argsort()[:n]]

    def squared_errors(self) -> Tensor:
        """Return Σ ‖y - ŷ‖² (L-1,) of predicting each layer but the first from the one before.

        The residuals' own Gram matrix in a fold is A P A with A = (I - H_SS)⁻¹ and
        P = ((I - H) K_y (I - H))_SS; its trace is wanted.
        """
        complement, inverses = self.complement[:-1], self.inverses[:-1]
        left = self._by_fold(complement @ self.grams[1:])
        products = left @ self._by_fold(complement).mT
        return (inverses @ products * inverses).sum(dim=(1, 2, 3))

    def _by_fold(self, rows: Tensor) -> Tensor:
        """Return a tensor (L, folds m, q) as (L, folds, m, q)."""
        return rows.view(len(rows), FOLDS, -1, rows.shape[-1])


@attrs.frozen(eq=False)
class Training:
    """What fits to some samples need of X: its mean (p,) and the LU factors of X̃ᵀX̃ + λI."""

    x_mean: Tensor
    factors: Tensor
    pivots: Tensor

    @classmethod
    def of(cls, own: Products, lambda_: Tensor) -> Training:
        """Prepare for fits to the samples of products of X with X, which are used up."""
        x_mean, matrix = own.x_mean, own.take_centred_cross()
        matrix.diagonal().add_(lambda_)
        factors, pivots, _ = torch.linalg.lu_factor_ex(matrix)
        return cls(x_mean, factors, pivots)

    def fit(self, cross: Products) -> Fit:
        """Return the fit to products of X with targets Y, which are used up."""
        weights = torch.linalg.lu_solve(self.factors, self.pivots, cross.take_centred_cross())
        return Fit(self.x_mean, cross.y_mean, weights)


@attrs.frozen(eq=False)
class Fit:
    """A linear map with an intercept: ŷ = ȳ + Wᵀ(x - x̄), with W (p, q)."""

    x_mean: Tensor
    y_mean: Tensor
    weights: Tensor

    @property
    def intercept(self) -> Tensor:
        """ȳ - Wᵀx̄, (q,)."""
        return self.y_mean - self.x_mean @ self.weights

    def squared_error(self, own: Products, cross: Products) -> Tensor:
        """Return Σ ‖y - ŷ‖² over samples known by their products of X with X, and X with Y.

        With x = δ + (x - x̄) and y = ε + (y - ȳ) counted from the pivots, the error of a sample is
        y - Wᵀx - c with c = ε - Wᵀδ, and its square is expanded.
        """
        w, n = self.weights, own.n
        c = (self.y_mean - cross.y_pivot) - (self.x_mean - cross.x_pivot) @ w
        about_pivots = torch.addmm(cross.cross, own.cross, w, beta=-2).mul_(w).sum()
        residual_sum = cross.y_sum - cross.x_sum @ w
        return cross.y_total + about_pivots - 2 * c @ residual_sum + n * c @ c
