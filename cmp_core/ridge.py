"""Ridge regression held out by folds, from Gram matrices or from sums over a split.

Both forms give the same predictions: for every sample those of the fit to the other folds, with an
intercept, and with the penalty λ ‖W‖² where λ = penalty * (mean eigenvalue of the scatter X̃ᵀX̃ of
all measured samples). No label enters λ, so nothing leaks.
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from cmp_core.errors import UsageError
from cmp_core.sampling import FOLDS
from cmp_core.second_moments import Grams, Products

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
    (I - H_SS)⁻¹ ((I - H) Y)_S, exactly those of a fit to the other folds. All folds are solved
    together: where they differ in size, the smaller ones are filled up with one more sample, n,
    that has nothing to do with the others and residual 0.

    Attributes:
        complement: I - H, (L, n+1, n+1).
        members: positions of each fold's samples, (folds, m).
        inverses: (I - H_SS)⁻¹, (L, folds, m, m).
    """

    complement: Tensor
    members: Tensor
    inverses: Tensor

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
        regularised = grams.matrices.clone()
        regularised.diagonal(dim1=1, dim2=2).add_(lambdas[:, None])
        inverse = torch.linalg.inv_ex(regularised)[0]
        complement = _with_one_more(inverse.mul_(lambdas[:, None, None]).sub_(1 / n))
        complement[:, n, n] = 1
        filled = torch.cat([order, order.new_full((-n % FOLDS,), n)])
        members = filled.view(-1, FOLDS).T
        blocks = complement[:, members[:, :, None], members[:, None, :]]
        return cls(complement, members, torch.linalg.inv_ex(blocks)[0])

    def predictions(self, targets: Tensor) -> Tensor:
        """Return ŷ (L, n, q) for targets (n, q)."""
        n = targets.shape[0]
        places = self.members.flatten().argsort()[:n]
        residuals = (self.complement[:, :, :n] @ targets)[:, self.members]
        return targets - (self.inverses @ residuals).flatten(1, 2)[:, places]

    def squared_errors(self, targets: Tensor) -> Tensor:
        """Return Σ ‖y - ŷ‖² (L-1,) of predicting from each layer but the last.

        The residuals' own Gram matrix in a fold is A P A with A = (I - H_SS)⁻¹ and
        P = ((I - H) K_y (I - H))_SS; its trace is wanted.

        Args:
            targets: the targets' Gram matrices, (L-1, n, n).
        """
        n = targets.shape[1]
        complement, inverses = self.complement[:-1, :, :n], self.inverses[:-1]
        left = (complement @ targets)[:, self.members]  # the rows of each fold, (L-1, folds, m, n)
        blocks = left @ complement[:, self.members].mT
        return (inverses @ blocks * inverses).sum(dim=(1, 2, 3))


def _with_one_more(matrices: Tensor) -> Tensor:
    """Return matrices (L, n, n) with a row and a column of zeros added."""
    return torch.nn.functional.pad(matrices, (0, 1, 0, 1))


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
